"""Restore over a clinic that serves, and back again.

What will be replaced is shown and agreed to, the present state becomes a set, and nfs-init does the rest under a
maintenance page: it restores beside what is there, checks, swaps, and keeps what was there for `--undo`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from gcp_openemr import backups, cloud_run
from gcp_openemr.backups import BackupSet
from gcp_openemr.commands import jobs, moments, releases
from gcp_openemr.commands.backup import age, size
from gcp_openemr.commands.context import Context, changing, typed
from gcp_openemr.environment import Clinic
from gcp_openemr.environment.model import archive_fault
from gcp_openemr.errors import JobFailed, Unhealthy, UsageError
from gcp_openemr.lock import Held

__all__ = ["Source", "restore", "source_of", "undo"]

_HEALTH_SECONDS = 180.0
_TABLES_SHOWN = 6
_DOCUMENTS_SHOWN = 5
_HALF_OF_TWO = ("swap", "undo")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """What a clinic is restored from: nfs-init's variables for it, its name for people, and the set where it is one.

    `moment` is the time that was asked for; the set is the last one begun by then. With `exact` the database is that of
    the moment itself, and the set the nearest, of which the files are.
    """

    variables: Mapping[str, str]
    title: str
    set: BackupSet | None = None
    moment: datetime.datetime | None = None
    exact: bool = False


def restore(
    context: Context, *, clinic: str | None, wanted: str, drain: int, set_first: bool, exact: bool = False
) -> None:
    """Replace a clinic's data by `wanted`: `latest`, a set's id, a moment, `gs://BUCKET/OBJECT` or `drive:ID`.

    `drain` is for how many seconds the maintenance page stands before the swap. Without `set_first` the present state
    does not become a set, for a clinic that cannot be backed up any more. With `exact` the database becomes that of
    just the moment, from a copy of the Cloud SQL instance, and the files those of the nearest set.

    Raises:
        UsageError: there is no such clinic, set or moment, an upgrade is under way, or it was not agreed to.
        JobFailed: nothing was replaced, or the next run finishes; the job's sentence says which.
        Unhealthy: the clinic does not serve what was restored.
    """
    one = _only(context, clinic)
    _check_settled(context, one)
    with context.console.step(f"clinics/{one.name}: look at its sets"):
        sets, unreadable = backups.read_sets(context.cloud, context.environment.names.backup_bucket, one.name)
    for text in unreadable:
        context.console.warn(text)
    source = _exact(context, one.name, wanted, sets) if exact else source_of(one.name, wanted, sets)
    _show(context, one, source, sets)
    _agree(context, one, clinic)
    # `latest` will be another set soon: the one that is made of the present state
    again = {"--from": source.set.set if source.set and not exact else wanted, "--point-in-time": exact}
    command = typed("restore", {**again, "--clinic": one.name, "--without-set": not set_first})
    with _changing(context, one, command) as held, _database(context, one, source) as database:
        before = _set_of_now(context, one) if set_first else ""
        held.check()
        over = {"RESTORE_OVER": "yes", "DRAIN_SECONDS": str(drain)}
        with _set_named(one, wanted, source):
            record = _run(context, one, {**source.variables, **database, **over})
        url = _wait(context, one)
    values = {"restored": source.title, "decision": record["decision"], "set_before": before, "url": url}
    lost = record.get("documents_without_file") or []
    if lost:
        shown = ", ".join(lost[:_DOCUMENTS_SHOWN])
        context.console.warn(f"{len(lost)} documents that the database names have no file in the set: ids {shown}")
    _report(context, one, {**values, "documents_without_file": lost}, f"{one.name} serves {source.title}.")


def undo(context: Context, *, clinic: str | None, drain: int, set_first: bool) -> None:
    """Go back to what a clinic held before its last restore.

    Raises:
        UsageError, JobFailed, Unhealthy: as `restore` does; JobFailed also when no copy is kept any more.
    """
    one = _only(context, clinic)
    _check_settled(context, one)
    context.console.say(f"Clinic '{one.name}' goes back to what it held before its last restore.")
    _agree(context, one, clinic)
    options = {"--undo": True, "--clinic": one.name, "--without-set": not set_first}
    with _changing(context, one, typed("restore", options)) as held:
        before = _set_of_now(context, one) if set_first else ""
        held.check()
        record = _run(context, one, {"UNDO": "yes", "DRAIN_SECONDS": str(drain)})
        url = _wait(context, one)
    values = {"restored": "kept copy", "decision": record["decision"], "set_before": before, "url": url}
    _report(context, one, values, f"{one.name} serves what it held before its last restore.")


def source_of(clinic: str, wanted: str, sets: Sequence[BackupSet]) -> Source:
    """What `wanted` means among the sets of a clinic, or an archive.

    Raises:
        UsageError: it means nothing, no possible archive, or a set that is not verified.
    """
    if wanted.startswith("gs://"):
        return _archive("gcs", wanted, wanted, do="Write gs://BUCKET/OBJECT.")
    if wanted.startswith("drive:"):
        do = "Write drive:ID, with the long part of the file's link that comes after /d/."
        return _archive("drive", wanted.removeprefix("drive:"), wanted, do=do)
    chosen = backups.choose_to_restore(sets, wanted)
    variables = {
        "BACKUP_SOURCE": "set",
        "BACKUP_FILEID": chosen.set,
        "BACKUP_CLINIC": clinic,
    }
    return Source(
        variables=variables,
        title=f"set {chosen.set}",
        set=chosen,
        moment=None if wanted == chosen.set else backups.moment(wanted),
    )


def _archive(source: Literal["gcs", "drive"], place: str, wanted: str, *, do: str) -> Source:
    fault = archive_fault(source, place)
    if fault:
        raise UsageError(f"{wanted} {fault.text}.", do=do)
    return Source(variables={"BACKUP_SOURCE": source, "BACKUP_FILEID": place}, title=wanted)


def _exact(context: Context, clinic: str, wanted: str, sets: Sequence[BackupSet]) -> Source:
    """The database of just the moment `wanted`, and the files of the set nearest to it.

    Raises:
        UsageError: it is no moment, Cloud SQL's log does not reach it, or there is no set.
    """
    moment = backups.moment(wanted)
    if moment is None:
        raise UsageError(
            f"--point-in-time wants a moment, not {wanted!r}.", do="Write --from 2026-11-21T14:09:30 (UTC)."
        )
    moments.check(context, moment)
    near = backups.nearest(sets, moment)
    title = f"the database of {moment.astimezone(datetime.UTC):%Y-%m-%d %H:%M:%S} UTC with the files of set {near.set}"
    return dataclasses.replace(source_of(clinic, near.set, sets), title=title, moment=moment, exact=True)


@contextlib.contextmanager
def _database(context: Context, clinic: Clinic, source: Source) -> Iterator[Mapping[str, str]]:
    """Variables of nfs-init that name the database of the moment, where just that is wanted."""
    if source.moment is None or not source.exact:
        yield {}
        return
    with moments.database_of(context, clinic, source.moment) as place:
        yield {"BACKUP_DATABASE": place}


def _only(context: Context, clinic: str | None) -> Clinic:
    chosen = context.clinics(clinic)
    if len(chosen) > 1:
        names = ", ".join(one.name for one in chosen)
        raise UsageError(f"There are several clinics: {names}.", do="Name one: --clinic NAME")
    return chosen[0]


def _show(context: Context, clinic: Clinic, source: Source, sets: list[BackupSet]) -> None:
    """Say what comes and what goes, as far as the newest set knows the present."""
    say = context.console.say
    now = datetime.datetime.now(datetime.UTC)
    if source.set is None:
        say(f"Clinic '{clinic.name}' is replaced by {source.title}.")
        return
    chosen = source.set
    old = age((now - chosen.begun).total_seconds())
    say(
        f"Clinic '{clinic.name}' is replaced by {source.title}: {old} old, OpenEMR {chosen.openemr.release}, "
        f"{len(chosen.tables)} tables, {chosen.documents.found} documents, {size(chosen.bytes)}."
    )
    if source.moment and source.exact:
        away = age(abs((source.moment - chosen.begun).total_seconds()))
        side = "after" if source.moment > chosen.begun else "before"
        say(
            f"Its database is not the set's, but of {source.moment:%Y-%m-%d %H:%M:%S} UTC, {away} {side} it. Documents "
            "that it names and the set does not hold are told at the end. For it the Cloud SQL instance is copied; "
            "the copy is removed again."
        )
    elif source.moment:
        say(
            f"Of {source.moment:%Y-%m-%d %H:%M} UTC there is no set; that is the last one before, from "
            f"{age((source.moment - chosen.begun).total_seconds())} earlier. What was written in between is not in it."
        )
    newest = max((one for one in sets if one.is_verified), key=lambda one: one.begun)
    if newest.set != chosen.set:
        changes = backups.growth(chosen, newest)
        shown = [f"{rows:+d} {name}" for name, rows in list(changes.items())[:_TABLES_SHOWN]]
        rest = f" and {len(changes) - _TABLES_SHOWN} more tables" if len(changes) > _TABLES_SHOWN else ""
        say(
            f"Since then, up to set {newest.set}, would be lost: "
            f"{newest.documents.found - chosen.documents.found:+d} documents; "
            f"rows: {', '.join(shown) or 'none'}{rest}."
        )
    say(f"What was written after {newest.begun:%Y-%m-%d %H:%M} UTC is in no set yet.")


def _agree(context: Context, clinic: Clinic, named: str | None) -> None:
    """The clinic's name has to be typed: here, or with -y as --clinic."""
    if context.yes and named is None:
        raise UsageError("With -y, restore wants the clinic's name.", do=f"Add: --clinic {clinic.name}")
    if context.yes:
        return
    if not context.console.asks:
        raise UsageError("Nobody can be asked here.", do=f"Add -y --clinic {clinic.name} to go ahead.")
    if context.console.answer(f"To go ahead, type the clinic's name ({clinic.name}):") != clinic.name:
        raise UsageError("That is not its name; nothing was changed.")


