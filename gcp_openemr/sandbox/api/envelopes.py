"""Operations in the form each API gives them, and the calls that get, list, delete them and wait for them."""

from __future__ import annotations

import base64
import uuid
from typing import Any

from gcp_openemr.sandbox.api.errors import STATUSES
from gcp_openemr.sandbox.api.listing import listed
from gcp_openemr.sandbox.api.names import duration_seconds, host_of, id_of, path_of, project_number, project_of, segment
from gcp_openemr.sandbox.api.rules import Call, Json, Operation, demand, handles, shape

__all__ = ["COMPUTE_ROOT", "operation_json", "operation_name"]

COMPUTE_ROOT = "https://www.googleapis.com/compute/v1/"
_HTTP_OF_CODE = {3: 400, 5: 404, 6: 409, 7: 403, 8: 429, 9: 400, 10: 409, 12: 501, 13: 500, 14: 503, 16: 401}
_SQL_CODES = {3: "INVALID_ARGUMENT", 9: "OPERATION_FAILED", 13: "INTERNAL_ERROR"}
_SQL_TYPES = {"insert": "CREATE", "delete": "DELETE", "patch": "UPDATE", "update": "UPDATE", "restart": "RESTART"}
_LONGEST_WAIT = 120.0  # seconds; Compute Engine's `wait` answers after two minutes at the latest
_COMPUTE = ("compute.zoneOperations", "compute.regionOperations", "compute.globalOperations")
_PERMISSIONS = {"sqladmin": "cloudsql.instances.get"}


def operation_name(api: str, target: str) -> str:
    """A fresh full name of an operation on `target`, below what the API polls."""
    host = host_of(target)
    project = project_of(target)
    unique = str(uuid.uuid4())
    location = segment(target, "locations")
    if api == "compute":
        scope = next(
            (f"{word}/{segment(target, word)}" for word in ("zones", "regions") if segment(target, word)), "global"
        )
        return f"{host}/projects/{project}/{scope}/operations/operation-{unique}"
    if api == "sqladmin":
        return f"{host}/projects/{project}/operations/{unique}"
    if api == "serviceusage":
        return f"{host}/operations/acf.p2-{project_number(project)}-{unique}"
    if api == "cloudbuild" and location in {"", "global"}:
        return f"{host}/operations/build/{project}/{base64.urlsafe_b64encode(unique.encode()).decode().rstrip('=')}"
    if api in {"dns", "cloudresourcemanager", "iam"}:
        return f"{target if api == 'iam' else host}/operations/{unique}"
    return f"{host}/projects/{project}/locations/{location or 'global'}/operations/{unique}"


def operation_json(operation: Operation) -> Json:
    """What polling answers."""
    host = host_of(operation.name)
    if host == "compute.googleapis.com":
        return _compute(operation)
    if host == "sqladmin.googleapis.com":
        return _sql(operation)
    if host == "dns.googleapis.com":
        return _told("dns.operation", operation, response=operation.response or {})
    return _longrunning(operation)


def _longrunning(operation: Operation) -> Json:
    """google.longrunning.Operation; the `@type`s let Google's clients unpack."""
    result: Json = {"name": path_of(operation.name)}
    if operation.metadata_type:
        result["metadata"] = {"@type": f"type.googleapis.com/{operation.metadata_type}", **operation.metadata}
    if not operation.done:
        return result
    result["done"] = True
    if operation.error is not None:
        result["error"] = operation.error
    else:
        kind = operation.response_type or "google.protobuf.Empty"
        result["response"] = {"@type": f"type.googleapis.com/{kind}", **(operation.response or {})}
    return result


def _status(operation: Operation) -> str:
    if operation.done:
        return "DONE"
    return "RUNNING" if operation.start_time else "PENDING"


