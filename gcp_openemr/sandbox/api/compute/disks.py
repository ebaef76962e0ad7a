"""Disks, their snapshots, and the schedules that take them."""

from __future__ import annotations

import re

from gcp_openemr.sandbox.api import crud
from gcp_openemr.sandbox.api.compute import links
from gcp_openemr.sandbox.api.compute.network import adopt, in_use
from gcp_openemr.sandbox.api.names import id_of, path_of, segment
from gcp_openemr.sandbox.api.operations import Operation
from gcp_openemr.sandbox.api.refusals import duplicate, existing, refuse, refuse_if
from gcp_openemr.sandbox.api.rules import COLLECTIONS, WORK, App, Call, Change, Collection, handles, marking, shape
from gcp_openemr.sandbox.api.store import Record
from gcp_openemr.sandbox.interfaces import Json

_SMALLEST_DISK = 10  # GB
_HOUR = re.compile(r"([01]\d|2[0-3]):00")
_CYCLES = {"dailySchedule": "daysInCycle", "hourlySchedule": "hoursInCycle", "weeklySchedule": ""}
_DISK_FIELDS: Json = {"status": "READY", "physicalBlockSizeBytes": "4096", "enableConfidentialCompute": False}


def _disk(change: Change) -> None:
    new = adopt(change)
    zone = f"{links.self_link(change.name).split('/disks/')[0]}"
    kind = new.get("type") or "pd-standard"
    new["type"] = kind if "/" in kind else f"{zone}/diskTypes/{kind}"
    snapshot = change.call.store.get(links.full_name(str(new.get("sourceSnapshot") or "")))
    size = int(new.get("sizeGb") or (snapshot.body["diskSizeGb"] if snapshot else 0))
    refuse_if(size < _SMALLEST_DISK, "compute.disk-size", field="sizeGb", value=size, least=_SMALLEST_DISK)
    _check_growth(change.old or {"sizeGb": snapshot.body["diskSizeGb"] if snapshot else "0"}, size)
    change.new = {**_DISK_FIELDS, "labelFingerprint": links.fingerprint(), **new, "sizeGb": str(size)}


def _check_growth(old: Json, size: int) -> None:
    refuse_if(size < int(old["sizeGb"]), "compute.disk-shrink", size=size, old=old["sizeGb"])


def _resize(call: Call, body: Json) -> Json:
    size = int(call.body.get("sizeGb") or 0)
    _check_growth(body, size)
    return {"sizeGb": str(size)}


def _shown(call: Call, body: Json) -> Json:
    name = links.full_name(body["selfLink"])
    users = [
        record.body["selfLink"] for record in links.referrers(call.store, name) if segment(record.name, "instances")
    ]
    return {**body, **({"users": users} if users else {})}


def _disk_free(call: Call, record: Record) -> None:
    """A snapshot remembers its disk and outlives it."""
    users = [user for user in links.referrers(call.store, record.name) if not segment(user.name, "snapshots")]
    if users:
        user = path_of(users[0].name)
        raise refuse("compute.in-use", kind="disk", name=path_of(record.name), user=user)


def _policy(change: Change) -> None:
    new = adopt(change)
    schedule = (new.get("snapshotSchedulePolicy") or {}).get("schedule") or {}
    place = "snapshotSchedulePolicy.schedule"
    given = [field for field in _CYCLES if schedule.get(field)]
    refuse_if(len(given) != 1, "compute.schedule", field=place, value="", why="Exactly one schedule must be given.")
    cycle = schedule[given[0]]
    days = cycle.get("dayOfWeeks") or [cycle]
    for day in days:
        if not _HOUR.fullmatch(str(day.get("startTime") or "")):
            value = day.get("startTime", "")
            raise refuse("compute.schedule", field=f"{place}.startTime", value=value, why="It must be on the hour.")
    if given[0] == "dailySchedule" and cycle.get("daysInCycle") != 1:
        value = cycle.get("daysInCycle", "")
        raise refuse("compute.schedule", field=f"{place}.daysInCycle", value=value, why="It must be 1.")
    new["status"] = "READY"


def _attach_policies(call: Call, body: Json) -> Json:
    wanted: list[str] = links.normalize(call.store, call.body.get("resourcePolicies") or [], call.project)
    names = {"policy": id_of(wanted[0]) if wanted else "", "name": body["name"]}
    for link in wanted:
        policy = existing(call.store, links.full_name(link))
        if segment(policy.name, "regions") != segment(call.name, "zones")[:-2]:
            raise refuse("compute.schedule-region", **names)
    refuse_if(len(wanted) > 1 or body.get("resourcePolicies"), "compute.schedule-second", **names)
    return {"resourcePolicies": wanted}


def _detach_policies(call: Call, body: Json) -> Json:
    gone = links.normalize(call.store, call.body.get("resourcePolicies") or [], call.project)
    return {"resourcePolicies": [link for link in body.get("resourcePolicies") or () if link not in gone]}


Collection(
    "compute.disks",
    complete=_disk,
    deletable=_disk_free,
    shown=_shown,
    created="compute.fillDisk",
    deleted="compute.deleteDisk",
)
Collection("compute.snapshots", deletable=in_use, deleted="compute.deleteDisk", verbs=("get", "list", "delete"))
Collection("compute.resourcePolicies", complete=_policy, deletable=in_use)

links.actions(
    {
        "compute.disks.resize": links.Action(_resize),
        "compute.disks.addResourcePolicies": links.Action(_attach_policies),
        "compute.disks.removeResourcePolicies": links.Action(_detach_policies),
    }
)


@handles("compute.disks.createSnapshot", needs="compute.disks.createSnapshot")
def create_snapshot(call: Call) -> Json:
    """A snapshot is global; the operation is on the disk."""
    rule = COLLECTIONS["compute.disks"]
    snapshot_id = crud.chosen_id(call, rule, call.body)
    name = f"compute.googleapis.com/projects/{call.project}/global/snapshots/{snapshot_id}"
    with call.store.transaction():
        disk = crud.existing(call, rule)
        if call.store.get(name) is not None:
            raise duplicate(name)
        source = {"disk": disk.body["selfLink"], "disk_id": disk.body["id"], "size": disk.body["sizeGb"]}
        snapshot = {**call.body, **shape("compute.snapshot", name, fingerprint=links.fingerprint(), **source)}
        call.store.put(name, snapshot)
        arguments = {"snapshot": name}
        operation = crud.begin(call, rule, disk.name, disk.body, work="compute.snapshot", arguments=arguments)
    return crud.finish(call, operation)


@WORK.register("compute.snapshot")
def snapshot_disk(app: App, operation: Operation) -> Json:
    name = str(operation.arguments["snapshot"])
    with marking(app, name, status="FAILED"):
        app.runtime.copy_disk(operation.target, name)
    app.store.update(name, {"status": "READY"})
    return {}


@WORK.register("compute.deleteDisk")
def delete_disk(app: App, operation: Operation) -> Json:
    app.runtime.delete_disk(operation.target)
    app.store.delete(operation.target)
    return {}


@WORK.register("compute.fillDisk", undo=delete_disk)
def fill_disk(app: App, operation: Operation) -> Json:
    """A disk of a snapshot begins with what the snapshot holds."""
    record = app.store.get(operation.target)
    if record is not None and record.body.get("sourceSnapshot"):
        app.runtime.copy_disk(links.full_name(record.body["sourceSnapshot"]), record.name)
    return {}
