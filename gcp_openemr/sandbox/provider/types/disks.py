"""Compute Engine: disks, snapshot schedules, health checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gcp_openemr.sandbox.provider.rest import ApiError
from gcp_openemr.sandbox.provider.types.model import COMPUTE, Change, Json, ResourceType, Settings, expand, short

__all__ = ["ROWS", "image_link"]

_COMPUTE = ("compute", "v1")
_DISK = "projects/{project}/zones/{zone}/disks/{name}"
_REGION_DISK = "projects/{project}/regions/{region}/disks/{name}"
_POLICY = "projects/{project}/regions/{region}/resourcePolicies/{name}"
_CHECK = "projects/{project}/global/healthChecks/{name}"
_PLACES = {"region": "", "zone": "", "project": ""}


def image_link(image: str, project: str) -> str:
    """An image or family as people write it (`debian-cloud/debian-12`), as a link. Families are the usual case."""
    if image.startswith("https://"):
        return image
    if image.startswith("projects/"):
        return COMPUTE + image
    owner, _, name = image.rpartition("/")
    # `family/…` and `global/images/…` belong to the project itself.
    if owner in ("family", "global/images/family"):
        return f"{COMPUTE}projects/{project}/global/images/family/{name}"
    return f"{COMPUTE}projects/{owner or project}/global/images/family/{name}"


def _encode_disk(body: Json, state: Mapping[str, Any], _change: Change) -> Json:
    place = expand(
        "projects/{project}/zones/{zone}/" if "zone" in state else "projects/{project}/regions/{region}/", state
    )
    if body.get("type"):
        body["type"] = f"{COMPUTE}{place}diskTypes/{short(body['type'])}"
    if body.get("sourceImage"):
        body["sourceImage"] = image_link(body["sourceImage"], state["project"])
    if "replicaZones" in body:
        zones = [short(zone) for zone in body["replicaZones"]]
        body["replicaZones"] = [f"{COMPUTE}projects/{state['project']}/zones/{zone}" for zone in zones]
    return body


def _decode_disk(body: Json, _state: Mapping[str, Any], _settings: Settings) -> Json:
    return {**body, "type": short(body.get("type"))}


def _update_disk(state: Mapping[str, Any], change: Change) -> None:
    """Disks only grow, and their labels have a method of their own."""
    prior = change.prior or {}
    client, row, path = change.settings.client, change.row, expand(change.row.item, state)

    def send(method: str, suffix: str, body: Json) -> None:
        operation = client.call(method, row.host, path + suffix, body)
        client.wait("compute", row.host, row.version, operation, row.timeouts.update)

    if state.get("effective_labels") != prior.get("effective_labels"):
        fingerprint = client.call("GET", row.host, path).get("labelFingerprint", "")
        send("POST", "/setLabels", {"labels": state.get("effective_labels") or {}, "labelFingerprint": fingerprint})
    if state.get("size") != prior.get("size"):
        send("POST", "/resize", {"sizeGb": str(state["size"])})
    for ours, theirs in (("provisioned_iops", "provisionedIops"), ("provisioned_throughput", "provisionedThroughput")):
        if state.get(ours) != prior.get(ours):
            send("PATCH", f"?paths={theirs}", {"name": state["name"], theirs: str(state[ours])})


def _plan_disk(
    state: dict[str, Any], prior: Mapping[str, Any] | None, _config: Mapping[str, Any], _settings: Settings
) -> tuple[str, ...]:
    """A smaller size is another disk."""
    if prior is None or not isinstance(state.get("size"), int | float) or not prior.get("size"):
        return ()
    return ("size",) if state["size"] < prior["size"] else ()


def _detach(state: Mapping[str, Any], change: Change) -> None:
    """A disk that is still attached is detached first, as hashicorp/google does."""
    client, host = change.settings.client, change.row.host
    body = client.call("GET", host, expand(change.row.item, state))
    for user in body.get("users", []):
        instance = "/compute/v1/" + user.partition("/compute/v1/")[2]
        disks = client.call("GET", host, instance).get("disks", [])
        for disk in disks:
            if disk.get("source", "").endswith(expand("/" + change.row.id, state)):
                query = {"deviceName": disk["deviceName"]}
                operation = client.call("POST", host, f"{instance}/detachDisk", query=query)
                client.wait("compute", host, change.row.version, operation, change.row.timeouts.delete)


def _attachment(state: Mapping[str, Any]) -> str:
    return "/compute/v1/" + expand("projects/{project}/zones/{zone}/disks/", state) + short(state["disk"])


def _attach_policy(state: Mapping[str, Any], change: Change) -> None:
    _switch_policy(state, change, "/addResourcePolicies")


def _detach_policy(state: Mapping[str, Any], change: Change) -> None:
    _switch_policy(state, change, "/removeResourcePolicies")


def _switch_policy(state: Mapping[str, Any], change: Change, verb: str) -> None:
    region = str(state["zone"]).rpartition("-")[0]
    policy = f"projects/{state['project']}/regions/{region}/resourcePolicies/{state['name']}"
    client, row = change.settings.client, change.row
    operation = client.call("POST", row.host, _attachment(state) + verb, {"resourcePolicies": [policy]})
    client.wait("compute", row.host, row.version, operation, row.timeouts.update)


def _read_attachment(state: Mapping[str, Any], settings: Settings) -> dict[str, Any] | None:
    try:
        disk = settings.client.call("GET", "compute.googleapis.com", _attachment(state))
    except ApiError as error:
        if error.code == 404:
            return None
        raise
    if state["name"] not in [short(policy) for policy in disk.get("resourcePolicies", [])]:
        return None
    return {**state, "id": f"{state['project']}/{state['zone']}/{short(state['disk'])}/{state['name']}"}


_DISK_NAMES = {
    **_PLACES,
    "size": "sizeGb",
    "snapshot": "sourceSnapshot",
    "disk_id": "id",
}
_DISK_SAMENESS = {"type": "link", "snapshot": "link", "source_disk": "link"}
_DISK_LOCAL = frozenset({"create_snapshot_before_destroy", "create_snapshot_before_destroy_prefix"})

ROWS = (
    ResourceType(
        type="google_compute_disk",
        title="Disk",
        api=_COMPUTE,
        schema="Disk",
        collection="/compute/v1/projects/{project}/zones/{zone}/disks",
        item=f"/compute/v1/{_DISK}",
        id=_DISK,
        wait="compute",
        names={
            **_DISK_NAMES,
            "disk_encryption_key.kms_key_self_link": "kmsKeyName",
            "source_image_encryption_key.kms_key_self_link": "kmsKeyName",
            "source_snapshot_encryption_key.kms_key_self_link": "kmsKeyName",
            "image": "sourceImage",
        },
        sameness={**_DISK_SAMENESS, "image": "image"},
        local=_DISK_LOCAL,
        on_plan=_plan_disk,
        encode=_encode_disk,
        decode=_decode_disk,
        updating=_update_disk,
        before_delete=_detach,
    ),
    ResourceType(
        type="google_compute_region_disk",
        title="RegionDisk",
        api=_COMPUTE,
        schema="Disk",
        collection="/compute/v1/projects/{project}/regions/{region}/disks",
        item=f"/compute/v1/{_REGION_DISK}",
        id=_REGION_DISK,
        wait="compute",
        names=_DISK_NAMES,
        sameness={**_DISK_SAMENESS, "replica_zones": "link"},
        local=_DISK_LOCAL,
        on_plan=_plan_disk,
        encode=_encode_disk,
        decode=_decode_disk,
        updating=_update_disk,
        before_delete=_detach,
    ),
    ResourceType(
        type="google_compute_resource_policy",
        title="ResourcePolicy",
        api=_COMPUTE,
        schema="ResourcePolicy",
        collection="/compute/v1/projects/{project}/regions/{region}/resourcePolicies",
        item=f"/compute/v1/{_POLICY}",
        id=_POLICY,
        wait="compute",
        update="PATCH full",
        names=_PLACES,
    ),
    ResourceType(
        type="google_compute_disk_resource_policy_attachment",
        title="DiskResourcePolicyAttachment",
        api=_COMPUTE,
        schema="Disk",
        collection="/compute/v1/projects/{project}/zones/{zone}/disks/{disk}",
        item="",
        id="{project}/{zone}/{disk}/{name}",
        imports=("projects/{project}/zones/{zone}/disks/{disk}/{name}",),
        is_immutable=True,
        sameness={"disk": "link"},
        create=_attach_policy,
        reading=_read_attachment,
        delete=_detach_policy,
    ),
    ResourceType(
        type="google_compute_health_check",
        title="HealthCheck",
        api=_COMPUTE,
        schema="HealthCheck",
        collection="/compute/v1/projects/{project}/global/healthChecks",
        item=f"/compute/v1/{_CHECK}",
        id=_CHECK,
        wait="compute",
        update="PUT",
        names=_PLACES,
    ),
)
