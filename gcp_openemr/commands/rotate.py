"""Rotate: a clinic's passwords are changed by its `rotate` job while people work.

The job does all of it, and goes on when this program ends: the schedule starts the very same one. What is left to do
here is to see that nobody else changes the environment, to have a password that was changed by hand set again by
`provision`, which alone can, and to tell how it went.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from gcp_openemr.commands import jobs, roots, rotations, state
from gcp_openemr.commands.context import Context, changing
from gcp_openemr.commands.rotations import KINDS
from gcp_openemr.environment import Clinic
from gcp_openemr.errors import GcpOpenemrError, JobFailed, Locked, Unhealthy
from gcp_openemr.variables import Platform

__all__ = ["ages", "rotate"]

_KNOWN: Mapping[int, type[GcpOpenemrError]] = {6: Unhealthy, 75: Locked}
"""The job's exit codes that have a meaning here."""


def rotate(
    context: Context, *, what: Collection[str], clinic: str | None, now: bool, force: bool, drain: int | None = None
) -> None:
    """Change passwords of each clinic, or of one: `what` of `KINDS`, whatever their age.

    `now` ends the old ones first, with a short interruption. `force` also replaces an administrator's password that a
    person has set. `drain` is how many seconds requests of the old revision get to end.

    Raises:
        Locked: somebody changes the environment, or a job of the clinic does not let go.
        Unhealthy: a new revision was not healthy; the old passwords serve.
        JobFailed: with what the job said. A run that follows finishes or undoes what was begun.
    """
    chosen = context.clinics(clinic)
    kinds = [kind for kind in KINDS if kind in what]
    _agree(context, chosen, kinds, now=now)
    variables = {"WHAT": ",".join(kinds), "DUE": "no"}
    variables |= {name: "yes" for name, given in (("NOW", now), ("FORCE", force)) if given}
    variables |= {} if drain is None else {"DRAIN_SECONDS": str(drain)}
    records = {one.name: _rotate(context, one, variables) for one in chosen}
    _report(context, records)


def ages(context: Context, *, clinic: str | None) -> bool:
    """Show every password's version and age, what is half-way, and drift. Returns whether all is well."""
    with context.console.step("ask the cloud"):
        found = [rotations.ask(context, one) for one in context.clinics(clinic)]
    lines = [line for one in found for line in (f"{one.clinic}:", *(f"  {told}" for told in one.lines()))]
    well = not any(one.complaints for one in found)
    if not well:
        lines.append("To finish, renew and mend: gcp-openemr rotate")
    values = {"environment": context.environment.name, "well": well}
    context.console.result({**values, "clinics": {one.clinic: one.values() for one in found}}, "\n".join(lines))
    return well


def _agree(context: Context, chosen: Sequence[Clinic], kinds: Sequence[str], *, now: bool) -> None:
    names = ", ".join(one.name for one in chosen)
    if now:
        context.console.warn("With --now the old passwords end first: requests fail until the new revision serves.")
    if "admin" in kinds:
        context.console.say("The administrator is logged out and has a new password: gcp-openemr credentials shows it.")
    context.agree(f"Rotate {', '.join(kinds)} of {names}?")


def _rotate(context: Context, clinic: Clinic, variables: Mapping[str, str]) -> dict[str, Any]:
    with changing(context, "rotate"):
        """Takes over what a run that died left. The job holds the lock itself: it lives longer than this program."""
    try:
        return _run(context, clinic, variables)
    except JobFailed as error:
        by_hand = error.record.get("changed_by_hand")
        if not by_hand:
            raise
        context.console.warn(error.what)
    with changing(context, "rotate"):
        platform = Platform(outputs=state.outputs(context, roots.PLATFORM.path) or {})
        jobs.provision(context, clinic, platform, jobs.versions(context, clinic))
    # provision keeps the one that was set by hand valid beside its own; a rotation of it ends both
    what = [kind for kind in KINDS if kind in (*variables["WHAT"].split(","), *by_hand)]
    return _run(context, clinic, {**variables, "WHAT": ",".join(what)})


def _run(context: Context, clinic: Clinic, variables: Mapping[str, str]) -> dict[str, Any]:
    try:
        record = jobs.run(context, clinic, "rotate", variables)
    except JobFailed as error:
        known = _KNOWN.get(error.record.get("exit_code", 0))
        if known is not None:
            raise known(error.what, do=error.do) from error
        if not error.record:
            finish = "Run the same command again: it finishes or undoes what was begun."
            raise JobFailed(error.what, do=finish) from error
        raise
    if not record:
        raise JobFailed(
            f"Job rotate of '{clinic.name}' ended well, but left no record of what it did.",
            do="See gcp-openemr rotate --status, and gcp-openemr logs --job rotate.",
        )
    return record


def _report(context: Context, records: Mapping[str, Mapping[str, Any]]) -> None:
    lines = [f"{name}: {told}" for name, record in records.items() for told in _told(record)]
    context.console.result({"environment": context.environment.name, "clinics": records}, "\n".join(lines))


def _told(record: Mapping[str, Any]) -> list[str]:
    """What the job did, a line for each kind of thing."""
    lines = []
    for title, key in (("rotated", "rotated"), ("finished", "finished"), ("undone", "undone")):
        moved = [f"{kind} {move['from']} → {move['to']}" for kind, move in record.get(key, {}).items()]
        lines += [f"{title}: {', '.join(moved)}"] if moved else []
    for title, key in (("left for the next run", "waiting"), ("left as it is", "skipped"), ("mended", "mended")):
        lines += [f"{kind} {title}: {reason}" for kind, reason in record.get(key, {}).items()]
    lines += _of_administrator(record.get("admin", {}))
    if "interruption_seconds" in record:
        lines.append(f"requests could fail for {record['interruption_seconds']:.0f} s")
    return lines or ["nothing was due"]


def _of_administrator(found: Mapping[str, Any]) -> list[str]:
    """How the job found OpenEMR's administrator, and the sessions that it ended."""
    locked, factors = found.get("locked_by", ()), found.get("second_factors", ())
    lines = ["the administrator was locked by failed logins and is let in again"] if "failed logins" in locked else []
    lines += ["the administrator is inactive in OpenEMR and cannot log in"] if "inactive" in locked else []
    lines += [f"the administrator's second factors stay: {', '.join(factors)}"] if factors else []
    return [*lines, *([f"sessions ended: {found['sessions_ended']}"] if "sessions_ended" in found else [])]
