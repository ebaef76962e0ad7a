"""Services of a project, and what watches and schedules: Monitoring, Logging, Scheduler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gcp_openemr.sandbox.provider.rest import ApiError, is_not_found
from gcp_openemr.sandbox.provider.types.model import Change, Hooks, Json, Settings, expand, short

__all__ = ["HOOKS"]


def _enable(state: Mapping[str, Any], change: Change) -> None:
    change.row.call(change.settings.client, "POST", expand(change.row.item, state) + ":enable", {})


def _disable(state: Mapping[str, Any], change: Change) -> None:
    if state.get("disable_on_destroy"):
        body = {"disableDependentServices": bool(state.get("disable_dependent_services"))}
        change.row.call(change.settings.client, "POST", expand(change.row.item, state) + ":disable", body)


def _encode_job(body: Json, state: Mapping[str, Any], change: Change) -> Json:
    return {**body, "name": expand(change.row.id, state)}


def _decode_job(body: Json, _state: Mapping[str, Any], _settings: Settings) -> Json:
    """Headers that Cloud Scheduler adds by itself are none of the configuration's."""
    target = body.get("httpTarget", {})
    if "headers" in target:
        target["headers"] = {name: value for name, value in target["headers"].items() if name != "User-Agent"}
    return body


def _settle_job(state: dict[str, Any], body: Json, _settings: Settings) -> None:
    state["paused"] = body.get("state") == "PAUSED"


def _pause_job(state: Mapping[str, Any], change: Change) -> None:
    was = bool((change.prior or {}).get("paused"))
    if bool(state.get("paused")) != was:
        path = expand(change.row.item, state) + (":resume" if was else ":pause")
        change.row.call(change.settings.client, "POST", path, {})


def _short_uptime_id(state: dict[str, Any], body: Json, _settings: Settings) -> None:
    state["uptime_check_id"] = short(body["name"])


def _encode_channel(body: Json, state: Mapping[str, Any], _change: Change) -> Json:
    """Labels that are secrets have a block of their own in Terraform, and are labels there."""
    for block in state.get("sensitive_labels") or []:
        secrets = {name: block.get(name) for name in ("auth_token", "password", "service_key")}
        body.setdefault("labels", {}).update({name: value for name, value in secrets.items() if value})
    return body


def _make_log_bucket(state: Mapping[str, Any], change: Change) -> None:
    """A bucket that is there, as `_Default` is from a project's birth, is adopted."""
    row, client = change.row, change.settings.client
    path = expand(row.item, state)
    body = {
        "retentionDays": state.get("retention_days"),
        "description": state.get("description") or "",
        "locked": bool(state.get("locked")),
        "analyticsEnabled": bool(state.get("enable_analytics")),
    }
    try:
        client.call("GET", row.api.host, path)
    except ApiError as error:
        if not is_not_found(error):
            raise
        client.call("POST", row.api.host, expand(row.collection, state), body, {"bucketId": str(state["bucket_id"])})
    else:
        client.call("PATCH", row.api.host, path, body, {"updateMask": ",".join(body)})


def _delete_log_bucket(state: Mapping[str, Any], change: Change) -> None:
    if not str(state["bucket_id"]).startswith("_"):
        change.row.call(change.settings.client, "DELETE", expand(change.row.item, state))


HOOKS = {
    "google_project_service": Hooks(create=_enable, delete=_disable),
    "google_cloud_scheduler_job": Hooks(
        encode=_encode_job,
        decode=_decode_job,
        settle=_settle_job,
        after_create=_pause_job,
        after_update=_pause_job,
    ),
    "google_monitoring_notification_channel": Hooks(encode=_encode_channel),
    "google_monitoring_uptime_check_config": Hooks(settle=_short_uptime_id),
    "google_logging_project_bucket_config": Hooks(create=_make_log_bucket, delete=_delete_log_bucket),
}
