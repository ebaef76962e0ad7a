"""Instance templates, health checks and managed instance groups as resources."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gcp_openemr.sandbox.api.compute.actions import fingerprint
from gcp_openemr.sandbox.api.compute.groups import group_status
from gcp_openemr.sandbox.api.compute.links import full_name, self_link
from gcp_openemr.sandbox.api.compute.machines import check_accounts
from gcp_openemr.sandbox.api.compute.network import adopt, in_use
from gcp_openemr.sandbox.api.names import id_of
from gcp_openemr.sandbox.api.rules import Call, Change, Collection, Json, refuse, refuse_if

# https://cloud.google.com/compute/docs/reference/rest/v1/healthChecks
_CHECK_DEFAULTS = {"checkIntervalSec": 5, "timeoutSec": 5, "healthyThreshold": 2, "unhealthyThreshold": 2}
_CHECKS = {
    "TCP": "tcpHealthCheck",
    "SSL": "sslHealthCheck",
    "HTTP": "httpHealthCheck",
    "HTTPS": "httpsHealthCheck",
    "HTTP2": "http2HealthCheck",
    "GRPC": "grpcHealthCheck",
    "GRPC_WITH_TLS": "grpcTlsHealthCheck",
}
# https://cloud.google.com/compute/docs/reference/rest/v1/instanceGroupManagers
_UPDATE_DEFAULTS: Json = {
    "type": "OPPORTUNISTIC",
    "minimalAction": "REPLACE",
    "replacementMethod": "SUBSTITUTE",
    "maxSurge": {"fixed": 1, "calculated": 1},
    "maxUnavailable": {"fixed": 1, "calculated": 1},
}
_LIFECYCLE: Json = {
    "defaultActionOnFailure": "REPAIR",
    "forceUpdateOnRepair": "NO",
    "onFailedHealthCheck": "DEFAULT_ACTION",
}


def _template(change: Change) -> None:
    new = adopt(change)
    machine = new.get("properties") or {}
    for field in ("machineType", "disks", "networkInterfaces"):
        refuse_if(not machine.get(field), "compute.required", field=f"properties.{field}", why="It is required.")
    check_accounts(change, machine)
    for index, disk in enumerate(machine["disks"]):
        disk |= {
            "kind": "compute#attachedDisk",
            "index": index,
            "type": disk.get("type", "PERSISTENT"),
            "mode": disk.get("mode", "READ_WRITE"),
            "boot": bool(disk.get("boot")),
            "autoDelete": bool(disk.get("autoDelete")),
            "deviceName": disk.get("deviceName") or f"persistent-disk-{index}",
        }
    machine["metadata"] = {"kind": "compute#metadata", "fingerprint": fingerprint(), **(machine.get("metadata") or {})}


def _health_check(change: Change) -> None:
    new = {**_CHECK_DEFAULTS, **adopt(change)}
    given = [kind for kind, field in _CHECKS.items() if new.get(field) is not None]
    new["type"] = new.get("type") or (given[0] if given else "")
    refuse_if(given != [new["type"]], "compute.health-check", type=new["type"])
    if new["timeoutSec"] > new["checkIntervalSec"]:
        raise refuse("compute.health-timeout", field="timeoutSec", value=new["timeoutSec"])
    new[_CHECKS[new["type"]]].setdefault("proxyHeader", "NONE")
    change.new = new


def _group(change: Change) -> None:
    new = adopt(change)
    version = next(iter(new.get("versions") or ()), {"instanceTemplate": new.get("instanceTemplate")})
    template = change.call.store.get(full_name(str(version.get("instanceTemplate") or "")))
    if template is None:
        raise refuse("compute.required", field="instanceTemplate", why="An existing instance template is required.")
    if new.get("targetSize") is None:
        raise refuse("compute.required", field="targetSize", why="It is required.")
    new |= {"instanceTemplate": version["instanceTemplate"], "versions": [version], "fingerprint": fingerprint()}
    new.setdefault("baseInstanceName", id_of(change.name))
    new["instanceGroup"] = self_link(change.name).replace("/instanceGroupManagers/", "/instanceGroups/")
    new["instanceLifecyclePolicy"] = {**_LIFECYCLE, **(new.get("instanceLifecyclePolicy") or {})}
    _check_update(new)
    _check_stateful(new, template.body["properties"])


def _check_update(new: Json) -> None:
    policy = new["updatePolicy"] = {**_UPDATE_DEFAULTS, **(new.get("updatePolicy") or {})}
    numbers = {}
    for field in ("maxSurge", "maxUnavailable"):
        given = policy[field]
        share = new["targetSize"] * int(given.get("percent") or 0) / 100
        # Percentages of a surge are rounded up (https://cloud.google.com/compute/docs/instance-groups/updating-migs).
        numbers[field] = (
            int(given["fixed"]) if "fixed" in given else -int(-share // 1) if field == "maxSurge" else int(share)
        )
        policy[field] = {**given, "calculated": numbers[field]}
    if policy["replacementMethod"] == "RECREATE" and numbers["maxSurge"]:
        raise refuse("compute.surge", field="updatePolicy.maxSurge", value=policy["maxSurge"])
    if not any(numbers.values()):
        raise refuse("compute.no-room", field="updatePolicy.maxUnavailable", value=policy["maxUnavailable"])


def _check_stateful(new: Json, machine: Json) -> None:
    kept: Mapping[str, Json] = (new.get("statefulPolicy") or {}).get("preservedState") or {}
    if any(kept.values()) and new["updatePolicy"]["replacementMethod"] != "RECREATE":
        raise refuse("compute.substitute", field="updatePolicy.replacementMethod", value="SUBSTITUTE")
    devices = {disk["deviceName"] for disk in machine["disks"]}
    for device in _devices(kept):
        if device not in devices:
            raise refuse("compute.stateful-disk", field="statefulPolicy.preservedState.disks", value=device)


def _devices(kept: Mapping[str, Json]) -> Iterator[str]:
    for device, rule in (kept.get("disks") or {}).items():
        rule.setdefault("autoDelete", "NEVER")
        yield device
    for rule in (kept.get("internalIPs") or {}).values():
        rule.setdefault("autoDelete", "NEVER")


def _group_shown(call: Call, body: Json) -> Json:
    return {**body, **group_status(call.app, full_name(body["selfLink"]))}


Collection("compute.instanceTemplates", complete=_template, deletable=in_use)
Collection("compute.healthChecks", complete=_health_check, deletable=in_use)
Collection(
    "compute.instanceGroupManagers",
    complete=_group,
    deletable=in_use,
    shown=_group_shown,
    created="compute.reconcile",
    updated="compute.reconcile",
    deleted="compute.deleteGroup",
    immutable=("baseInstanceName",),
)
