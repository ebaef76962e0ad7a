"""Managed folders, and the IAM policies of them and of buckets."""

from __future__ import annotations

from urllib.parse import quote

from gcp_openemr.sandbox.api import policies
from gcp_openemr.sandbox.api.listing import listed
from gcp_openemr.sandbox.api.messages import Response
from gcp_openemr.sandbox.api.names import path_of
from gcp_openemr.sandbox.api.rules import Call, Json, handles, refuse, refuse_if, shape
from gcp_openemr.sandbox.api.storage.common import base_url, bucket_record, permit


@handles(
    *(f"storage.buckets.{verb}" for verb in ("getIamPolicy", "setIamPolicy", "testIamPermissions")),
    *(f"storage.managedFolders.{verb}" for verb in ("getIamPolicy", "setIamPolicy", "testIamPermissions")),
)
def answer_policy(call: Call) -> Json:
    name = _resource(call)
    if call.verb == "testIamPermissions":
        held = policies.test_permissions(call, name, list(call.query.get("permissions", ())))
        return {"kind": "storage#testIamPermissionsResponse", **held}
    permit(call, f"storage.{_kind(call)}.{call.verb}", call.parameters["bucket"])
    if call.verb == "setIamPolicy":
        _refuse_public(call)
    policy = (
        policies.get_policy(call, name) if call.verb == "getIamPolicy" else policies.set_policy(call, name, call.body)
    )
    return {"kind": "storage#policy", "resourceId": path_of(name), **policy}


@handles("storage.managedFolders.insert")
def insert_folder(call: Call) -> Json:
    bucket = call.parameters["bucket"]
    record = bucket_record(call, bucket)
    folder = str(call.body.get("name") or "").rstrip("/") + "/"
    permit(call, "storage.managedFolders.create", bucket)
    refuse_if(not record.body["iamConfiguration"]["uniformBucketLevelAccess"]["enabled"], "storage.folder-uniform")
    refuse_if(folder == "/", "storage.required")
    name = f"{record.name}/managedFolders/{folder}"
    with call.store.transaction():
        refuse_if(call.store.get(name) is not None, "storage.folder-exists")
        body = shape("storage.folder", name, bucket=bucket, folder=folder)
        call.store.put(name, body)
    return _shown_folder(call, body)


@handles("storage.managedFolders.get")
def get_folder(call: Call) -> Json:
    permit(call, "storage.managedFolders.get", call.parameters["bucket"])
    return _shown_folder(call, call.store.get(_resource(call)).body)  # type: ignore[union-attr]


@handles("storage.managedFolders.list")
def list_folders(call: Call) -> Json:
    bucket = call.parameters["bucket"]
    start = f"{bucket_record(call, bucket).name}/managedFolders/"
    permit(call, "storage.managedFolders.list", bucket)
    found = [(record.name, _shown_folder(call, record.body)) for record in call.store.list(start + call.one("prefix"))]
    return listed(call, found, "items", kind="storage#managedFolders", default_size=1000)


@handles("storage.managedFolders.delete")
def delete_folder(call: Call) -> Response:
    bucket = call.parameters["bucket"]
    name = _resource(call)
    permit(call, "storage.managedFolders.delete", bucket)
    folder = name.partition("/managedFolders/")[2]
    filled = next(call.app.objects.list(bucket, prefix=folder), None) is not None
    refuse_if(filled and not call.flag("allowNonEmpty"), "storage.folder-filled")
    call.store.delete(name)
    return Response(status=204)


def _refuse_public(call: Call) -> None:
    """Public access prevention (https://cloud.google.com/storage/docs/public-access-prevention)."""
    config = bucket_record(call, call.parameters["bucket"]).body["iamConfiguration"]
    members = {member for binding in call.body.get("bindings") or () for member in binding.get("members") or ()}
    if config["publicAccessPrevention"] == "enforced" and members & {"allUsers", "allAuthenticatedUsers"}:
        raise refuse("storage.public")


def _shown_folder(call: Call, body: Json) -> Json:
    path = f"/storage/v1/b/{body['bucket']}/managedFolders/{quote(body['name'], safe='')}"
    return {**body, "selfLink": base_url(call) + path}


def _kind(call: Call) -> str:
    return call.collection.split(".")[1]


def _resource(call: Call) -> str:
    """Full name of the bucket or managed folder of a call; 404 when it is not there."""
    record = bucket_record(call, call.parameters["bucket"])
    if _kind(call) == "buckets":
        return record.name
    name = f"{record.name}/managedFolders/{call.parameters['managedFolder'].rstrip('/')}/"
    refuse_if(call.store.get(name) is None, "storage.folder-missing")
    return name
