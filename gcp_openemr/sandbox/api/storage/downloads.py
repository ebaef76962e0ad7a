"""How bytes go out: `alt=media` of the JSON API and GET/HEAD of the XML API, with ranges."""

from __future__ import annotations

import re
from datetime import datetime
from email.utils import format_datetime
from xml.sax.saxutils import escape

from gcp_openemr.sandbox.api.messages import Response
from gcp_openemr.sandbox.api.rules import ApiError, Call, refuse
from gcp_openemr.sandbox.api.storage.objects import StoredObject

__all__ = ["media", "xml_error"]

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_XML_CODES = {400: "InvalidArgument", 401: "AuthenticationRequired", 403: "AccessDenied", 412: "PreconditionFailed",
              416: "InvalidRange"}  # fmt: skip


def media(call: Call, found: StoredObject) -> Response:
    """The object's bytes, or the range that the caller asks for."""
    size = int(found.body["size"])
    start, length, partial = _range(call.request.headers.get("range", ""), size)
    headers = _headers(found)
    if partial:
        headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{size}"
    reading = call.request.method != "HEAD" and length
    return Response(
        status=206 if partial else 200,
        headers=headers,
        body=call.app.objects.read(found, start, length) if reading else (),
        length=length,
    )


def xml_error(error: ApiError, bucket: str) -> Response:
    """A refusal of the XML API."""
    missing = "NoSuchBucket" if "bucket" in error.message else "NoSuchKey"
    code = missing if error.code == 404 else _XML_CODES.get(error.code, "InternalError")
    body = (
        f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code>"
        f"<Message>{escape(error.message)}</Message><Details>{escape(bucket)}</Details></Error>"
    )
    headers = {"Content-Type": "application/xml; charset=UTF-8", **error.headers}
    return Response(status=error.code, headers=headers, body=b"" if error.code == 304 else body.encode())


def _headers(found: StoredObject) -> dict[str, str]:
    body = found.body
    hashes = [f"crc32c={body['crc32c']}"] + ([f"md5={body['md5Hash']}"] if "md5Hash" in body else [])
    headers = {
        "Content-Type": body["contentType"],
        "Accept-Ranges": "bytes",
        "ETag": f'"{body["etag"]}"',
        "Last-Modified": format_datetime(datetime.fromisoformat(body["updated"]), usegmt=True),
        "X-Goog-Generation": body["generation"],
        "X-Goog-Metageneration": body["metageneration"],
        "X-Goog-Hash": ",".join(hashes),
        "X-Goog-Storage-Class": body["storageClass"],
        "X-Goog-Stored-Content-Encoding": body.get("contentEncoding", "identity"),
        "X-Goog-Stored-Content-Length": body["size"],
    }
    named = (
        ("contentEncoding", "Content-Encoding"),
        ("contentDisposition", "Content-Disposition"),
        ("contentLanguage", "Content-Language"),
        ("cacheControl", "Cache-Control"),
    )
    headers |= {header: body[field] for field, header in named if body.get(field)}
    return headers


def _range(given: str, size: int) -> tuple[int, int, bool]:
    """Start, length, and whether it is a part."""
    found = _RANGE.fullmatch(given.strip())
    if found is None or (not found[1] and not found[2]):
        return 0, size, False
    if not found[1]:
        length = min(int(found[2]), size)
        start, end = size - length, size - 1
    else:
        start = int(found[1])
        end = min(int(found[2]), size - 1) if found[2] else size - 1
    if start > end or start >= size:
        error = refuse("storage.range")
        error.headers["Content-Range"] = f"bytes */{size}"
        raise error
    return start, end - start + 1, True
