"""What bucket and object calls share: existence, permission, links, preconditions, new generations, bytes going out.

Bytes go out by `alt=media` of the JSON API and GET/HEAD of the XML API, with ranges.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from email.utils import format_datetime
from urllib.parse import quote
from xml.sax.saxutils import escape

from gcp_openemr.sandbox.api.messages import Response
from gcp_openemr.sandbox.api.names import bucket_name, now, timestamp
from gcp_openemr.sandbox.api.rules import ApiError, Call, Json, Record, demand, only, refuse, refuse_if, without
from gcp_openemr.sandbox.api.storage.objects import Content, Keeping, StoredObject

__all__ = [
    "_CONDITIONS", "base_url", "bucket_record", "check_conditions", "conditions_of", "create_object", "early_check",
    "insert_row", "keeping", "may_list", "media", "part", "permit", "refuse_if_kept", "refused", "shown_object",
    "source_conditions", "writable", "xml_error",
]  # fmt: skip
_CONDITIONS = ("ifGenerationMatch", "ifGenerationNotMatch", "ifMetagenerationMatch", "ifMetagenerationNotMatch")
_WRITABLE = (
    "name", "contentType", "contentEncoding", "contentDisposition", "contentLanguage", "cacheControl", "metadata",
    "storageClass", "customTime", "temporaryHold", "eventBasedHold", "crc32c", "md5Hash",
)  # fmt: skip
_LONGEST_NAME = 1024  # bytes of UTF-8
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_XML_CODES = {400: "InvalidArgument", 401: "AuthenticationRequired", 403: "AccessDenied", 412: "PreconditionFailed",
              416: "InvalidRange"}  # fmt: skip


def bucket_record(call: Call, bucket: str) -> Record:
    """The bucket, else 404."""
    return demand(call.store.get(bucket_name(bucket)), "storage.bucket-missing")


def permit(call: Call, permission: str, bucket: str, name: str = "") -> None:
    """Raise 401 or 403 unless the caller may, on a bucket or one of its objects."""
    full = f"{bucket_name(bucket)}/objects/{name}" if name else bucket_name(bucket)
    if not call.app.iam.allows(call.caller, permission, full):
        raise refused(call, permission, "object" if name else "bucket")


def may_list(call: Call, bucket: str, prefix: str) -> bool:
    """Whether the caller may list what begins with a prefix: in the bucket, or in a managed folder that holds it.

    Listing is a matter of the bucket or the folder, so that a condition on an object's name never allows it.
    """
    whole = bucket_name(bucket)
    folders = f"{whole}/managedFolders/"
    holding = [full for full, _ in call.store.policies(folders) if prefix.startswith(full.removeprefix(folders))]
    return any(call.app.iam.allows(call.caller, "storage.objects.list", place) for place in (whole, *holding))


def refused(call: Call, permission: str, kind: str, row: str = "storage.denied") -> ApiError:
    """403 in the words of a row, or 401 for nobody."""
    kind = kind if kind == "project" else f"Storage {kind}"
    if not call.caller.member:
        where = ("header", "Authorization")
        return refuse("storage.anonymous", location=where, who="Anonymous caller", permission=permission, kind=kind)
    return refuse(row, who=call.caller.email, permission=permission, kind=kind)


def base_url(call: Call) -> str:
    """Scheme and host as the caller wrote them, so that the links lead back here."""
    return f"{call.request.scheme}://{call.request.host or 'storage.googleapis.com'}"


def shown_object(call: Call, found: StoredObject) -> Json:
    """The object's resource with its links."""
    path = f"/storage/v1/b/{found.bucket}/o/{quote(found.name, safe='')}"
    base = base_url(call)
    return {
        **found.body,
        "selfLink": base + path,
        "mediaLink": f"{base}/download{path}?generation={found.generation}&alt=media",
    }


def conditions_of(call: Call) -> dict[str, int]:
    """Preconditions of a call, from the query or (XML API) the x-goog-if-… headers."""
    found = {name: number for name in _CONDITIONS if (number := call.number(name)) is not None}
    for name in ("generation", "metageneration"):
        value = call.request.headers.get(f"x-goog-if-{name}-match", "")
        if re.fullmatch(r"\d{1,18}", value):
            found[f"if{name.capitalize()}Match"] = int(value)
    return found


def source_conditions(call: Call) -> dict[str, int]:
    """Preconditions on the source of a copy."""
    pairs = ((name, call.number(name.replace("if", "ifSource", 1))) for name in _CONDITIONS)
    return {name: number for name, number in pairs if number is not None}


