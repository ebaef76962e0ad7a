"""Compute Engine: virtual machines and their templates."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from typing import Any

from gcp_openemr.sandbox.provider.rest import ApiError, OperationFailed
from gcp_openemr.sandbox.provider.types.disks import image_link
from gcp_openemr.sandbox.provider.types.model import (
    COMPUTE,
    LINK,
    Change,
    Hooks,
    Json,
    Settings,
    Step,
    compute_link,
    expand,
    network_link,
    short,
)

__all__ = ["HOOKS"]

_SCRIPT = "startup-script"
_NEEDS_STOP = (
    "Changing the machine_type, min_cpu_platform, service_account, enable_display, shielded_instance_config, "
    "scheduling.node_affinities or network_interface.[#d].(network/subnetwork/subnetwork_project) or "
    "advanced_machine_features on a started instance requires stopping it. To acknowledge this, please set "
    "allow_stopping_for_update = true in your config. You can also stop it by setting desired_status = "
    '"TERMINATED", but the instance will not be restarted after the update.'
)


def _zonal(state: Mapping[str, Any], collection: str) -> str:
    return expand("projects/{project}/zones/{zone}/", state) + collection + "/"


def _encode(body: Json, state: Mapping[str, Any], change: Change) -> Json:
    body["machineType"] = LINK + _zonal(state, "machineTypes") + short(state["machine_type"])
    body["disks"] = [_boot_disk(state), *(_attached_disk(state, one) for one in state.get("attached_disk") or [])]
    body["metadata"] = {"items": _metadata(state)}
    _link_interfaces(body, state, str(state["zone"]).rpartition("-")[0], change.settings)
    if state.get("desired_status"):
        body.pop("status", None)
    return body


def _link_interfaces(body: Json, state: Mapping[str, Any], region: str, settings: Settings) -> None:
    for interface in body.get("networkInterfaces", []):
        if interface.get("network"):
            interface["network"] = network_link(interface["network"], settings)
        if interface.get("subnetwork"):
            collection = f"projects/{state['project']}/regions/{region}/subnetworks/"
            interface["subnetwork"] = compute_link(interface["subnetwork"], collection)
        for access in interface.get("accessConfigs", []):
            access |= {"type": "ONE_TO_ONE_NAT", "name": "External NAT"}


def _boot_disk(state: Mapping[str, Any]) -> Json:
    said = state["boot_disk"][0]
    disk: Json = {"boot": True, "type": "PERSISTENT", "autoDelete": said["auto_delete"], "mode": said["mode"]}
    if said.get("device_name"):
        disk["deviceName"] = said["device_name"]
    if said.get("source"):
        return {**disk, "source": compute_link(said["source"], _zonal(state, "disks"))}
    initial = (said.get("initialize_params") or [{}])[0] or {}
    parameters: Json = {}
    if initial.get("image"):
        parameters["sourceImage"] = image_link(initial["image"], state["project"])
    if initial.get("size"):
        parameters["diskSizeGb"] = str(initial["size"])
    if initial.get("type"):
        parameters["diskType"] = LINK + _zonal(state, "diskTypes") + short(initial["type"])
    if initial.get("labels"):
        parameters["labels"] = initial["labels"]
    return {**disk, "initializeParams": parameters}


def _attached_disk(state: Mapping[str, Any], said: Mapping[str, Any]) -> Json:
    disk: Json = {
        "type": "PERSISTENT",
        "autoDelete": False,
        "source": compute_link(said["source"], _zonal(state, "disks")),
        "mode": said["mode"],
    }
    return {**disk, **({"deviceName": said["device_name"]} if said.get("device_name") else {})}


def _metadata(state: Mapping[str, Any]) -> list[Json]:
    entries = dict(state.get("metadata") or {})
    if state.get("metadata_startup_script"):
        entries[_SCRIPT] = state["metadata_startup_script"]
    return [{"key": key, "value": value} for key, value in sorted(entries.items())]


def _read_metadata(state: dict[str, Any], metadata: Json) -> None:
    """The start-up script is an argument of its own when it was said as one."""
    entries = {one["key"]: one.get("value", "") for one in metadata.get("items", [])}
    if state.get("metadata_startup_script") is not None:
        state["metadata_startup_script"] = entries.pop(_SCRIPT, None)
    state["metadata"] = entries if entries or state.get("metadata") == {} else None


def _read_interfaces(state: dict[str, Any]) -> None:
    for interface in state["network_interface"]:
        link = interface.get("subnetwork") or ""
        interface["subnetwork_project"] = link.partition("projects/")[2].partition("/")[0]


def _settle(state: dict[str, Any], body: Json, settings: Settings) -> None:
    _read_metadata(state, body.get("metadata", {}))
    _read_interfaces(state)
    disks = body.get("disks", [])
    boot = [disk for disk in disks if disk.get("boot")]
    state["boot_disk"] = [_read_boot(boot[0], _first(state.get("boot_disk")), settings)] if boot else []
    before = {short(one["source"]): one for one in state.get("attached_disk") or []}
    attached = [_read_disk(disk, before.get(short(disk.get("source")), {})) for disk in disks if not disk.get("boot")]
    order = list(before)
    state["attached_disk"] = sorted(
        attached, key=lambda one: order.index(short(one["source"])) if short(one["source"]) in order else len(order)
    )
    state["scratch_disk"] = []
    state["desired_status"] = body.get("status") if state.get("desired_status") else None


def _first(blocks: Any) -> Mapping[str, Any]:
    return (blocks or [None])[0] or {}


def _read_disk(disk: Json, before: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("disk_encryption_key_raw", "disk_encryption_key_rsa", "disk_encryption_service_account", "force_attach")
    return {
        "device_name": disk.get("deviceName", ""),
        "mode": disk.get("mode", "READ_WRITE"),
        "source": disk.get("source", ""),
        "disk_encryption_key_sha256": "",
        "kms_key_self_link": disk.get("diskEncryptionKey", {}).get("kmsKeyName", ""),
        **{name: before.get(name) for name in kept},
    }


def _read_boot(disk: Json, before: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """The disk itself knows the image, size and type it was made with."""
    details: Json = {}
    source = str(disk.get("source", ""))
    if "/compute/v1/" in source:
        try:
            path = "/compute/v1/" + source.partition("/compute/v1/")[2]
            details = settings.client.call("GET", COMPUTE.host, path)
        except ApiError as error:
            if error.code != 404:
                raise
    initial = _first(before.get("initialize_params"))
    said = {name: value for name, value in initial.items() if value is not None}
    size = details.get("sizeGb") or disk.get("diskSizeGb") or said.get("size")
    parameters = {
        **said,
        "image": details.get("sourceImage") or said.get("image", ""),
        "size": int(size) if size is not None else None,
        "type": short(details.get("type")) or said.get("type", ""),
        "labels": details.get("labels") or said.get("labels") or {},
    }
    return {
        **_read_disk(disk, before),
        "auto_delete": disk.get("autoDelete", False),
        "guest_os_features": [one["type"] for one in disk.get("guestOsFeatures", [])],
        "interface": before.get("interface"),
        "initialize_params": [parameters],
    }


def _update(state: Mapping[str, Any], change: Change) -> None:
    """Disks come and go while the machine runs; for its type, account or shield it must stand still."""
    prior, row = change.prior or {}, change.row
    path = expand(row.item, state)

    def send(suffix: str, body: Json | None = None) -> None:
        row.call(change.settings.client, "POST", path + suffix, body)

    before = {short(one["source"]): one for one in prior.get("attached_disk") or []}
    after = {short(one["source"]): one for one in state.get("attached_disk") or []}
    for name in before.keys() - after.keys():
        send(f"/detachDisk?deviceName={before[name]['device_name']}")
    for name in after.keys() - before.keys():
        send("/attachDisk", _attached_disk(state, after[name]))
    machine = short(state["machine_type"]) != short(prior.get("machine_type"))
    account = state.get("service_account") != prior.get("service_account")
    still = machine or account or state.get("shielded_instance_config") != prior.get("shielded_instance_config")
    status = change.settings.client.call("GET", row.api.host, path).get("status")
    running = status == "RUNNING"
    if still and running and not state.get("allow_stopping_for_update"):
        raise OperationFailed(_NEEDS_STOP)
    if still and running:
        send("/stop")
    if machine:
        send("/setMachineType", {"machineType": LINK + _zonal(state, "machineTypes") + short(state["machine_type"])})
    if account:
        said = _first(state.get("service_account"))
        send("/setServiceAccount", {"email": said.get("email"), "scopes": sorted(said.get("scopes") or [])})
    if still and running:
        send("/start")
    wanted = state.get("desired_status")
    if wanted and wanted != prior.get("desired_status") and wanted != status:
        send("/start" if wanted == "RUNNING" else "/stop")


def _name_template(state: dict[str, Any], _change: Change) -> None:
    """A name of the provider's own: the prefix (or `terraform-`), the time, and a number that nobody else has."""
    unique = time.strftime("%Y%m%d%H%M%S", time.gmtime()) + f"{secrets.randbits(48):016d}"
    state["name"] = state.get("name") or f"{state.get('name_prefix') or 'terraform-'}{unique}"


