"""Restoring a backup: unpack beside, import beside, check, then swap. Nothing that exists is deleted first.

The files are unpacked into a hidden directory of the share and the SQL into the staging schema. Only when both are
checked does a marker announce the swap: from then on the next run finishes it, whatever happens to this one.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
from pathlib import Path, PurePosixPath
from typing import Any

from jobs import archives, clinic_state, database, log, marker, php, share, sources, sql_import, sqlconf, tables
from jobs.database import Connection, Lock
from jobs.errors import BackupInvalid, Refused
from jobs.redacted import Redacted
from jobs.settings import Backup, NfsInit

__all__ = ["Unpacked", "finish_swap", "remove_leftovers", "restore"]

STAGING_PREFIX = ".staging-"
KEPT_PREFIX = ".replaced-"
_SPARE_BYTES = 256 << 20
_SITE = ("sites", "default")
_SHOWN_DOCUMENTS = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unpacked:
    """What came out of an archive."""

    files: int
    size: int
    statements: int
    left_out: int
    checksum: str


def restore(
    wanted: NfsInit, backup: Backup, lock: Lock, password: Redacted, admin_password: Redacted
) -> dict[str, Any]:
    """Restore a backup and return what the result record tells of it.

    Raises:
        BackupInvalid and the other failures of a backup: nothing of the clinic was touched.
    """
    begun = time.monotonic()
    staging = wanted.sites / f"{STAGING_PREFIX}{int(time.time()):x}"
    marker.write(wanted.sites, marker.Marker(doing="restore", staging=staging.name, source=backup.place))
    share.ensure_directory(staging / "default")
    connection = database.connect(wanted.server, wanted.user, password, wanted.staging_schema)
    with connection:
        tables.empty(connection, wanted.staging_schema)
        unpacked = _unpack(wanted, backup, staging, connection)
        facts = _check(wanted, staging / "default", connection)
        documents = _check_documents(staging / "default", connection)
        _set_admin_password(wanted, connection, admin_password)
    _bring_site_up_to_date(wanted, staging / "default")
    seconds = round(time.monotonic() - begun, 2)
    log.info("The backup is unpacked and checked", files=unpacked.files, documents=documents, seconds=seconds)
    _begin_swap(wanted, lock, staging.name, backup.place)
    kept = finish_swap(wanted, lock)
    return {
        "source": backup.place,
        "release": facts.release,
        "files": unpacked.files,
        "bytes": unpacked.size,
        "statements": unpacked.statements,
        "entries_left_out": unpacked.left_out,
        "checksum": unpacked.checksum,
        "tables": len(facts.tables),
        "users": facts.users,
        "documents": documents,
        "admin_password": f"set for {wanted.admin_user}",
        "kept": kept,
        "seconds": round(time.monotonic() - begun, 2),
    }


def remove_leftovers(wanted: NfsInit, connection: Connection) -> None:
    """Remove what an interrupted run unpacked beside the clinic. Never called while a swap is pending."""
    for leftover in sorted(wanted.sites.glob(f"{STAGING_PREFIX}*")):
        log.info("Removing what an interrupted run unpacked", path=leftover.name)
        share.remove_tree(leftover)
    tables.empty(connection, wanted.staging_schema)


def _unpack(wanted: NfsInit, backup: Backup, staging: Path, connection: Connection) -> Unpacked:
    with sources.open_backup(backup) as file:
        free = shutil.disk_usage(wanted.sites).free - _SPARE_BYTES
        progress = log.Progress("Unpacking the backup")
        limits = archives.Limits(total_bytes=max(free, 0))
        site_root: PurePosixPath | None = None
        counts = {"files": 0, "size": 0, "statements": 0, "left_out": 0}
        sql_path: PurePosixPath | None = None
        for entry in archives.entries(file, packed_bytes=file.size, limits=limits):  # type: ignore[arg-type]
            root = _site_root(entry.path)
            if root is not None:
                if site_root is not None and root != site_root:
                    raise BackupInvalid(f"The archive holds two sites: {site_root} and {root}.")
                site_root = root
                _write_file(staging / "default", entry.path.relative_to(root), entry.content)
                counts["files"] += 1
                counts["size"] += entry.size
            elif entry.path.name.endswith((".sql", ".sql.gz")) and len(entry.path.parts) <= 2:
                if sql_path is not None:
                    raise BackupInvalid(f"The archive holds two SQL files: {sql_path} and {entry.path}.")
                sql_path = entry.path
                counts["statements"] = sql_import.import_dump(entry.content, connection, wanted.staging_schema)
            else:
                counts["left_out"] += 1
            progress.add(files=1, size=entry.size)
        if site_root is None or sql_path is None:
            parts = {"sites/default": site_root, ".sql file": sql_path}
            missing = " and no ".join(name for name, found in parts.items() if found is None)
            raise BackupInvalid(f"The archive is no backup of OpenEMR: it has no {missing}.")
        return Unpacked(**counts, checksum=file.verify())


def _site_root(path: PurePosixPath) -> PurePosixPath | None:
    """`x/sites/default` for `x/sites/default/config.php`."""
    parts = path.parts
    for at in range(len(parts) - 2):
        if parts[at : at + 2] == _SITE:
            return PurePosixPath(*parts[: at + 2])
    return None


def _write_file(site: Path, relative: PurePosixPath, content: archives.Content) -> None:
    target = site / relative
    private = relative.name == "sqlconf.php" or relative.parts[:3] == ("documents", "logs_and_misc", "methods")
    mode = share.PRIVATE_MODE if private else share.FILE_MODE
    with share.errors_told(f"{relative} cannot be written"):
        try:
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        except FileNotFoundError:
            share.ensure_directory(target.parent)
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        except FileExistsError as error:
            raise BackupInvalid(f"The archive holds {relative} twice.") from error
        except (IsADirectoryError, NotADirectoryError) as error:
            raise BackupInvalid(f"The archive holds {relative} both as file and as directory.") from error
        with os.fdopen(descriptor, "wb") as file:
            shutil.copyfileobj(content, file, 1 << 20)


def _check(wanted: NfsInit, site: Path, connection: Connection) -> clinic_state.DatabaseFacts:
    """The unpacked pair is a whole clinic of this code's version, and its keys belong together."""
    facts = clinic_state.look_at_database(connection, wanted.staging_schema)
    if not facts.complete or "keys" not in facts.tables:
        raise BackupInvalid("The backup's database is not a whole OpenEMR: version, users or access rows are missing.")
    code, release = clinic_state.code_version(wanted.application)
    if facts.version != code:
        relation = "older" if (facts.version or 0) < code else "newer"
        raise Refused(
            f"The backup is of the {relation} OpenEMR {facts.release}; this image is {release}.",
            do="Set [openemr] version to the backup's version and deploy again.",
        )
    site_keys = clinic_state.look_at_site(site).keys
    lonely = clinic_state.unmatched_keys(site_keys, facts.keys)
    if lonely:
        raise BackupInvalid(f"The backup's files and database do not belong together: {'; '.join(lonely)}.")
    if not database.value(connection, "SELECT COUNT(*) FROM users_secure WHERE username = %s", [wanted.admin_user]):
        raise Refused(
            f"The backup has no user {wanted.admin_user!r}.", do="Set [openemr] admin_user to a user of the backup."
        )
    return facts


