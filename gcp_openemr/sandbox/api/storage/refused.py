"""What Cloud Storage refuses, as rows."""

from __future__ import annotations

from gcp_openemr.sandbox.api.refusals import Refusal, refusals

_DOCS = "https://cloud.google.com/storage/docs/"
_WHO = "{who} does not have {permission} access to the Google Cloud {kind}. "

refusals(
    Refusal("storage.method", 404, "Not Found"),
    Refusal("storage.required", 400, "Required", reason="required"),
    Refusal(
        "storage.denied",
        403,
        _WHO + "Permission '{permission}' denied on resource (or it may not exist).",
    ),
    Refusal(
        "storage.anonymous",
        401,
        _WHO + "Permission '{permission}' denied on resource (or it may not exist).",
        reason="required",
    ),
    Refusal("storage.bucket-missing", 404, "The specified bucket does not exist."),
    Refusal("storage.object-missing", 404, "No such object: {bucket}/{name}"),
    Refusal("storage.range", 416, "Request range not satisfiable"),
    Refusal("storage.precondition", 412, "At least one of the pre-conditions you specified did not hold."),
    Refusal("storage.not-modified", 304, "Not Modified", reason="notModified"),
    source=f"{_DOCS}json_api/v1/status-codes",
)
refusals(
    Refusal("storage.bucket-name", 400, "Invalid bucket name: '{name}'", f"{_DOCS}buckets#naming"),
    Refusal(
        "storage.bucket-taken",
        409,
        "The requested bucket name is not available. The bucket namespace is shared by all users of the system. Please "
        "select a different name and try again.",
    ),
    Refusal(
        "storage.bucket-owned",
        409,
        "Your previous request to create the named bucket succeeded and you already own it.",
    ),
    Refusal("storage.bucket-filled", 409, "The bucket you tried to delete is not empty."),
    Refusal(
        "storage.location",
        400,
        "Cannot change the location of an existing bucket.",
        f"{_DOCS}bucket-locations",
        reason="invalid",
    ),
    Refusal(
        "storage.retention-locked",
        403,
        "Cannot reduce retention duration of a locked Retention Policy for bucket '{bucket}'.",
        f"{_DOCS}bucket-lock",
    ),
    Refusal(
        "storage.public",
        412,
        "The member bindings allUsers and allAuthenticatedUsers are not allowed since public access prevention is "
        "enforced.",
        f"{_DOCS}public-access-prevention",
    ),
    Refusal(
        "storage.soft-delete",
        400,
        "Soft delete retention must be 0 or between 7 and 90 days.",
        f"{_DOCS}soft-delete",
        reason="invalid",
    ),
    source=f"{_DOCS}json_api/v1/buckets",
)
refusals(
    Refusal("storage.folder-uniform", 400, "Uniform bucket-level access is required for managed folders."),
    Refusal("storage.folder-exists", 409, "The managed folder you tried to create already exists."),
    Refusal("storage.folder-filled", 409, "The managed folder you tried to delete is not empty."),
    Refusal("storage.folder-missing", 404, "The specified managed folder does not exist."),
    source=f"{_DOCS}managed-folders",
)
refusals(
    Refusal("storage.object-name", 400, "Disallowed object name: {name}", f"{_DOCS}objects#naming", reason="invalid"),
    Refusal(
        "storage.held",
        403,
        "Object '{where}' is under active hold and cannot be deleted, overwritten or archived.",
        f"{_DOCS}object-holds",
    ),
    Refusal(
        "storage.retained",
        403,
        "Object '{where}' is subject to bucket's retention policy or object retention and cannot be deleted or "
        "overwritten until {until}",
        f"{_DOCS}bucket-lock",
        reason="retentionPolicyNotMet",
    ),
    Refusal(
        "storage.checksum",
        400,
        'Provided {label} "{stated}" doesn\'t match calculated {label} "{actual}".',
        f"{_DOCS}data-validation",
        reason="invalid",
    ),
    Refusal(
        "storage.compose",
        400,
        "The number of source components provided ({count}) must be between 1 and {most}.",
        f"{_DOCS}composite-objects",
        reason="invalid",
    ),
    Refusal("storage.soft-deleted-missing", 404, "No such object: {bucket}/{name}", f"{_DOCS}use-soft-deleted-objects"),
)
refusals(
    Refusal("storage.upload-missing", 404, "The upload ID was not found."),
    Refusal("storage.content-range", 400, "Failed to parse Content-Range header: {given}"),
    Refusal(
        "storage.upload-offset",
        400,
        "Invalid request.  According to the Content-Range header, the upload offset is {start} byte(s), which exceeds "
        "already uploaded size of {received} byte(s).",
    ),
    Refusal("storage.boundary", 400, "Missing multipart boundary.", reason="badContent"),
    Refusal("storage.multipart", 400, "Multipart upload must consist of exactly two parts.", reason="badContent"),
    source=f"{_DOCS}performing-resumable-uploads",
)
refusals(
    Refusal("storage.batch-size", 400, "The batch has more than {most} calls.", reason="invalid"),
    Refusal("storage.batch-form", 400, "The request is no multipart/mixed batch."),
    Refusal("storage.batch-part", 400, "A part of the batch is no HTTP request."),
    source=f"{_DOCS}batch",
)
