"""IAM v1: service accounts, custom roles of a project and Google's own, workload identity pools and their providers.

Deleted pools and providers stay for thirty days and keep their names.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import time

from gcp_openemr.sandbox.api import crud, names
from gcp_openemr.sandbox.api.iam import predefined_roles
from gcp_openemr.sandbox.api.listing import listed
from gcp_openemr.sandbox.api.projects import find_service_account
from gcp_openemr.sandbox.api.refusals import demand, duplicate, missing, refuse, refuse_if
from gcp_openemr.sandbox.api.rules import COLLECTIONS, Call, Change, Collection, Json, handles, only, shape, without
from gcp_openemr.sandbox.api.store import Record, Store

_ACCOUNT_ID = re.compile(r"[a-z]([-a-z0-9]{4,28}[a-z0-9])")
_CHANGEABLE = {"displayName": 100, "description": 256}  # field to its longest value in bytes

ACCOUNTS = Collection("iam.projects.serviceAccounts", kind="service account", verbs=("list",))


_UNDELETABLE_DAYS, _HELD_DAYS = 7, 37  # a deleted role can be brought back, and its id stays taken, so long
_ROLE_ID = re.compile(r"[a-zA-Z0-9_.]{3,64}")
_FIELDS = ("title", "description", "includedPermissions", "stage")
_POOLS = "iam.projects.locations.workloadIdentityPools"
_DAYS = 30
# Issuers whose tokens are anybody's: a provider for them must say whose it takes.
_SHARED = re.compile(r"https://(token\.actions\.githubusercontent\.com|gitlab\.com|app\.terraform\.io)(/.*)?")


def _find(call: Call) -> Record:
    """By address or unique id, below a project or `projects/-`."""
    wanted = names.id_of(call.name)
    if "@" in wanted:
        record = find_service_account(call.store, wanted)
    else:
        accounts = call.store.list("iam.googleapis.com/projects/")
        record = next((found for found in accounts if found.body.get("uniqueId") == wanted), None)
    if record is None or call.project not in {"-", names.project_of(record.name)}:
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
    name = names.service_account_name(email)
    unique, client = (str(secrets.randbelow(9 * 10**20) + 10**20) for _ in range(2))
    told = {field: given.get(field) or None for field in _CHANGEABLE}
    body = shape("iam.serviceAccount", name, unique=unique, client=client, etag=_etag(), **told)
    with call.store.transaction():
        if call.store.get(name) is not None:
            raise duplicate(f"{call.name}/{account_id}", "Service account")
        call.store.put(name, body, hidden={"createTime": names.now()})
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
        body = without(record.body, "disabled")
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


def _find_role(call: Call) -> Record:
    record = call.store.get(call.name)
    if record is None or _days_deleted(record) > _HELD_DAYS:
        raise refuse("iam.role-not-found", name=names.path_of(call.name))
    return record


def _check_role(role: Json) -> None:
    for permission in role.get("includedPermissions") or ():
        if not re.fullmatch(r"[a-zA-Z0-9-]+\.[a-zA-Z0-9]+\.[a-zA-Z0-9]+", permission):
            raise refuse("iam.permission", permission=permission)


def _shown_role(call: Call, body: Json) -> Json:
    """Lists leave the permissions out unless the whole view is asked for."""
    if call.verb == "list" and call.one("view") != "FULL":
        return without(body, "includedPermissions")
    return body


@handles("iam.projects.roles.create", needs="iam.roles.create", of_parent=True)
def create_role(call: Call) -> Json:
    role_id = str(call.body.get("roleId") or "")
    refuse_if(not _ROLE_ID.fullmatch(role_id), "iam.role-id", id=role_id)
    given = call.body.get("role") or {}
    _check_role(given)
    name = f"{call.name}/{role_id}"
    with call.store.transaction():
        old = call.store.get(name)
        refuse_if(old is not None and 0 <= _days_deleted(old) <= _HELD_DAYS, "iam.role-deleted", id=role_id)
        refuse_if(old is not None and not old.body.get("deleted"), "iam.role-exists", id=role_id, project=call.project)
        body: Json = {"name": names.path_of(name), **only(given, _FIELDS)}
        body |= {"stage": given.get("stage", "ALPHA"), "etag": names.etag_of(name, names.now()).strip('"')}
        call.store.put(name, body, hidden={})
    return body


@handles("iam.projects.roles.get", needs="iam.roles.get")
def get_role(call: Call) -> Json:
    return _find_role(call).body


@handles("iam.projects.roles.list", needs="iam.roles.list", of_parent=True)
def list_roles(call: Call) -> Json:
    found = [
        (record.name, _shown_role(call, record.body))
        for record in call.store.list(call.name + "/")
        if call.flag("showDeleted") or not record.body.get("deleted")
    ]
    return listed(call, sorted(found, key=lambda pair: pair[0]), "roles", default_size=300)


@handles("iam.projects.roles.patch", needs="iam.roles.update")
def patch_role(call: Call) -> Json:
    _check_role(call.body)
    mask = call.mask() or [field for field in _FIELDS if field in call.body]
    with call.store.transaction():
        record = _find_role(call)
        etag = call.body.get("etag")
        refuse_if(etag and etag != record.body["etag"], "iam.role-etag")
        body = dict(record.body)
        for field in mask:
            body.pop(field, None)
            if field in call.body:
                body[field] = call.body[field]
        body["etag"] = names.etag_of(record.name, names.now()).strip('"')
        call.store.put(record.name, body)
    return body


@handles("iam.projects.roles.delete", "iam.projects.roles.undelete", needs="iam.roles.{verb}")
def switch_role(call: Call) -> Json:
    """A deleted role can be brought back for a week; its id is free again after 37 days."""
    with call.store.transaction():
        record = _find_role(call)
        if call.verb == "undelete" and _days_deleted(record) > _UNDELETABLE_DAYS:
            raise refuse("iam.role-gone", id=names.id_of(record.name), days=_UNDELETABLE_DAYS)
        body = without(record.body, "deleted")
        body |= {"deleted": True} if call.verb == "delete" else {}
        call.store.put(record.name, body, hidden={"deleted": time.time()} if call.verb == "delete" else {})
    return body


def _days_deleted(record: Record) -> float:
    """How long ago a role was deleted; negative for one that was not."""
    return (time.time() - float(record.hidden["deleted"])) / 86400 if record.body.get("deleted") else -1.0


@handles("iam.roles.get")
def get_predefined(call: Call) -> Json:
    name = f"roles/{names.id_of(call.name)}"
    role = demand(predefined_roles().get(name), "iam.role-not-found", name=name)
    return {"name": name, "title": role["title"], "includedPermissions": sorted(role["permissions"]), "stage": "GA"}


def _complete_pool(change: Change) -> None:
    change.new["name"] = names.numbered(change.name)
    change.new.setdefault("state", "ACTIVE")


def _are_keys(text: str) -> bool:
    """Whether a text is a JSON Web Key Set."""
    try:
        return all(isinstance(key, dict) for key in json.loads(text)["keys"])
    except (KeyError, TypeError, ValueError, RecursionError):
        return False


def _complete_provider(change: Change) -> None:
    _complete_pool(change)
    new = change.new
    issuer = str((new.get("oidc") or {}).get("issuerUri") or "")
    refuse_if(len([kind for kind in ("oidc", "aws", "saml", "x509") if new.get(kind)]) != 1, "iam.provider-kind")
    refuse_if(new.get("oidc") and not issuer.startswith("https://"), "iam.provider-issuer", issuer=issuer)
    keys = (new.get("oidc") or {}).get("jwksJson")
    refuse_if(keys and not _are_keys(keys), "google.value", path="oidc.jwks_json", kind="TYPE_STRING", shown=keys)
    if not new.get("aws") and "google.subject" not in (new.get("attributeMapping") or {}):
        raise refuse("iam.provider-subject")
    if _SHARED.fullmatch(issuer) and "assertion." not in str(new.get("attributeCondition") or ""):
        raise refuse("iam.provider-condition")


for _key, _kind, _parameter, _rule in (
    (_POOLS, "WorkloadIdentityPool", "workloadIdentityPoolId", _complete_pool),
    (f"{_POOLS}.providers", "WorkloadIdentityPoolProvider", "workloadIdentityPoolProviderId", _complete_provider),
):
    Collection(
        _key,
        kind=_kind,
        permission="iam." + _key.rpartition("locations.")[2].replace("Pools.p", "PoolP"),
        id_parameter=_parameter,
        id_pattern=r"(?!gcp-)[a-z0-9-]{4,32}",
        id_refusal="iam.pool-id",
        message=f"google.iam.v1.{_kind}",
        complete=_rule,
        parent_kind="" if _key == _POOLS else "WorkloadIdentityPool",
        expires="expireTime",
        verbs=("create", "get", "list", "patch"),
    )


@handles(*(f"{key}.{verb}" for key in (_POOLS, f"{_POOLS}.providers") for verb in ("delete", "undelete")))
def switch_pool(call: Call) -> Json:
    rule = COLLECTIONS[call.collection]
    call.authorize(f"{rule.permission}.{call.verb}")
    with call.store.transaction():
        record = crud.existing(call, rule)
        body = without(record.body, "expireTime") | {"state": "ACTIVE"}
        if call.verb == "delete":
            body |= {"state": "DELETED", "expireTime": names.timestamp(time.time() + _DAYS * 86400)}
        call.store.put(record.name, body)
        operation = crud.begin(call, rule, record.name, body)
    return crud.finish(call, operation)
