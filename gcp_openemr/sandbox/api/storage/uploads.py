"""How bytes come in: at once, as one multipart body, or resumable in chunks.

A resumable upload lives in a row and a file, so it outlives the process; what counts as received is what the file
holds, in steps of 256 KiB (https://cloud.google.com/storage/docs/performing-resumable-uploads).
"""

from __future__ import annotations

import email.parser
import email.policy
import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

from gcp_openemr.sandbox.api.messages import Readable, Request, Response, json_response, parse_json
from gcp_openemr.sandbox.api.rules import ApiError, Call, Json, demand, handles, refuse, refuse_if
from gcp_openemr.sandbox.api.storage import common
from gcp_openemr.sandbox.api.storage.objects import StoredObject
from gcp_openemr.sandbox.api.validation import accept

__all__ = ["multipart", "pieces"]

_STEP = 256 * 1024
_CHUNK = 1024 * 1024
_RANGE = re.compile(r"bytes (?:(\d{1,18})-(\d{1,18})|\*)/(\d{1,18}|\*)")
_UPLOAD_HEADER = "X-GUploader-UploadID"


@handles("storage.objects.insert")
def insert(call: Call) -> Json | Response:
    """All three ways; which one is in `uploadType`."""
    if call.one("upload_id"):
        return _continue(call)
    bucket = call.parameters["bucket"]
    common.bucket_record(call, bucket)
    kind = call.one("uploadType", "multipart" if call.request.media_type == "multipart/related" else "media")
    if kind == "resumable":
        return _begin(call)
    if kind == "multipart":
        metadata, media_type, data = multipart(call.request)
        resource = _metadata(call, metadata)
        resource.setdefault("contentType", media_type)
        return _store(call, resource, iter((data,)))
    resource = {"contentType": call.request.headers.get("content-type", "application/octet-stream")}
    if call.one("contentEncoding"):
        resource["contentEncoding"] = call.one("contentEncoding")
    return _store(call, resource, pieces(call.request.body))


def _store(call: Call, resource: Json, chunks: Iterator[bytes]) -> Json:
    name = _name(call, resource)
    common.early_check(call, call.parameters["bucket"], name, common.conditions_of(call))
    content = call.app.objects.receive(chunks)
    found = common.create_object(
        call,
        call.parameters["bucket"],
        name,
        resource | _hash_header(call.request),
        content,
        common.conditions_of(call),
    )
    return common.shown_object(call, found)


def _begin(call: Call) -> Response:
    resource = _metadata(call, call.request.json())
    bucket = call.parameters["bucket"]
    name = _name(call, resource)
    conditions = common.conditions_of(call)
    common.early_check(call, bucket, name, conditions)
    resource.setdefault("contentType", call.request.headers.get("x-upload-content-type", "application/octet-stream"))
    upload = uuid.uuid4().hex
    (call.app.objects.uploads / upload).touch(mode=0o600)
    body = {
        "bucket": bucket,
        "name": name,
        "resource": resource,
        "conditions": conditions,
        "member": call.caller.member,
        "done": None,
    }
    call.store.change("INSERT INTO uploads VALUES (?, ?, ?)", (upload, json.dumps(body), upload))
    location = f"{common.base_url(call)}/upload/storage/v1/b/{bucket}/o?uploadType=resumable&upload_id={upload}"
    return Response(headers={"Location": location, _UPLOAD_HEADER: upload}, body=b"")


def _continue(call: Call) -> Json | Response:
    upload = call.one("upload_id")
    rows = call.store.query("SELECT body FROM uploads WHERE id = ?", (upload,))
    refuse_if(not rows, "storage.upload-missing")
    body = json.loads(rows[0][0])
    if call.request.method == "DELETE":
        _forget(call, upload)
        return Response(status=499, headers={_UPLOAD_HEADER: upload})
    if body["done"] is not None:
        return _finished(call, body)
    try:
        return _receive(call, upload, body, call.app.objects.uploads / upload)
    except FileNotFoundError as error:  # another call ends the same upload
        raise refuse("storage.upload-missing") from error


def _receive(call: Call, upload: str, body: Json, path: Path) -> Response:
    received = _whole_steps(path)
    start, total = _content_range(call.request, received)
    if start is None:
        return _incomplete(received) if total is None or received < total else _complete(call, upload, body, path)
    refuse_if(start > received, "storage.upload-offset", start=start, received=received)
    size = _append(path, call.request.body, start, received)
    if total is not None and size >= total:
        return _complete(call, upload, body, path)
    return _incomplete(_whole_steps(path))


