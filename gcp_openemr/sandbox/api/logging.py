"""Cloud Logging v2: buckets, sinks, metrics of logs, and the entries that the runtime's processes wrote."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterator

from gcp_openemr.sandbox.api.listing import matches
from gcp_openemr.sandbox.api.names import id_of, path_of, project_number, project_of, segment
from gcp_openemr.sandbox.api.projects import WITH_PROJECT
from gcp_openemr.sandbox.api.refusals import existing
from gcp_openemr.sandbox.api.rules import Call, Change, Collection, Json, handles, refuse, refuse_if, shape

_LONGEST_RETENTION = 3650  # days
_DESTINATION = re.compile(r"(storage|bigquery|pubsub|logging)\.googleapis\.com/.+")
_QUOTED = re.compile(r'labels\."([^"]+)"')
_CLAUSE = re.compile(r"\s+AND\s+|\s*\n\s*")
_LOG_BUCKET: Json = {
    "retentionDays": 30,
    "lifecycleState": "ACTIVE",
    "createTime": "1970-01-01T00:00:00Z",
    "updateTime": "1970-01-01T00:00:00Z",
}
_BUCKETS = ("logging.projects.locations.buckets", "logging.locations.buckets")
_GOING = "DELETE_REQUESTED"
_PLACE = "projects/{project}/locations/global/buckets"
WITH_PROJECT |= {
    f"logging.googleapis.com/{_PLACE}/_Default": {"name": f"{_PLACE}/_Default", **_LOG_BUCKET},
    f"logging.googleapis.com/{_PLACE}/_Required": {
        "name": f"{_PLACE}/_Required", **_LOG_BUCKET, "retentionDays": 400, "locked": True
    },
}  # fmt: skip


# What writes, by its full name, and what its entries have in common ({source} is who wrote the line).
_WRITERS = (
    (r"run\.googleapis\.com/.+/services/[^/]+", "logs.service"),
    (r"run\.googleapis\.com/.+/executions/[^/]+", "logs.execution"),
    (r"sqladmin\.googleapis\.com/.+/instances/[^/]+", "logs.database"),
    (r"compute\.googleapis\.com/.+/instances/[^/]+", "logs.machine"),
)


def _bucket(change: Change) -> None:
    new, old = change.new, change.old or {}
    refuse_if(id_of(change.name) == "_Required", "logging.required-bucket", name=path_of(change.name))
    new.setdefault("retentionDays", 30)
    refuse_if(not 1 <= new["retentionDays"] <= _LONGEST_RETENTION, "logging.retention", most=_LONGEST_RETENTION)
    refuse_if(old.get("lifecycleState") == _GOING, "logging.deleted", name=path_of(change.name))
    if old.get("locked") and (not new.get("locked") or new["retentionDays"] != old["retentionDays"]):
        raise refuse("logging.locked", name=path_of(change.name))
    new["lifecycleState"] = "ACTIVE"


@handles(*(f"{key}.{verb}" for key in _BUCKETS for verb in ("delete", "undelete")), needs="logging.buckets.{verb}")
def switch_bucket(call: Call) -> Json:
    """A deleted bucket is kept for a week, in which its id is taken and it can be brought back."""
    with call.store.transaction():
        record = existing(call.store, call.name)
        kept = id_of(record.name).startswith("_") or record.body.get("locked")
        refuse_if(kept, "logging.required-bucket", name=path_of(record.name))
        call.store.put(record.name, record.body | {"lifecycleState": _GOING if call.verb == "delete" else "ACTIVE"})
    return {}


def _sink(change: Change) -> None:
    new = change.new
    destination = str(new.get("destination") or "")
    refuse_if(not _DESTINATION.fullmatch(destination), "logging.destination", destination=destination)
    project = project_of(change.name)
    new |= {"name": id_of(change.name), "resourceName": path_of(change.name)}
    # A bucket of the same project needs no identity to write.
    if not destination.startswith(f"logging.googleapis.com/projects/{project}/"):
        new["writerIdentity"] = (
            f"serviceAccount:service-{project_number(project)}@gcp-sa-logging.iam.gserviceaccount.com"
        )


def _metric(change: Change) -> None:
    new = change.new
    refuse_if(not new.get("filter"), "logging.filter")
    own = id_of(change.name)
    kind = f"logging.googleapis.com/user/{own}"
    given = {"metricKind": "DELTA", "valueType": "INT64", **(new.get("metricDescriptor") or {})}
    name = f"projects/{project_of(change.name)}/metricDescriptors/{kind}"
    new |= {
        "name": own,
        "resourceName": path_of(change.name),
        "metricDescriptor": {**given, "name": name, "type": kind},
    }
    change.hidden.setdefault("born", time.time())


# Google has the same methods for organisations and folders under ids of their own.
Collection(
    _BUCKETS[0],
    also=_BUCKETS[1:],
    kind="log bucket",
    id_parameter="bucketId",
    id_pattern=r"[a-zA-Z0-9][\w.-]{0,99}",
    complete=_bucket,
    verbs=("create", "get", "list", "patch"),
)
Collection("logging.projects.sinks", also=("logging.sinks",), id_pattern=r"[\w.-]{1,100}", complete=_sink)
Collection(
    "logging.projects.metrics",
    also=("logging.metrics",),
    kind="log metric",
    permission="logging.logMetrics",
    id_pattern=r"[\w.,+!*',()%/-]{1,100}",
    complete=_metric,
)


@handles("logging.entries.list")
def list_entries(call: Call) -> Json:
    """The lines of services, executions, database instances and machines, oldest first unless asked otherwise."""
    names = [str(name) for name in call.body.get("resourceNames") or ()]
    refuse_if(not names, "logging.resource-names")
    clauses = [clause for clause in _CLAUSE.split(_plain(str(call.body.get("filter") or "").strip())) if clause]
    found = []
    for name in names:
        project = project_of(f"/{name}")
        call.authorize("logging.logEntries.list", f"logging.googleapis.com/projects/{project}")
        found += list(_entries(call, project, clauses))
    found.sort(key=lambda entry: (entry["timestamp"], entry["insertId"]))
    if str(call.body.get("orderBy") or "").endswith("desc"):
        found.reverse()
    size, token = int(call.body.get("pageSize") or 50), str(call.body.get("pageToken") or 0)
    refuse_if(not re.fullmatch(r"[0-9]{1,18}", token), "google.page-token")
    start = int(token)
    shown = found[start : start + size]
    more = {"nextPageToken": str(start + size)} if start + size < len(found) else {}
    return ({"entries": shown} if shown else {}) | more


def _plain(filter_: str) -> str:
    """Quoted keys of labels without what a filter's field may not have."""
    return _QUOTED.sub(lambda key: "labels." + re.sub(r"\W", "_", key[1]), filter_)


