"""Compute Engine: managed instance groups, and what they preserve of one instance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gcp_openemr.sandbox.provider.types.model import COMPUTE, Change, Hooks, Json, Settings, expand

__all__ = ["HOOKS"]

_MANAGERS = "projects/{project}/zones/{zone}/instanceGroupManagers/"
_PRESERVED = {
    "stateful_disk": ("disks", "device_name"),
    "stateful_external_ip": ("externalIPs", "interface_name"),
    "stateful_internal_ip": ("internalIPs", "interface_name"),
}


def _encode_group(body: Json, state: Mapping[str, Any], change: Change) -> Json:
    """Numbers are said even when they are 0; what is preserved no more is named with null, as PATCH merges maps."""
    body.setdefault("targetSize", 0)
    for policy in state.get("update_policy") or []:
        for ours, theirs in (("max_surge", "maxSurge"), ("max_unavailable", "maxUnavailable")):
            if not policy.get(f"{ours}_percent") and policy.get(f"{ours}_fixed") is not None:
                body.setdefault("updatePolicy", {})[theirs] = {"fixed": policy[f"{ours}_fixed"]}
    for ours, (theirs, key) in _PRESERVED.items():
        gone = _keys(change.prior or {}, ours, key) - _keys(state, ours, key)
        if gone:
            preserved = body.setdefault("statefulPolicy", {}).setdefault("preservedState", {})
            preserved[theirs] = {**dict.fromkeys(sorted(gone)), **preserved.get(theirs, {})}
    return body


def _keys(state: Mapping[str, Any], block: str, key: str) -> set[str]:
    return {element[key] for element in state.get(block) or []}


def _await_instances(state: Mapping[str, Any], change: Change) -> None:
    """`wait_for_instances` waits until nothing changes, or until every instance is of the wanted version."""
    if not state.get("wait_for_instances"):
        return
    updated = state.get("wait_for_instances_status") == "UPDATED"

    def is_there(group: Json) -> bool:
        status = group.get("status", {})
        reached = status.get("versionTarget", {}).get("isReached")
        return bool(status.get("isStable")) and (bool(reached) or not updated)

    row = change.row
    change.settings.client.poll(row.api.host, expand(row.item, state), until=is_there, timeout=row.timeouts.create)


def _encode_instance(body: Json, _state: Mapping[str, Any], change: Change) -> Json:
    return {"instances" if change.prior is None else "perInstanceConfigs": [body]}


def _apply_configuration(state: Mapping[str, Any], change: Change) -> None:
    _ask_group(
        state,
        change,
        "applyUpdatesToInstances",
        {
            "instances": [_instance(state)],
            "minimalAction": state["minimal_action"],
            "mostDisruptiveAllowedAction": state["most_disruptive_allowed_action"],
        },
    )


def _forget_instance(state: Mapping[str, Any], change: Change) -> None:
    _ask_group(state, change, "deletePerInstanceConfigs", {"names": [state["name"]]})
    if state.get("remove_instance_on_destroy"):
        _ask_group(state, change, "deleteInstances", {"instances": [_instance(state)]})
    elif state.get("remove_instance_state_on_destroy"):
        _apply_configuration(state, change)


def _instance(state: Mapping[str, Any]) -> str:
    return expand("zones/{zone}/instances/{name}", state)


def _ask_group(state: Mapping[str, Any], change: Change, verb: str, body: Json) -> Json:
    return change.row.call(change.settings.client, "POST", f"{expand(change.row.item, state)}/{verb}", body)


def _find_instance(state: Mapping[str, Any], settings: Settings) -> Json | None:
    path = COMPUTE.root + expand(_MANAGERS + "{instance_group_manager}", state) + "/listPerInstanceConfigs"
    found = settings.client.call("POST", COMPUTE.host, path).get("items", [])
    return next((one for one in found if one["name"] == state["name"]), None)


HOOKS = {
    "google_compute_instance_group_manager": Hooks(
        encode=_encode_group, after_create=_await_instances, after_update=_await_instances
    ),
    "google_compute_per_instance_config": Hooks(
        encode=_encode_instance, after_update=_apply_configuration, delete=_forget_instance, fetch=_find_instance
    ),
}
