"""Service Usage: which APIs a project has enabled."""

from __future__ import annotations

import time

from gcp_openemr.sandbox.api.envelopes import operation_json, operation_name
from gcp_openemr.sandbox.api.iam import PROPAGATION_SECONDS
from gcp_openemr.sandbox.api.listing import listed
from gcp_openemr.sandbox.api.names import id_of, project_name
from gcp_openemr.sandbox.api.routing import API_VERSIONS
from gcp_openemr.sandbox.api.rules import Call, Json, Operation, Store, handles, missing, refuse, refuse_if, shape

__all__ = ["enable_apis", "require_enabled"]

_TYPES = "google.api.serviceusage.v1."
_SUFFIX = ".googleapis.com"
_MOST_AT_ONCE = 20
_RESPONSES = {
    "enable": "EnableServiceResponse", "disable": "DisableServiceResponse", "batchEnable": "BatchEnableServicesResponse"
}  # fmt: skip
# What a new project has (https://cloud.google.com/service-usage/docs/enabled-service), as far as spoken here.
_ENABLED_AT_FIRST = frozenset(
    f"{api}{_SUFFIX}"
    for api in ("cloudapis", "logging", "monitoring", "servicemanagement", "serviceusage", "sql-component", "storage",
                "storage-api", "storage-component")
)  # fmt: skip


def enable_apis(store: Store, project: str, *apis: str) -> None:
    """Enable APIs by their short names (default: all that are spoken) without a call."""
    with store.transaction():
        for api in apis or API_VERSIONS:
            store.put(f"serviceusage.googleapis.com/projects/{project}/services/{api}{_SUFFIX}", {"enabled": True})


def require_enabled(call: Call, project: str) -> None:
    """Raise 403 while the API of a call is not enabled in the project, or its enabling still propagates."""
    service = call.api + _SUFFIX
    if not project or project in {"-", "_"} or call.api == "serviceusage":
        return
    enabled, since = _enabled(call.store, project, service)
    late = since + PROPAGATION_SECONDS * call.app.settings.propagation > time.time()
    if enabled and not (since and late):
        return
    url = f"https://console.developers.google.com/apis/api/{service}/overview?project={project}"
    title = call.discovery.document["title"]
    error = refuse("google.service-disabled", title=title, project=project, url=url)
    error.domain = "usageLimits"
    values = {"service": service, "title": title, "url": url, "message": error.message}
    error.details = list(shape("serviceusage.disabled", project_name(project), **values).values())
    raise error


def _enabled(store: Store, project: str, service: str) -> tuple[bool, float]:
    """Whether, and since when (seconds of the epoch; 0: always)."""
    record = store.get(f"serviceusage.googleapis.com/projects/{project}/services/{service}")
    if record is None:
        return service in _ENABLED_AT_FIRST, 0.0
    return bool(record.body["enabled"]), float(record.hidden.get("since", 0.0))


def _state(call: Call, service: str) -> Json:
    enabled, _ = _enabled(call.store, call.project, service)
    state, title = "ENABLED" if enabled else "DISABLED", service.removesuffix(_SUFFIX)
    return shape("serviceusage.service", f"{_project(call)}/services/{service}", state=state, title=title)


def _project(call: Call) -> str:
    return f"serviceusage.googleapis.com/projects/{call.project}"


def _set(call: Call, services: list[str], *, enabled: bool) -> None:
    for service in services:
        if not service.endswith(_SUFFIX):
            raise missing(f"{_project(call)}/services/{service}")
    with call.store.transaction():
        for service in services:
            before, _ = _enabled(call.store, call.project, service)
            if before != enabled:
                hidden = {"since": time.time()} if enabled else {}
                call.store.put(f"{_project(call)}/services/{service}", {"enabled": enabled}, hidden=hidden)


@handles("serviceusage.services.enable", "serviceusage.services.disable", "serviceusage.services.batchEnable")
def switch(call: Call) -> Json:
    enabling, batch = call.verb != "disable", call.verb == "batchEnable"
    call.authorize(f"serviceusage.services.{'enable' if enabling else 'disable'}", _project(call))
    services = list(call.body.get("serviceIds") or []) if batch else [id_of(call.name)]
    refuse_if(not 1 <= len(services) <= _MOST_AT_ONCE, "serviceusage.batch", most=_MOST_AT_ONCE)
    _set(call, services, enabled=enabling)
    states = [_state(call, service) for service in services]
    operation = Operation(
        name=operation_name("serviceusage", _project(call)),
        target=_project(call),
        verb=call.verb,
        user=call.caller.email,
        metadata_type=f"{_TYPES}OperationMetadata",
        response_type=_TYPES + _RESPONSES[call.verb],
        response={"services": states} if batch else {"service": states[0]},
    )
    return operation_json(call.app.operations.start(operation))


@handles("serviceusage.services.get", "serviceusage.services.batchGet")
def get(call: Call) -> Json:
    call.authorize("serviceusage.services.get", _project(call))
    if call.verb == "get":
        return _state(call, id_of(call.name))
    return {"services": [_state(call, id_of(name)) for name in call.query.get("names", ())]}


@handles("serviceusage.services.list")
def list_(call: Call) -> Json:
    """Services that were ever touched, and those a project starts with."""
    call.authorize("serviceusage.services.list", _project(call))
    touched = {id_of(record.name) for record in call.store.list(f"{_project(call)}/services/")}
    found = [(service, _state(call, service)) for service in sorted(touched | _ENABLED_AT_FIRST)]
    return listed(call, found, "services", default_size=50)
