"""nfs-init: makes a clinic's storage right before it serves. Looks, decides, says why, then acts.

It never deletes a clinic: what it removes is what an interrupted run of its own unpacked or began where no patient is.
"""

from __future__ import annotations

from typing import Any

from jobs import (
    clinic_state,
    database,
    install,
    kept,
    log,
    maintenance,
    marker,
    openemr_settings,
    ownership,
    restore,
    secrets,
    share,
    sqlconf,
    swap,
)
from jobs.clinic_state import ClinicState
from jobs.database import Lock
from jobs.decide import Decision, decide
from jobs.errors import JobError, Refused
from jobs.redacted import Redacted
from jobs.settings import NfsInit

__all__ = ["run"]


def run(wanted: NfsInit, *, dry_run: bool = False) -> dict[str, Any]:
    """Bring the clinic to the right state and return the result record.

    Raises:
        Refused: what was found may not be touched; the text says what is missing.
    """
    share.check_writable(wanted.sites)
    _check_version(wanted)
    password = secrets.access(wanted.password)
    connection = database.connect(wanted.server, wanted.user, password)
    with connection, database.locked(connection, wanted.schema, seconds=wanted.lock_seconds) as lock:
        if not dry_run:
            ownership.finish(wanted.sites / "default")
        state = clinic_state.look(wanted, lock.connection)
        decision = decide(state)
        log.info(f"Decision: {decision.action}, because {decision.reason}", dry_run=dry_run)
        if dry_run:
            return _told(decision, {"dry_run": True})
        try:
            done = _act(wanted, lock, state, decision, password)
            done |= _release(wanted, lock)
        except JobError as error:
            error.record = _told(decision, {**error.record})
            raise
        lock.check()
        settings = openemr_settings.write(lock.connection, wanted.schema, wanted.openemr_settings)
        kept.settle(wanted)
        return _told(decision, {**done, "settings_changed": settings})


def _act(wanted: NfsInit, lock: Lock, state: ClinicState, decision: Decision, password: Redacted) -> dict[str, Any]:
    match decision.action:
        case "refuse":
            raise Refused(f"Nothing was changed: {decision.reason}.", do=decision.do)
        case "install":
            return _install(wanted, lock, password)
        case "restore":
            _start_over(wanted, lock)
            return _restore(wanted, lock, password)
        case "restore-over":
            swap.remove_leftovers(wanted, lock.connection)
            return _restore(wanted, lock, password)
        case "undo":
            return _undo(wanted, lock)
        case "finish-swap":
            return _finish_swap(wanted, lock, state, password)
        case "configure":
            swap.remove_leftovers(wanted, lock.connection)
            kept.clear_old(wanted, lock.connection)
            if not wanted.keep_page:
                maintenance.end(wanted.sites)
            marker.clear(wanted.sites)
            return _configure(wanted)


def _finish_swap(wanted: NfsInit, lock: Lock, state: ClinicState, password: Redacted) -> dict[str, Any]:
    """Put the announced copy in place, then do what this run is for: another one may have announced another copy."""
    source, kept_copy = state.begun.source if state.begun else "", swap.finish_swap(wanted, lock)
    state = clinic_state.look(wanted, lock.connection)
    then = decide(state)
    if then.action == "configure":
        return {"source": source, "kept": kept_copy, **_configure(wanted)}
    if then.action == "refuse":
        raise Refused(f"What was restored is in place, but {then.reason}.", do=then.do)
    log.info(f"Decision: {then.action}, because {then.reason}", finished=source)
    return _told(then, {"finished": source, **_act(wanted, lock, state, then, password)})


def _release(wanted: NfsInit, lock: Lock) -> dict[str, Any]:
    """Of which release the data is now, and whether the upgrade job has to follow."""
    found = clinic_state.look_at_database(lock.connection, wanted.schema)
    code, _ = clinic_state.code_version(wanted.application)
    return {"release": found.release, "upgrade_needed": found.version != code}


def _install(wanted: NfsInit, lock: Lock, password: Redacted) -> dict[str, Any]:
    admin_password = secrets.access(wanted.admin_password)
    _start_over(wanted, lock)
    return install.install(wanted, lock, password, admin_password)


def _restore(wanted: NfsInit, lock: Lock, password: Redacted) -> dict[str, Any]:
    if wanted.backup is None:
        raise Refused("No backup is named.")
    admin_password = secrets.access(wanted.admin_password)
    return restore.restore(wanted, wanted.backup, lock, password, admin_password)


def _undo(wanted: NfsInit, lock: Lock) -> dict[str, Any]:
    copy = kept.look(wanted, lock.connection)
    if copy is None:
        raise Refused("There is no kept copy.")
    kept_version = clinic_state.look_at_database(lock.connection, wanted.kept_schema)
    code, release = clinic_state.code_version(wanted.application)
    if kept_version.version != code:
        raise Refused(f"What was kept is of OpenEMR {kept_version.release}, and this image holds {release}.")
    admin_password = secrets.access(wanted.admin_password)
    swap.remove_leftovers(wanted, lock.connection)
    restore.set_admin_password(wanted, lock.connection, wanted.kept_schema, admin_password)
    with maintenance.until_announced(wanted.sites, drain_seconds=wanted.drain_seconds):
        swap.begin_undo(wanted, lock, copy)
    return {"source": copy.files, "kept": swap.finish_swap(wanted, lock), **_configure(wanted)}


def _start_over(wanted: NfsInit, lock: Lock) -> None:
    """Remove what interrupted runs left: staging, and a begun installation in which the table found no patient."""
    begun = marker.read(wanted.sites)
    swap.remove_leftovers(wanted, lock.connection)
    if begun == marker.Marker(doing="install"):
        lock.check()
        install.remove_begun(wanted, lock.connection)


def _configure(wanted: NfsInit) -> dict[str, Any]:
    site = wanted.sites / "default"
    checked = ownership.put_right(site)
    written = sqlconf.write(site)
    authority = sqlconf.write_authority(site, wanted.server.authority)
    return {
        "sqlconf_written": written,
        "authority_written": authority,
        "entries": checked.entries,
        "modes_changed": checked.modes,
        "owners_changed": checked.owners,
    }


def _check_version(wanted: NfsInit) -> None:
    """The image's code is the version the deployment asks for."""
    _, release = clinic_state.code_version(wanted.application)
    if wanted.openemr_version and not release.startswith(wanted.openemr_version.rsplit("-", 1)[0]):
        raise Refused(
            f"This image holds OpenEMR {release}, but {wanted.openemr_version} is wanted.", do="Build the image again."
        )


def _told(decision: Decision, done: dict[str, Any]) -> dict[str, Any]:
    hint = {"do": decision.do} if decision.do else {}
    return {"decision": decision.action, "row": decision.row, "reason": decision.reason, **hint, **done}