def _content_range(request: Request, received: int) -> tuple[int | None, int | None]:
    """Where the body starts (None: only a question) and the whole size (None: not known yet)."""
    given = request.headers.get("content-range")
    if given is None:
        length = request.headers.get("content-length")
        return received, received + int(length) if length is not None else None
    found = demand(_RANGE.fullmatch(given.strip()), "storage.content-range", given=given)
    total = None if found[3] == "*" else int(found[3])
    return (None if found[1] is None else int(found[1])), total


def _append(path: Path, body: Readable, start: int, received: int) -> int:
    """Add the body's bytes from `start` on; those already here are skipped. Returns the file's size."""
    skip = received - start
    with path.open("rb+") as stream:
        stream.seek(received)
        for piece in pieces(body):
            fresh = piece[skip:]
            skip = max(0, skip - len(piece))
            stream.write(fresh)
        return stream.tell()


def _whole_steps(path: Path) -> int:
    """What counts as received: a chunk that broke off counts in whole steps only."""
    size = path.stat().st_size
    kept = size - size % _STEP
    if kept != size:
        with path.open("rb+") as stream:
            stream.truncate(kept)
    return kept


def _incomplete(received: int) -> Response:
    return Response(status=308, headers={"Range": f"bytes=0-{received - 1}"} if received else {}, length=0)


def _complete(call: Call, upload: str, body: Json, path: Path) -> Response:
    content = call.app.objects.adopt(path)
    resource = body["resource"] | _hash_header(call.request)

    def mark(made: StoredObject) -> None:
        done = json.dumps(body | {"done": made.generation})
        call.store.change("UPDATE uploads SET body = ? WHERE id = ?", (done, upload))

    try:
        found = common.create_object(call, body["bucket"], body["name"], resource, content, body["conditions"], mark)
    except ApiError:
        call.store.change("DELETE FROM uploads WHERE id = ?", (upload,))
        raise
    return json_response(common.shown_object(call, found))


def _finished(call: Call, body: Json) -> Response:
    found = demand(call.app.objects.get(body["bucket"], body["name"], body["done"]), "storage.upload-missing")
    return json_response(common.shown_object(call, found))


def _forget(call: Call, upload: str) -> None:
    call.store.change("DELETE FROM uploads WHERE id = ?", (upload,))
    (call.app.objects.uploads / upload).unlink(missing_ok=True)


def _metadata(call: Call, given: object) -> Json:
    return common.writable(accept(call.discovery, "Object", given or {}))


def _name(call: Call, resource: Json) -> str:
    name = call.one("name") or str(resource.get("name") or "")
    refuse_if(not name, "storage.required")
    common.permit(call, "storage.objects.create", call.parameters["bucket"], name)
    return name


def _hash_header(request: Request) -> Json:
    """Checksums that the caller states in X-Goog-Hash or Content-MD5."""
    stated: Json = {}
    for part in request.headers.get("x-goog-hash", "").split(","):
        kind, _, value = part.strip().partition("=")
        if kind in {"crc32c", "md5"} and value:
            stated["crc32c" if kind == "crc32c" else "md5Hash"] = value
    if "content-md5" in request.headers:
        stated["md5Hash"] = request.headers["content-md5"]
    return stated


def multipart(request: Request) -> tuple[object, str, bytes]:
    """Metadata, media type and bytes of a multipart/related body, whose lines Google's clients end in either way."""
    found = demand(re.search(r'boundary="?([^";]+)"?', request.headers.get("content-type", "")), "storage.boundary")
    mark = b"--" + found[1].encode()
    body = request.body.read()
    end = b"\r\n" if body.partition(b"\n")[0].endswith(b"\r") else b"\n"
    parts = (end + body).split(end + mark)
    refuse_if(len(parts) != 4 or not parts[3].startswith(b"--"), "storage.multipart")
    heads = [part.lstrip(b" \t").removeprefix(end).partition(end + end) for part in parts[1:3]]
    headers = email.parser.BytesHeaderParser(policy=email.policy.HTTP).parsebytes(heads[1][0] + b"\r\n\r\n")
    return parse_json(heads[0][2]), str(headers.get("content-type", "application/octet-stream")), heads[1][2]


def pieces(body: Readable) -> Iterator[bytes]:
    while piece := body.read(_CHUNK):
        yield piece
