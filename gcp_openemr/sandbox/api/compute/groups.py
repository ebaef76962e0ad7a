"""What a managed instance group does: it makes its machines from the template, and makes them again.

Google's agent does it through the API, so a machine of a group is an ordinary instance. What a stateful policy or a
per-instance configuration keeps (disks by device, internal addresses by interface) is in `hidden["members"]`, by the
machine's name, and outlives the machine.
"""

from __future__ import annotations

import copy
import secrets
import string
import time
from collections.abc import Iterator
from typing import Any

from gcp_openemr.sandbox.api.compute.links import full_name, self_link
from gcp_openemr.sandbox.api.envelopes import operation_name
from gcp_openemr.sandbox.api.names import host_of, path_of, project_number, project_of, segment
from gcp_openemr.sandbox.api.refusals import existing
from gcp_openemr.sandbox.api.rules import CHORES, WORK, ApiError, App, Json, Operation, Record, shape

__all__ = ["bring_back", "group_status", "machine_of", "managed", "save_members"]

_Members = dict[str, Json]
_LETTERS = string.ascii_lowercase + string.digits
_SECONDS = 60.0  # for one machine
_RETRY_SECONDS = 5.0
_TRIES = 5
_PASSING = {429, 500, 502, 503}
_DONE_BEFORE = {"POST": 409, "DELETE": 404}
_STOPPED = {"TERMINATED", "STOPPED", "SUSPENDED"}


@WORK.register("compute.deleteGroup")
def delete_group(app: App, operation: Operation) -> Json:
    group = app.store.get(operation.target)
    if group is not None:
        for name in managed(group):
            _remove(app, group, name)
    app.store.delete(operation.target)
    return {}


@WORK.register("compute.reconcile", undo=delete_group)
def reconcile(app: App, operation: Operation) -> Json:
    """As many machines as the group wants, each from the wanted template, each running.

    What fails is kept as the member's error and tried again, as on Google: the operation itself succeeds.
    """
    app.operations.refuse_when_spoiled()
    group = app.store.get(operation.target)
    if group is None:
        return {}
    for name in list(managed(group))[group.body["targetSize"] :]:
        _remove(app, group, name)
    while len(managed(group)) < group.body["targetSize"]:
        suffix = "".join(secrets.choice(_LETTERS) for _ in range(4))
        group = save_members(app, group.name, {f"{group.body['baseInstanceName']}-{suffix}": {}})
    for name in managed(group):
        error = ""
        try:
            _bring(app, group, name)
        except ApiError as failed:
            error = failed.message
        group = save_members(app, group.name, {name: {"error": error, "tried": time.time()}})
    return {}


def managed(group: Record) -> _Members:
    """Members by the machine's name."""
    found: _Members = group.hidden.get("members") or {}
    return found


def machine_of(group: Record, name: str) -> str:
    """Full name of a member's machine."""
    return f"{group.name.split('/instanceGroupManagers/')[0]}/instances/{name}"


def save_members(app: App, name: str, changes: _Members, *, gone: str = "") -> Record:
    """Change fields of members, or take one away; returns the group as it is then."""
    with app.store.transaction():
        group = existing(app.store, name)
        members = {key: value for key, value in managed(group).items() if key != gone}
        for key, fields in changes.items():
            members[key] = {**members.get(key, {}), **fields}
        return app.store.put(name, group.body, hidden={**group.hidden, "members": members})


def bring_back(app: App, machine: Record, user: str) -> None:
    """A machine is gone: when somebody else than its group took it, the group makes it again."""
    if user == _agent(machine):
        return
    group = next((found for found in _groups(app) if machine.name in _machines(found)), None)
    if group is not None:
        _repair(app, group)


def _agent(resource: Record) -> str:
    """Who acts for managed groups: https://cloud.google.com/iam/docs/service-agents#google-apis-service-agent"""
    return f"{project_number(project_of(resource.name))}@cloudservices.gserviceaccount.com"


def _repair(app: App, group: Record) -> None:
    operation = Operation(
        name=operation_name("compute", group.name),
        target=group.name,
        verb="compute.instances.repair.recreateInstance",
        user=_agent(group),
        work="compute.reconcile",
    )
    app.operations.start(operation)


def _groups(app: App) -> Iterator[Record]:
    rows = app.store.query(
        "SELECT name FROM resources WHERE name >= 'compute.googleapis.com/' AND name < 'compute.googleapis.com0' "
        "AND instr(name, '/instanceGroupManagers/')"
    )
    yield from filter(None, (app.store.get(row[0]) for row in rows))


