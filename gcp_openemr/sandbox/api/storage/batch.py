"""Several calls in one multipart/mixed request."""

from __future__ import annotations

import email.parser
import email.policy
import http
import io
import re
from typing import TYPE_CHECKING

from gcp_openemr.sandbox.api.messages import Request, Response
from gcp_openemr.sandbox.api.refusals import demand, refuse_if

if TYPE_CHECKING:
    from gcp_openemr.sandbox.api.app import App

__all__ = ["answer_batch"]

_MOST_CALLS = 100
_BOUNDARY = "batch_answer"


def answer_batch(app: App, request: Request) -> Response:
    """Answer each call by itself; one that fails does not stop the others."""
    parts = _parts(request)
    refuse_if(len(parts) > _MOST_CALLS, "storage.batch-size", most=_MOST_CALLS)
    answers = []
    for content_id, inner in parts:
        response = app.handle(inner)
        body = response.body if isinstance(response.body, bytes) else b"".join(response.body)
        phrase = http.HTTPStatus(response.status).phrase
        headers = {**response.headers, "Content-Length": str(len(body))}
        lines = "".join(f"{key}: {value}\r\n" for key, value in headers.items())
        head = f"HTTP/1.1 {response.status} {phrase}\r\n{lines}"
        label = f"Content-ID: {content_id.replace('<', '<response-', 1)}\r\n" if content_id else ""
        answers.append(
            f"--{_BOUNDARY}\r\nContent-Type: application/http\r\n{label}\r\n{head}\r\n".encode() + body + b"\r\n"
        )
    return Response(
        headers={"Content-Type": f"multipart/mixed; boundary={_BOUNDARY}"},
        body=b"".join(answers) + f"--{_BOUNDARY}--\r\n".encode(),
    )


def _parts(request: Request) -> list[tuple[str, Request]]:
    kind = request.headers.get("content-type", "")
    head = f"Content-Type: {kind}\r\nMIME-Version: 1.0\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + request.content())
    refuse_if(not message.is_multipart(), "storage.batch-form")
    return [
        (str(part.get("Content-ID", "")), _inner(request, part.get_payload(decode=True)))
        for part in message.iter_parts()
    ]


def _inner(outer: Request, raw: object) -> Request:
    data = raw if isinstance(raw, bytes) else b""
    head, _, body = data.replace(b"\r\n", b"\n").partition(b"\n\n")
    first, _, rest = head.decode("utf-8", "replace").lstrip().partition("\n")
    found = demand(re.fullmatch(r"(\w+) (\S+)( HTTP/1\.[01])?", first.strip()), "storage.batch-part")
    headers = {"host": outer.host, "authorization": outer.headers.get("authorization", "")}
    for line in rest.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            headers[key.strip().lower()] = value.strip()
    headers["host"] = outer.host
    target = re.sub(r"^https?://[^/]+", "", found[2])
    return Request(method=found[1], target=target, headers=headers, body=io.BytesIO(body), scheme=outer.scheme)
