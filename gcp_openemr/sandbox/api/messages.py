"""A request as it came over the wire, and the answer."""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
import zlib
from collections.abc import Iterable, Mapping
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote

from gcp_openemr.sandbox.api.call_log import Trace
from gcp_openemr.sandbox.api.refusals import refuse, refuse_if

__all__ = ["Readable", "Request", "Response", "json_response"]

JSON_LIMIT = 64 * 1024 * 1024  # bytes; Google's own limit for a JSON request body is lower for most APIs


class Readable(Protocol):
    """A body that is read from front to end."""

    def read(self, size: int = -1, /) -> bytes: ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """One HTTP request. `target` is the raw path with its query; header names are in lower case.

    `connection` is its TCP connection, the caller's end and ours as ADDRESS:PORT; `trace` is for the call log.
    """

    method: str
    target: str
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    body: Readable = dataclasses.field(default_factory=io.BytesIO)
    scheme: str = "http"
    connection: tuple[str, str] = ("", "")
    trace: Trace = dataclasses.field(default_factory=Trace)

    @property
    def raw_path(self) -> str:
        """The path, still percent-encoded, because an object's name may hold an encoded slash."""
        return self.target.split("?", 1)[0]

    @property
    def path(self) -> str:
        return unquote(self.raw_path)

    @property
    def query(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for key, value in parse_qsl(self.target.partition("?")[2], keep_blank_values=True):
            found.setdefault(key, []).append(value)
        return found

    @property
    def host(self) -> str:
        return self.headers.get("host", "")

    @property
    def media_type(self) -> str:
        return self.headers.get("content-type", "").split(";")[0].strip().lower()

    def content(self) -> bytes:
        """The whole body, unpacked when it came gzipped."""
        data = self.body.read(JSON_LIMIT + 1)
        refuse_if(len(data) > JSON_LIMIT, "google.body-size")
        if self.headers.get("content-encoding", "").lower() == "gzip":
            try:
                data = gzip.decompress(data)
            except (OSError, EOFError, zlib.error) as error:
                raise refuse("google.gzip") from error
        return data

    def json(self) -> Any:
        """The body as JSON; an empty body is an empty object."""
        return parse_json(self.content())


def parse_json(data: bytes) -> Any:
    """JSON of a request body. Raises ApiError in Google's words."""
    if not data.strip():
        return {}
    try:
        found = json.loads(data, parse_constant=_refuse_constant)
        json.dumps(found, ensure_ascii=False).encode()  # half of a surrogate pair is no text
    except (ValueError, RecursionError) as error:
        raise refuse("google.json") from error
    return found


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Response:
    """One HTTP answer. A `body` of chunks needs `length` or goes out chunked."""

    status: int = 200
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    body: bytes | Iterable[bytes] = b""
    length: int | None = None


def json_response(body: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer, indented as Google's are."""
    return Response(
        status=status,
        headers={"Content-Type": "application/json; charset=UTF-8", **(headers or {})},
        body=json.dumps(body, indent=2, ensure_ascii=False).encode(errors="replace") + b"\n",
    )
