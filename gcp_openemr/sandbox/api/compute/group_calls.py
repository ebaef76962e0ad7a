"""Instance templates, health checks and managed instance groups as resources, with the groups' own methods."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from gcp_openemr.sandbox.api import crud
from gcp_openemr.sandbox.api.compute import links
from gcp_openemr.sandbox.api.compute.groups import group_status, machine_of, managed, save_members
from gcp_openemr.sandbox.api.compute.machines import attached, check_accounts
from gcp_openemr.sandbox.api.compute.network import adopt, in_use
from gcp_openemr.sandbox.api.names import id_of, path_of, timestamp
from gcp_openemr.sandbox.api.refusals import refuse, refuse_if
from gcp_openemr.sandbox.api.rules import COLLECTIONS, Call, Change, Collection, Json, Record, handles, shape

# https://cloud.google.com/compute/docs/reference/rest/v1/healthChecks
_CHECK_DEFAULTS = {"checkIntervalSec": 5, "timeoutSec": 5, "healthyThreshold": 2, "unhealthyThreshold": 2}
_CHECKS = {kind: f"{kind.lower()}HealthCheck" for kind in ("TCP", "SSL", "HTTP", "HTTPS", "HTTP2", "GRPC")}
_CHECKS["GRPC_WITH_TLS"] = "grpcTlsHealthCheck"
_KEY = "compute.instanceGroupManagers"


def _template(change: Change) -> None:
    new = adopt(change)
    machine = new.get("properties") or {}
    for field in ("machineType", "disks", "networkInterfaces"):
        refuse_if(not machine.get(field), "compute.required", field=f"properties.{field}", why="It is required.")
    check_accounts(change, machine)
    for index, disk in enumerate(machine["disks"]):
        disk.update(attached(disk, index))
    machine["metadata"] = {
        "kind": "compute#metadata",
        "fingerprint": links.fingerprint(),
        **(machine.get("metadata") or {}),
    }


def _health_check(change: Change) -> None:
    new = {**_CHECK_DEFAULTS, **adopt(change)}
    given = [kind for kind, field in _CHECKS.items() if new.get(field) is not None]
    new["type"] = new.get("type") or (given[0] if given else "")
    refuse_if(given != [new["type"]], "compute.health-check", type=new["type"])
    if new["timeoutSec"] > new["checkIntervalSec"]:
        raise refuse("compute.health-timeout", field="timeoutSec", value=new["timeoutSec"])
    new[_CHECKS[new["type"]]].setdefault("proxyHeader", "NONE")
    change.new = new


def _complete_group(change: Change) -> None:
    links.check_fingerprint(change, "group")
    new = adopt(change)
    version = next(iter(new.get("versions") or ()), {"instanceTemplate": new.get("instanceTemplate")})
    template = change.call.store.get(links.full_name(str(version.get("instanceTemplate") or "")))
    if template is None:
        raise refuse("compute.required", field="instanceTemplate", why="An existing instance template is required.")
    refuse_if(new.get("targetSize") is None, "compute.required", field="targetSize", why="It is required.")
    new |= {"instanceTemplate": version["instanceTemplate"], "versions": [version], "fingerprint": links.fingerprint()}
    new.setdefault("baseInstanceName", id_of(change.name))
    new["instanceGroup"] = links.self_link(change.name).replace("/instanceGroupManagers/", "/instanceGroups/")
    for part, defaults in shape("compute.instanceGroupManager.defaults", change.name).items():
        new[part] = {**defaults, **(new.get(part) or {})}
    _check_update(new)
    _check_stateful(new, template.body["properties"])


def _check_update(new: Json) -> None:
    policy = new["updatePolicy"]
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
    return {**body, **group_status(call.app, links.full_name(body["selfLink"]))}


Collection("compute.instanceTemplates", complete=_template, deletable=in_use)
Collection("compute.healthChecks", complete=_health_check, deletable=in_use)
Collection(
    "compute.instanceGroupManagers",
    complete=_complete_group,
    deletable=in_use,
    shown=_group_shown,
    created="compute.reconcile",
    updated="compute.reconcile",
    deleted="compute.deleteGroup",
    immutable=("baseInstanceName",),
)


def _group(call: Call) -> Record:
    return crud.existing(call, COLLECTIONS[_KEY])


def _named(call: Call, group: Record) -> list[str]:
    """The members that a call names, by URL or path."""
    names = [id_of(str(link)) for link in call.body.get("instances") or ()]
    for name in names:
        refuse_if(name not in managed(group), "compute.member", value=name, group=path_of(group.name))
    return names


def _again(call: Call, names: Sequence[str]) -> Json:
    save_members(call.app, call.name, {name: {"recreate": True} for name in names})
    return {}


def _recreate(call: Call, _body: Json) -> Json:
    return _again(call, _named(call, _group(call)))


def _apply_updates(call: Call, body: Json) -> Json:
    """Machines of another template are made anew."""
    group = _group(call)
    names = list(managed(group)) if call.body.get("allInstances") else _named(call, group)
    old = [name for name in names if managed(group)[name].get("template") != body["instanceTemplate"]]
    return _again(call, names if call.body.get("minimalAction") == "REPLACE" else old)


def _delete_members(call: Call, body: Json) -> Json:
    """They go first when the group shrinks."""
    group = _group(call)
    names = _named(call, group)
    members = managed(group)
    ordered = {name: members[name] for name in sorted(members, key=names.__contains__)}
    call.store.put(group.name, group.body, hidden={**group.hidden, "members": ordered})
    return {"targetSize": body["targetSize"] - len(names)}


def _resize(call: Call, _body: Json) -> Json:
    return {"targetSize": int(call.one("size") or 0)}


def _configure(call: Call, _body: Json) -> Json:
    """A configuration may come before its machine: then the machine is made with that name."""
    group = _group(call)
    given = links.normalize(call.store, call.body.get("perInstanceConfigs") or [], call.project)
    links.check_references(call.store, {"configs": given})
    found = {
        str(item["name"]): {**item, "fingerprint": links.fingerprint(), "status": "EFFECTIVE"}
        for item in given
        if item.get("name")
    }
    strange = next((name for name in found if name not in managed(group)), "")
    refuse_if(strange and call.verb != "createInstances", "compute.member", value=strange, group=path_of(group.name))
    configs = {**group.hidden.get("configs", {}), **found}
    call.store.put(group.name, group.body, hidden={**group.hidden, "configs": configs})
    return {}


def _create_members(call: Call, body: Json) -> Json:
    """Machines with names of the caller's choice (`createInstances`), each with what it keeps."""
    names = [str(item.get("name")) for item in call.body.get("instances") or ()]
    call.body["perInstanceConfigs"] = call.body.get("instances") or []
    _configure(call, body)
    save_members(call.app, call.name, {name: {} for name in names})
    return {"targetSize": body["targetSize"] + len(names)}