def _entries(call: Call, project: str, clauses: list[str]) -> Iterator[Json]:
    for host in ("run", "sqladmin", "compute"):
        for record in call.store.list(f"{host}.googleapis.com/projects/{project}/"):
            kind = next((kind for pattern, kind in _WRITERS if re.fullmatch(pattern, record.name)), "")
            if kind:
                yield from _lines(call, record.name, kind, clauses)


def _lines(call: Call, name: str, kind: str, clauses: list[str]) -> Iterator[Json]:
    place, job = segment(name, "locations") or segment(name, "zones"), segment(name, "jobs")
    common = shape(kind, name, place=place, job=job, source="{source}")
    early = [clause for clause in clauses if clause.startswith("resource.type")]
    if not _passes(early, common):
        return
    for number, line in enumerate(call.app.runtime.log_lines(id_of(name))):
        moment, _, rest = line.partition(" ")
        source, _, text = rest.partition(" ")
        entry = {
            **json.loads(json.dumps(common).replace("{source}", source)),
            "timestamp": moment,
            "receiveTimestamp": moment,
            "insertId": hashlib.sha256(f"{name}{number}{line}".encode()).hexdigest()[:20],
            **_payload(text),
        }
        if _passes(clauses, entry):
            yield entry


def _payload(text: str) -> Json:
    """A line that is a JSON object becomes `jsonPayload`: https://cloud.google.com/run/docs/logging#special-fields"""
    try:
        given = json.loads(text) if text.startswith("{") else None
    except ValueError:
        given = None
    if not isinstance(given, dict):
        return {"textPayload": text, "severity": "DEFAULT"}
    return {"severity": str(given.pop("severity", "DEFAULT")), "jsonPayload": given}


def _passes(clauses: list[str], entry: Json) -> bool:
    labels = {re.sub(r"\W", "_", key): value for key, value in entry["labels"].items()}
    return all(matches(clause, {**entry, "labels": labels}) for clause in clauses)
