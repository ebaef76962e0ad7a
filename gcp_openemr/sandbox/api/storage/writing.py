"""Making new generations: uploads, copies and compositions end here."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from gcp_openemr.sandbox.api.calls import Call
from gcp_openemr.sandbox.api.names import now, timestamp
from gcp_openemr.sandbox.api.refusals import refuse, refuse_if
from gcp_openemr.sandbox.api.storage import preconditions
from gcp_openemr.sandbox.api.storage.common import bucket_record, permit
from gcp_openemr.sandbox.api.storage.objects import Content, Keeping, StoredObject
from gcp_openemr.sandbox.interfaces import Json

__all__ = ["create_object", "early_check", "insert_row", "keeping", "refuse_if_kept", "writable"]

_WRITABLE = (
    "name", "contentType", "contentEncoding", "contentDisposition", "contentLanguage", "cacheControl", "metadata",
    "storageClass", "customTime", "temporaryHold", "eventBasedHold", "crc32c", "md5Hash",
)  # fmt: skip
_LONGEST_NAME = 1024  # bytes of UTF-8


def writable(given: Json) -> Json:
    """The fields of an object that its writer may set."""
    return {key: given[key] for key in _WRITABLE if key in given}


def early_check(call: Call, bucket: str, name: str, conditions: Mapping[str, int]) -> None:
    """Refuse before the bytes travel what would be refused after."""
    if len(name.encode()) > _LONGEST_NAME or "\r" in name or "\n" in name or name in {".", ".."}:
        raise refuse("storage.object-name", name=name)
    current = call.app.objects.live(bucket, name)
    preconditions.check(conditions, current.body if current else None)
    if current is not None:
        permit(call, "storage.objects.delete", bucket, name)


def create_object(
    call: Call, bucket: str, name: str, resource: Json, content: Content, conditions: Mapping[str, int]
) -> StoredObject:
    """A new live object of received bytes. The file is discarded when the object is refused."""
    try:
        _check_hashes(resource, content)
        body = {key: value for key, value in resource.items() if key not in {"name", "crc32c", "md5Hash"}}
        body |= {"size": str(content.size), "crc32c": content.crc32c, "md5Hash": content.md5}
        return insert_row(call, bucket, name, body, content.file, conditions)
    except BaseException:
        call.app.objects.discard(content.file)
        raise


def insert_row(
    call: Call, bucket: str, name: str, body: Json, file: str, conditions: Mapping[str, int]
) -> StoredObject:
    """Check and insert in one transaction, so that of two writers with the same precondition one wins."""
    with call.store.transaction():
        record = bucket_record(call, bucket)
        early_check(call, bucket, name, conditions)
        old = call.app.objects.live(bucket, name)
        if old is not None:
            refuse_if_kept(record.body, old)
        body.setdefault("contentType", "application/octet-stream")
        body["storageClass"] = str(body.get("storageClass") or record.body["storageClass"]).upper()
        found, free = call.app.objects.insert(bucket, name, body, file, keeping(record.body))
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