def _unconfigure(call: Call, _body: Json) -> Json:
    group = _group(call)
    gone = call.body.get("names") or ()
    left = {name: item for name, item in group.hidden.get("configs", {}).items() if name not in gone}
    call.store.put(group.name, group.body, hidden={**group.hidden, "configs": left})
    return {}


_CHANGES: Mapping[str, tuple[Callable[[Call, Json], Json], str]] = {
    "recreateInstances": (_recreate, "compute.reconcile"),
    "applyUpdatesToInstances": (_apply_updates, "compute.reconcile"),
    "createInstances": (_create_members, "compute.reconcile"),
    "deleteInstances": (_delete_members, "compute.reconcile"),
    "resize": (_resize, "compute.reconcile"),
    "patchPerInstanceConfigs": (_configure, ""),
    "updatePerInstanceConfigs": (_configure, ""),
    "deletePerInstanceConfigs": (_unconfigure, ""),
}
links.actions({f"{_KEY}.{verb}": links.Action(change, work, "update") for verb, (change, work) in _CHANGES.items()})


def _preserved(group: Record, name: str, disks: Mapping[str, str], addresses: Mapping[str, str]) -> Json:
    zone = links.self_link(group.name).split("/zones/")[1].split("/")[0]
    address = f"{links.self_link(group.name).split('/zones/')[0]}/regions/{zone[:-2]}/addresses/{name}-"
    return {
        "disks": {
            device: {"source": source, "mode": "READ_WRITE", "autoDelete": "NEVER"} for device, source in disks.items()
        },
        "internalIPs": {
            interface: {"autoDelete": "NEVER", "ipAddress": {"literal": literal, "address": address + interface}}
            for interface, literal in addresses.items()
        },
    }


def _managed(call: Call, group: Record, name: str) -> Json:
    """One item of `listManagedInstances`."""
    member = managed(group)[name]
    machine = call.store.get(machine_of(group, name))
    result: Json = {
        "name": name,
        "instance": links.self_link(machine_of(group, name)),
        "currentAction": "NONE" if machine and machine.body["status"] == "RUNNING" else "CREATING",
        "version": {"instanceTemplate": member.get("template", "")},
        "preservedStateFromPolicy": _preserved(group, name, member.get("disks", {}), member.get("addresses", {})),
    }
    if machine:
        result |= {"id": machine.body["id"], "instanceStatus": machine.body["status"]}
        if group.body.get("autoHealingPolicies"):
            healthy = call.app.runtime.machine_healthy(machine.name)
            check = group.body["autoHealingPolicies"][0].get("healthCheck", "")
            state = "HEALTHY" if healthy else "UNHEALTHY"
            result["instanceHealth"] = [{"healthCheck": check, "detailedHealthState": state}]
    if name in group.hidden.get("configs", {}):
        result["preservedStateFromConfig"] = group.hidden["configs"][name].get("preservedState", {})
    if member.get("error"):
        error = {"code": "ERROR", "message": member["error"]}
        result["lastAttempt"] = {"errors": {"errors": [error]}}
    return result


@handles(f"{_KEY}.listManagedInstances", needs=f"{_KEY}.get")
def list_managed(call: Call) -> Json:
    group = _group(call)
    return {"managedInstances": [_managed(call, group, name) for name in managed(group)]}


@handles(f"{_KEY}.listPerInstanceConfigs", needs=f"{_KEY}.get")
def list_configs(call: Call) -> Json:
    return {"items": list(_group(call).hidden.get("configs", {}).values())}


@handles(f"{_KEY}.listErrors", needs=f"{_KEY}.get")
def list_errors(call: Call) -> Json:
    group = _group(call)
    items = [
        shape("compute.group.error", machine_of(group, name), message=item["error"], tried=timestamp(item["tried"]))
        for name, item in managed(group).items()
        if item.get("error")
    ]
    return {"items": items}