def _check_settled(context: Context, clinic: Clinic) -> None:
    """An upgrade under way knows a set to go back to, and would trust it still after another one was restored."""
    standing = releases.look(context, clinic)
    if standing is None or standing.between is None:
        return
    what, do = releases.under_way(standing.clinic, standing.between)
    raise UsageError(f"{what}, so nothing else is restored over it.", do=do)


@contextlib.contextmanager
def _changing(context: Context, clinic: Clinic, command: str) -> Iterator[Held]:
    """Hold the environment's lock, unless another run began an upgrade until it was ours."""
    with changing(context, command) as held:
        _check_settled(context, clinic)
        yield held


def _set_of_now(context: Context, clinic: Clinic) -> str:
    try:
        return str(jobs.run(context, clinic, "backup", {"BEFORE_RESTORE": "yes"}).get("set", ""))
    except JobFailed as error:
        if error.record.get("begun") in _HALF_OF_TWO:
            context.console.warn("No set is made first: what is there now is half of an interrupted restore.")
            return ""
        raise JobFailed(
            f"The present state could not be made a set, so nothing was replaced. {error.what}",
            do=f"{error.do} To restore all the same: --without-set".strip(),
        ) from error


def _run(context: Context, clinic: Clinic, variables: Mapping[str, str]) -> dict[str, Any]:
    """Let nfs-init do it. Returns its record, with what it decided to do. Raises as `jobs.check_in_place`."""
    pinned = jobs.storage_variables(jobs.versions(context, clinic))
    record = jobs.run(context, clinic, "nfs-init", {**pinned, **variables})
    context.console.say(f"  nfs-init: {record.get('decision', '')}. {record.get('reason', '')}".rstrip())
    jobs.check_in_place(record, variables)
    return {"decision": "", **record}


