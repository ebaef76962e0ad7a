"""Services of a project, and what watches and schedules: Monitoring, Logging, Scheduler, KMS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gcp_openemr.sandbox.provider.types.model import Change, Json, ResourceType, Settings, expand, short

__all__ = ["ROWS"]

_SERVICE = "/v1/projects/{project}/services/{service}"


def _enable(state: Mapping[str, Any], change: Change) -> None:
    _switch(state, change, ":enable", {})


def _disable(state: Mapping[str, Any], change: Change) -> None:
    if state.get("disable_on_destroy"):
        _switch(state, change, ":disable", {"disableDependentServices": bool(state.get("disable_dependent_services"))})


def _switch(state: Mapping[str, Any], change: Change, verb: str, body: Json) -> None:
    client, row = change.settings.client, change.row
    operation = client.call("POST", row.host, expand(_SERVICE, state) + verb, body)
    client.wait("longrunning", row.host, row.version, operation, row.timeouts.create)


def _read_service(state: Mapping[str, Any], settings: Settings) -> dict[str, Any] | None:
    body = settings.client.call("GET", "serviceusage.googleapis.com", expand(_SERVICE, state))
    if body.get("state") != "ENABLED":
        return None
    return {**state, "id": f"{state['project']}/{state['service']}"}


def _short_name(body: Json, _state: Mapping[str, Any], _settings: Settings) -> Json:
    return {**body, "name": short(body.get("name"))}


def _full_name(body: Json, state: Mapping[str, Any], change: Change) -> Json:
    return {**body, "name": expand(change.row.id, state)}


_JOB = "projects/{project}/locations/{region}/jobs/{name}"
_RING = "projects/{project}/locations/{location}/keyRings/{name}"
_LOG_BUCKET = "projects/{project}/locations/{location}/buckets/{bucket_id}"


def _write_log_bucket(state: Mapping[str, Any], change: Change) -> None:
    """The buckets every project is born with are adopted; others are made."""
    client, row = change.settings.client, change.row
    body = {
        "retentionDays": state.get("retention_days"),
        "description": state.get("description") or "",
        "locked": bool(state.get("locked")),
    }
    if change.prior is None and not str(state["bucket_id"]).startswith("_"):
        path = expand("/v2/projects/{project}/locations/{location}/buckets", state)
        client.call("POST", row.host, path, body, {"bucketId": str(state["bucket_id"])})
        return
    mask = {"updateMask": "retentionDays,description,locked"}
    client.call("PATCH", row.host, f"/v2/{expand(_LOG_BUCKET, state)}", body, mask)


def _delete_log_bucket(state: Mapping[str, Any], change: Change) -> None:
    if not str(state["bucket_id"]).startswith("_"):
        change.settings.client.call("DELETE", change.row.host, f"/v2/{expand(_LOG_BUCKET, state)}")


def _forget(state: Mapping[str, Any], change: Change) -> None:
    """Key rings and keys cannot be deleted from Google Cloud; they only leave the state."""


def _destroy_key(state: Mapping[str, Any], change: Change) -> None:
    """A key stays for ever; its versions are destroyed."""
    client, host, path = change.settings.client, change.row.host, f"/v1/{state['id']}/cryptoKeyVersions"
    for version in client.call("GET", host, path).get("cryptoKeyVersions", []):
        if version.get("state") not in ("DESTROYED", "DESTROY_SCHEDULED"):
            client.call("POST", host, f"/v1/{version['name']}:destroy", {})


def _import_key(given: str, _settings: Settings) -> dict[str, Any] | None:
    ring, _, name = given.partition("/cryptoKeys/")
    return {"key_ring": ring, "name": name} if name else None


def _is_deleting(body: Json) -> bool:
    return body.get("lifecycleState") == "DELETE_REQUESTED"


def _monitoring(
    kind: str, title: str, schema: str, collection: str, local: frozenset[str] = frozenset()
) -> ResourceType:
    return ResourceType(
        type=kind,
        title=title,
        api=("monitoring", "v3"),
        schema=schema,
        collection=f"/v3/projects/{{project}}/{collection}",
        item="/v3/{name}",
        id="{name}",
        update="PATCH mask",
        names={"project": ""},
        local=local,
    )


ROWS = (
    ResourceType(
        type="google_project_service",
        title="Project Service",
        api=("serviceusage", "v1"),
        schema="GoogleApiServiceusageV1Service",
        collection="/v1/projects/{project}/services",
        item=_SERVICE,
        id="{project}/{service}",
        local=frozenset({"disable_dependent_services", "disable_on_destroy"}),
        create=_enable,
        reading=_read_service,
        delete=_disable,
    ),
    ResourceType(
        type="google_cloud_scheduler_job",
        title="Job",
        api=("cloudscheduler", "v1"),
        schema="Job",
        collection="/v1/projects/{project}/locations/{region}/jobs",
        item="/v1/" + _JOB,
        id=_JOB,
        update="PATCH full",
        names={"region": "", "paused": ""},
        sameness={"attempt_deadline": "duration"},
        encode=_full_name,
        decode=_short_name,
    ),
    _monitoring("google_monitoring_alert_policy", "AlertPolicy", "AlertPolicy", "alertPolicies"),
    _monitoring(
        "google_monitoring_notification_channel",
        "NotificationChannel",
        "NotificationChannel",
        "notificationChannels",
        frozenset({"force_delete"}),
    ),
    _monitoring(
        "google_monitoring_uptime_check_config", "UptimeCheckConfig", "UptimeCheckConfig", "uptimeCheckConfigs"
    ),
    ResourceType(
        type="google_logging_project_bucket_config",
        title="Logging Bucket Config",
        api=("logging", "v2"),
        schema="LogBucket",
        collection="/v2/projects/{project}/locations/{location}/buckets",
        item="/v2/" + _LOG_BUCKET,
        id=_LOG_BUCKET,
        names={"project": "", "bucket_id": ""},
        unserved=frozenset({"cmek_settings", "enable_analytics", "index_configs"}),
        create=_write_log_bucket,
        updating=_write_log_bucket,
        delete=_delete_log_bucket,
        is_gone=_is_deleting,
    ),
    ResourceType(
        type="google_kms_key_ring",
        title="KeyRing",
        api=("cloudkms", "v1"),
        schema="KeyRing",
        collection="/v1/projects/{project}/locations/{location}/keyRings",
        create_query={"keyRingId": "{name}"},
        item="/v1/" + _RING,
        id=_RING,
        names={"name": ""},
        delete=_forget,
    ),
    ResourceType(
        type="google_kms_crypto_key",
        title="CryptoKey",
        api=("cloudkms", "v1"),
        schema="CryptoKey",
        collection="/v1/{key_ring}/cryptoKeys",
        create_query={"cryptoKeyId": "{name}"},
        item="/v1/{key_ring}/cryptoKeys/{name}",
        id="{key_ring}/cryptoKeys/{name}",
        update="PATCH mask",
        names={"name": ""},
        sameness={"rotation_period": "duration", "destroy_scheduled_duration": "duration"},
        delete=_destroy_key,
        importing=_import_key,
    ),
)
