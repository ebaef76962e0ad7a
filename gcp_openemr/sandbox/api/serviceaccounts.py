"""IAM v1: service accounts."""

from __future__ import annotations

import base64
import re
import secrets

from gcp_openemr.sandbox.api import crud
from gcp_openemr.sandbox.api.names import id_of, now, project_of, service_account_name
from gcp_openemr.sandbox.api.projects import find_service_account
from gcp_openemr.sandbox.api.refusals import duplicate, missing, refuse, refuse_if
from gcp_openemr.sandbox.api.rules import Call, Collection, Json, Record, Store, handles, shape

_ACCOUNT_ID = re.compile(r"[a-z]([-a-z0-9]{4,28}[a-z0-9])")
_CHANGEABLE = {"displayName": 100, "description": 256}  # field to its longest value in bytes

ACCOUNTS = Collection("iam.projects.serviceAccounts", kind="service account", verbs=("list",))


def _find(call: Call) -> Record:
    """By address or unique id, below a project or `projects/-`."""
    wanted = id_of(call.name)
    if "@" in wanted:
        record = find_service_account(call.store, wanted)
    else:
        accounts = call.store.list("iam.googleapis.com/projects/")
        record = next((found for found in accounts if found.body.get("uniqueId") == wanted), None)
    if record is None or call.project not in {"-", project_of(record.name)}:
        raise missing(call.name, "service account")
    return record


def _permitted(call: Call, verb: str) -> Record:
    record = _find(call)
    call.authorize(f"iam.serviceAccounts.{verb}", record.name)
    return record


def _check(fields: Json) -> None:
    for field, longest in _CHANGEABLE.items():
        if len(str(fields.get(field) or "").encode()) > longest:
            raise refuse("iam.account-text", field=field, longest=longest)


def _etag() -> str:
    return base64.b64encode(secrets.token_bytes(8)).decode()


@handles("iam.projects.serviceAccounts.create", needs="iam.serviceAccounts.create", of_parent=True)
def create(call: Call) -> Json:
    account_id = str(call.body.get("accountId") or "")
    refuse_if(not _ACCOUNT_ID.fullmatch(account_id), "iam.account-id", id=account_id)
    given = call.body.get("serviceAccount") or {}
    _check(given)
    email = f"{account_id}@{call.project}.iam.gserviceaccount.com"
    name = service_account_name(email)
    unique, client = (str(secrets.randbelow(9 * 10**20) + 10**20) for _ in range(2))
    told = {field: given.get(field) or None for field in _CHANGEABLE}
    body = shape("iam.serviceAccount", name, unique=unique, client=client, etag=_etag(), **told)
    with call.store.transaction():
        if call.store.get(name) is not None:
            raise duplicate(f"{call.name}/{account_id}", "Service account")
        call.store.put(name, body, hidden={"createTime": now()})
    return body


@handles("iam.projects.serviceAccounts.get")
def get(call: Call) -> Json:
    return _permitted(call, "get").body


@handles("iam.projects.serviceAccounts.patch", "iam.projects.serviceAccounts.update")
def patch(call: Call) -> Json:
    given = call.body if call.verb == "update" else call.body.get("serviceAccount") or {}
    mask = [part for part in str(call.body.get("updateMask") or "").split(",") if part] or list(_CHANGEABLE)
    _check(given)
    with call.store.transaction():
        record = _permitted(call, "update")
        body = dict(record.body)
        for field in ("displayName" if part == "display_name" else part for part in mask):
            refuse_if(field not in _CHANGEABLE, "iam.account-field", field=field)
            body.pop(field, None)
            if given.get(field):
                body[field] = given[field]
        body["etag"] = _etag()
        call.store.put(record.name, body)
    return body


@handles("iam.projects.serviceAccounts.enable", "iam.projects.serviceAccounts.disable")
def switch(call: Call) -> Json:
    with call.store.transaction():
        record = _permitted(call, call.verb)
        body = {key: value for key, value in record.body.items() if key != "disabled"}
        call.store.put(record.name, body | ({"disabled": True} if call.verb == "disable" else {}))
    return {}


@handles("iam.projects.serviceAccounts.delete")
def delete(call: Call) -> Json:
    with call.store.transaction():
        record = _permitted(call, "delete")
        _mark_deleted(call.store, record)
        crud.remove(call, record)
    return {}


def _mark_deleted(store: Store, account: Record) -> None:
    """Bindings of a deleted account stay, under a name that a new account of the same address does not have."""
    member = f"serviceAccount:{account.body['email']}"
    gone = f"deleted:{member}?uid={account.body['uniqueId']}"
    for name, policy in store.policies(""):
        if not any(member in binding["members"] for binding in policy.get("bindings", ())):
            continue
        for binding in policy["bindings"]:
            binding["members"] = [gone if other == member else other for other in binding["members"]]
        store.put_policy(name, policy)