@contextlib.contextmanager
def _set_named(clinic: Clinic, wanted: str, source: Source) -> Iterator[None]:
    """Let a failure say which set `latest` was: by the next run there may be a newer one."""
    try:
        yield
    except JobFailed as error:
        if wanted != "latest" or source.set is None:
            raise
        again = f"To go on with that set: gcp-openemr restore --from {source.set.set} --clinic {clinic.name}"
        raise JobFailed(error.what, do=f"{error.do} {again}".strip(), record=error.record) from error


def _wait(context: Context, clinic: Clinic) -> str:
    """Wait for the service's health, where it can be asked. Returns its address."""
    found = cloud_run.service_state(context.cloud, context.service_name(clinic))
    if found is None:
        return ""
    if not clinic.is_reachable:
        context.console.warn(f"Health was not asked: ingress_settings closes '{clinic.name}' to callers from here.")
        return found.uri
    with context.console.step(f"clinics/{clinic.name}: health") as step:
        try:
            cloud_run.wait_until_healthy(context.cloud, found.uri, seconds=_HEALTH_SECONDS, step=step)
        except Unhealthy as error:
            back = f"{error.do} To go back: gcp-openemr restore --undo --clinic {clinic.name}"
            raise Unhealthy(error.what, do=back) from error
    return found.uri


def _report(context: Context, clinic: Clinic, values: Mapping[str, Any], told: str) -> None:
    before = f" The state before is set {values['set_before']}." if values["set_before"] else ""
    context.console.result({"environment": context.environment.name, "clinic": clinic.name, **values}, told + before)
