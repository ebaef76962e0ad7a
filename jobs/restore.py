"""Restoring a backup: unpack beside, import beside, check, then swap. Nothing that exists is deleted first.

The files are unpacked into a hidden directory of the share and the SQL into the staging schema. Only when both are
checked does a marker announce the swap: from then on the next run finishes it, whatever happens to this one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from pathlib import Path
from typing import Any

from jobs import (
    clinic_state,
    database,
    documents,
    log,
    maintenance,
    marker,
    ownership,
    php,
    sets,
    share,
    sqlconf,
    swap,
    tables,
    trial,
)
from jobs import site as layout
from jobs.database import Connection, Lock, identifier
from jobs.errors import BackupInvalid, Refused
from jobs.redacted import Redacted
from jobs.settings import Backup, NfsInit
from jobs.unpack import unpack

__all__ = ["restore", "set_admin_password"]


def restore(
    wanted: NfsInit, backup: Backup, lock: Lock, password: Redacted, admin_password: Redacted
) -> dict[str, Any]:
    """Restore a backup and return what the result record tells of it.

    Raises:
        BackupInvalid and the other failures of a backup: nothing of the clinic was touched.
    """
    begun = time.monotonic()
    staging = wanted.sites / f"{swap.STAGING_PREFIX}{int(time.time()):x}"
    site = staging / "default"
    opened = sets.opened(backup, lock_seconds=wanted.lock_seconds) if backup.store else None
    if opened:
        _check_version(wanted, int(opened.found.openemr["database"]), str(opened.found.openemr["release"]))
    place = dataclasses.replace(backup, place=opened.found.set).title if opened else backup.place
    marker.write(wanted.sites, marker.Marker(doing="restore", staging=staging.name, source=place))
    share.ensure_directory(site)
    connection = database.connect(wanted.server, wanted.user, password, wanted.staging_schema)
    # should the clinic's lock be lost, nobody else fills these tables while this connection does
    with connection, database.locked(connection, wanted.staging_schema, seconds=wanted.lock_seconds):
        tables.empty(connection, wanted.staging_schema)
        unpacked = (
            opened.unpack(site, connection, wanted.staging_schema)
            if opened
            else unpack(backup, site, connection, wanted.staging_schema)
        )
        facts = _check(wanted, site, connection)
        lost = opened.lost(connection, site) if opened else frozenset[str]()
        found = documents.require(connection, site, known=lost)
        if backup.database:
            reached = php.Database(
                server=wanted.server, schema=wanted.staging_schema, user=wanted.user, password=password
            )
            trial.open_newest(wanted.application, site, connection, reached)
        set_admin_password(wanted, connection, wanted.staging_schema, admin_password)
    _bring_site_up_to_date(wanted, site, facts)
    seconds = round(time.monotonic() - begun, 2)
    log.info("The backup is unpacked and checked", files=unpacked.files, documents=found, seconds=seconds)
    shown = maintenance.until_announced(wanted.sites, drain_seconds=wanted.drain_seconds)
    with shown if wanted.restore_over else contextlib.nullcontext():
        swap.begin_swap(wanted, lock, staging.name, place)
    kept = swap.finish_swap(wanted, lock)
    return {
        "source": place,
        "files": unpacked.files,
        "bytes": unpacked.size,
        "statements": unpacked.statements,
        "entries_left_out": unpacked.left_out,
        "checksum": unpacked.checksum,
        "tables": len(facts.tables),
        "users": facts.users,
        "documents": found,
        "documents_without_file": sorted(lost, key=lambda identity: (len(identity), identity)),
        "admin_password": f"set for {wanted.admin_user}",
        "kept": kept,
        "seconds": round(time.monotonic() - begun, 2),
    }


def _check(wanted: NfsInit, site: Path, connection: Connection) -> clinic_state.DatabaseFacts:
    """The unpacked pair is a whole clinic of this code's version, and its keys belong together."""
    facts = clinic_state.look_at_database(connection, wanted.staging_schema)
    if not facts.complete or "keys" not in facts.tables:
        raise BackupInvalid("The backup's database is not a whole OpenEMR: version, users or access rows are missing.")
    _check_version(wanted, facts.version or 0, facts.release)
    site_keys = clinic_state.look_at_site(site).keys
    lonely = clinic_state.unmatched_keys(site_keys, facts.keys)
    if lonely:
        raise BackupInvalid(f"The backup's files and database do not belong together: {'; '.join(lonely)}.")
    if not database.value(connection, "SELECT COUNT(*) FROM users_secure WHERE username = %s", [wanted.admin_user]):
        raise Refused(
            f"The backup has no user {wanted.admin_user!r}.", do="Set [openemr] admin_user to a user of the backup."
        )
    return facts


def _check_version(wanted: NfsInit, version: int, release: str) -> None:
    code, ours = clinic_state.code_version(wanted.application)
    if version == code:
        return
    age = "newer" if version > code else "older"
    told = f"The backup is of the {age} OpenEMR {release}; this image is {ours}."
    if version > code:
        raise Refused(told, do="Set [openemr] version to the backup's version and run the same command again.")
    if not clinic_state.upgrades_from(wanted.application, release):
        raise Refused(
            f"{told} It has no way from there.",
            do="Restore it under the backup's version, and upgrade over a release between the two.",
        )
    if not wanted.upgrade:
        raise Refused(told, do=_way_for_older(wanted, ours))


def _way_for_older(wanted: NfsInit, ours: str) -> str:
    if wanted.restore_over:
        return (
            "A clinic's own set of before an upgrade: gcp-openemr upgrade --back. "
            "Another backup: name it in [restore] of a new clinic and run: gcp-openemr deploy --upgrade"
        )
    # only recover fills empty storage from a set
    command = "recover" if wanted.backup and wanted.backup.store else "deploy"
    return (
        f"To restore it and upgrade it to {ours}, run the same command with --upgrade: gcp-openemr {command} --upgrade"
    )


def set_admin_password(wanted: NfsInit, connection: Connection, schema: str, admin_password: Redacted) -> None:
    """The deployment's secret is the administrator's password from now on, as after an installation."""
    database.run(
        connection,
        f"UPDATE {identifier(schema)}.users_secure SET password = %s, last_update_password = NOW(),"  # noqa: S608  # quoted
        " login_fail_counter = 0 WHERE username = %s",
        [php.hash_password(admin_password), wanted.admin_user],
    )


def _bring_site_up_to_date(wanted: NfsInit, site: Path, facts: clinic_state.DatabaseFacts) -> None:
    """This deployment's database in the restored site; the counter stays, or becomes the code's where they agree."""
    layout.ensure_layout(site)
    ownership.put_right(site)
    sqlconf.write(site)
    sqlconf.write_authority(site, wanted.server.authority)
    counter = wanted.application / "docker-version"
    same = facts.version == clinic_state.code_version(wanted.application)[0]
    if same and not (site / "docker-version").is_file() and counter.is_file():
        share.write_atomically(site / "docker-version", counter.read_text())
