"""What watches and what wakes: schedules that run jobs, alerts, uptime checks, metrics, logs."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

import pytest

from gcp_openemr.sandbox.api.artifactregistry import parse_image, push
from gcp_openemr.sandbox.api.cloudscheduler import ScheduleInvalid, fire, read_schedule
from gcp_openemr.sandbox.api.names import timestamp
from tests.sandbox.api.support import IMAGES, PROJECT, REGION, Cloud

LOCATION = f"projects/{PROJECT}/locations/{REGION}"
JOBS = f"v1/{LOCATION}/jobs"
IMAGE = f"{IMAGES}/job:1"


def ok(cloud: Cloud, method: str, api: str, path: str, body: Any = None) -> Any:
    answer = cloud.call(method, api, path, body)
    assert answer.status == 200, answer.body
    return answer.body


def eventually(found: Any) -> None:
    end = time.monotonic() + 10
    while not found():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def backup(cloud: Cloud, account: str) -> str:
    """A Run job `backup` and a schedule for it that runs as `account`; the schedule's path."""
    cloud.wait(
        cloud.call("POST", "artifactregistry", f"v1/{LOCATION}/repositories?repositoryId=oe-prod", {"format": "DOCKER"})
    )
    reference = parse_image(IMAGE)
    assert reference is not None
    push(cloud.app.store, reference, "sha256:" + "a" * 64)
    template = {"template": {"template": {"serviceAccount": account, "containers": [{"image": IMAGE}]}}}
    cloud.wait(cloud.call("POST", "run", f"v2/{LOCATION}/jobs?jobId=backup", template))
    body = {
        "name": f"{LOCATION}/jobs/backup",
        "schedule": "0 2 * * *",
        "timeZone": "Europe/Berlin",
        "httpTarget": {
            "uri": f"https://run.googleapis.com/v2/{LOCATION}/jobs/backup:run",
            "oauthToken": {"serviceAccountEmail": account},
        },
    }
    made = ok(cloud, "POST", "cloudscheduler", JOBS, body)
    assert (made["state"], made["attemptDeadline"]) == ("ENABLED", "180s")
    return f"{JOBS}/backup"


def allow(cloud: Cloud, account: str) -> None:
    policy = {"bindings": [{"role": "roles/run.invoker", "members": [f"serviceAccount:{account}"]}]}
    ok(cloud, "POST", "run", f"v2/{LOCATION}/jobs/backup:setIamPolicy", {"policy": policy})


def test_a_schedule_runs_its_job_as_its_account(cloud: Cloud, backup: str, account: str) -> None:
    ok(cloud, "POST", "cloudscheduler", f"{backup}:run", {})
    eventually(lambda: ok(cloud, "GET", "cloudscheduler", backup).get("status"))
    assert ok(cloud, "GET", "cloudscheduler", backup)["status"]["code"] == 7  # not allowed yet
    assert "run_execution" not in cloud.runtime.names()
    allow(cloud, account)
    ok(cloud, "POST", "cloudscheduler", f"{backup}:run", {})
    eventually(lambda: "run_execution" in cloud.runtime.names())
    eventually(lambda: not ok(cloud, "GET", "cloudscheduler", backup)["status"])


def test_a_schedule_comes_due_in_scaled_time_and_not_while_it_is_paused(
    cloud: Cloud, backup: str, account: str
) -> None:
    allow(cloud, account)
    fire(cloud.app)
    cloud.app.change_settings({"schedules": 1e-9})
    ok(cloud, "POST", "cloudscheduler", f"{backup}:pause", {})
    fire(cloud.app)
    fire(cloud.app)
    assert "run_execution" not in cloud.runtime.names()
    ok(cloud, "POST", "cloudscheduler", f"{backup}:resume", {})
    fire(cloud.app)
    fire(cloud.app)
    eventually(lambda: "run_execution" in cloud.runtime.names())
    cloud.app.change_settings({"schedules": 0})


@pytest.mark.parametrize(
    ("text", "zone", "after", "following"),
    [
        ("0 2 * * *", "Etc/UTC", "2026-03-01T02:00:00Z", "2026-03-02T02:00:00"),
        ("*/20 * * * *", "Etc/UTC", "2026-03-01T02:05:30Z", "2026-03-01T02:20:00"),
        ("30 4 1,15 * 5", "Etc/UTC", "2026-03-01T05:00:00Z", "2026-03-06T04:30:00"),
        ("0 3 * * sun", "Europe/Berlin", "2026-07-01T00:00:00Z", "2026-07-05T01:00:00"),
        ("0 0 29 2 *", "Etc/UTC", "2026-03-01T00:00:00Z", "2028-02-29T00:00:00"),
        ("0 8-17/4 * 1-6 *", "Etc/UTC", "2026-06-30T16:00:00Z", "2027-01-01T08:00:00"),
    ],
)
def test_schedules_mean_what_cron_means(text: str, zone: str, after: str, following: str) -> None:
    moment = read_schedule(text, zone).next(datetime.fromisoformat(after).timestamp())
    assert timestamp(moment)[:19] == following


@pytest.mark.parametrize("text", ["", "* * * *", "60 * * * *", "5-1 * * * *", "*/0 * * * *", "x * * * *", "0 0 31 2 *"])
def test_no_schedules(text: str) -> None:
    with pytest.raises(ScheduleInvalid):
        read_schedule(text, "Etc/UTC").next(0)


