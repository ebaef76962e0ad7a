"""Compute Engine: virtual machines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gcp_openemr.sandbox.provider.rest import ApiError, OperationFailed
from gcp_openemr.sandbox.provider.types.disks import image_link
from gcp_openemr.sandbox.provider.types.model import (
    COMPUTE,
    Change,
    Json,
    ResourceType,
    Settings,
    compute_link,
    expand,
    network_link,
    short,
)

__all__ = ["ROWS"]

_INSTANCE = "projects/{project}/zones/{zone}/instances/{name}"
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
    body["machineType"] = COMPUTE + _zonal(state, "machineTypes") + short(state["machine_type"])
    body["disks"] = [_boot_disk(state), *(_attached_disk(state, one) for one in state.get("attached_disk") or [])]
    body["metadata"] = {"items": _metadata(state)}
    for interface in body.get("networkInterfaces", []):
        if interface.get("network"):
            interface["network"] = network_link(interface["network"], change.settings)
        if interface.get("subnetwork"):
            region = str(state["zone"]).rpartition("-")[0]
            collection = f"projects/{state['project']}/regions/{region}/subnetworks/"
            interface["subnetwork"] = compute_link(interface["subnetwork"], collection)
        for access in interface.get("accessConfigs", []):
            access |= {"type": "ONE_TO_ONE_NAT", "name": "External NAT"}
    if state.get("desired_status"):
        body.pop("status", None)
    return body


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
        parameters["diskType"] = COMPUTE + _zonal(state, "diskTypes") + short(initial["type"])
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


def _decode(body: Json, _state: Mapping[str, Any], _settings: Settings) -> Json:
    return {**body, "machineType": short(body.get("machineType"))}


def _settle(state: dict[str, Any], body: Json, settings: Settings) -> None:
    entries = {one["key"]: one.get("value", "") for one in body.get("metadata", {}).get("items", [])}
    script = entries.pop(_SCRIPT, None) if state.get("metadata_startup_script") is not None else None
    if state.get("metadata_startup_script") is not None:
        state["metadata_startup_script"] = script
    state["metadata"] = entries if entries or state.get("metadata") == {} else None
    disks = body.get("disks", [])
    boot = [disk for disk in disks if disk.get("boot")]
    state["boot_disk"] = [_read_boot(boot[0], _first(state.get("boot_disk")), settings)] if boot else []
    before = {short(one["source"]): one for one in state.get("attached_disk") or []}
    attached = [
        _read_attached(disk, before.get(short(disk.get("source")), {})) for disk in disks if not disk.get("boot")
    ]
    order = list(before)
    state["attached_disk"] = sorted(
        attached, key=lambda one: order.index(short(one["source"])) if short(one["source"]) in order else len(order)
    )
    state["scratch_disk"] = []
    for interface in state["network_interface"]:
        link = interface.get("subnetwork") or ""
        interface["subnetwork_project"] = link.partition("projects/")[2].partition("/")[0]
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


def _read_attached(disk: Json, before: Mapping[str, Any]) -> dict[str, Any]:
    return _read_disk(disk, before)


def _read_boot(disk: Json, before: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """The disk itself knows the image, size and type it was made with."""
    details: Json = {}
    source = str(disk.get("source", ""))
    if "/compute/v1/" in source:
        try:
            path = "/compute/v1/" + source.partition("/compute/v1/")[2]
            details = settings.client.call("GET", "compute.googleapis.com", path)
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
    prior = change.prior or {}
    client, row = change.settings.client, change.row
    path = expand(row.item, state)

    def send(suffix: str, body: Json | None = None, query: Mapping[str, str] | None = None) -> None:
        operation = client.call("POST", row.host, path + suffix, body, query)
        client.wait("compute", row.host, row.version, operation, row.timeouts.update)

    def differs(*names: str) -> bool:
        return any(state.get(name) != prior.get(name) for name in names)

    current = client.call("GET", row.host, path)
    if differs("effective_labels"):
        body = {"labels": state.get("effective_labels") or {}, "labelFingerprint": current.get("labelFingerprint", "")}
        send("/setLabels", body)
    if differs("metadata"):
        fingerprint = current.get("metadata", {}).get("fingerprint", "")
        send("/setMetadata", {"items": _metadata(state), "fingerprint": fingerprint})
    if differs("tags"):
        fingerprint = current.get("tags", {}).get("fingerprint", "")
        send("/setTags", {"items": sorted(state.get("tags") or []), "fingerprint": fingerprint})
    if differs("deletion_protection"):
        send("/setDeletionProtection", query={"deletionProtection": str(bool(state["deletion_protection"])).lower()})
    _update_disks(state, prior, send)
    _update_stopped(state, prior, current, send, differs_any=differs)
    wanted = state.get("desired_status")
    if differs("desired_status") and wanted and wanted != current.get("status"):
        send("/start" if wanted == "RUNNING" else "/stop")


def _update_disks(state: Mapping[str, Any], prior: Mapping[str, Any], send: Any) -> None:
    before = {short(one["source"]): one for one in prior.get("attached_disk") or []}
    after = {short(one["source"]): one for one in state.get("attached_disk") or []}
    for name in before.keys() - after.keys():
        send("/detachDisk", query={"deviceName": before[name]["device_name"]})
    for name in after.keys() - before.keys():
        send("/attachDisk", _attached_disk(state, after[name]))


def _update_stopped(
    state: Mapping[str, Any], prior: Mapping[str, Any], current: Json, send: Any, *, differs_any: Any
) -> None:
    """What a machine must stand still for."""
    machine = short(state["machine_type"]) != short(prior.get("machine_type"))
    account = differs_any("service_account")
    shield = differs_any("shielded_instance_config")
    if not (machine or account or shield):
        return
    running = current.get("status") == "RUNNING"
    if running and not state.get("allow_stopping_for_update"):
        raise OperationFailed(_NEEDS_STOP)
    if running:
        send("/stop")
    if machine:
        link = COMPUTE + _zonal(state, "machineTypes") + short(state["machine_type"])
        send("/setMachineType", {"machineType": link})
    if account:
        said = _first(state.get("service_account"))
        send("/setServiceAccount", {"email": said.get("email"), "scopes": sorted(said.get("scopes") or [])})
    if running:
        send("/start")


ROWS = (
    ResourceType(
        type="google_compute_instance",
        title="instance",
        api=("compute", "v1"),
        schema="Instance",
        collection="/compute/v1/projects/{project}/zones/{zone}/instances",
        item=f"/compute/v1/{_INSTANCE}",
        id=_INSTANCE,
        wait="compute",
        names={
            "zone": "",
            "project": "",
            "region": "",
            "metadata": "",
            "metadata_startup_script": "",
            "metadata_fingerprint": "metadata.fingerprint",
            "tags": "tags.items",
            "tags_fingerprint": "tags.fingerprint",
            "boot_disk": "",
            "attached_disk": "",
            "scratch_disk": "",
            "instance_id": "id",
            "current_status": "status",
            "guest_accelerator": "guestAccelerators",
            "guest_accelerator.count": "acceleratorCount",
            "guest_accelerator.type": "acceleratorType",
            "instance_encryption_key.kms_key_self_link": "kmsKeyName",
            "service_account": "serviceAccounts",
            "network_interface": "networkInterfaces",
            "network_interface.network_ip": "networkIP",
            "network_interface.access_config": "accessConfigs",
            "network_interface.access_config.nat_ip": "natIP",
            "network_interface.alias_ip_range": "aliasIpRanges",
            "network_interface.ipv6_access_config": "ipv6AccessConfigs",
        },
        by_hand=frozenset(
            {
                "attached_disk",
                "boot_disk",
                "desired_status",
                "metadata",
                "metadata_startup_script",
                "network_interface.subnetwork_project",
                "project",
                "zone",
            }
        ),
        unserved=frozenset(
            {
                "boot_disk.disk_encryption_key_raw",
                "boot_disk.disk_encryption_key_rsa",
                "boot_disk.disk_encryption_service_account",
                "boot_disk.initialize_params.provisioned_iops",
                "boot_disk.initialize_params.provisioned_throughput",
                "boot_disk.initialize_params.resource_policies",
                "boot_disk.initialize_params.snapshot",
                "boot_disk.kms_key_self_link",
                "scratch_disk",
            }
        ),
        forced=frozenset({"metadata_startup_script"}),
        sameness={
            "machine_type": "link",
            "boot_disk.initialize_params.image": "image",
            "boot_disk.initialize_params.type": "link",
            "boot_disk.source": "link",
            "attached_disk.source": "link",
            "network_interface.network": "link",
            "network_interface.subnetwork": "link",
            "network_interface.network_ip": "link",
            "service_account.email": "case",
        },
        local=frozenset({"allow_stopping_for_update"}),
        encode=_encode,
        decode=_decode,
        settle=_settle,
        updating=_update,
    ),
)
