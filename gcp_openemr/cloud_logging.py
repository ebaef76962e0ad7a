"""Cloud Logging: what services and jobs wrote.

A project may ask sixty times a minute (https://cloud.google.com/logging/quotas), so one question asks for everything
that is wanted, and whoever follows asks every three seconds.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterator, Mapping
from typing import Any

from gcp_openemr import interruption
from gcp_openemr.clients import Cloud

__all__ = ["Entry", "follow", "read"]

_PAGE = 1000
_POLL_SECONDS = 3.0
_LATE = datetime.timedelta(seconds=60)  # lines of several instances do not arrive in the order of their times


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """One line. `writer` is the service or job, `run` its revision or execution; `severity` is Google's word.

    `fields` is what a line that was a JSON object held beside its message.
    """

    id: str
    at: datetime.datetime
    severity: str
    writer: str
    run: str
    text: str
    fields: Mapping[str, Any]


def read(cloud: Cloud, wanted: str, since: datetime.datetime) -> Iterator[Entry]:
    """The lines of Cloud Run that pass the filter `wanted`, oldest first."""
    filter_ = f'logName:"run.googleapis.com" AND timestamp>="{since:%Y-%m-%dT%H:%M:%S.%fZ}" AND {wanted}'
    body = {"resourceNames": [f"projects/{cloud.project}"], "filter": filter_, "orderBy": "timestamp asc"}
    token = ""
    while True:
        page = {"pageSize": _PAGE, **({"pageToken": token} if token else {})}
        answer = cloud.ask("logging", "v2/entries:list", body={**body, **page})
        yield from map(_entry, answer.get("entries", ()))
        token = str(answer.get("nextPageToken") or "")
        if not token:
            return


def follow(cloud: Cloud, wanted: str, since: datetime.datetime) -> Iterator[Entry]:
    """As `read`, and then the lines that come, each once, without end. Raises Interrupted when asked to stop."""
    seen: dict[tuple[datetime.datetime, str], Entry] = {}
    while True:
        for entry in read(cloud, wanted, since):
            if (entry.at, entry.id) not in seen:
                seen[entry.at, entry.id] = entry
                yield entry
        since = max(since, max((at for at, _ in seen), default=since) - _LATE)
        seen = {key: entry for key, entry in seen.items() if entry.at >= since}
        interruption.pause(_POLL_SECONDS)


def _entry(given: Mapping[str, Any]) -> Entry:
    labels = given.get("resource", {}).get("labels", {})
    execution = given.get("labels", {}).get("run.googleapis.com/execution_name", "")
    payload = dict(given.get("jsonPayload", {}))
    text = payload.pop("message", None) or given.get("textPayload") or _request(given.get("httpRequest", {}))
    return Entry(
        id=str(given.get("insertId", "")),
        at=datetime.datetime.fromisoformat(given.get("timestamp") or given["receiveTimestamp"]),
        severity=str(given.get("severity", "DEFAULT")),
        writer=labels.get("service_name") or labels.get("job_name", ""),
        run=labels.get("revision_name") or execution,
        text=str(text or given.get("protoPayload", {}).get("status", {}).get("message", "")).rstrip(),
        fields=payload,
    )


def _request(request: Mapping[str, Any]) -> str:
    """A line of Cloud Run's own log of requests."""
    words = (request.get(field, "") for field in ("requestMethod", "status", "requestUrl", "latency"))
    return " ".join(str(word) for word in words if word)
