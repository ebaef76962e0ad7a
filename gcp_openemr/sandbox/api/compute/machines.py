"""Disks and virtual machines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from gcp_openemr.sandbox.api import crud
from gcp_openemr.sandbox.api.calls import Call
from gcp_openemr.sandbox.api.compute.links import full_name, referrers, self_link
from gcp_openemr.sandbox.api.compute.network import address_of, adopt, fingerprint, in_use
from gcp_openemr.sandbox.api.errors import ApiError
from gcp_openemr.sandbox.api.names import new_numeric_id, project_number, project_of
from gcp_openemr.sandbox.api.operations import Operation
from gcp_openemr.sandbox.api.rules import COLLECTIONS, WORK, Change, Collection, collection, handles
from gcp_openemr.sandbox.api.store import Record
from gcp_openemr.sandbox.interfaces import Json, Refused

if TYPE_CHECKING:
    from gcp_openemr.sandbox.api.app import App

__all__: list[str] = []

_SMALLEST_DISK, _BOOT_DISK = 10, 10  # GB


def _disk(change: Change) -> None:
    new = adopt(change)
    zone = f"{self_link(change.name).split('/disks/')[0]}"
    new["type"] = new.get("type") or f"{zone}/diskTypes/pd-standard"
    if "/" not in new["type"]:
        new["type"] = f"{zone}/diskTypes/{new['type']}"
    size = int(new.get("sizeGb") or 0)
    if size < _SMALLEST_DISK:
        problem = f"Disk size cannot be smaller than {_SMALLEST_DISK} GB."
        message = f"Invalid value for field 'resource.sizeGb': '{size}'. {problem}"
        raise ApiError(400, message, reason="invalid")
    _check_growth(change.old, size)
    new |= {"sizeGb": str(size), "status": "READY"}
    new.setdefault("physicalBlockSizeBytes", "4096")
    new.setdefault("labelFingerprint", fingerprint())
    new.setdefault("enableConfidentialCompute", False)


def _check_growth(old: Json | None, size: int) -> None:
    if old is not None and size < int(old["sizeGb"]):
        message = (
            f"Invalid value for field 'sizeGb': '{size}'. New disk size '{size}' GB must be larger than existing size "
            f"'{old['sizeGb']}' GB."
        )
        raise ApiError(400, message, reason="invalid")


def _disk_shown(call: Call, body: Json) -> Json:
    users = [record.body["selfLink"] for record in referrers(call.store, full_name(body["selfLink"]))]
    return {**body, **({"users": users} if users else {})}


def _machine(change: Change) -> None:
    new = adopt(change)
    zone = self_link(change.name).split("/instances/")[0]
    kind = str(new.get("machineType") or "")
    if not kind:
        raise ApiError(400, "Invalid value for field 'resource.machineType': ''. It is required.", reason="required")
    new["machineType"] = kind if "/" in kind else f"{zone}/machineTypes/{kind}"
    if change.old is None:
        _check_accounts(change)
        _attach_disks(change, zone)
        _join_networks(change)
        new["status"] = "PROVISIONING"
        new.setdefault("cpuPlatform", "Intel Broadwell")
    new.setdefault("canIpForward", False)
    new.setdefault("deletionProtection", False)
    new.setdefault("startRestricted", False)
    new.setdefault("fingerprint", fingerprint())
    new.setdefault("labelFingerprint", fingerprint())
    new["metadata"] = {"kind": "compute#metadata", "fingerprint": fingerprint(), **(new.get("metadata") or {})}
    new["tags"] = {"fingerprint": fingerprint(), **(new.get("tags") or {})}
    scheduling = {"onHostMaintenance": "MIGRATE", "automaticRestart": True, "preemptible": False}
    new["scheduling"] = {**scheduling, "provisioningModel": "STANDARD", **(new.get("scheduling") or {})}
    shielded = {"enableSecureBoot": False, "enableVtpm": True, "enableIntegrityMonitoring": True}
    new["shieldedInstanceConfig"] = {**shielded, **(new.get("shieldedInstanceConfig") or {})}
    new.setdefault("shieldedInstanceIntegrityPolicy", {"updateAutoLearnPolicy": True})


def _check_accounts(change: Change) -> None:
    project = project_of(change.name)
    for account in change.new.get("serviceAccounts") or ():
        if account.get("email") == "default":
            account["email"] = f"{project_number(project)}-compute@developer.gserviceaccount.com"
        email = str(account.get("email") or "")
        if not change.call.app.service_account_exists(email):
            message = f"The resource '{email}' of type 'serviceAccount' was not found."
            raise ApiError(400, message, reason="notFound")
        change.call.app.authorize_act_as(change.call, email)


def _attach_disks(change: Change, zone: str) -> None:
    disks = change.new.get("disks") or []
    if not disks:
        raise ApiError(400, "Invalid value for field 'resource.disks': ''. No disks are specified.", reason="invalid")
    for index, disk in enumerate(disks):
        if disk.get("source"):
            _refuse_attached(change, disk)
        else:
            disk["source"] = _boot_disk(change, disk, zone)
        disk |= {
            "kind": "compute#attachedDisk",
            "index": index,
            "type": disk.get("type", "PERSISTENT"),
            "mode": disk.get("mode", "READ_WRITE"),
            "boot": bool(disk.get("boot")),
            "autoDelete": bool(disk.get("autoDelete")),
            "interface": disk.get("interface", "SCSI"),
            "deviceName": disk.get("deviceName") or f"persistent-disk-{index}",
        }
        record = change.call.store.get(full_name(disk["source"]))
        disk["diskSizeGb"] = record.body["sizeGb"] if record else str(_BOOT_DISK)
        disk.pop("initializeParams", None)


def _refuse_attached(change: Change, disk: Json) -> None:
    name = full_name(disk["source"])
    users = [record for record in referrers(change.call.store, name) if record.name != change.name]
    if users and disk.get("mode", "READ_WRITE") == "READ_WRITE":
        message = (
            f"The disk resource '{name.split('/', 1)[1]}' is already being used by '{users[0].name.split('/', 1)[1]}'"
        )
        raise ApiError(400, message, reason="resourceInUseByAnotherResource")


def _boot_disk(change: Change, disk: Json, zone: str) -> str:
    """Make the disk that comes with the machine."""
    wanted = disk.get("initializeParams") or {}
    disk_id = str(wanted.get("diskName") or change.new["name"])
    link = f"{zone}/disks/{disk_id}"
    name = full_name(link)
    if change.call.store.get(name) is not None:
        raise change.call.wording.duplicate(name)
    kind = str(wanted.get("diskType") or f"{zone}/diskTypes/pd-standard")
    body: Json = {
        "kind": "compute#disk",
        "id": new_numeric_id(),
        "name": disk_id,
        "selfLink": link,
        "zone": zone,
        "type": kind if "/" in kind else f"{zone}/diskTypes/{kind}",
        "sizeGb": str(wanted.get("diskSizeGb") or _BOOT_DISK),
        "status": "READY",
        "physicalBlockSizeBytes": "4096",
        "creationTimestamp": change.new["creationTimestamp"],
        "labelFingerprint": fingerprint(),
        **({"sourceImage": wanted["sourceImage"]} if wanted.get("sourceImage") else {}),
        **({"labels": wanted["labels"]} if wanted.get("labels") else {}),
    }
    change.call.store.put(name, body)
    return link


def _join_networks(change: Change) -> None:
    interfaces = change.new.get("networkInterfaces") or []
    if not interfaces:
        raise ApiError(400, "At least one network interface is required.", reason="required")
    for place, interface in enumerate(interfaces):
        if interface.get("accessConfigs"):
            raise ApiError(501, "The sandbox has no external addresses.")
        subnetwork = str(interface.get("subnetwork") or "")
        if not subnetwork:
            message = (
                f"Invalid value for field 'resource.networkInterfaces[{place}]': Subnetwork should be specified for "
                "custom subnetmode network"
            )
            raise ApiError(400, message, reason="invalid")
        record = change.call.store.get(full_name(subnetwork))
        given = str(interface.get("networkIP") or "")
        interface |= {
            "kind": "compute#networkInterface",
            "name": f"nic{place}",
            "network": record.body["network"] if record else "",
            "networkIP": address_of(change.call, given, subnetwork, change.name),
            "stackType": interface.get("stackType", "IPV4_ONLY"),
            "fingerprint": fingerprint(),
        }


def _deletable(call: Call, record: Record) -> None:
    in_use(call, record)
    if record.body.get("deletionProtection"):
        message = (
            "Invalid resource usage: 'Resource cannot be deleted if it's protected against deletion. "
            "resource.deletion_protection'."
        )
        raise ApiError(400, message, reason="invalid")


DISKS = collection(
    Collection(
        key="compute.disks",
        kind="disk",
        permission="compute.disks",
        complete=_disk,
        deletable=in_use,
        shown=_disk_shown,
        deleted="compute.deleteDisk",
    )
)
MACHINES = collection(
    Collection(
        key="compute.instances",
        kind="instance",
        permission="compute.instances",
        complete=_machine,
        deletable=_deletable,
        created="compute.startMachine",
        updated="compute.startMachine",
        deleted="compute.deleteMachine",
    )
)


@WORK.register("compute.startMachine")
def start_machine(app: App, operation: Operation) -> Json:
    record = app.store.get(operation.target)
    if record is None:
        return {}
    try:
        app.runtime.start_machine(record.body)
    except Refused:
        _set_status(app, operation.target, "TERMINATED")
        raise
    _set_status(app, operation.target, "RUNNING")
    return {}


@WORK.register("compute.stopMachine")
def stop_machine(app: App, operation: Operation) -> Json:
    app.runtime.delete_machine(operation.target)
    _set_status(app, operation.target, "TERMINATED")
    return {}


@WORK.register("compute.deleteMachine")
def delete_machine(app: App, operation: Operation) -> Json:
    app.runtime.delete_machine(operation.target)
    record = app.store.get(operation.target)
    disks = [full_name(disk["source"]) for disk in (record.body["disks"] if record else ()) if disk.get("autoDelete")]
    with app.store.transaction():
        for name in (operation.target, *disks):
            app.store.delete(name)
    for disk in disks:
        app.runtime.delete_disk(disk)
    return {}


@WORK.register("compute.deleteDisk")
def delete_disk(app: App, operation: Operation) -> Json:
    app.runtime.delete_disk(operation.target)
    app.store.delete(operation.target)
    return {}


def _set_status(app: App, name: str, status: str) -> None:
    with app.store.transaction():
        record = app.store.get(name)
        if record is not None:
            app.store.put(name, {**record.body, "status": status})


def _metadata(call: Call, _body: Json) -> Json:
    return {"metadata": {"kind": "compute#metadata", **call.body, "fingerprint": fingerprint()}}


def _labels(call: Call, body: Json) -> Json:
    given = call.body.get("labelFingerprint")
    if given and given != body.get("labelFingerprint"):
        raise ApiError(
            412, "Labels fingerprint either invalid or resource labels have changed", reason="conditionNotMet"
        )
    return {"labels": call.body.get("labels") or {}, "labelFingerprint": fingerprint()}


def _tags(call: Call, _body: Json) -> Json:
    return {"tags": {"items": call.body.get("items") or [], "fingerprint": fingerprint()}}


def _protection(call: Call, _body: Json) -> Json:
    return {"deletionProtection": call.one("deletionProtection", "true").lower() == "true"}


def _resize(call: Call, body: Json) -> Json:
    size = int(call.body.get("sizeGb") or 0)
    _check_growth(body, size)
    return {"sizeGb": str(size)}


# Method to what it changes, and the work that follows.
_ACTIONS: Mapping[str, tuple[Callable[[Call, Json], Json], str]] = {
    "compute.instances.setMetadata": (_metadata, "compute.startMachine"),
    "compute.instances.setLabels": (_labels, ""),
    "compute.instances.setTags": (_tags, ""),
    "compute.instances.setDeletionProtection": (_protection, ""),
    "compute.instances.start": (lambda _call, _body: {"status": "STAGING"}, "compute.startMachine"),
    "compute.instances.reset": (lambda _call, _body: {}, "compute.startMachine"),
    "compute.instances.stop": (lambda _call, _body: {"status": "STOPPING"}, "compute.stopMachine"),
    "compute.disks.setLabels": (_labels, ""),
    "compute.disks.resize": (_resize, ""),
    "compute.addresses.setLabels": (_labels, ""),
    "compute.forwardingRules.setLabels": (_labels, ""),
}


@handles(*_ACTIONS)
def act(call: Call) -> Json:
    """A method that changes one thing of a resource."""
    change, work = _ACTIONS[call.method.id]
    rule = COLLECTIONS[call.collection]
    call.authorize(f"{rule.permission}.{call.verb}")
    with call.store.transaction():
        record = crud.existing(call, rule)
        new = {**record.body, **change(call, record.body)}
        call.store.put(record.name, new)
        operation = crud.begin(call, rule, record.name, new, work=work)
    return crud.finish(call, operation)