def _check_documents(site: Path, connection: Connection) -> int:
    """Every document that the database names is among the files. Returns how many there are."""
    missing = []
    count = 0
    statement = "SELECT id, url FROM documents WHERE url LIKE 'file:%' AND deleted = 0"
    for identity, url in database.rows(connection, statement):
        count += 1
        below = str(url).partition("/documents/")[2]
        if not below or ".." in below or not (site / "documents" / below).is_file():
            missing.append(str(identity))
    if missing:
        shown = ", ".join(missing[:_SHOWN_DOCUMENTS])
        raise BackupInvalid(f"{len(missing)} of {count} documents that the database names are missing: ids {shown} …")
    return count


def _set_admin_password(wanted: NfsInit, connection: Connection, admin_password: Redacted) -> None:
    """The deployment's secret is the administrator's password from now on, as after an installation."""
    database.run(
        connection,
        "UPDATE users_secure SET password = %s, last_update_password = NOW(), login_fail_counter = 0"
        " WHERE username = %s",
        [php.hash_password(admin_password), wanted.admin_user],
    )


def _bring_site_up_to_date(wanted: NfsInit, site: Path) -> None:
    """This deployment's database in the restored site; what the counter says stays, or becomes the code's."""
    share.ensure_directory(site / "documents")
    sqlconf.write(site)
    sqlconf.write_authority(site, wanted.server.authority)
    counter = wanted.application / "docker-version"
    if not (site / "docker-version").is_file() and counter.is_file():
        share.write_atomically(site / "docker-version", counter.read_text())


def _begin_swap(wanted: NfsInit, lock: Lock, staging: str, source: str) -> None:
    """Announce the swap; from here it is finished, by this run or the next."""
    lock.check()
    views, triggers = tables.views_and_triggers(lock.connection, wanted.staging_schema)
    marker.write(
        wanted.sites,
        marker.Marker(
            doing="swap",
            staging=staging,
            kept=f"{KEPT_PREFIX}{int(time.time()):x}",
            source=source,
            views=views,
            triggers=triggers,
        ),
    )


def finish_swap(wanted: NfsInit, lock: Lock) -> str:
    """Put the checked copy in place: files by two renames, tables by one statement, each skipped when it is done.

    Returns the name of the directory that keeps the files that were there before; empty when there were none.
    """
    announced = marker.read(wanted.sites)
    if announced is None or announced.doing != "swap":
        raise Refused("No swap was announced.")
    live, kept = wanted.sites / "default", wanted.sites / announced.kept
    new = wanted.sites / announced.staging / "default"
    lock.check()
    with share.errors_told("the restored files cannot be put in place"):
        if new.is_dir():
            if live.is_dir():
                live.rename(kept)
            new.rename(live)
    lock.check()
    tables.move(lock.connection, wanted.staging_schema, wanted.schema)
    tables.create_again(lock.connection, wanted.schema, announced.views, announced.triggers)
    marker.clear(wanted.sites)
    share.remove_tree(wanted.sites / announced.staging)
    log.info("The restored clinic is in place", kept=kept.name if kept.is_dir() else "")
    return kept.name if kept.is_dir() else ""
