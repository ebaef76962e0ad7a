"""Cloud Storage: the JSON API with uploads, downloads and batches, and GET/HEAD of the XML API.

A batch is several calls in one multipart/mixed request.
"""

from __future__ import annotations

import email.parser
import email.policy
import http.client
import io
import re
from urllib.parse import unquote

from gcp_openemr.sandbox.api.messages import Request, Response, json_response
from gcp_openemr.sandbox.api.names import bucket_name
from gcp_openemr.sandbox.api.rules import HANDLERS, ApiError, App, Call, demand, refuse_if
from gcp_openemr.sandbox.api.serviceusage import require_enabled
from gcp_openemr.sandbox.api.storage.common import xml_error
from gcp_openemr.sandbox.api.validation import check_query
from gcp_openemr.sandbox.discovery import Method, load

__all__ = ["answer_storage"]

_JSON_ROOT = "/storage/v1/"
_UPLOAD_ROOTS = ("/upload/storage/v1/", "/resumable/upload/storage/v1/")
_MOST_CALLS = 100
_BOUNDARY = "batch_answer"


def answer_storage(app: App, request: Request, path: str) -> Response:
    """Answer by the form of the (still encoded) path."""
    if path.startswith("/batch"):
        return _answer_batch(app, request)
    if path.startswith(_UPLOAD_ROOTS):
        return _upload(app, request, path)
    media = path.startswith("/download")
    path = path.removeprefix("/download")
    if path.startswith(_JSON_ROOT):
        return _json_api(app, request, path, media=media)
    return _xml_api(app, request, path)


def _json_api(app: App, request: Request, path: str, *, media: bool) -> Response:
    found = load("storage", "v1").find("GET" if request.method == "HEAD" else request.method, path)
    method, parameters = demand(found, "storage.method")
    return _answer(_call(app, request, method, parameters, {"alt": ["media"]} if media else {}))


def _upload(app: App, request: Request, path: str) -> Response:
    method = load("storage", "v1").method("storage.objects.insert")
    bucket = path.split("/b/", 1)[-1].split("/", 1)[0]
    return _answer(_call(app, request, method, {"bucket": unquote(bucket)}, {}))


def _xml_api(app: App, request: Request, path: str) -> Response:
    """GET and HEAD of /bucket/object, as Go's client reads."""
    bucket, _, name = path.lstrip("/").partition("/")
    bucket, name = unquote(bucket), unquote(name)
    try:
        if not bucket or not name or request.method not in {"GET", "HEAD"}:
            raise ApiError(501, "The sandbox stands in for GET and HEAD of objects only.")
        method = load("storage", "v1").method("storage.objects.get")
        return _answer(_call(app, request, method, {"bucket": bucket, "object": name}, {"alt": ["media"]}))
    except ApiError as error:
        request.trace.refusal = error.refusal_id
        return xml_error(error, bucket)


def _call(app: App, request: Request, method: Method, parameters: dict[str, str], extra: dict[str, list[str]]) -> Call:
    discovery = load("storage", "v1")
    check_query(discovery, method, request.query)
    return Call(
        app=app,
        caller=app.caller(request),
        api="storage",
        discovery=discovery,
        method=method,
        parameters=parameters,
        query={**request.query, **extra},
        request=request,
        name=bucket_name(parameters.get("bucket", "")),
    )


def _answer(call: Call) -> Response:
    handler = HANDLERS.get(call.method.id)
    if handler is None:
        raise ApiError(501, f"The sandbox does not stand in for {call.method.id}.")
    require_enabled(call, call.app.iam.owner_project(call.name) or call.one("project"))
    call.app.arrive(call)
    answer = handler(call)
    return answer if isinstance(answer, Response) else json_response(answer)


def _answer_batch(app: App, request: Request) -> Response:
    """Answer each call by itself; one that fails does not stop the others."""
    parts = _parts(request)
    refuse_if(len(parts) > _MOST_CALLS, "storage.batch-size", most=_MOST_CALLS)
    answers = []
    for content_id, inner in parts:
        response = app.handle(inner)
        body = response.body if isinstance(response.body, bytes) else b"".join(response.body)
        phrase = http.client.responses.get(response.status, "")
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
    if "content-length" in headers:
        headers["content-length"] = str(len(body))
    target = re.sub(r"^https?://[^/]+", "", found[2])
    return Request(method=found[1], target=target, headers=headers, body=io.BytesIO(body), scheme=outer.scheme)
