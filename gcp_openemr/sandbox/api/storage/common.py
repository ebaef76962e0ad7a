"""What bucket and object calls share: existence, permission, links."""

from __future__ import annotations

from urllib.parse import quote

from gcp_openemr.sandbox.api.calls import Call
from gcp_openemr.sandbox.api.errors import ApiError
from gcp_openemr.sandbox.api.names import bucket_name
from gcp_openemr.sandbox.api.refusals import refuse
from gcp_openemr.sandbox.api.storage.objects import StoredObject
from gcp_openemr.sandbox.api.store import Record
from gcp_openemr.sandbox.interfaces import Json

__all__ = ["base_url", "bucket_record", "missing_bucket", "missing_object", "permit", "shown_object"]


def bucket_record(call: Call, bucket: str) -> Record:
    """The bucket, else 404."""
    record = call.store.get(bucket_name(bucket))
    if record is None:
        raise missing_bucket()
    return record


def missing_bucket() -> ApiError:
    return refuse("storage.bucket-missing")


def missing_object(bucket: str, name: str) -> ApiError:
    return refuse("storage.object-missing", bucket=bucket, name=name)


def permit(call: Call, permission: str, bucket: str, name: str = "") -> None:
    """Raise 401 or 403 unless the caller may, on a bucket or one of its objects."""
    full = f"{bucket_name(bucket)}/objects/{name}" if name else bucket_name(bucket)
    if not call.app.iam.allows(call.caller, permission, full):
        raise refused(call, permission, "object" if name else "bucket")


def refused(call: Call, permission: str, kind: str) -> ApiError:
    """403, or 401 for nobody, in Cloud Storage's words."""
    kind = kind if kind == "project" else f"Storage {kind}"
    if not call.caller.member:
        where = ("header", "Authorization")
        return refuse("storage.anonymous", location=where, who="Anonymous caller", permission=permission, kind=kind)
    return refuse("storage.denied", who=call.caller.email, permission=permission, kind=kind)


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
