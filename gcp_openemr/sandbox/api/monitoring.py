"""Cloud Monitoring v3: alert policies, notification channels, uptime checks, metrics and their points."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import time
from collections.abc import Iterator
from datetime import datetime

from gcp_openemr.sandbox.api.listing import listed, matches
from gcp_openemr.sandbox.api.names import duration_seconds, id_of, now, path_of
from gcp_openemr.sandbox.api.rules import Call, Change, Collection, Json, Record, fill, handles, refuse, refuse_if

_METRIC = re.compile(r'metric\.type\s*=\s*"([^"]+)"')
_LOG_METRIC = "logging.googleapis.com/user/"
_OWN_METRICS = ("custom.googleapis.com/", "workload.googleapis.com/", _LOG_METRIC)
_CONDITIONS = (
    "conditionThreshold", "conditionAbsent", "conditionMatchedLog", "conditionMonitoringQueryLanguage",
    "conditionPrometheusQueryLanguage", "conditionSql",
)  # fmt: skip
_MOST_CONDITIONS, _MOST_POINTS = 6, 1000
_PERIODS = {"60s", "300s", "600s", "900s"}
_FEWEST_REGIONS = 3
_METRIC_SECONDS = 600.0  # until alerting knows a new metric, by Google's own sentence
_ABSENT = (120, 84_600)  # seconds: https://cloud.google.com/monitoring/alerts/types-of-conditions#metric-absence
_FUTURE, _PAST = 300.0, 25 * 3600.0  # seconds: https://cloud.google.com/monitoring/custom-metrics/creating-metrics


def _number(_body: Json) -> str:
    return str(secrets.randbits(62) | 1 << 61)


def _policy(change: Change) -> None:
    new = change.new
    for field in ("displayName", "combiner"):
        refuse_if(not new.get(field), "monitoring.required", field=f"alert_policy.{field}")
    conditions = new.get("conditions") or []
    refuse_if(not 1 <= len(conditions) <= _MOST_CONDITIONS, "monitoring.conditions", most=_MOST_CONDITIONS)
    for place, condition in enumerate(conditions):
        kinds = [kind for kind in _CONDITIONS if condition.get(kind)]
        refuse_if(len(kinds) != 1, "monitoring.condition", place=place)
        _check_condition(change.call, condition[kinds[0]], kinds[0], f"alert_policy.conditions[{place}]")
        condition.setdefault("name", f"{path_of(change.name)}/conditions/{_number({})}")
        strategy = new.get("alertStrategy") or {}
        if kinds == ["conditionMatchedLog"] and not strategy.get("notificationRateLimit"):
            raise refuse("monitoring.rate-limit")
    for channel in new.get("notificationChannels") or ():
        if change.call.store.get(f"monitoring.googleapis.com/{channel}") is None:
            raise refuse("monitoring.channel", name=channel)
    new.setdefault("enabled", True)
    _record(change)


def _check_condition(call: Call, condition: Json, kind: str, place: str) -> None:
    filter_ = str(condition.get("filter") or "")
    if kind in {"conditionThreshold", "conditionAbsent", "conditionMatchedLog"} and not filter_:
        raise refuse("monitoring.required", field=f"{place}.filter")
    seconds = duration_seconds(condition.get("duration") or "0s")
    least, most = _ABSENT if kind == "conditionAbsent" else (0, _ABSENT[1])
    if not least <= seconds <= most or seconds % 60:
        raise refuse("monitoring.absent", field=f"{place}.duration", least=least, most=most)
    for metric in _METRIC.findall(filter_):
        _check_metric(call, metric)


def _check_metric(call: Call, metric: str) -> None:
    """Google's own metrics are there always, others once they are made and known."""
    if not metric.startswith(_OWN_METRICS):
        return
    name = f"logging.googleapis.com/projects/{call.project}/metrics/{metric.removeprefix(_LOG_METRIC)}"
    if not metric.startswith(_LOG_METRIC):
        name = f"monitoring.googleapis.com/projects/{call.project}/metricDescriptors/{metric}"
    record = call.store.get(name)
    wait = _METRIC_SECONDS * call.app.settings.propagation
    if record is None or time.time() - float(record.hidden.get("born", 0)) < wait:
        raise refuse("monitoring.metric", type=metric)


def _record(change: Change) -> None:
    record = {"mutateTime": now(), "mutatedBy": change.call.caller.email}
    if change.old is None:
        change.new["creationRecord"] = record
    change.new["mutationRecord"] = record


def _channel(change: Change) -> None:
    refuse_if(not change.new.get("type"), "monitoring.required", field="notification_channel.type")
    change.new.setdefault("enabled", True)


def _policies(call: Call) -> Iterator[Record]:
    yield from call.store.list(f"monitoring.googleapis.com/projects/{call.project}/alertPolicies/")


def _channel_free(call: Call, record: Record) -> None:
    path = path_of(record.name)
    for policy in _policies(call):
        channels = policy.body.get("notificationChannels") or []
        if path in channels and not call.flag("force"):
            raise refuse("monitoring.channel-used", name=path, user=path_of(policy.name))
        if path in channels:
            left = [channel for channel in channels if channel != path]
            call.store.update(policy.name, {"notificationChannels": left})


def _check_id(body: Json) -> str:
    word = re.sub(r"[^a-z0-9]+", "-", str(body.get("displayName") or "check").lower()).strip("-")
    return f"{word}-{secrets.token_urlsafe(8).replace('_', 'x').replace('-', 'y')}"