def _machines(group: Record) -> list[str]:
    return [machine_of(group, name) for name in managed(group)]


def _bring(app: App, group: Record, name: str) -> None:
    """One machine as it should be."""
    member = managed(group)[name]
    machine = app.store.get(machine_of(group, name))
    wanted = group.body["instanceTemplate"]
    proactive = group.body["updatePolicy"]["type"] == "PROACTIVE"
    outdated = proactive and member.get("template", wanted) != wanted
    if machine is not None and (member.get("recreate") or outdated):
        _do(app, group, "DELETE", f"instances/{name}")
        machine = None
    if machine is None:
        _do(app, group, "POST", "instances", _machine(app, group, name))
        save_members(app, group.name, {name: {"template": wanted, "recreate": False, "sick": 0, "born": time.time()}})
        _keep(app, group, name)
    elif machine.body["status"] in _STOPPED:
        _do(app, group, "POST", f"instances/{name}/start")


def _machine(app: App, group: Record, name: str) -> Json:
    """The template's machine with what was kept."""
    template = existing(app.store, full_name(group.body["instanceTemplate"]))
    kept = _kept(group, name)
    machine: Json = copy.deepcopy(template.body["properties"])
    zone = self_link(group.name).split("/instanceGroupManagers/")[0]
    for index, disk in enumerate(machine["disks"]):
        source = kept["disks"].get(disk["deviceName"])
        if source or disk.get("source"):
            given = str(source or disk["source"])
            disk["source"] = given if "/" in given else f"{zone}/disks/{given}"
            disk.pop("initializeParams", None)
        elif index:
            disk.setdefault("initializeParams", {}).setdefault("diskName", f"{name}-{index}")
        if disk["deviceName"] in _rules(group, "disks") or source:
            disk["autoDelete"] = False
    for place, interface in enumerate(machine["networkInterfaces"]):
        interface["networkIP"] = kept["addresses"].get(f"nic{place}") or interface.get("networkIP", "")
    own = [
        {"key": "instance-template", "value": path_of(template.name)},
        {"key": "created-by", "value": path_of(group.name)},
    ]
    machine["metadata"]["items"] = [*(machine["metadata"].get("items") or []), *own]
    for field in ("kind", "fingerprint"):
        machine["metadata"].pop(field, None)
    machine.pop("resourceManagerTags", None)
    kind = machine["machineType"]
    return {**machine, "name": name, "machineType": kind if "/" in kind else f"{zone}/machineTypes/{kind}"}


def _rules(group: Record, what: str) -> Json:
    rules: Json = ((group.body.get("statefulPolicy") or {}).get("preservedState") or {}).get(what) or {}
    return rules


def _kept(group: Record, name: str) -> dict[str, dict[str, str]]:
    """Disks by device and addresses by interface: the machine's own configuration before what the policy kept."""
    member = managed(group).get(name, {})
    given = ((group.hidden.get("configs") or {}).get(name) or {}).get("preservedState") or {}
    disks = {
        **member.get("disks", {}),
        **{device: disk["source"] for device, disk in (given.get("disks") or {}).items() if disk.get("source")},
    }
    addresses = dict(member.get("addresses", {}))
    for interface, rule in (given.get("internalIPs") or {}).items():
        place = rule.get("ipAddress") or {}
        addresses[interface] = place.get("literal") or place.get("address") or ""
    return {"disks": disks, "addresses": addresses}


def _keep(app: App, group: Record, name: str) -> None:
    """Remember what the stateful policy keeps of a new machine; its addresses become reserved ones."""
    machine = app.store.get(machine_of(group, name))
    if machine is None:
        return
    disks = {
        disk["deviceName"]: disk["source"]
        for disk in machine.body["disks"]
        if disk["deviceName"] in _rules(group, "disks")
    }
    addresses: dict[str, str] = {}
    for interface in machine.body["networkInterfaces"]:
        if interface["name"] in _rules(group, "internalIPs"):
            addresses[interface["name"]] = interface["networkIP"]
    save_members(app, group.name, {name: {"disks": disks, "addresses": addresses}})
    for interface in machine.body["networkInterfaces"]:
        if interface["name"] in addresses:
            _reserve(app, group, f"{name}-{interface['name']}", interface)


def _region(group: Record) -> str:
    return f"{host_of(group.name)}/projects/{project_of(group.name)}/regions/{segment(group.name, 'zones')[:-2]}"