def _told(kind: str, operation: Operation, **values: Any) -> Json:
    """The form of an older API: its template, with the times as far as there are any."""
    times = {"begun": operation.insert_time, "start": operation.start_time or None, "end": operation.end_time or None}
    common = {"verb": operation.verb, "status": _status(operation), "user": operation.user, **times}
    return shape(kind, operation.name, **(common | values))


def _compute(operation: Operation) -> Json:
    result = _told(
        "compute.operation",
        operation,
        unique=str(uuid.UUID(id_of(operation.name).removeprefix("operation-")).int % 2**63),
        target=path_of(operation.target),
        target_id=str(operation.metadata.get("id", "0")),
        progress=100 if operation.done else 0,
    )
    result |= place_links(path_of(operation.name))
    if operation.error is not None:
        code = _HTTP_OF_CODE.get(operation.error["code"], 500)
        word = STATUSES.get(code, "INTERNAL")
        result |= {"httpErrorStatusCode": code, "httpErrorMessage": word.replace("_", " ")}
        result["error"] = {"errors": [{"code": word, "message": operation.error["message"]}]}
    return result


def place_links(path: str) -> Json:
    """`zone` or `region` of what lies in one, as URL."""
    places = (("zones", "zone"), ("regions", "region"))
    project = project_of(path)
    return {
        field: f"{COMPUTE_ROOT}projects/{project}/{word}/{segment(path, word)}"
        for word, field in places
        if segment(path, word)
    }


def _sql(operation: Operation) -> Json:
    verb = operation.metadata.get("operationType") or _SQL_TYPES.get(operation.verb, "UPDATE")
    result = _told("sql.operation", operation, verb=verb, instance=segment(operation.target, "instances"))
    if operation.arguments.get("backup"):
        result["backupContext"] = {"kind": "sql#backupContext", "backupId": id_of(operation.arguments["backup"])}
    if operation.error is not None:
        code = _SQL_CODES.get(operation.error["code"], "UNKNOWN")
        entry = {"kind": "sql#operationError", "code": code, "message": operation.error["message"]}
        result["error"] = {"kind": "sql#operationErrors", "errors": [entry]}
    return result


def _find(call: Call) -> Operation:
    found = demand(call.app.operations.get(call.name), "google.operation-not-found", id=id_of(call.name))
    _authorize(call, found.target)
    return found


def _authorize(call: Call, target: str) -> None:
    kind = call.collection.rsplit(".", 1)[-1]
    verb = "get" if call.verb == "wait" else call.verb
    call.authorize(_PERMISSIONS.get(call.api, f"{call.api}.{kind}.{verb}"), target)


@handles(
    *(f"{api}.projects.locations.operations.get" for api in ("run", "artifactregistry", "cloudbuild")),
    *(f"{api}.operations.get" for api in ("cloudbuild", "serviceusage", "cloudresourcemanager", "sql")),
    *(f"iam.projects.locations.workloadIdentityPools.{part}operations.get" for part in ("", "providers.")),
    *(f"{collection}.get" for collection in _COMPUTE),
)
def get(call: Call) -> Json:
    return operation_json(_find(call))


@handles("run.projects.locations.operations.wait", *(f"{collection}.wait" for collection in _COMPUTE))
def wait(call: Call) -> Json:
    found = _find(call)
    seconds = duration_seconds(call.body.get("timeout") or f"{_LONGEST_WAIT}s")
    return operation_json(call.app.operations.wait(found.name, min(seconds, _LONGEST_WAIT)) or found)


@handles(
    "run.projects.locations.operations.list", "sql.operations.list", *(f"{collection}.list" for collection in _COMPUTE)
)
def list_(call: Call) -> Json:
    _authorize(call, call.name.rsplit("/", 1)[0])
    found = [(item.name, operation_json(item)) for item in call.app.operations.list(call.name + "/")]
    if call.one("instance"):
        found = [(name, item) for name, item in found if item.get("targetId") == call.one("instance")]
    return listed(call, sorted(found, key=lambda pair: pair[0]), "operations" if call.api == "run" else "items")
