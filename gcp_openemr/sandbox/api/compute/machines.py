"""Virtual machines."""

from __future__ import annotations

from gcp_openemr.sandbox.api.compute import links
from gcp_openemr.sandbox.api.compute.groups import bring_back
from gcp_openemr.sandbox.api.compute.network import address_of, adopt, in_use
from gcp_openemr.sandbox.api.compute.places import check_machine_type
from gcp_openemr.sandbox.api.names import now, path_of, project_number, project_of, segment
from gcp_openemr.sandbox.api.refusals import beyond_if, duplicate, refuse, refuse_if
from gcp_openemr.sandbox.api.rules import WORK, App, Call, Change, Collection, Json, Operation, Record, marking, shape
from gcp_openemr.sandbox.api.validation import merge

__all__ = ["attached", "check_accounts"]

_BOOT_DISK = 10  # GB
# https://cloud.google.com/compute/docs/instances/instance-lifecycle
_STOPPED = {"TERMINATED", "STOPPED", "SUSPENDED"}


def _machine(change: Change) -> None:
    new = adopt(change)
    zone = links.self_link(change.name).split("/instances/")[0]
    kind = str(new.get("machineType") or "")
    refuse_if(not kind, "compute.required", field="machineType", why="It is required.")
    check_machine_type(kind, segment(change.name, "zones"))
    new["machineType"] = kind if "/" in kind else f"{zone}/machineTypes/{kind}"
    if change.old is None:
        check_accounts(change, new)
        _attach_disks(change, zone)
        _join_networks(change)
        new["status"] = "PROVISIONING"
    change.new = merge(shape("compute.instance.defaults", change.name, fingerprint=links.fingerprint()), new)


def check_accounts(change: Change, machine: Json) -> None:
    """The service accounts of a machine (or a template's) exist."""
    project = project_of(change.name)
    for account in machine.get("serviceAccounts") or ():
        if account.get("email") == "default":
            account["email"] = f"{project_number(project)}-compute@developer.gserviceaccount.com"
        email = str(account.get("email") or "")
        refuse_if(not change.call.app.service_account_exists(email), "compute.account", email=email)


def _attach_disks(change: Change, zone: str) -> None:
    disks = change.new.get("disks") or []
    refuse_if(not disks, "compute.required", field="disks", why="No disks are specified.")
    for index, disk in enumerate(disks):
        if disk.get("source"):
            _refuse_attached(change, disk)
        else:
            disk["source"] = _boot_disk(change, disk, zone)
        disk |= {**attached(disk, index), "interface": disk.get("interface", "SCSI")}
        record = change.call.store.get(links.full_name(disk["source"]))
        disk["diskSizeGb"] = record.body["sizeGb"] if record else str(_BOOT_DISK)
        disk.pop("initializeParams", None)


def attached(disk: Json, index: int) -> Json:
    """A machine's or a template's disk with what Google fills in."""
    values = {"type": disk.get("type", "PERSISTENT"), "mode": disk.get("mode", "READ_WRITE")}
    values |= {"device": disk.get("deviceName") or f"persistent-disk-{index}", "index": index}
    own = {"boot": bool(disk.get("boot")), "auto": bool(disk.get("autoDelete"))}
    return shape("compute.attachedDisk", "compute.googleapis.com/", **values, **own)


def _refuse_attached(change: Change, disk: Json) -> None:
    name = links.full_name(disk["source"])
    users = [
        record
        for record in links.referrers(change.call.store, name)
        if record.name != change.name and segment(record.name, "instances")
    ]
    if users and disk.get("mode", "READ_WRITE") == "READ_WRITE":
        raise refuse("compute.in-use", kind="disk", name=path_of(name), user=path_of(users[0].name))


def _boot_disk(change: Change, disk: Json, zone: str) -> str:
    """Make the disk that comes with the machine."""
    wanted = disk.get("initializeParams") or {}
    disk_id = str(wanted.get("diskName") or change.new["name"])
    link = f"{zone}/disks/{disk_id}"
    name = links.full_name(link)
    if change.call.store.get(name) is not None:
        raise duplicate(name)
    kind = str(wanted.get("diskType") or f"{zone}/diskTypes/pd-standard")
    body = shape(
        "compute.disk",
        name,
        zone=zone,
        type=kind if "/" in kind else f"{zone}/diskTypes/{kind}",
        size=str(wanted.get("diskSizeGb") or _BOOT_DISK),
        born=change.new["creationTimestamp"],
        fingerprint=links.fingerprint(),
        image=wanted.get("sourceImage") or None,
        labels=wanted.get("labels") or None,
    )
    change.call.store.put(name, body)
    return link