def _reserve(app: App, group: Record, address: str, interface: Json) -> None:
    region = _region(group)
    reserved = app.store.list(f"{region}/addresses/")
    if any(found.body.get("address") == interface["networkIP"] for found in reserved):
        return
    body = {
        "name": address,
        "addressType": "INTERNAL",
        "subnetwork": interface["subnetwork"],
        "address": interface["networkIP"],
    }
    _call(app, group, "POST", f"{region}/addresses", body)


def _remove(app: App, group: Record, name: str) -> None:
    """Delete a member for good, and of what it kept what the policy says."""
    member = managed(group)[name]
    if app.store.get(machine_of(group, name)) is not None:
        _do(app, group, "DELETE", f"instances/{name}")
    permanent = "ON_PERMANENT_INSTANCE_DELETION"
    for device, source in member.get("disks", {}).items():
        if (_rules(group, "disks").get(device) or {}).get("autoDelete") == permanent:
            _call(app, group, "DELETE", full_name(source))
    region = _region(group)
    for interface in member.get("addresses", {}):
        address = f"{region}/addresses/{name}-{interface}"
        rule = _rules(group, "internalIPs").get(interface) or {}
        if rule.get("autoDelete") == permanent and app.store.get(address) is not None:
            _call(app, group, "DELETE", address)
    save_members(app, group.name, {}, gone=name)


def _do(app: App, group: Record, method: str, place: str, body: Json | None = None) -> None:
    _call(app, group, method, f"{group.name.split('/instanceGroupManagers/')[0]}/{place}", body)


def _call(app: App, group: Record, method: str, name: str, body: Json | None = None) -> None:
    """A call as Google's agent, to the end of its operation. Raises ApiError.

    What is refused for a moment it tries again, and finds done what took effect though its answer was lost.
    """
    for again in range(_TRIES):
        try:
            answer = app.ask(_agent(group), method, f"/{host_of(name)}/compute/v1/{path_of(name)}", body)
            break
        except ApiError as refused:
            if again and refused.code == _DONE_BEFORE[method]:
                return
            if refused.code not in _PASSING or again + 1 == _TRIES:
                raise
    done = app.operations.wait(full_name(answer["selfLink"]), _SECONDS)
    if done is not None and done.error is not None:
        raise ApiError(400, str(done.error["message"]))


def group_status(app: App, name: str) -> Json:
    """`currentActions` and `status` of a group."""
    group = app.store.get(name)
    if group is None:
        return {}
    members = managed(group)
    missing = [key for key in members if _status(app, group, key) != "RUNNING"]
    wanted = group.body["instanceTemplate"]
    return shape(
        "compute.group.status",
        name,
        none=len(members) - len(missing),
        creating=len(missing),
        stable=not missing and len(members) == group.body["targetSize"],
        reached=all(item.get("template") == wanted for item in members.values()),
        stateful=bool(_rules(group, "disks") or _rules(group, "internalIPs") or group.hidden.get("configs")),
    )


def _status(app: App, group: Record, name: str) -> str:
    machine = app.store.get(machine_of(group, name))
    return str(machine.body["status"]) if machine else ""


def heal(app: App) -> None:
    """Try again what failed; with `settings.healing`, replace machines that fail their health check for too long."""
    for group in _groups(app):
        failed = [item for item in managed(group).values() if item.get("error")]
        if any(time.time() - item.get("tried", 0) > _RETRY_SECONDS for item in failed):
            _repair(app, group)
        for policy in group.body.get("autoHealingPolicies") or () if app.settings.healing else ():
            check = app.store.get(full_name(str(policy.get("healthCheck") or "")))
            sick = [name for name in managed(group) if check and _too_sick(app, group, name, policy, check.body)]
            if sick:
                save_members(app, group.name, {name: {"recreate": True} for name in sick})
                _repair(app, group)


def _too_sick(app: App, group: Record, name: str, policy: Json, check: Json) -> bool:
    """Unhealthy for `unhealthyThreshold` checks, after the time that a new machine is given."""
    member: dict[str, Any] = managed(group)[name]
    moment, factor = time.time(), app.settings.healing
    started = moment - member.get("born", moment) >= int(policy.get("initialDelaySec") or 0) * factor
    if not started or _status(app, group, name) != "RUNNING":
        return False
    since = member.get("sick") or 0
    if app.runtime.machine_healthy(machine_of(group, name)):
        if since:
            save_members(app, group.name, {name: {"sick": 0}})
        return False
    if not since:
        save_members(app, group.name, {name: {"sick": moment}})
        since = moment
    return bool(moment - since >= check["checkIntervalSec"] * check["unhealthyThreshold"] * factor)


CHORES.append(heal)
