"""Backup sets: make one now, list them, have them read back, restore one for a trial."""

from __future__ import annotations

import concurrent.futures
import datetime
from collections.abc import Mapping
from typing import Any

from gcp_openemr import backups, cloud_sql
from gcp_openemr.backups import BackupSet
from gcp_openemr.commands import jobs
from gcp_openemr.commands.context import Context

__all__ = ["age", "create", "drill", "listing", "size", "verify"]

_UNITS = ("B", "KB", "MB", "GB", "TB")


def create(context: Context, *, clinic: str | None) -> None:
    """Make a set of each clinic, or of one, and wait until it is checked.

    Raises:
        JobFailed: a set could not be made or failed its checks; the job's sentence says why.
    """
    records = _side_by_side(context, clinic, "backup")
    _report(
        context, records, {name: f"{record.get('set', '')} is made and checked" for name, record in records.items()}
    )


def drill(context: Context, *, clinic: str | None) -> None:
    """Restore each clinic's newest set into a scratch schema and folder, compare, and remove them again.

    Raises:
        JobFailed: it could not be restored, or what came out differs; the job's sentence says where.
    """
    records = _side_by_side(context, clinic, "drill")
    told = {
        name: f"{record.get('set', '')} was restored in {record.get('restore_seconds', 0):.0f} s and is right"
        for name, record in records.items()
    }
    _report(context, records, told)


def _side_by_side(context: Context, clinic: str | None, job: str) -> dict[str, dict[str, Any]]:
    """Run a job of each clinic, or of one. All are waited for; the first failure is raised."""
    chosen = context.clinics(clinic)
    with concurrent.futures.ThreadPoolExecutor(len(chosen)) as pool:
        running = {one.name: pool.submit(jobs.run, context, one, job) for one in chosen}
    return {name: run.result() for name, run in running.items()}


def _report(context: Context, records: Mapping[str, Any], told: Mapping[str, str]) -> None:
    context.console.result(
        {"environment": context.environment.name, "clinics": records},
        "\n".join(f"{name}: {text}" for name, text in told.items()),
    )


def verify(context: Context, *, clinic: str | None, wanted: str | None, data: str) -> None:
    """Have the verify job read repositories back: `data` percent of it or `all`, and one set's manifest or every one's.

    Raises:
        UsageError: no such set.
        JobFailed: something is damaged or missing; the job's sentence names it.
    """
    records = {}
    for one in context.clinics(clinic):
        variables = {"READ_DATA": data}
        if wanted is not None:
            sets, _ = backups.read_sets(context.cloud, _bucket(context), one.name)
            variables["SET"] = backups.choose(sets, wanted).set
        records[one.name] = jobs.run(context, one, "verify", variables)
    _report(context, records, dict.fromkeys(records, "the repository is whole"))


def listing(context: Context, *, clinic: str | None) -> None:
    """Show each clinic's sets, newest first, and what Cloud SQL keeps by itself.

    A clinic that was destroyed has left its sets: they are shown, too.

    Raises:
        UsageError: there is no such clinic, and there are no sets of one.
    """
    now = datetime.datetime.now(datetime.UTC)
    lines: list[str] = []
    found: dict[str, Any] = {}
    with context.console.step("ask the cloud"):
        own = cloud_sql.own_backups(context.cloud, context.environment.names.database_instance)
        read = _all_sets(context, clinic)
    for name, (sets, unreadable) in read.items():
        found[name] = {"sets": [_values(one, now) for one in sets], "unreadable": unreadable}
        gone = "" if name in context.environment.clinics else ", of a clinic that the file names no more"
        lines += [f"{name}: {len(sets)} backup sets{gone}", *(f"  {_line(one, now)}" for one in sets)]
        lines += [f"  ! {text}" for text in unreadable]
    values = {"environment": context.environment.name, "bucket": _bucket(context), "clinics": found}
    context.console.result({**values, "cloud_sql": _own_values(own)}, "\n".join([*lines, *_own_lines(own)]))


def age(seconds: float) -> str:
    """A length of time in its largest unit: 40 s, 12 min, 5 h, 3 days."""
    for length, unit in ((86_400, " days"), (3600, " h"), (60, " min")):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f}{unit}"
    return f"{max(seconds, 0):.0f} s"


def size(count: int) -> str:
    """Bytes in a unit that people read."""
    value, unit = float(count), 0
    while value >= 1000 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.0f} {_UNITS[unit]}" if unit == 0 or value >= 100 else f"{value:.1f} {_UNITS[unit]}"


def _all_sets(context: Context, clinic: str | None) -> dict[str, tuple[list[BackupSet], list[str]]]:
    """By clinic: its sets, and a sentence for each that cannot be read."""
    cloud, bucket, known = context.cloud, _bucket(context), context.environment.clinics
    names = [clinic] if clinic else [*known, *(name for name in backups.clinics(cloud, bucket) if name not in known)]
    read = {name: backups.read_sets(cloud, bucket, name) for name in names}
    found = {name: sets for name, sets in read.items() if name in known or any(sets)}
    if not found:
        context.clinics(clinic)  # tells which there are
    return found


def _bucket(context: Context) -> str:
    return context.environment.names.backup_bucket


def _values(one: BackupSet, now: datetime.datetime) -> dict[str, Any]:
    check = one.last_check
    return {
        "set": one.set,
        "state": one.state,
        "begun": one.begun,
        "age_seconds": round((now - one.begun).total_seconds()),
        "openemr": one.openemr.release,
        "bytes": one.bytes,
        "added_bytes": one.added,
        "documents": one.documents.found,
        "checked": {"when": check.when, "how": check.how} if check else None,
        "has_sum": one.has_sum,
        "before_restore": one.is_before_restore,
        "problems": list(one.problems),
    }


def _line(one: BackupSet, now: datetime.datetime) -> str:
    check = one.last_check
    checked = f"{check.how} {check.when:%Y-%m-%d %H:%M}" if check else "not read back yet"
    replaced = "  of what a restore replaced" if one.is_before_restore else ""
    line = (
        f"{one.set}  {age((now - one.begun).total_seconds()):>8}  {size(one.bytes):>8}  +{size(one.added)}  "
        f"OpenEMR {one.openemr.release}  {checked}{replaced}{'' if one.has_sum else '  manifest without a sum'}"
    )
    return line if one.is_verified else f"{line}  FAILED: {'; '.join(one.problems)}"


def _own_values(own: cloud_sql.OwnBackups | None) -> dict[str, Any] | None:
    if own is None:
        return None
    listed = [{"begun": one.begun, "status": one.status, "type": one.type} for one in own.backups]
    return {"backups": listed, "point_in_time_since": own.since}


def _own_lines(own: cloud_sql.OwnBackups | None) -> list[str]:
    if own is None:
        return ["Cloud SQL: no instance"]
    since = f"any moment since {own.since:%Y-%m-%d %H:%M} UTC" if own.since else "no point-in-time recovery"
    return [
        f"Cloud SQL, the database alone: {len(own.backups)} backups, {since}",
        *(f"  {one.begun}  {one.type}  {one.status}" for one in own.backups),
    ]
