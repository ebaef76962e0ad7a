"""The methods of a managed instance group besides create, read, update and delete."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from gcp_openemr.sandbox.api import crud
from gcp_openemr.sandbox.api.compute.actions import Action, actions, fingerprint
from gcp_openemr.sandbox.api.compute.groups import machine_of, managed, save_members
from gcp_openemr.sandbox.api.compute.links import check_references, normalize, self_link
from gcp_openemr.sandbox.api.names import id_of, path_of, timestamp
from gcp_openemr.sandbox.api.rules import COLLECTIONS, Call, Json, Record, handles, refuse, refuse_if

_KEY = "compute.instanceGroupManagers"


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


def _set_template(call: Call, _body: Json) -> Json:
    link = normalize(call.store, call.body.get("instanceTemplate") or "", call.project)
    check_references(call.store, {"instanceTemplate": link})
    return {"instanceTemplate": link, "versions": [{"instanceTemplate": link}], "fingerprint": fingerprint()}


def _configure(call: Call, _body: Json) -> Json:
    """A configuration may come before its machine: then the machine is made with that name."""
    group = _group(call)
    given = normalize(call.store, call.body.get("perInstanceConfigs") or [], call.project)
    check_references(call.store, {"configs": given})
    found = {
        str(item["name"]): {**item, "fingerprint": fingerprint(), "status": "EFFECTIVE"}
        for item in given
        if item.get("name")
    }
    for name in found:
        if name not in managed(group) and call.verb != "createInstances":
            raise refuse("compute.member", value=name, group=path_of(group.name))
    call.store.put(
        group.name, group.body, hidden={**group.hidden, "configs": {**group.hidden.get("configs", {}), **found}}
    )
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
    "setInstanceTemplate": (_set_template, "compute.reconcile"),
    "patchPerInstanceConfigs": (_configure, ""),
    "updatePerInstanceConfigs": (_configure, ""),
    "deletePerInstanceConfigs": (_unconfigure, ""),
}
actions({f"{_KEY}.{verb}": Action(change, work, "update") for verb, (change, work) in _CHANGES.items()})


def _preserved(group: Record, name: str, disks: Mapping[str, str], addresses: Mapping[str, str]) -> Json:
    zone = self_link(group.name).split("/zones/")[1].split("/")[0]
    address = f"{self_link(group.name).split('/zones/')[0]}/regions/{zone[:-2]}/addresses/{name}-"
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
        "instance": self_link(machine_of(group, name)),
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


@handles(f"{_KEY}.listManagedInstances")
def list_managed(call: Call) -> Json:
    call.authorize(f"{_KEY}.get")
    group = _group(call)
    return {"managedInstances": [_managed(call, group, name) for name in managed(group)]}


@handles(f"{_KEY}.listPerInstanceConfigs")
def list_configs(call: Call) -> Json:
    call.authorize(f"{_KEY}.get")
    return {"items": list(_group(call).hidden.get("configs", {}).values())}


@handles(f"{_KEY}.listErrors")
def list_errors(call: Call) -> Json:
    call.authorize(f"{_KEY}.get")
    group = _group(call)
    items = [
        {
            "error": {"code": "ERROR", "message": member["error"]},
            "instanceActionDetails": {"action": "CREATING", "instance": self_link(machine_of(group, name))},
            "timestamp": timestamp(member["tried"]),
        }
        for name, member in managed(group).items()
        if member.get("error")
    ]
    return {"items": items}