def test_an_alert_needs_its_metric_and_a_point_makes_one(cloud: Cloud) -> None:
    series = f"v3/projects/{PROJECT}/timeSeries"
    metric = "custom.googleapis.com/openemr/backup_age"
    condition = {
        "displayName": "old",
        "conditionThreshold": {
            "filter": f'resource.type = "generic_task" AND metric.type = "{metric}"',
            "comparison": "COMPARISON_GT",
            "thresholdValue": 26,
            "duration": "0s",
        },
    }
    policy = {"displayName": "no fresh backup", "combiner": "OR", "conditions": [condition]}
    assert cloud.call("POST", "monitoring", f"v3/projects/{PROJECT}/alertPolicies", policy).status == 404
    end = timestamp(time.time())
    point = {"interval": {"endTime": end}, "value": {"doubleValue": 3.5}}
    written = {
        "metric": {"type": metric, "labels": {"clinic": "main"}},
        "resource": {"type": "generic_task", "labels": {"job": "backup"}},
        "points": [point],
    }
    ok(cloud, "POST", "monitoring", series, {"timeSeries": [written]})
    assert cloud.call("POST", "monitoring", series, {"timeSeries": [written]}).status == 400  # not later than the last
    query = f'?filter=metric.type%3D"{metric}"%20AND%20metric.labels.clinic%3D"main"&interval.endTime={end}'
    found = ok(cloud, "GET", "monitoring", series + query.replace('"', "%22"))["timeSeries"]
    assert found[0]["points"] == [point]
    made = ok(cloud, "POST", "monitoring", f"v3/projects/{PROJECT}/alertPolicies", policy)
    assert made["conditions"][0]["name"].startswith(f"{made['name']}/conditions/")
    changed = ok(cloud, "PATCH", "monitoring", f"v3/{made['name']}?updateMask=enabled", {"enabled": False})
    assert (changed["enabled"], changed["displayName"]) == (False, "no fresh backup")
    cloud.app.change_settings({"propagation": 1})
    late = {**policy, "conditions": [condition]}
    assert cloud.call("POST", "monitoring", f"v3/projects/{PROJECT}/alertPolicies", late).status == 404


def test_log_buckets_sinks_and_metrics(cloud: Cloud) -> None:
    root = f"v2/projects/{PROJECT}"
    names = [item["name"] for item in ok(cloud, "GET", "logging", f"{root}/locations/global/buckets")["buckets"]]
    assert [name.rpartition("/")[2] for name in names] == ["_Default", "_Required"]
    default = f"{root}/locations/global/buckets/_Default"
    changed = ok(cloud, "PATCH", "logging", f"{default}?updateMask=retentionDays", {"retentionDays": 400})
    assert (changed["retentionDays"], changed["lifecycleState"]) == (400, "ACTIVE")
    own = {"name": "audit", "destination": f"logging.googleapis.com/projects/{PROJECT}/locations/global/buckets/audit"}
    assert "writerIdentity" not in ok(cloud, "POST", "logging", f"{root}/sinks", own)
    far = {"name": "far", "destination": "storage.googleapis.com/somewhere", "filter": "severity>=ERROR"}
    sink = ok(cloud, "POST", "logging", f"{root}/sinks?uniqueWriterIdentity=true", far)
    assert sink["writerIdentity"].startswith("serviceAccount:service-")
    metric = ok(cloud, "POST", "logging", f"{root}/metrics", {"name": "failed", "filter": "severity=ERROR"})
    assert metric["metricDescriptor"]["type"] == "logging.googleapis.com/user/failed"
    assert ok(cloud, "PUT", "logging", f"{root}/metrics/failed", {"name": "failed", "filter": "x"})["filter"] == "x"


def test_entries_are_what_the_processes_wrote(cloud: Cloud, backup: str, account: str) -> None:
    allow(cloud, account)
    begun = cloud.wait(cloud.call("POST", "run", f"v2/{LOCATION}/jobs/backup:run", {}))
    execution = begun["response"]["name"].rpartition("/")[2]
    cloud.runtime.lines[execution] = [
        "2026-01-01T02:00:00.000000Z task0 starting",
        '2026-01-01T02:00:05.000000Z task0 {"severity": "ERROR", "message": "no room"}',
    ]
    body = {"resourceNames": [f"projects/{PROJECT}"]}
    first, second = ok(cloud, "POST", "logging", "v2/entries:list", body)["entries"]
    assert (first["textPayload"], second["jsonPayload"]) == ("starting", {"message": "no room"})
    assert first["resource"] == {"type": "cloud_run_job", "labels": {"job_name": "backup", "location": REGION}}
    assert first["labels"]["run.googleapis.com/execution_name"] == execution
    for filter_, count in (
        (f'resource.type="cloud_run_job"\nlabels."run.googleapis.com/execution_name"="{execution}"', 2),
        ('resource.labels.job_name="backup" AND severity=ERROR', 1),
        ('timestamp>"2026-01-01T02:00:01Z"', 1),
        ('resource.type="cloud_run_revision"', 0),
        ('(resource.labels.service_name:"back" OR resource.labels.job_name:"back") AND severity=ERROR', 1),
    ):
        found = ok(cloud, "POST", "logging", "v2/entries:list", {**body, "filter": filter_})
        assert len(found.get("entries", [])) == count, filter_
    paged = ok(cloud, "POST", "logging", "v2/entries:list", {**body, "pageSize": 1, "orderBy": "timestamp desc"})
    assert ([entry["severity"] for entry in paged["entries"]], paged["nextPageToken"]) == (["ERROR"], "1")
