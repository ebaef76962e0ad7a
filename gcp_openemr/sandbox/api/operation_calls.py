"""Polling: get, wait, list and delete operations of every API."""

from __future__ import annotations

from gcp_openemr.sandbox.api.envelopes import operation_json
from gcp_openemr.sandbox.api.listing import listed
from gcp_openemr.sandbox.api.names import id_of
from gcp_openemr.sandbox.api.rules import Call, Json, Operation, demand, handles

_LONGEST_WAIT = 120.0  # seconds; Compute Engine's `wait` answers after two minutes at the latest
_PERMISSIONS = {"sqladmin": "cloudsql.instances.get"}


def _find(call: Call) -> Operation:
    found = demand(call.app.operations.get(call.name), "google.operation-not-found", id=id_of(call.name))
    _authorize(call, found.target)
    return found


def _authorize(call: Call, target: str) -> None:
    kind = call.collection.rsplit(".", 1)[-1]
    verb = "get" if call.verb == "wait" else call.verb
    call.authorize(_PERMISSIONS.get(call.api, f"{call.api}.{kind}.{verb}"), target)


@handles(
    "run.projects.locations.operations.get",
    "artifactregistry.projects.locations.operations.get",
    "cloudbuild.projects.locations.operations.get",
    "cloudbuild.operations.get",
    "serviceusage.operations.get",
    "cloudresourcemanager.operations.get",
    "iam.projects.locations.workloadIdentityPools.operations.get",
    "iam.projects.locations.workloadIdentityPools.providers.operations.get",
    "sql.operations.get",
    "compute.zoneOperations.get",
    "compute.regionOperations.get",
    "compute.globalOperations.get",
)
def get(call: Call) -> Json:
    return operation_json(_find(call))


@handles(
    "run.projects.locations.operations.wait",
    "compute.zoneOperations.wait",
    "compute.regionOperations.wait",
    "compute.globalOperations.wait",
)
def wait(call: Call) -> Json:
    found = _find(call)
    seconds = float(str(call.body.get("timeout") or _LONGEST_WAIT).rstrip("s"))
    return operation_json(call.app.operations.wait(found.name, min(seconds, _LONGEST_WAIT)) or found)


@handles(
    "run.projects.locations.operations.list",
    "sql.operations.list",
    "compute.zoneOperations.list",
    "compute.regionOperations.list",
    "compute.globalOperations.list",
)
def list_(call: Call) -> Json:
    _authorize(call, call.name.rsplit("/", 1)[0])
    found = [(item.name, operation_json(item)) for item in call.app.operations.list(call.name + "/")]
    if call.one("instance"):
        found = [(name, item) for name, item in found if item.get("targetId") == call.one("instance")]
    return listed(call, sorted(found, key=lambda pair: pair[0]), "operations" if call.api == "run" else "items")


@handles("run.projects.locations.operations.delete")
def delete(call: Call) -> Json:
    call.app.operations.delete(_find(call).name)
    return {}
