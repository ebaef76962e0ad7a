"""Logs: what a clinic's service and jobs wrote, for people and for programs."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping
from typing import Any

from gcp_openemr import backups, cloud_logging
from gcp_openemr.cloud_logging import Entry
from gcp_openemr.commands.context import Context
from gcp_openemr.errors import Interrupted, UsageError

__all__ = ["logs", "moment"]

_LENGTH = re.compile(r"(\d{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_QUIET = ("DEFAULT", "INFO", "NOTICE", "DEBUG")


def logs(context: Context, *, clinic: str | None, job: str | None, since: str, follow: bool) -> None:
    """Show the lines of one clinic or all, of its service and jobs or of one job, oldest first.

    `since` is a length of time (30m, 2h, 3d) or a moment. With `follow` it goes on until Ctrl-C, and with --json then
    writes one object a line; without `follow` it is the one object that every command writes.

    Raises:
        UsageError: there is no such clinic or job, or `since` is no time.
    """
    writers = _writers(context, clinic, job)
    begin = moment(since)
    wanted = _filter(context, writers, one=clinic, by_name=job is not None)
    if follow:
        _follow(context, writers, wanted, begin)
        return
    with context.console.step("ask Cloud Logging"):
        found = [entry for entry in cloud_logging.read(context.cloud, wanted, begin) if entry.writer in writers]
    values = [_values(entry, writers[entry.writer]) for entry in found]
    lines = [_line(entry, writers[entry.writer]) for entry in found]
    context.console.result(
        {"environment": context.environment.name, "since": begin.isoformat(), "entries": values},
        "\n".join(lines) or f"Nothing was written since {begin:%Y-%m-%d %H:%M} UTC.",
    )


def _follow(context: Context, writers: Mapping[str, str], wanted: str, begin: datetime.datetime) -> None:
    show = context.console.line
    try:
        for entry in cloud_logging.follow(context.cloud, wanted, begin):
            who = writers.get(entry.writer)
            if who is not None:
                show(json.dumps(_values(entry, who), default=str) if context.console.as_json else _line(entry, who))
    except (KeyboardInterrupt, Interrupted):
        return  # that is how it ends


def _writers(context: Context, clinic: str | None, job: str | None) -> dict[str, str]:
    """Name of a service or job in Google Cloud → what people call it: `main web`, `main nfs-init`, `provision`."""
    names = context.environment.names
    found = {} if clinic else {names.provision_job: "provision"}
    for one in context.clinics(clinic):
        own = context.environment.clinic_names(one.name)
        found[own.service] = f"{one.name} web"
        jobs = {field: name for field, name in own.as_tfvars().items() if field.endswith("_job")}
        found |= {name: f"{one.name} {field.removesuffix('_job').replace('_', '-')}" for field, name in jobs.items()}
    if job is None:
        return found
    known = sorted({who.rpartition(" ")[2] for who in found.values()} - {"web"})
    if job not in known:
        raise UsageError(f"There is no job '{job}'.", do=f"Jobs are: {', '.join(known)}.")
    return {name: who for name, who in found.items() if who.rpartition(" ")[2] == job}


def _filter(context: Context, writers: Mapping[str, str], *, one: str | None, by_name: bool) -> str:
    """In Logging's query language, as short with a hundred clinics as with one: by what their names begin with."""
    if by_name and len(writers) == 1:
        return f'resource.labels.job_name="{next(iter(writers))}"'
    environment = context.environment
    prefix = environment.clinic_names(one).service if one else environment.names.provision_job
    prefix = prefix.rpartition("-")[0] + "-"
    return f'(resource.labels.service_name:"{prefix}" OR resource.labels.job_name:"{prefix}")'


def moment(since: str) -> datetime.datetime:
    """So long ago, or that moment, in UTC. Raises UsageError when it is neither."""
    length = _LENGTH.fullmatch(since)
    if length:
        return datetime.datetime.now(datetime.UTC) - datetime.timedelta(**{_UNITS[length[2]]: int(length[1])})
    found = backups.moment(since)
    if found is None:
        raise UsageError(
            f"{since!r} is no time.", do="Write a length such as 30m, 2h or 3d, or a moment such as 2026-11-22T02:00."
        )
    return found.astimezone(datetime.UTC)


def _values(entry: Entry, who: str) -> dict[str, Any]:
    clinic, _, writer = who.rpartition(" ")
    return {
        "at": entry.at.isoformat(),
        "clinic": clinic or None,
        "writer": writer,
        "run": entry.run,
        "severity": entry.severity,
        "text": entry.text,
        "fields": dict(entry.fields),
    }


def _line(entry: Entry, who: str) -> str:
    severity = "" if entry.severity in _QUIET else f"{entry.severity}: "
    fields = "  ".join(f"{name}={value}" for name, value in entry.fields.items())
    return f"{entry.at:%Y-%m-%d %H:%M:%S}  {who}  {severity}{entry.text}" + (f"  {fields}" if fields else "")
