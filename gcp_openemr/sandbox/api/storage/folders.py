"""Managed folders, and the IAM policies of them and of buckets."""

from __future__ import annotations

from urllib.parse import quote

from gcp_openemr.sandbox.api import policies
from gcp_openemr.sandbox.api.listing import listed
from gcp_openemr.sandbox.api.messages import Response
from gcp_openemr.sandbox.api.names import now, path_of
from gcp_openemr.sandbox.api.rules import Call, Json, handles, refuse, refuse_if
from gcp_openemr.sandbox.api.storage.common import base_url, bucket_record, permit


@handles("storage.buckets.getIamPolicy", "storage.managedFolders.getIamPolicy")
def get_policy(call: Call) -> Json:
    name = _resource(call)
    permit(call, f"storage.{_kind(call)}.getIamPolicy", call.parameters["bucket"])
    return _policy(name, policies.get_policy(call, name))


@handles("storage.buckets.setIamPolicy", "storage.managedFolders.setIamPolicy")
def set_policy(call: Call) -> Json:
    name = _resource(call)
    permit(call, f"storage.{_kind(call)}.setIamPolicy", call.parameters["bucket"])
    _refuse_public(call)
    return _policy(name, policies.set_policy(call, name, call.body))


@handles("storage.buckets.testIamPermissions", "storage.managedFolders.testIamPermissions")
def test_permissions(call: Call) -> Json:
    name = _resource(call)
    held = policies.test_permissions(call, name, list(call.query.get("permissions", ())))
    return {"kind": "storage#testIamPermissionsResponse", **held}


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
        moment = now()
        body = {
            "kind": "storage#managedFolder",
            "id": f"{bucket}/{folder}",
            "bucket": bucket,
            "name": folder,
            "metageneration": "1",
            "createTime": moment,
            "updateTime": moment,
        }
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


def _policy(name: str, policy: Json) -> Json:
    return {"kind": "storage#policy", "resourceId": path_of(name), **policy}
