"""Services of a project, and what watches and schedules: Monitoring, Logging, Scheduler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gcp_openemr.sandbox.provider.rest import ApiError, is_not_found
from gcp_openemr.sandbox.provider.types.model import Api, Change, Json, ResourceType, Settings, expand, short

__all__ = ["ROWS"]

_SERVICES = Api("serviceusage", "v1", "/v1/")
_SCHEDULER = Api("cloudscheduler", "v1", "/v1/", "PATCH full")
_LOGGING = Api("logging", "v2", "/v2/")
_MONITORING = Api("monitoring", "v3", "/v3/")


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
    return {**body, "name": short(body.get("name"))}


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


def _monitoring(schema: str, collection: str, **fields: Any) -> ResourceType:
    kind = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in schema)
    fields = {"names": {"project": ""}, **fields}
    return ResourceType(
        f"google_monitoring{kind}",
        _MONITORING,
        schema,
        "{name}",
        collection=f"/v3/projects/{{project}}/{collection}",
        **fields,
    )


ROWS = (
    ResourceType(
        "google_project_service",
        _SERVICES,
        "GoogleApiServiceusageV1Service",
        "{project}/{service}",
        title="Project Service",
        item="/v1/projects/{project}/services/{service}",
        local=frozenset({"disable_dependent_services", "disable_on_destroy"}),
        create=_enable,
        delete=_disable,
        is_gone=lambda body: body.get("state") != "ENABLED",
    ),
    ResourceType(
        "google_cloud_scheduler_job",
        _SCHEDULER,
        "Job",
        "projects/{project}/locations/{region}/jobs/{name}",
        by_hand=frozenset({"paused"}),
        local=frozenset({"paused"}),
        sameness={
            "attempt_deadline": "duration",
            "http_target.uri": "last_slash",
            "http_target.oauth_token.scope": "served",
            "http_target.oidc_token.audience": "served",
            "retry_config.max_backoff_duration": "duration",
            "retry_config.max_retry_duration": "duration",
            "retry_config.min_backoff_duration": "duration",
        },
        encode=_encode_job,
        decode=_decode_job,
        settle=_settle_job,
        after_create=_pause_job,
        after_update=_pause_job,
    ),
    _monitoring("AlertPolicy", "alertPolicies"),
    _monitoring(
        "NotificationChannel",
        "notificationChannels",
        local=frozenset({"force_delete"}),
        by_hand=frozenset({"sensitive_labels"}),
        unserved=frozenset(f"sensitive_labels.{name}_wo" for name in ("auth_token", "password", "service_key")),
        encode=_encode_channel,
        delete_query="force={force_delete}",
    ),
    _monitoring(
        "UptimeCheckConfig",
        "uptimeCheckConfigs",
        names={"project": "", "uptime_check_id": ""},
        input_only=frozenset({"http_check.auth_info.password"}),
        sameness={"period": "duration", "timeout": "duration"},
        settle=_short_uptime_id,
    ),
    ResourceType(
        "google_logging_project_bucket_config",
        _LOGGING,
        "LogBucket",
        "projects/{project}/locations/{location}/buckets/{bucket_id}",
        title="Logging Bucket Config",
        names={"enable_analytics": "analyticsEnabled"},
        unserved=frozenset({"cmek_settings", "index_configs"}),
        create=_make_log_bucket,
        delete=_delete_log_bucket,
        is_gone=lambda body: body.get("lifecycleState") == "DELETE_REQUESTED",
    ),
    ResourceType(
        "google_logging_project_sink",
        _LOGGING,
        "LogSink",
        "projects/{project}/sinks/{name}",
        title="Logging Sink",
        create_query={
            "uniqueWriterIdentity": "{unique_writer_identity}",
            "customWriterIdentity": "{custom_writer_identity}",
        },
        update_query={"uniqueWriterIdentity": "{unique_writer_identity}"},
        local=frozenset({"unique_writer_identity"}),
    ),
    ResourceType(
        "google_logging_metric",
        _LOGGING,
        "LogMetric",
        "{name}",
        title="Metric",
        item="/v2/projects/{project}/metrics/{%name}",
        update="PUT",
    ),
)