def check_conditions(conditions: Mapping[str, int], current: Json | None, *, reading: bool = False) -> None:
    """Compare with the live resource (None: there is none).

    Raises:
        ApiError: 412, or 304 for a `…NotMatch` of a read.
    """
    for name, wanted in conditions.items():
        field = "metageneration" if "Meta" in name else "generation"
        actual = int(current[field]) if current is not None else 0
        if name.endswith("NotMatch"):
            if actual == wanted:
                where = None if reading else ("header", "If-None-Match")
                raise refuse("storage.not-modified" if reading else "storage.precondition", location=where)
        elif actual != wanted:
            raise refuse("storage.precondition", location=("header", "If-Match"))


def writable(given: Json) -> Json:
    """The fields of an object that its writer may set."""
    return only(given, _WRITABLE)


def early_check(call: Call, bucket: str, name: str, conditions: Mapping[str, int]) -> None:
    """Refuse before the bytes travel what would be refused after."""
    if len(name.encode()) > _LONGEST_NAME or "\r" in name or "\n" in name or name in {".", ".."}:
        raise refuse("storage.object-name", name=name)
    current = call.app.objects.live(bucket, name)
    check_conditions(conditions, current.body if current else None)
    if current is not None:
        permit(call, "storage.objects.delete", bucket, name)


def create_object(
    call: Call,
    bucket: str,
    name: str,
    resource: Json,
    content: Content,
    conditions: Mapping[str, int],
    then: Callable[[StoredObject], None] = lambda _made: None,
) -> StoredObject:
    """A new live object of received bytes. The file is discarded when the object is refused. `then`: see insert_row."""
    try:
        _check_hashes(resource, content)
        body = without(resource, "name", "crc32c", "md5Hash")
        body |= {"size": str(content.size), "crc32c": content.crc32c, "md5Hash": content.md5}
        return insert_row(call, bucket, name, body, content.file, conditions, then)
    except BaseException:
        call.app.objects.discard(content.file)
        raise


def insert_row(
    call: Call,
    bucket: str,
    name: str,
    body: Json,
    file: str,
    conditions: Mapping[str, int],
    then: Callable[[StoredObject], None] = lambda _made: None,
) -> StoredObject:
    """Check and insert in one transaction, so that of two writers with the same precondition one wins.

    `then` is done in it too, so that it holds exactly when the object is there.
    """
    with call.store.transaction():
        record = bucket_record(call, bucket)
        early_check(call, bucket, name, conditions)
        old = call.app.objects.live(bucket, name)
        if old is not None:
            refuse_if_kept(record.body, old)
        body.setdefault("contentType", "application/octet-stream")
        body["storageClass"] = str(body.get("storageClass") or record.body["storageClass"]).upper()
        found, free = call.app.objects.insert(bucket, name, body, file, keeping(record.body))
        then(found)
    if free:
        call.app.objects.discard(free)
    return found


def refuse_if_kept(bucket: Json, found: StoredObject) -> None:
    """403 while a hold or the bucket's retention policy keeps an object.

    Source: https://cloud.google.com/storage/docs/bucket-lock and …/holding-objects.
    """
    where = f"{found.bucket}/{found.name}"
    refuse_if(found.body.get("temporaryHold") or found.body.get("eventBasedHold"), "storage.held", where=where)
    seconds = int((bucket.get("retentionPolicy") or {}).get("retentionPeriod") or 0)
    until = timestamp(datetime.fromisoformat(found.body["timeCreated"]).timestamp() + seconds)
    refuse_if(seconds and now() < until, "storage.retained", where=where, until=until)


def keeping(bucket: Json) -> Keeping:
    """What a bucket keeps of objects that are replaced or deleted."""
    return Keeping(
        versions=bool((bucket.get("versioning") or {}).get("enabled")),
        soft_seconds=float((bucket.get("softDeletePolicy") or {}).get("retentionDurationSeconds") or 0),
    )


def _check_hashes(resource: Json, content: Content) -> None:
    for field, label, actual in (("crc32c", "CRC32C", content.crc32c), ("md5Hash", "MD5 hash", content.md5)):
        stated = resource.get(field)
        refuse_if(stated and stated != actual, "storage.checksum", label=label, stated=stated, actual=actual)


def media(call: Call, found: StoredObject) -> Response:
    """The object's bytes, or the range that the caller asks for."""
    return part(call, found, int(found.body["size"]), _headers(found))


def part(call: Call, found: StoredObject, size: int, headers: Mapping[str, str]) -> Response:
    """Bytes with headers of their own."""
    start, length, partial = _range(call.request.headers.get("range", ""), size)
    if partial:
        headers = {**headers, "Content-Range": f"bytes {start}-{start + length - 1}/{size}"}
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
        error = refuse("google.range")
        error.headers["Content-Range"] = f"bytes */{size}"
        raise error
    return start, end - start + 1, True
