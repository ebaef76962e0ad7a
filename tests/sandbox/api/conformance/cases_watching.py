"""Cloud Scheduler, Monitoring and Logging: one request for each of their refusals."""

from __future__ import annotations

from typing import Any

from tests.sandbox.api.conformance.target import Answer, Target, case, rest

JOBS = "v1/{l}/jobs"
MONITORING, LOGGING = "v3/{p}", "v2/{p}"
URI = "https://run.googleapis.com/v2/{l}/jobs/none:run"


def job(target: Target, name: str, **changes: Any) -> dict[str, Any]:
    token = {"serviceAccountEmail": target.account}
    http = {"uri": target.fill(URI), "oauthToken": token}
    return {"name": target.fill(f"{{l}}/jobs/{name}"), "schedule": "0 2 * * *", "httpTarget": http, **changes}


def target_with(target: Target, **changes: Any) -> dict[str, Any]:
    return {"httpTarget": {**job(target, "conf-new")["httpTarget"], **changes}}


JOB_CHANGES: dict[str, Any] = {
    "cloudscheduler.schedule": lambda _target: {"schedule": "every day"},
    "cloudscheduler.target": lambda _target: {"httpTarget": None},
    "cloudscheduler.uri": lambda target: target_with(target, uri="ftp://x"),
    "cloudscheduler.token": lambda target: target_with(target, uri="https://example.com/"),
    "cloudscheduler.deadline": lambda _target: {"attemptDeadline": "1801s"},
    "cloudscheduler.account": lambda target: target_with(
        target, oauthToken={"serviceAccountEmail": "nobody@conf-none.iam.gserviceaccount.com"}
    ),
}
for refusal, changes in JOB_CHANGES.items():
    case(refusal)(
        lambda target, changes=changes: target.call(  # type: ignore[misc]
            "POST", "cloudscheduler", JOBS, job(target, "conf-new", **changes(target))
        )
    )


@case("cloudscheduler.paused")
def resume_of_what_runs(target: Target) -> Answer:
    if target.call("GET", "cloudscheduler", f"{JOBS}/conf-job").status == 404:
        assert target.call("POST", "cloudscheduler", JOBS, job(target, "conf-job")).status == 200
    return target.call("POST", "cloudscheduler", f"{JOBS}/conf-job:resume", {})


def threshold(filter_: str = 'metric.type="run.googleapis.com/request_count"', **changes: Any) -> dict[str, Any]:
    condition = {"filter": filter_, "comparison": "COMPARISON_GT", "duration": "0s", **changes}
    return {"displayName": "c", "conditionThreshold": condition}


def policy(*conditions: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"displayName": "conf", "combiner": "OR", "conditions": list(conditions), **changes}


ABSENT = {"displayName": "c", "conditionAbsent": {"filter": 'metric.type="x"', "duration": "93600s"}}
LOG = {"displayName": "c", "conditionMatchedLog": {"filter": "severity=ERROR"}}
USER_METRIC = 'metric.type="logging.googleapis.com/user/conf-none"'
POLICIES: dict[str, dict[str, Any]] = {
    "monitoring.required": policy(threshold(), displayName=""),
    "monitoring.conditions": policy(),
    "monitoring.condition": policy({"displayName": "c"}),
    "monitoring.absent": policy(ABSENT),
    "monitoring.rate-limit": policy(LOG),
    "monitoring.metric": policy(threshold(USER_METRIC)),
    "monitoring.channel": policy(threshold(), notificationChannels=["projects/conf-none/notificationChannels/1"]),
}
for refusal, body in POLICIES.items():
    rest(refusal, "POST", "monitoring", f"{MONITORING}/alertPolicies", body)


def _new(target: Target, collection: str, body: dict[str, Any]) -> str:
    answer = target.call("POST", "monitoring", f"{MONITORING}/{collection}", body)
    assert answer.status == 200, answer.body
    return str(answer.body["name"])


@case("monitoring.channel-used")
def channel_of_a_policy(target: Target) -> Answer:
    channel = _new(target, "notificationChannels", {"type": "email", "labels": {"email_address": "a@example.com"}})
    _new(target, "alertPolicies", policy(threshold(), notificationChannels=[channel]))
    return target.call("DELETE", "monitoring", f"v3/{channel}")


UPTIME: dict[str, Any] = {
    "displayName": "conf",
    "timeout": "10s",
    "httpCheck": {"path": "/"},
    "monitoredResource": {"type": "uptime_url", "labels": {"host": "example.com"}},
}
rest("monitoring.check", "POST", "monitoring", f"{MONITORING}/uptimeCheckConfigs", {**UPTIME, "timeout": "61s"})


@case("monitoring.check-used")
def check_of_a_policy(target: Target) -> Answer:
    check = _new(target, "uptimeCheckConfigs", UPTIME)
    passed = "monitoring.googleapis.com/uptime_check/check_passed"
    own = f'metric.type="{passed}" AND metric.label.check_id="{check.rpartition("/")[2]}"'
    _new(target, "alertPolicies", policy(threshold(own)))
    return target.call("DELETE", "monitoring", f"v3/{check}")


def points(*ends: str, metric: str = "custom.googleapis.com/conf") -> dict[str, Any]:
    found = [{"interval": {"endTime": end}, "value": {"int64Value": "1"}} for end in ends]
    return {"timeSeries": [{"metric": {"type": metric}, "resource": {"type": "global"}, "points": found}]}


SERIES = f"{MONITORING}/timeSeries"
rest("monitoring.points", "POST", "monitoring", SERIES, points())
rest("monitoring.point-time", "POST", "monitoring", SERIES, points("2020-01-01T00:00:00Z"))
rest("monitoring.type", "POST", "monitoring", SERIES, points("2020-01-01T00:00:00Z", metric="conf"))
rest("monitoring.filter", "GET", "monitoring", f"{SERIES}?filter=x%3D1&interval.endTime=2026-01-01T00:00:00Z")

BUCKETS = f"{LOGGING}/locations/global/buckets"
rest("logging.retention", "POST", "logging", f"{BUCKETS}?bucketId=conf-new", {"retentionDays": 0})
rest("logging.required-bucket", "DELETE", "logging", f"{BUCKETS}/_Required")
rest("logging.destination", "POST", "logging", f"{LOGGING}/sinks", {"name": "conf", "destination": "ftp://x"})
rest("logging.filter", "POST", "logging", f"{LOGGING}/metrics", {"name": "conf"})
rest("logging.resource-names", "POST", "logging", "v2/entries:list", {})


@case("logging.locked")
def retention_of_a_locked_bucket(target: Target) -> Answer:
    """At Google such a bucket stays as long as what is in it."""
    target.call("POST", "logging", f"{BUCKETS}?bucketId=conf-locked", {"retentionDays": 1, "locked": True})
    path = f"{BUCKETS}/conf-locked?updateMask=retentionDays"
    return target.call("PATCH", "logging", path, {"retentionDays": 2})


@case("logging.deleted")
def change_of_a_deleted_bucket(target: Target) -> Answer:
    target.call("POST", "logging", f"{BUCKETS}?bucketId=conf-gone", {})
    target.call("DELETE", "logging", f"{BUCKETS}/conf-gone")
    return target.call("PATCH", "logging", f"{BUCKETS}/conf-gone?updateMask=retentionDays", {"retentionDays": 2})
