"""IAM v1: workload identity pools and their providers. What is deleted stays for thirty days and keeps its name."""

from __future__ import annotations

import re
import time

from gcp_openemr.sandbox.api import crud
from gcp_openemr.sandbox.api.names import numbered, timestamp
from gcp_openemr.sandbox.api.rules import COLLECTIONS, Call, Change, Collection, Json, handles, refuse, refuse_if

_POOLS = "iam.projects.locations.workloadIdentityPools"
_DAYS = 30
# Issuers whose tokens are anybody's: a provider for them must say whose it takes.
_SHARED = re.compile(r"https://(token\.actions\.githubusercontent\.com|gitlab\.com|app\.terraform\.io)(/.*)?")


def _complete(change: Change) -> None:
    change.new["name"] = numbered(change.name)
    change.new.setdefault("state", "ACTIVE")


def _complete_provider(change: Change) -> None:
    _complete(change)
    new = change.new
    issuer = str((new.get("oidc") or {}).get("issuerUri") or "")
    refuse_if(len([kind for kind in ("oidc", "aws", "saml", "x509") if new.get(kind)]) != 1, "iam.provider-kind")
    refuse_if(new.get("oidc") and not issuer.startswith("https://"), "iam.provider-issuer", issuer=issuer)
    if not new.get("aws") and "google.subject" not in (new.get("attributeMapping") or {}):
        raise refuse("iam.provider-subject")
    if _SHARED.fullmatch(issuer) and "assertion." not in str(new.get("attributeCondition") or ""):
        raise refuse("iam.provider-condition")


for _key, _kind, _parameter, _check in (
    (_POOLS, "WorkloadIdentityPool", "workloadIdentityPoolId", _complete),
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
        complete=_check,
        parent_kind="" if _key == _POOLS else "WorkloadIdentityPool",
        expires="expireTime",
        verbs=("create", "get", "list", "patch"),
    )


@handles(*(f"{key}.{verb}" for key in (_POOLS, f"{_POOLS}.providers") for verb in ("delete", "undelete")))
def switch(call: Call) -> Json:
    rule = COLLECTIONS[call.collection]
    call.authorize(f"{rule.permission}.{call.verb}")
    with call.store.transaction():
        record = crud.existing(call, rule)
        body = {key: value for key, value in record.body.items() if key != "expireTime"} | {"state": "ACTIVE"}
        if call.verb == "delete":
            body |= {"state": "DELETED", "expireTime": timestamp(time.time() + _DAYS * 86400)}
        call.store.put(record.name, body)
        operation = crud.begin(call, rule, record.name, body)
    return crud.finish(call, operation)