def _uptime(change: Change) -> None:
    new = change.new
    refuse_if(not new.get("displayName"), "monitoring.check", field="display_name", why="must be given")
    if len([field for field in ("httpCheck", "tcpCheck") if new.get(field) is not None]) != 1:
        raise refuse("monitoring.check", field="http_check", why="or tcp_check must be given")
    if not (new.get("monitoredResource") or new.get("resourceGroup")):
        raise refuse("monitoring.check", field="monitored_resource", why="must be given")
    timeout = duration_seconds(new.get("timeout") or "0s")
    refuse_if(not 1 <= timeout <= 60, "monitoring.check", field="timeout", why="must be 1s to 60s")
    if new.setdefault("period", "60s") not in _PERIODS:
        raise refuse("monitoring.check", field="period", why="must be 60s, 300s, 600s or 900s")
    if 0 < len(new.get("selectedRegions") or ()) < _FEWEST_REGIONS:
        raise refuse("monitoring.check", field="selected_regions", why="must have 3 locations at least")
    http = new.get("httpCheck")
    if http is not None:
        fill(http, requestMethod="GET", path="/", port=443 if http.get("useSsl") else 80)
    new.setdefault("checkerType", "STATIC_IP_CHECKERS")


def _uptime_free(call: Call, record: Record) -> None:
    name = id_of(record.name)
    for policy in _policies(call):
        if name in json.dumps(policy.body["conditions"]):
            raise refuse("monitoring.check-used", id=name, user=path_of(policy.name))


def _descriptor(change: Change) -> None:
    change.hidden["born"] = time.time()


DESCRIPTORS = Collection(
    "monitoring.projects.metricDescriptors",
    kind="metric descriptor",
    assigned=lambda body: str(body.get("type") or ""),
    id_pattern=r"[a-z0-9.-]+\.[a-z]+/[\w./-]+",
    id_refusal="monitoring.type",
    complete=_descriptor,
)
Collection(
    "monitoring.projects.alertPolicies", kind="alert policy", assigned=_number, id_pattern=r"\d+", complete=_policy
)
# Conditions are not evaluated here, so none is ever raised.
Collection("monitoring.projects.alerts", id_pattern=r"\d+", verbs=("get", "list"))
Collection(
    "monitoring.projects.notificationChannels",
    kind="notification channel",
    assigned=_number,
    id_pattern=r"\d+",
    complete=_channel,
    deletable=_channel_free,
)
Collection(
    "monitoring.projects.uptimeCheckConfigs",
    kind="uptime check",
    assigned=_check_id,
    id_pattern=r"[a-zA-Z0-9-]+",
    complete=_uptime,
    deletable=_uptime_free,
)


@handles("monitoring.projects.metricDescriptors.list", needs="monitoring.metricDescriptors.list")
def list_descriptors(call: Call) -> Json:
    """Their names have slashes."""
    found = [(record.name, record.body) for record in call.store.list(call.name + "/")]
    return {"metricDescriptors": []} | listed(call, found, "metricDescriptors")


@handles("monitoring.projects.timeSeries.create", needs="monitoring.timeSeries.create")
def write(call: Call) -> Json:
    """One point for each series; a custom metric comes into being with its first."""
    with call.store.transaction():
        for place, series in enumerate(call.body.get("timeSeries") or ()):
            _write(call, place, series)
    return {}


def _write(call: Call, place: int, series: Json) -> None:
    metric = str((series.get("metric") or {}).get("type") or "")
    refuse_if(not re.fullmatch(DESCRIPTORS.id_pattern, metric), "monitoring.type")
    refuse_if(len(series.get("points") or ()) != 1, "monitoring.points", place=place)
    point = series["points"][0]
    end = _seconds(str((point.get("interval") or {}).get("endTime") or ""))
    if not time.time() - _PAST <= end <= time.time() + _FUTURE:
        raise refuse("monitoring.point-time", place=place, why="must be neither in the future nor 25 hours old")
    name = f"monitoring.googleapis.com/projects/{call.project}"
    descriptor = f"{name}/metricDescriptors/{metric}"
    if call.store.get(descriptor) is None:
        kind = {"metricKind": series.get("metricKind", "GAUGE"), "valueType": _value_type(point)}
        body = {"name": path_of(descriptor), "type": metric, **kind}
        call.store.put(descriptor, body, hidden={"born": time.time()})
    labels = json.dumps([metric, series["metric"].get("labels"), series.get("resource")], sort_keys=True)
    full = f"{name}/timeSeries/{hashlib.sha256(labels.encode()).hexdigest()}"
    old = call.store.get(full)
    points = old.body["points"] if old else []
    if points and end <= _seconds(points[0]["interval"]["endTime"]):
        raise refuse("monitoring.point-time", place=place, why="must be later than that of the last point")
    call.store.put(full, {"resource": {"type": "global"}, **series, "points": [point, *points][:_MOST_POINTS]})


def _value_type(point: Json) -> str:
    field = next(iter(point.get("value") or {"doubleValue": 0}))
    return str(field.removesuffix("Value").upper())


def _seconds(moment: str) -> float:
    try:
        return datetime.fromisoformat(moment).timestamp()
    except (ValueError, OverflowError) as error:
        raise refuse("monitoring.required", field="interval.end_time") from error


@handles("monitoring.projects.timeSeries.list", needs="monitoring.timeSeries.list")
def read(call: Call) -> Json:
    """Newest points first."""
    refuse_if(not _METRIC.search(call.one("filter")), "monitoring.filter")
    end = _seconds(call.one("interval.endTime"))
    start = _seconds(call.one("interval.startTime") or call.one("interval.endTime"))
    found = []
    for record in call.store.list(call.name + "/"):
        points = [point for point in record.body["points"] if start <= _seconds(point["interval"]["endTime"]) <= end]
        if points and matches(call.one("filter"), record.body):
            found.append({**record.body, "points": points})
    return {"timeSeries": found}
