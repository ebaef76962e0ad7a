"""Cloud SQL: the instance's own backups, and how far back it can be brought to any moment."""

from __future__ import annotations

import dataclasses
import datetime

from google.api_core.exceptions import NotFound

from gcp_openemr.clients import Cloud

__all__ = ["OwnBackup", "OwnBackups", "own_backups"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnBackup:
    """One backup that Cloud SQL made: when it began (RFC 3339), its status and type in Google's words."""

    begun: str
    status: str
    type: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnBackups:
    """Cloud SQL's backups, newest first. `since` begins the window of point-in-time recovery; None where it is off."""

    backups: tuple[OwnBackup, ...]
    since: datetime.datetime | None


def own_backups(cloud: Cloud, instance: str) -> OwnBackups | None:
    """What Cloud SQL keeps of an instance by itself; None when there is no such instance."""
    path = f"v1/projects/{cloud.project}/instances/{instance}"
    try:
        described = cloud.ask("sqladmin", path)
    except NotFound:
        return None
    listed = cloud.ask("sqladmin", f"{path}/backupRuns", maxResults=20).get("items", ())
    backups = (
        OwnBackup(
            begun=str(run.get("startTime") or run.get("enqueuedTime", "")), status=run["status"], type=run["type"]
        )
        for run in listed
    )
    settings = described["settings"].get("backupConfiguration", {})
    since = None
    if settings.get("binaryLogEnabled"):
        days = datetime.timedelta(days=int(settings.get("transactionLogRetentionDays", 7)))
        created = datetime.datetime.fromisoformat(described["createTime"])
        since = max(created, datetime.datetime.now(datetime.UTC) - days)
    return OwnBackups(backups=tuple(backups), since=since)
