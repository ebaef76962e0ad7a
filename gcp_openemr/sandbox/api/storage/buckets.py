"""Buckets, those too that are deleted softly; managed folders; the IAM policies of both."""

from __future__ import annotations

import copy
import re
import time
from urllib.parse import quote

from gcp_openemr.sandbox.api import names, policies
from gcp_openemr.sandbox.api.listing import listed
from gcp_openemr.sandbox.api.messages import Response
from gcp_openemr.sandbox.api.projects import ensure_project, project_by_number
from gcp_openemr.sandbox.api.rules import Call, Json, Record, handles, refuse, refuse_if, shape, without
from gcp_openemr.sandbox.api.storage import common
from gcp_openemr.sandbox.api.validation import merge

# https://cloud.google.com/storage/docs/buckets#naming
_NAME = re.compile(r"(?!goog)(?!\d+\.\d+\.\d+\.\d+$)[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_LONGEST_PART = 63
_MULTI_REGIONS = {"US", "EU", "ASIA"}
_SERVER_FIELDS = {"kind", "id", "selfLink", "projectNumber", "name", "generation", "metageneration", "etag",
                  "timeCreated", "updated", "owner", "locationType", "softDeleteTime", "hardDeleteTime"}  # fmt: skip
_WEEK = "604800"
_SOFT_DAYS = (7, 90)
_SOFT_DELETED = "storage.googleapis.com/softDeleted/"


@handles("storage.buckets.insert")
def insert(call: Call) -> Json:
    project = _project(call)
    _permit_project(call, "storage.buckets.create", project)
    body = {key: value for key, value in call.body.items() if key not in _SERVER_FIELDS or key == "name"}
    name = str(body.get("name") or "")
    refuse_if(not name, "storage.required")
    if not _NAME.fullmatch(name) or max(map(len, name.split("."))) > _LONGEST_PART:
        raise refuse("storage.bucket-name", name=name)
    with call.store.transaction():
        taken = call.store.get(names.bucket_name(name))
        if taken is not None:
            raise refuse("storage.bucket-owned" if taken.hidden.get("project") == project else "storage.bucket-taken")
        new = _new_bucket(project, name, body)
        _check_policies({}, new)
        call.app.objects.forget_soft_deleted(name)
        call.store.put(names.bucket_name(name), new, hidden={"project": project})
        call.store.put_policy(
            names.bucket_name(name), shape("storage.bucket.policy", names.bucket_name(name), owner=project)
        )
    return _shown(call, name)


@handles("storage.buckets.get")
def get(call: Call) -> Json:
    bucket = call.parameters["bucket"]
    record = common.bucket_record(call, bucket)
    common.permit(call, "storage.buckets.get", bucket)
    common.check_conditions(common.conditions_of(call), record.body, reading=True)
    return _shown(call, bucket)


@handles("storage.buckets.list")
def list_(call: Call) -> Json:
    project = _project(call)
    _permit_project(call, "storage.buckets.list", project)
    prefix = call.one("prefix")
    if call.flag("softDeleted"):
        gone = [record for record in call.store.list(_SOFT_DELETED + prefix) if record.hidden.get("project") == project]
        found = [(record.name, record.body) for record in gone if record.body["hardDeleteTime"] > names.now()]
    else:
        found = [
            (names.id_of(record.name), _shown(call, names.id_of(record.name)))
            for record in call.store.list(names.bucket_name(prefix))
            if "/" not in record.name.removeprefix(names.bucket_name("")) and record.hidden.get("project") == project
        ]
    return listed(call, found, "items", kind="storage#buckets", default_size=1000)


@handles("storage.buckets.patch", "storage.buckets.update")
def patch(call: Call) -> Json:
    bucket = call.parameters["bucket"]
    with call.store.transaction():
        record = common.bucket_record(call, bucket)
        common.permit(call, "storage.buckets.update", bucket)
        common.check_conditions(common.conditions_of(call), record.body)
        given = without(call.merge_body, *_SERVER_FIELDS)
        if call.verb == "update":
            own = _SERVER_FIELDS | {"location", "storageClass", "iamConfiguration", "softDeletePolicy"}
            old = {key: value for key, value in record.body.items() if key in own}
        else:
            old = record.body
        new = merge(old, given)
        _check_location(record.body, new)
        _check_policies(record.body, new)
        new |= {
            "metageneration": str(int(record.body["metageneration"]) + 1),
            "updated": names.now(),
            "etag": names.etag_of(bucket, record.version + 1),
        }
        _iam_configuration(new)
        call.store.put(record.name, new)
    return _shown(call, bucket)


@handles("storage.buckets.delete")
def delete(call: Call) -> Response:
    bucket = call.parameters["bucket"]
    with call.store.transaction():
        record = common.bucket_record(call, bucket)
        common.permit(call, "storage.buckets.delete", bucket)
        common.check_conditions(common.conditions_of(call), record.body)
        refuse_if(not call.app.objects.is_empty(bucket), "storage.bucket-filled")
        _keep_soft_deleted(call, record)
        call.store.delete_below(record.name + "/")
        call.store.delete(record.name)
    return Response(status=204)


def _keep_soft_deleted(call: Call, record: Record) -> None:
    """A bucket with a soft-delete policy can be restored, with what its policies and soft-deleted objects say."""
    seconds = common.keeping(record.body).soft_seconds
    if not seconds:
        return
    moment = time.time()
    marks = {"softDeleteTime": names.timestamp(moment), "hardDeleteTime": names.timestamp(moment + seconds)}
    hidden = {**record.hidden, "policy": call.store.policy(record.name)}
    call.store.put(
        f"{_SOFT_DELETED}{names.id_of(record.name)}/{record.body['generation']}", record.body | marks, hidden=hidden
    )


@handles("storage.buckets.restore")
def restore(call: Call) -> Json:
    bucket = call.parameters["bucket"]
    with call.store.transaction():
        gone = call.store.get(f"{_SOFT_DELETED}{bucket}/{call.one('generation')}")
        if gone is None or gone.body["hardDeleteTime"] <= names.now():
            raise refuse("storage.bucket-missing")
        _permit_project(call, "storage.buckets.restore", gone.hidden["project"])
        refuse_if(call.store.get(names.bucket_name(bucket)) is not None, "storage.bucket-owned")
        body = without(gone.body, "softDeleteTime", "hardDeleteTime")
        call.store.put(names.bucket_name(bucket), body, hidden={"project": gone.hidden["project"]})
        call.store.put_policy(names.bucket_name(bucket), gone.hidden["policy"])
        call.store.delete(gone.name)
    return _shown(call, bucket)


@handles("storage.projects.serviceAccount.get")
def project_account(call: Call) -> Json:
    number = names.project_number(project_by_number(call.store, call.parameters["projectId"]))
    email = f"service-{number}@gs-project-accounts.iam.gserviceaccount.com"
    return {"kind": "storage#serviceAccount", "email_address": email}


def _project(call: Call) -> str:
    project = project_by_number(call.store, call.one("project"))
    ensure_project(call.store, call.caller, project)
    return project


def _permit_project(call: Call, permission: str, project: str) -> None:
    if not call.app.iam.allows(call.caller, permission, names.project_name(project)):
        raise common.refused(call, permission, "project")


def _new_bucket(project: str, name: str, body: Json) -> Json:
    location = str(body.get("location") or "US").upper()
    moment = names.now()
    new = copy.deepcopy(body) | shape(
        "storage.bucket",
        names.bucket_name(name),
        owner=names.project_number(project),
        generation=str(time.time_ns() // 1000),
        location=location,
        kind="multi-region" if location in _MULTI_REGIONS else "region",
        storage_class=str(body.get("storageClass") or "STANDARD").upper(),
        etag=names.etag_of(name, moment),
        born=moment,
    )
    new.setdefault("softDeletePolicy", {"retentionDurationSeconds": _WEEK})
    new["softDeletePolicy"].setdefault("effectiveTime", moment)
    if new["locationType"] == "multi-region":
        new.setdefault("rpo", "DEFAULT")
    _iam_configuration(new)
    return new


def _iam_configuration(bucket: Json) -> None:
    """Uniform access is told twice, by its old and its new name."""
    config = bucket.setdefault("iamConfiguration", {})
    uniform = config.get("uniformBucketLevelAccess") or config.get("bucketPolicyOnly") or {}
    state: Json = {"enabled": bool(uniform.get("enabled"))}
    if state["enabled"]:
        state["lockedTime"] = uniform.get("lockedTime") or names.now()
    config["uniformBucketLevelAccess"] = state
    config["bucketPolicyOnly"] = dict(state)
    config.setdefault("publicAccessPrevention", "inherited")


def _check_location(old: Json, new: Json) -> None:
    refuse_if(str(new.get("location", old["location"])).upper() != old["location"], "storage.location")


def _check_policies(old: Json, new: Json) -> None:
    soft = int((new.get("softDeletePolicy") or {}).get("retentionDurationSeconds") or 0)
    refuse_if(soft and not _SOFT_DAYS[0] <= soft / 86400 <= _SOFT_DAYS[1], "storage.soft-delete")
    before, after = old.get("retentionPolicy") or {}, new.get("retentionPolicy") or {}
    if before.get("isLocked") and int(after.get("retentionPeriod") or 0) < int(before["retentionPeriod"]):
        raise refuse("storage.retention-locked", bucket=old["name"])


def _shown(call: Call, bucket: str) -> Json:
    return {**common.bucket_record(call, bucket).body, "selfLink": f"{common.base_url(call)}/storage/v1/b/{bucket}"}


@handles(
    *(f"storage.buckets.{verb}" for verb in ("getIamPolicy", "setIamPolicy", "testIamPermissions")),
    *(f"storage.managedFolders.{verb}" for verb in ("getIamPolicy", "setIamPolicy", "testIamPermissions")),
)
def answer_policy(call: Call) -> Json:
    name = _resource(call)
    if call.verb == "testIamPermissions":
        held = policies.test_permissions(call, name, list(call.query.get("permissions", ())))
        return {"kind": "storage#testIamPermissionsResponse", **held}
    common.permit(call, f"storage.{_kind(call)}.{call.verb}", call.parameters["bucket"])
    if call.verb == "setIamPolicy":
        _refuse_public(call)
    policy = (
        policies.get_policy(call, name) if call.verb == "getIamPolicy" else policies.set_policy(call, name, call.body)
    )
    return {"kind": "storage#policy", "resourceId": names.path_of(name), **policy}


@handles("storage.managedFolders.insert")
def insert_folder(call: Call) -> Json:
    bucket = call.parameters["bucket"]
    record = common.bucket_record(call, bucket)
    folder = str(call.body.get("name") or "").rstrip("/") + "/"
    common.permit(call, "storage.managedFolders.create", bucket)
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
    common.permit(call, "storage.managedFolders.get", call.parameters["bucket"])
    return _shown_folder(call, call.store.get(_resource(call)).body)  # type: ignore[union-attr]


@handles("storage.managedFolders.list")
def list_folders(call: Call) -> Json:
    bucket = call.parameters["bucket"]
    start = f"{common.bucket_record(call, bucket).name}/managedFolders/"
    common.permit(call, "storage.managedFolders.list", bucket)
    found = [(record.name, _shown_folder(call, record.body)) for record in call.store.list(start + call.one("prefix"))]
    return listed(call, found, "items", kind="storage#managedFolders", default_size=1000)


@handles("storage.managedFolders.delete")
def delete_folder(call: Call) -> Response:
    bucket = call.parameters["bucket"]
    name = _resource(call)
    common.permit(call, "storage.managedFolders.delete", bucket)
    folder = name.partition("/managedFolders/")[2]
    filled = next(call.app.objects.list(bucket, prefix=folder), None) is not None
    refuse_if(filled and not call.flag("allowNonEmpty"), "storage.folder-filled")
    call.store.delete(name)
    return Response(status=204)


def _refuse_public(call: Call) -> None:
    """Public access prevention (https://cloud.google.com/storage/docs/public-access-prevention)."""
    config = common.bucket_record(call, call.parameters["bucket"]).body["iamConfiguration"]
    members = {member for binding in call.body.get("bindings") or () for member in binding.get("members") or ()}
    if config["publicAccessPrevention"] == "enforced" and members & {"allUsers", "allAuthenticatedUsers"}:
        raise refuse("storage.public")


def _shown_folder(call: Call, body: Json) -> Json:
    path = f"/storage/v1/b/{body['bucket']}/managedFolders/{quote(body['name'], safe='')}"
    return {**body, "selfLink": common.base_url(call) + path}


def _kind(call: Call) -> str:
    return call.collection.split(".")[1]


def _resource(call: Call) -> str:
    """Full name of the bucket or managed folder of a call; 404 when it is not there."""
    record = common.bucket_record(call, call.parameters["bucket"])
    if _kind(call) == "buckets":
        return record.name
    name = f"{record.name}/managedFolders/{call.parameters['managedFolder'].rstrip('/')}/"
    refuse_if(call.store.get(name) is None, "storage.folder-missing")
    return name
