"""What is there: the site on the share, the tables in the schema, and whether they belong together."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from jobs import database, kept, marker, share, sqlconf
from jobs.database import Connection, identifier
from jobs.errors import InstallFailed
from jobs.settings import NfsInit

__all__ = [
    "ClinicState",
    "DatabaseFacts",
    "SiteFacts",
    "code_version",
    "look",
    "look_at_database",
    "look_at_site",
    "unmatched_keys",
    "upgrades_from",
]

# the oldest kinds of keys were not locked by a counterpart in the database
_LONE_KEYS = ("one", "two", "three", "four")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SiteFacts:
    """sites/default. `patient_folders` are the folders of documents that belong to a patient."""

    present: bool
    configured: bool = False
    keys: frozenset[str] = frozenset()
    patient_folders: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class DatabaseFacts:
    """A schema. `version` is the database number (v_database) OpenEMR keeps; None without a version row."""

    tables: frozenset[str] = frozenset()
    version: int | None = None
    release: str = ""
    users: int = 0
    access_rows: int = 0
    keys: frozenset[str] = frozenset()
    patients: int = 0
    documents: int = 0

    @property
    def empty(self) -> bool:
        return not self.tables

    @property
    def complete(self) -> bool:
        """Installed by the facts: version, a user that can log in, access rows. `$config` proves nothing."""
        return bool(self.version) and self.users > 0 and self.access_rows > 0

    @property
    def has_patients(self) -> bool:
        return self.patients > 0 or self.documents > 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClinicState:
    """What was found, and what the run was given to do: a backup, an upgrade, a restore over the clinic, an undo.

    `in_place`: an interrupted run has put just that backup in place already. `page_kept`: the maintenance page stays.
    `earlier_set` is one of an earlier clinic of this name.
    """

    site: SiteFacts
    database: DatabaseFacts
    code_version: int
    begun: marker.Marker | None = None
    backup_named: bool = False
    earlier_set: str = ""
    upgrade_wanted: bool = False
    over_wanted: bool = False
    undo_wanted: bool = False
    page_kept: bool = False
    kept: kept.Kept | None = None
    in_place: bool = False


def look(wanted: NfsInit, connection: Connection) -> ClinicState:
    """Read everything a decision needs; changes nothing."""
    noted = kept.noted(wanted)
    place = wanted.backup.title if wanted.backup else ""
    return ClinicState(
        site=look_at_site(wanted.sites / "default"),
        database=look_at_database(connection, wanted.schema),
        code_version=code_version(wanted.application)[0],
        begun=marker.read(wanted.sites),
        backup_named=wanted.backup is not None,
        earlier_set=wanted.earlier_set,
        upgrade_wanted=wanted.upgrade,
        over_wanted=wanted.restore_over,
        undo_wanted=wanted.undo,
        page_kept=wanted.keep_page,
        kept=kept.look(wanted, connection),
        in_place=noted is not None and not noted.settled and not noted.undone and noted.source == place,
    )


def look_at_site(site: Path) -> SiteFacts:
    """Raises ShareUnusable where the job may not look."""
    with share.errors_told(f"{site} cannot be looked at"):
        if not site.is_dir() or not any(site.iterdir()):
            return SiteFacts(present=False)
        documents = site / "documents"
        methods = documents / "logs_and_misc" / "methods"
        keys = frozenset(entry.name for entry in methods.iterdir()) if methods.is_dir() else frozenset()
        folders = [entry for entry in documents.iterdir() if entry.name.isdigit()] if documents.is_dir() else []
        return SiteFacts(present=True, configured=sqlconf.is_configured(site), keys=keys, patient_folders=len(folders))


def look_at_database(connection: Connection, schema: str) -> DatabaseFacts:
    tables = _tables(connection, schema)

    def count(table: str) -> int:
        if table not in tables:
            return 0
        statement = f"SELECT COUNT(*) FROM {identifier(schema)}.{identifier(table)} "  # noqa: S608  # quoted
        return int(database.value(connection, statement) or 0)

    def all_of(table: str, columns: str) -> Sequence[tuple[Any, ...]]:
        if table not in tables:
            return ()
        statement = f"SELECT {columns} FROM {identifier(schema)}.{identifier(table)}"  # noqa: S608  # quoted
        return database.rows(connection, statement)

    found = all_of("version", "v_database, v_major, v_minor, v_patch")
    version = found[0] if found else None
    names = [str(row[0]) for row in all_of("keys", "name")]
    return DatabaseFacts(
        tables=frozenset(tables),
        version=int(version[0]) if version and version[0] else None,
        release=".".join(str(part) for part in version[1:]) if version else "",
        users=count("users_secure"),
        access_rows=count("gacl_aro"),
        keys=frozenset(name for name in names if not name.startswith("oauth")),
        patients=count("patient_data"),
        documents=count("documents"),
    )


def unmatched_keys(site_keys: Collection[str], database_keys: Collection[str]) -> list[str]:
    """Keys on one side only, each as a sentence's part; empty when both sides have the same ones."""
    on_share = {name for name in site_keys if not name.startswith(_LONE_KEYS)}
    in_database = {name for name in database_keys if not name.startswith(_LONE_KEYS)}
    lost_rows = [f"key {name} is on the share but not in the database" for name in sorted(on_share - in_database)]
    lost_files = [f"key {name} is in the database but not on the share" for name in sorted(in_database - on_share)]
    return lost_rows + lost_files


def code_version(application: Path) -> tuple[int, str]:
    """The database number and the release (`7.0.4`) of OpenEMR's code, from its version.php."""
    try:
        text = (application / "version.php").read_text()
    except OSError as error:
        raise InstallFailed(f"{application} holds no OpenEMR: {error.strerror}.") from error
    found = dict(re.findall(r"^\$(v_\w+)\s*=\s*['\"]?([^'\";]*)['\"]?\s*;", text, re.MULTILINE))
    if not found.get("v_database", "").isdigit():
        raise InstallFailed(f"{application}/version.php does not tell the database's version.")
    return int(found["v_database"]), ".".join(found.get(part, "") for part in ("v_major", "v_minor", "v_patch"))


def upgrades_from(application: Path, release: str) -> bool:
    """Whether OpenEMR's own scripts in this code begin from that release (`7.0.4`)."""
    return any((application / "sql").glob(f"{release.replace('.', '_')}-to-*_upgrade.sql"))


def _tables(connection: Connection, schema: str) -> set[str]:
    statement = "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s"
    return {str(row[0]) for row in database.rows(connection, statement, [schema])}
