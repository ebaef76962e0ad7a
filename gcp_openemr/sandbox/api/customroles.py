"""IAM v1: custom roles of a project, and Google's own."""

from __future__ import annotations

import re
import time

from gcp_openemr.sandbox.api.iam import predefined_roles
from gcp_openemr.sandbox.api.listing import listed
from gcp_openemr.sandbox.api.names import etag_of, id_of, now, path_of
from gcp_openemr.sandbox.api.rules import Call, Json, Record, demand, handles, refuse, refuse_if

_UNDELETABLE_DAYS, _HELD_DAYS = 7, 37  # a deleted role can be brought back, and its id stays taken, so long
_ROLE_ID = re.compile(r"[a-zA-Z0-9_.]{3,64}")
_FIELDS = ("title", "description", "includedPermissions", "stage")


def _find(call: Call) -> Record:
    record = call.store.get(call.name)
    if record is None or _days_deleted(record) > _HELD_DAYS:
        raise refuse("iam.role-not-found", name=path_of(call.name))
    return record


def _check(role: Json) -> None:
    for permission in role.get("includedPermissions") or ():
        if not re.fullmatch(r"[a-zA-Z0-9-]+\.[a-zA-Z0-9]+\.[a-zA-Z0-9]+", permission):
            raise refuse("iam.permission", permission=permission)


def _shown(call: Call, body: Json) -> Json:
    """Lists leave the permissions out unless the whole view is asked for."""
    if call.verb == "list" and call.one("view") != "FULL":
        return {key: value for key, value in body.items() if key != "includedPermissions"}
    return body


@handles("iam.projects.roles.create", needs="iam.roles.create", of_parent=True)
def create(call: Call) -> Json:
    role_id = str(call.body.get("roleId") or "")
    refuse_if(not _ROLE_ID.fullmatch(role_id), "iam.role-id", id=role_id)
    given = call.body.get("role") or {}
    _check(given)
    name = f"{call.name}/{role_id}"
    with call.store.transaction():
        old = call.store.get(name)
        refuse_if(old is not None and 0 <= _days_deleted(old) <= _HELD_DAYS, "iam.role-deleted", id=role_id)
        refuse_if(old is not None and not old.body.get("deleted"), "iam.role-exists", id=role_id, project=call.project)
        body: Json = {"name": path_of(name), **{field: given[field] for field in _FIELDS if field in given}}
        body |= {"stage": given.get("stage", "ALPHA"), "etag": etag_of(name, now()).strip('"')}
        call.store.put(name, body, hidden={})
    return body


@handles("iam.projects.roles.get", needs="iam.roles.get")
def get(call: Call) -> Json:
    return _find(call).body


@handles("iam.projects.roles.list", needs="iam.roles.list", of_parent=True)
def list_(call: Call) -> Json:
    found = [
        (record.name, _shown(call, record.body))
        for record in call.store.list(call.name + "/")
        if call.flag("showDeleted") or not record.body.get("deleted")
    ]
    return _answer(call, found)


@handles("iam.projects.roles.patch", needs="iam.roles.update")
def patch(call: Call) -> Json:
    _check(call.body)
    mask = call.mask() or [field for field in _FIELDS if field in call.body]
    with call.store.transaction():
        record = _find(call)
        etag = call.body.get("etag")
        refuse_if(etag and etag != record.body["etag"], "iam.role-etag")
        body = dict(record.body)
        for field in mask:
            body.pop(field, None)
            if field in call.body:
                body[field] = call.body[field]
        body["etag"] = etag_of(record.name, now()).strip('"')
        call.store.put(record.name, body)
    return body


@handles("iam.projects.roles.delete", "iam.projects.roles.undelete", needs="iam.roles.{verb}")
def switch(call: Call) -> Json:
    """A deleted role can be brought back for a week; its id is free again after 37 days."""
    with call.store.transaction():
        record = _find(call)
        if call.verb == "undelete" and _days_deleted(record) > _UNDELETABLE_DAYS:
            raise refuse("iam.role-gone", id=id_of(record.name), days=_UNDELETABLE_DAYS)
        body = {key: value for key, value in record.body.items() if key != "deleted"}
        body |= {"deleted": True} if call.verb == "delete" else {}
        call.store.put(record.name, body, hidden={"deleted": time.time()} if call.verb == "delete" else {})
    return body


def _days_deleted(record: Record) -> float:
    """How long ago a role was deleted; negative for one that was not."""
    return (time.time() - float(record.hidden["deleted"])) / 86400 if record.body.get("deleted") else -1.0


@handles("iam.roles.get")
def get_predefined(call: Call) -> Json:
    name = f"roles/{id_of(call.name)}"
    role = demand(predefined_roles().get(name), "iam.role-not-found", name=name)
    return {"name": name, "title": role["title"], "includedPermissions": sorted(role["permissions"]), "stage": "GA"}


@handles("iam.roles.list")
def list_predefined(call: Call) -> Json:
    return _answer(call, [(name, {"name": name, "title": role["title"]}) for name, role in predefined_roles().items()])


def _answer(call: Call, found: list[tuple[str, Json]]) -> Json:
    return listed(call, sorted(found, key=lambda pair: pair[0]), "roles", default_size=300)