def _join_networks(change: Change) -> None:
    interfaces = change.new.get("networkInterfaces") or []
    refuse_if(not interfaces, "compute.required", field="networkInterfaces", why="At least one is required.")
    for place, interface in enumerate(interfaces):
        beyond_if(interface.get("accessConfigs"), "The sandbox has no external addresses.")
        subnetwork = str(interface.get("subnetwork") or "")
        if not subnetwork:
            why = "Subnetwork should be specified for custom subnetmode network"
            raise refuse("compute.required", field=f"networkInterfaces[{place}].subnetwork", why=why)
        record = change.call.store.get(links.full_name(subnetwork))
        given = str(interface.get("networkIP") or "")
        interface |= {
            "kind": "compute#networkInterface",
            "name": f"nic{place}",
            "network": record.body["network"] if record else "",
            "networkIP": address_of(change.call, given, subnetwork, change.name),
            "stackType": interface.get("stackType", "IPV4_ONLY"),
            "fingerprint": links.fingerprint(),
        }


def _deletable(call: Call, record: Record) -> None:
    in_use(call, record)
    refuse_if(record.body.get("deletionProtection"), "compute.protected")


Collection(
    "compute.instances",
    complete=_machine,
    deletable=_deletable,
    created="compute.startMachine",
    updated="compute.startMachine",
    deleted="compute.deleteMachine",
)


@WORK.register("compute.deleteMachine")
def delete_machine(app: App, operation: Operation) -> Json:
    """The group that a machine was made by brings it back, unless it took it away itself."""
    app.runtime.delete_machine(operation.target)
    record = app.store.get(operation.target)
    disks = [
        links.full_name(disk["source"]) for disk in (record.body["disks"] if record else ()) if disk.get("autoDelete")
    ]
    with app.store.transaction():
        for name in (operation.target, *disks):
            app.store.delete(name)
    for disk in disks:
        app.runtime.delete_disk(disk)
    if record is not None:
        bring_back(app, record, operation.user)
    return {}


@WORK.register("compute.startMachine", undo=delete_machine)
def start_machine(app: App, operation: Operation) -> Json:
    record = app.store.get(operation.target)
    if record is None:
        return {}
    with marking(app, operation.target, status="TERMINATED"):
        app.runtime.start_machine(record.body)
    app.store.update(operation.target, {"status": "RUNNING", "lastStartTimestamp": now()})
    return {}


@WORK.register("compute.resetMachine")
def reset_machine(app: App, operation: Operation) -> Json:
    app.runtime.delete_machine(operation.target)
    return start_machine(app, operation)


@WORK.register("compute.stopMachine")
def stop_machine(app: App, operation: Operation) -> Json:
    app.runtime.delete_machine(operation.target)
    app.store.update(operation.target, {"status": "TERMINATED", "lastStopTimestamp": now()})
    return {}


def _machine_type(call: Call, body: Json) -> Json:
    refuse_if(body.get("status") not in _STOPPED, "compute.not-stopped", status=body.get("status"))
    kind = str(call.body.get("machineType") or "")
    check_machine_type(kind, segment(call.name, "zones"))
    return {"machineType": links.normalize(call.store, kind, call.project)}


links.actions(
    {
        "compute.instances.setDeletionProtection": links.Action(
            lambda call, _body: {"deletionProtection": call.one("deletionProtection", "true").lower() == "true"}
        ),
        "compute.instances.setMachineType": links.Action(_machine_type),
        "compute.instances.start": links.Action(lambda _call, _body: {"status": "STAGING"}, "compute.startMachine"),
        "compute.instances.reset": links.Action(work="compute.resetMachine"),
        "compute.instances.stop": links.Action(lambda _call, _body: {"status": "STOPPING"}, "compute.stopMachine"),
    }
)
