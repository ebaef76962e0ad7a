"""What bucket and object calls share: existence, permission, links."""

from __future__ import annotations

from urllib.parse import quote

from gcp_openemr.sandbox.api.calls import Call
from gcp_openemr.sandbox.api.errors import ApiError
from gcp_openemr.sandbox.api.names import bucket_name
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
    return ApiError(404, "The specified bucket does not exist.", reason="notFound")


def missing_object(bucket: str, name: str) -> ApiError:
    return ApiError(404, f"No such object: {bucket}/{name}", reason="notFound")


def permit(call: Call, permission: str, bucket: str, name: str = "") -> None:
    """Raise 401 or 403 unless the caller may, on a bucket or one of its objects."""
    full = f"{bucket_name(bucket)}/objects/{name}" if name else bucket_name(bucket)
    if not call.app.iam.allows(call.caller, permission, full):
        raise refused(call, permission, "object" if name else "bucket")


def refused(call: Call, permission: str, kind: str) -> ApiError:
    """403, or 401 for nobody, in Cloud Storage's words."""
    who = call.caller.email or "Anonymous caller"
    message = (
        f"{who} does not have {permission} access to the Google Cloud {'Storage ' if kind != 'project' else ''}{kind}. "
        f"Permission '{permission}' denied on resource (or it may not exist)."
    )
    if not call.caller.member:
        return ApiError(401, message, reason="required", location=("header", "Authorization"))
    return ApiError(403, message, reason="forbidden")


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
