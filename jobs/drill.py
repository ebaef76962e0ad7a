"""drill: restores the newest set into scratch with the code of a real restore, and tells how long that took."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jobs import database, documents, log, manifest, metrics, php, secrets, sets, share, tables, trial
from jobs.backup_settings import Drill
from jobs.database import Connection
from jobs.manifest import Checked
from jobs.settings import Backup

__all__ = ["run"]

_PREFIX = ".drill-"


def run(wanted: Drill) -> dict[str, Any]:
    """Restore, compare, open a document, remove everything again and return the result record.

    Raises:
        BackupInvalid: the set does not restore to what was backed up.
        BackupMissing, SecretUnavailable, ShareUnusable, Busy …: it could not be tried.
    """
    begun = time.monotonic()
    clinic = wanted.clinic
    password = secrets.access(clinic.password)
    opened = sets.opened(
        Backup(source="set", place=manifest.LATEST, store=wanted.store), lock_seconds=wanted.lock_seconds
    )
    connection = database.connect(clinic.server, clinic.user, password, wanted.scratch_schema)
    with (
        connection,
        database.locked(connection, wanted.scratch_schema, seconds=wanted.lock_seconds),
        _scratch(clinic.sites, connection, wanted.scratch_schema) as site,
    ):
        unpacked = opened.unpack(site, connection, wanted.scratch_schema)
        found = documents.require(connection, site, known=opened.lost(connection, site))
        reached = php.Database(server=clinic.server, schema=wanted.scratch_schema, user=clinic.user, password=password)
        document = trial.open_newest(clinic.application, site, connection, reached)
        restored = time.monotonic() - begun
    made = opened.found
    age = (datetime.now(UTC) - datetime.fromisoformat(made.begun.replace("Z", "+00:00"))).total_seconds()
    measured = {"restore_seconds": round(restored, 2), "data_age_seconds": round(max(age, 0.0))}
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    manifest.mark_checked(wanted.store, [made], Checked(when=moment, how="drill"))
    metrics.write(clinic, wanted.store.clinic, {**measured, "drill_age": 0})
    log.info("The newest set restores", set=made.set, **measured)
    return {
        "set": made.set,
        **measured,
        "files": unpacked.files,
        "bytes": unpacked.size,
        "tables": len(made.tables),
        "documents": found,
        "opened": document,
    }


@contextlib.contextmanager
def _scratch(sites: Path, connection: Connection, schema: str) -> Iterator[Path]:
    """An empty folder and an empty schema, empty and gone again afterwards; what a killed drill left goes first."""
    _clear(sites, connection, schema)
    site = sites / f"{_PREFIX}{int(time.time()):x}" / "default"
    share.ensure_directory(site)
    try:
        yield site
    finally:
        _clear(sites, connection, schema)


def _clear(sites: Path, connection: Connection, schema: str) -> None:
    for leftover in sorted(sites.glob(f"{_PREFIX}*")):
        share.remove_tree(leftover)
    tables.empty(connection, schema)
