"""Cloud Monitoring: which alerts are set up, and which are open."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Collection, Mapping
from typing import Any

from gcp_openemr.clients import Cloud

__all__ = ["OpenAlert", "Policy", "open_alerts", "policies"]

_PAGE = 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Policy:
    """An alert policy. `do` is what to do about its alerts."""

    name: str
    title: str
    enabled: bool
    do: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class OpenAlert:
    """What Monitoring has raised and not closed. `severity` is Google's word; `do` is what to do about it."""

    title: str
    severity: str
    since: datetime.datetime | None
    do: str


def policies(cloud: Cloud, environment: str) -> list[Policy]:
    """The alert policies of an environment, by its label."""
    found = _all(cloud, "alertPolicies", {})
    return [
        Policy(
            name=policy["name"],
            title=policy["displayName"],
            enabled=bool(policy.get("enabled", True)),
            do=policy.get("documentation", {}).get("content", ""),
        )
        for policy in found
        if policy.get("userLabels", {}).get("environment") == environment
    ]


def open_alerts(cloud: Cloud, of: Collection[Policy]) -> list[OpenAlert]:
    """The open alerts of these policies.

    https://docs.cloud.google.com/monitoring/api/ref_v3/rest/v3/projects.alerts/list
    """
    ours = {_id(policy.name): policy for policy in of}
    return [
        OpenAlert(
            title=ours[policy].title,
            severity=alert["policy"].get("severity", ""),
            since=datetime.datetime.fromisoformat(alert["openTime"]) if "openTime" in alert else None,
            do=ours[policy].do,
        )
        for alert in _all(cloud, "alerts", {"filter": 'state="OPEN"'})
        if alert.get("state") == "OPEN" and (policy := _id(alert.get("policy", {}).get("name", ""))) in ours
    ]


def _id(name: str) -> str:
    """Of a full name, which may have the project's number for its id."""
    return name.rpartition("/")[2]


def _all(cloud: Cloud, collection: str, query: Mapping[str, str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    token = ""
    while True:
        page: dict[str, Any] = {"pageSize": _PAGE, **query, **({"pageToken": token} if token else {})}
        answer = cloud.ask("monitoring", f"v3/projects/{cloud.project}/{collection}", **page)
        found += answer.get(collection, ())
        token = str(answer.get("nextPageToken") or "")
        if not token:
            return found
