"""Cloud Storage: one request for each of its refusals."""

from __future__ import annotations

from typing import Any

from tests.sandbox.api.conformance.target import Target, case, rest
from tests.sandbox.api.support import Answer

BUCKET = "storage/v1/b/{b}"
OBJECT = f"{BUCKET}/o/kept"
UPLOAD = "upload/storage/v1/b/{b}/o?uploadType="
PUBLIC = {"bindings": [{"role": "roles/storage.objectViewer", "members": ["allUsers"]}]}
BATCH = {"Content_Type": "multipart/mixed; boundary=x"}
RELATED = {"Content_Type": "multipart/related; boundary=x"}


def storage(refusal: str, method: str, path: str, body: Any = None, **more: Any) -> None:
    rest(refusal, method, "storage", path, body, **more)


storage("storage.method", "GET", "storage/v1/nothing/here")
storage("storage.required", "POST", "storage/v1/b?project=conf-project", {})
storage("storage.anonymous", "GET", OBJECT, token="")
storage("storage.bucket-missing", "GET", "storage/v1/b/conf-no-such-bucket")
storage("storage.object-missing", "GET", f"{BUCKET}/o/none")
storage("google.range", "GET", f"{OBJECT}?alt=media", Range="bytes=99-")
storage("storage.precondition", "DELETE", f"{OBJECT}?ifGenerationMatch=1")
storage("storage.bucket-name", "POST", "storage/v1/b?project=conf-project", {"name": "UPPER"})
storage("storage.bucket-taken", "POST", "storage/v1/b?project=conf-stranger", {"name": "conf-project-conf"})
storage("storage.bucket-owned", "POST", "storage/v1/b?project=conf-project", {"name": "conf-project-conf"})
storage("storage.bucket-filled", "DELETE", BUCKET)
storage("storage.location", "PATCH", BUCKET, {"location": "EU"})
storage("storage.soft-delete", "PATCH", BUCKET, {"softDeletePolicy": {"retentionDurationSeconds": "60"}})
storage("storage.retention-locked", "PATCH", "storage/v1/b/conf-project-locked", {"retentionPolicy": None})
storage("storage.public", "PUT", f"{BUCKET}/iam", PUBLIC)
storage("storage.folder-uniform", "POST", "storage/v1/b/conf-project-locked/managedFolders", {"name": "a/"})
storage("storage.folder-exists", "POST", f"{BUCKET}/managedFolders", {"name": "folder/"})
storage("storage.folder-filled", "DELETE", f"{BUCKET}/managedFolders/folder%2F")
storage("storage.folder-missing", "GET", f"{BUCKET}/managedFolders/none%2F")
storage("storage.object-name", "POST", f"{UPLOAD}media&name=..", b"x")
storage("storage.held", "DELETE", f"{BUCKET}/o/held")
storage("storage.retained", "DELETE", "storage/v1/b/conf-project-locked/o/retained")
storage("storage.checksum", "POST", f"{UPLOAD}media&name=new", b"x", X_Goog_Hash="crc32c=AAAAAA==")
storage("storage.compose", "POST", f"{BUCKET}/o/new/compose", {"sourceObjects": []})
storage("storage.soft-deleted-missing", "POST", f"{OBJECT}/restore?generation=1", {})
storage("storage.upload-missing", "PUT", f"{UPLOAD}resumable&upload_id=none", b"x")
storage("storage.boundary", "POST", f"{UPLOAD}multipart", b"x", Content_Type="multipart/related")
storage("storage.multipart", "POST", f"{UPLOAD}multipart", b"--x\r\n\r\n{}\r\n--x--", **RELATED)
storage("storage.batch-form", "POST", "batch/storage/v1", b"x", Content_Type="text/plain")
storage("storage.batch-part", "POST", "batch/storage/v1", b"--x\r\n\r\nnonsense\r\n--x--", **BATCH)
storage(
    "storage.batch-size",
    "POST",
    "batch/storage/v1",
    b"--x\r\n\r\nGET /storage/v1/b/c HTTP/1.1\r\n\r\n\r\n" * 101 + b"--x--",
    **BATCH,
)


@case("storage.denied")
def caller_without_rights(target: Target) -> Answer:
    return target.call("GET", "storage", OBJECT, token=target.token())


@case("storage.object-hidden")
def reader_who_may_not_list(target: Target) -> Answer:
    member = f"serviceAccount:{target.account}"
    policy = {"bindings": [{"role": "roles/storage.legacyObjectReader", "members": [member]}]}
    target.call("PUT", "storage", f"{BUCKET}/managedFolders/folder%2F/iam", policy)
    return target.call("GET", "storage", f"{BUCKET}/o/folder%2Fnone", token=target.token())


@case("storage.not-modified")
def read_of_what_is_known(target: Target) -> Answer:
    generation = target.call("GET", "storage", OBJECT).body["generation"]
    return target.call("GET", "storage", f"{OBJECT}?ifGenerationNotMatch={generation}")


def _resumable(target: Target, content_range: str) -> Answer:
    begun = target.call("POST", "storage", f"{UPLOAD}resumable&name=new", {})
    upload = begun.headers["X-GUploader-UploadID"]
    return target.call("PUT", "storage", f"{UPLOAD}resumable&upload_id={upload}", b"x", Content_Range=content_range)


case("storage.content-range")(lambda target: _resumable(target, "bytes one-two/three"))
case("storage.upload-offset")(lambda target: _resumable(target, "bytes 5-5/6"))
