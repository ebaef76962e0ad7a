"""Compute Engine: disks, snapshot schedules, health checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gcp_openemr.sandbox.provider.types.model import COMPUTE, LINK, Change, Hooks, Json, Settings, expand, short

__all__ = ["HOOKS", "image_link"]

_DISK = "projects/{project}/zones/{zone}/disks/"
_POLICY = "projects/{project}/regions/{region}/resourcePolicies/{name}"


def image_link(image: str, project: str) -> str:
    """An image or family as people write it (`debian-cloud/debian-12`), as a link. Families are the usual case."""
    if image.startswith("https://"):
        return image
    if image.startswith("projects/"):
        return LINK + image
    owner, _, name = image.rpartition("/")
    # `family/…` and `global/images/…` belong to the project itself.
    if owner in ("family", "global/images/family"):
        return f"{LINK}projects/{project}/global/images/family/{name}"
    return f"{LINK}projects/{owner or project}/global/images/family/{name}"


def _encode_disk(body: Json, state: Mapping[str, Any], _change: Change) -> Json:
    if body.get("type"):
        body["type"] = LINK + expand("projects/{project}/zones/{zone}/diskTypes/", state) + short(body["type"])
    if body.get("sourceImage"):
        body["sourceImage"] = image_link(body["sourceImage"], state["project"])
    return body


def _plan_disk(
    state: dict[str, Any], prior: Mapping[str, Any] | None, _config: Mapping[str, Any], _settings: Settings
) -> tuple[str, ...]:
    """Disks only grow: a smaller size is another disk."""
    if prior is None or not isinstance(state.get("size"), int | float) or not prior.get("size"):
        return ()
    return ("size",) if state["size"] < prior["size"] else ()


def _detach(state: Mapping[str, Any], change: Change) -> None:
    """A disk that is still attached is detached first, as hashicorp/google does."""
    client, row = change.settings.client, change.row
    for user in client.call("GET", row.api.host, expand(row.item, state)).get("users", []):
        instance = "/compute/v1/" + user.partition("/compute/v1/")[2]
        for disk in client.call("GET", row.api.host, instance).get("disks", []):
            if disk.get("source", "").endswith(expand("/" + row.id, state)):
                row.call(client, "POST", f"{instance}/detachDisk?deviceName={disk['deviceName']}")


def _attach_policy(state: Mapping[str, Any], change: Change) -> None:
    _switch_policy(state, change, "add")


def _detach_policy(state: Mapping[str, Any], change: Change) -> None:
    _switch_policy(state, change, "remove")


def _switch_policy(state: Mapping[str, Any], change: Change, verb: str) -> None:
    region = str(state["zone"]).rpartition("-")[0]
    policies = {"resourcePolicies": [expand(_POLICY, {**state, "region": region})]}
    path = expand(change.row.item, state)
    change.row.call(change.settings.client, "POST", f"{path}/{verb}ResourcePolicies", policies)


def _read_attachment(state: Mapping[str, Any], settings: Settings) -> Json | None:
    disk = settings.client.call("GET", COMPUTE.host, COMPUTE.root + expand(_DISK + "{disk}", state))
    attached = state["name"] in [short(policy) for policy in disk.get("resourcePolicies", [])]
    return {"name": state["name"]} if attached else None


HOOKS = {
    "google_compute_disk": Hooks(on_plan=_plan_disk, encode=_encode_disk, before_delete=_detach),
    "google_compute_disk_resource_policy_attachment": Hooks(
        create=_attach_policy, fetch=_read_attachment, delete=_detach_policy
    ),
}