def _encode_template(body: Json, state: Mapping[str, Any], change: Change) -> Json:
    body["metadata"] = {"items": _metadata(state)}
    for index, disk in enumerate(body.get("disks", [])):
        disk.setdefault("boot", index == 0)
        initial = disk.get("initializeParams", {})
        if initial.get("sourceImage"):
            initial["sourceImage"] = image_link(initial["sourceImage"], state["project"])
    _link_interfaces(body, state, state.get("region") or change.settings.region, change.settings)
    return {"name": state["name"], "description": state.get("description") or "", "properties": body}


def _settle_template(state: dict[str, Any], body: Json, settings: Settings) -> None:
    _read_metadata(state, body.get("metadata", {}))
    _read_interfaces(state)
    state |= {
        "description": body["template"].get("description") or state.get("description"),
        "creation_timestamp": body["template"].get("creationTimestamp", ""),
        "numeric_id": str(body["template"].get("id", "")),
        "self_link": body["template"]["selfLink"],
        "self_link_unique": f"{body['template']['selfLink']}?uniqueId={body['template'].get('id', '')}",
        "name_prefix": state.get("name_prefix") or "",
        "region": state.get("region") or settings.region,
    }


HOOKS = {
    "google_compute_instance": Hooks(
        encode=_encode,
        settle=_settle,
        steps=(
            Step(
                changes=("metadata",),
                suffix="/setMetadata",
                body=lambda state, now: {
                    "items": _metadata(state),
                    "fingerprint": now.get("metadata", {}).get("fingerprint", ""),
                },
            ),
            Step(
                changes=("tags",),
                suffix="/setTags",
                body=lambda state, now: {
                    "items": sorted(state.get("tags") or []),
                    "fingerprint": now.get("tags", {}).get("fingerprint", ""),
                },
            ),
            Step(
                changes=("deletion_protection",),
                suffix="/setDeletionProtection?deletionProtection={deletion_protection}",
                body=lambda _state, _now: {},
            ),
        ),
        updating=_update,
    ),
    "google_compute_instance_template": Hooks(
        before_create=_name_template,
        encode=_encode_template,
        decode=lambda body, _state, _settings: {**body["properties"], "template": body},
        settle=_settle_template,
    ),
}
