"""The jobs' variables, read once into frozen values. Every problem is reported at once.

Fixed variables come from the job's template, the versions and RESULT_URI from the execution's overrides.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, TypeVar

from jobs.errors import SettingsInvalid

__all__ = [
    "OPENEMR_SETTING",
    "OURS",
    "Backup",
    "NfsInit",
    "Provision",
    "Reader",
    "RedisServer",
    "SecretVersion",
    "Server",
    "Store",
    "nfs_init",
    "provision",
]

APPLICATION = Path("/var/www/localhost/htdocs/openemr")
SKELETON = Path("/usr/share/openemr/sites")
SHARE = Path("/mnt/share")

_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_SECRET = re.compile(r"projects/[^/]+/secrets/[^/]+")
_OBJECT = re.compile(r"gs://[^/]+/.+")
_CLINIC = re.compile(r"[a-z][a-z0-9]{1,9}")
_PREFIX = re.compile(r"[a-z][a-z0-9_]*:")
_DRIVE_ID = re.compile(r"[A-Za-z0-9_-]{10,}")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]+")
_SET = re.compile(r"latest|\d{8}T\d{6}Z-[0-9a-f]{4}")
_CURRENT = "current"
_T = TypeVar("_T")
OPENEMR_SETTING = "OPENEMR_SETTING_"
_BY_VARIABLE = {
    "PUBLIC_URL": ("site_addr_oath",),
    "SMTP_HOST": ("SMTP_HOST",),
    "SMTP_PORT": ("SMTP_PORT",),
    "SMTP_USER": ("SMTP_USER",),
    "EMAIL_FROM": ("patient_reminder_sender_email", "practice_return_email_path"),
}
OURS = frozenset({"EMAIL_METHOD", "SMTP_SECURE"}.union(*_BY_VARIABLE.values()))
"""OpenEMR's settings that have a variable of their own."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SecretVersion:
    """One version of a secret: `projects/p/secrets/s` and a number, or the alias `current` in a scheduled run."""

    secret: str
    version: int | str

    @property
    def name(self) -> str:
        return f"{self.secret}/versions/{self.version}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Server:
    """A MySQL server. `authority` is the PEM text that signs its certificate; empty means no TLS."""

    host: str
    port: int
    authority: str = dataclasses.field(default="", repr=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RedisServer:
    host: str
    port: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Store:
    """Where a clinic's backup sets lie: manifests in a bucket, snapshots in a restic repository beside them.

    `read_only`: another environment's, in which not even a lock is left.
    """

    bucket: str
    clinic: str
    password: SecretVersion
    read_only: bool = False
    place: str = ""

    @property
    def repository(self) -> str:
        return self.place or f"gs:{self.bucket}:/clinics/{self.clinic}/backups/repository"

    @property
    def sets(self) -> str:
        """What the names of manifests start with."""
        return f"clinics/{self.clinic}/backups/sets/"

    @property
    def objects(self) -> str:
        """What the names of the repository's objects start with."""
        return f"clinics/{self.clinic}/backups/repository/"

    def manifest(self, identity: str) -> str:
        return f"{self.sets}{identity}.json"

    def lock(self, name: str) -> str:
        """The object that is one of the repository's locks."""
        return f"{self.objects}locks/{name}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Backup:
    """Where a backup lies: a `gs://bucket/object`, a file id of Google Drive, or a set's id or `latest` in a store.

    `database` is the `gs://…` of a dump that takes the place of the set's own: the database as of another moment.
    An archive that unpacks to more than `most_bytes` (0: what is free), `most_files` or `most_times` its size is
    refused.
    """

    source: Literal["gcs", "drive", "set"]
    place: str
    store: Store | None = None
    most_bytes: int = 0
    most_files: int = 5_000_000
    most_times: int = 500
    database: str = ""

    @property
    def title(self) -> str:
        return f"{self.place} with the database of {self.database}" if self.database else self.place


@dataclasses.dataclass(frozen=True, kw_only=True)
class NfsInit:
    """What nfs-init works on. `sites` is the clinic's directory on the share; `upgrade`: older data is let through.

    `restore_over`: the backup takes the place of what is there, which goes to `kept_schema` and a folder; `undo`: it
    comes back from there. `drain_seconds` is how long the maintenance page stands before either; `keep_page` leaves it
    there at the end, since what serves is not of the data's release. `answered`: who started the run has just seen the
    clinic answer as healthy. `earlier_set` is one of an earlier clinic of this name, which `backup` is not to hide.
    """

    server: Server
    schema: str
    staging_schema: str
    user: str
    password: SecretVersion
    admin_user: str
    admin_password: SecretVersion
    openemr_version: str
    backup: Backup | None
    upgrade: bool
    result_uri: str
    application: Path
    skeleton: Path
    lock_seconds: int
    kept_schema: str = ""
    restore_over: bool = False
    undo: bool = False
    drain_seconds: int = 65
    keep_page: bool = False
    answered: bool = False
    earlier_set: str = ""
    keep_replaced_days: int = 7
    openemr_settings: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def sites(self) -> Path:
        return self.application / "sites"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Provision:
    """What provision makes or removes for one clinic.

    To remove one takes `final_set`, the `gs://…` manifest of its last backup set, or `without_final_backup`.
    """

    project: str
    instance: str
    server: Server
    redis: RedisServer
    redis_admin_user: str
    redis_admin: SecretVersion
    share: Path
    clinic: str
    action: Literal["ensure", "remove"]
    schemas: tuple[str, ...]
    user: str
    password: SecretVersion
    redis_user: str
    redis_prefix: str
    redis_password: SecretVersion
    final_set: str
    without_final_backup: bool
    lock_seconds: int
    result_uri: str


class Reader:
    """Takes variables out of an environment and remembers what is wrong with them."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self.problems: list[str] = []

    def text(self, name: str, *, default: str | None = None) -> str:
        value = self._environment.get(name, "") or default
        if value is None:
            self.problems.append(f"{name} is not set")
        return value or ""

    def matching(self, name: str, pattern: re.Pattern[str], wanted: str, *, default: str | None = None) -> str:
        value = self.text(name, default=default)
        if value and not pattern.fullmatch(value):
            self.problems.append(f"{name} is {value!r}, not {wanted}")
        return value

    def number(self, name: str, *, default: int | None = None) -> int:
        value = self.text(name, default=None if default is None else str(default))
        if value and not (value.isascii() and value.isdigit()):
            self.problems.append(f"{name} is {value!r}, not a number")
            return 0
        return int(value or 0)

    def one_of(self, name: str, *allowed: str, default: str) -> str:
        value = self.text(name, default=default)
        if value not in allowed:
            self.problems.append(f"{name} is {value!r}, not one of {', '.join(allowed)}")
        return value

    def secret(self, prefix: str) -> SecretVersion:
        """`<prefix>_SECRET` and `<prefix>_VERSION`."""
        secret = self.matching(f"{prefix}_SECRET", _SECRET, "projects/P/secrets/S")
        if self._environment.get(f"{prefix}_VERSION") == _CURRENT:
            return SecretVersion(secret=secret, version=_CURRENT)
        return SecretVersion(secret=secret, version=self.number(f"{prefix}_VERSION"))

    def server(self) -> Server:
        return Server(
            host=self.text("MYSQL_HOST"),
            port=self.number("MYSQL_PORT", default=3306),
            authority=self.text("MYSQL_SSL_CA", default=""),
        )

    def result_uri(self) -> str:
        return self.matching("RESULT_URI", _OBJECT, "gs://bucket/object", default="")

    def store(self, clinic: str) -> Store:
        """A clinic's backups; `clinic` is the variable with its name."""
        return Store(
            bucket=self.matching("BACKUP_BUCKET", _BUCKET, "a bucket's name"),
            clinic=self.matching(clinic, _CLINIC, "a clinic's name"),
            password=self.secret("BACKUP_PASS"),
            read_only=self.flag("BACKUP_READ_ONLY"),
        )

    def flag(self, name: str) -> bool:
        return self.one_of(name, "yes", "no", default="no") == "yes"

    def backup(self) -> Backup | None:
        place = self.text("BACKUP_FILEID", default="")
        if not place:
            return None
        source = self.one_of("BACKUP_SOURCE", "gcs", "drive", "set", default="gcs")
        if source == "set":
            place = self.matching("BACKUP_FILEID", _SET, "a set's id or latest")
            database = self.matching("BACKUP_DATABASE", _OBJECT, "gs://bucket/object", default="")
            return Backup(source="set", place=place, store=self.store("BACKUP_CLINIC"), database=database)
        drive = source == "drive"
        shape = (_DRIVE_ID, "a file id of Google Drive") if drive else (_OBJECT, "gs://bucket/object")
        return Backup(
            source="drive" if drive else "gcs",
            place=self.matching("BACKUP_FILEID", *shape),
            most_bytes=self.number("BACKUP_MOST_BYTES", default=Backup.most_bytes),
            most_files=self.number("BACKUP_MOST_FILES", default=Backup.most_files),
            most_times=self.number("BACKUP_MOST_TIMES", default=Backup.most_times),
        )

    def finish(self, make: Callable[[], _T]) -> _T:
        value = make()
        if self.problems:
            raise SettingsInvalid(
                "The job's variables are wrong: " + "; ".join(self.problems) + ".",
                do="Run the job through gcp-openemr deploy, which sets them.",
            )
        return value


def nfs_init(environment: Mapping[str, str]) -> NfsInit:
    """Read nfs-init's variables.

    Raises:
        SettingsInvalid: with every problem.
    """
    read = Reader(environment)

    def make() -> NfsInit:
        restore_over, undo = read.flag("RESTORE_OVER"), read.flag("UNDO")
        if restore_over and undo:
            read.problems.append("RESTORE_OVER and UNDO are both yes")
        if restore_over and not environment.get("BACKUP_FILEID"):
            read.problems.append("RESTORE_OVER is yes, but BACKUP_FILEID is not set")
        return NfsInit(
            server=read.server(),
            schema=read.matching("MYSQL_DATABASE", _NAME, "a schema's name"),
            staging_schema=read.matching("MYSQL_STAGING_DATABASE", _NAME, "a schema's name"),
            user=read.matching("MYSQL_USER", _NAME, "a user's name"),
            password=read.secret("MYSQL_PASS"),
            admin_user=read.text("OE_USER", default="admin"),
            admin_password=read.secret("OE_PASS"),
            openemr_version=read.text("OPENEMR_VERSION", default=""),
            backup=read.backup(),
            upgrade=read.flag("UPGRADE"),
            result_uri=read.result_uri(),
            application=Path(read.text("OPENEMR_APP", default=str(APPLICATION))),
            skeleton=Path(read.text("OPENEMR_SKELETON", default=str(SKELETON))),
            lock_seconds=read.number("LOCK_SECONDS", default=300),
            kept_schema=read.matching(
                "MYSQL_KEPT_DATABASE", _NAME, "a schema's name", default=None if restore_over or undo else ""
            ),
            restore_over=restore_over,
            undo=undo,
            drain_seconds=read.number("DRAIN_SECONDS", default=65),
            keep_page=read.flag("KEEP_PAGE"),
            answered=read.flag("ANSWERED"),
            earlier_set=read.text("EARLIER_SET", default=""),
            keep_replaced_days=read.number("KEEP_REPLACED_DAYS", default=7),
            openemr_settings=_openemr_settings(environment),
        )

    return read.finish(make)


def _openemr_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """OpenEMR's setting → value, from OPENEMR_SETTING_*, PUBLIC_URL (for OAuth and FHIR), SMTP_* and EMAIL_FROM."""
    found: dict[str, str] = {}
    for variable, names in _BY_VARIABLE.items():
        if environment.get(variable):
            found |= dict.fromkeys(names, environment[variable])
    if "SMTP_HOST" in found:
        found["EMAIL_METHOD"] = "SMTP"
    if environment.get("SMTP_SSL"):
        encrypted = environment["SMTP_SSL"].lower() in ("1", "true", "yes", "ssl", "tls")
        # 465 begins with TLS, every other port is asked for it
        found["SMTP_SECURE"] = "" if not encrypted else "ssl" if environment.get("SMTP_PORT") == "465" else "tls"
    given = [(name, value) for name, value in environment.items() if name.startswith(OPENEMR_SETTING)]
    return {**found, **{name.removeprefix(OPENEMR_SETTING): value for name, value in given}}


def provision(environment: Mapping[str, str]) -> Provision:
    """Read provision's variables.

    Raises:
        SettingsInvalid: with every problem.
    """
    read = Reader(environment)

    def make() -> Provision:
        action = read.one_of("ACTION", "ensure", "remove", default="ensure")
        schemas = tuple(part for part in read.text("MYSQL_DATABASES").split(",") if part)
        read.problems += [f"MYSQL_DATABASES has {name!r}" for name in schemas if not _NAME.fullmatch(name)]
        return Provision(
            project=read.text("GOOGLE_CLOUD_PROJECT"),
            instance=read.text("SQL_INSTANCE"),
            server=read.server(),
            redis=RedisServer(host=read.text("REDIS_SERVER"), port=read.number("REDIS_PORT", default=6379)),
            redis_admin_user=read.text("REDIS_ADMIN_USERNAME", default="admin"),
            redis_admin=read.secret("REDIS_ADMIN"),
            share=Path(read.text("SHARE", default=str(SHARE))),
            clinic=read.matching("CLINIC", _CLINIC, "a clinic's name"),
            action="remove" if action == "remove" else "ensure",
            schemas=schemas,
            user=read.matching("MYSQL_USER", _NAME, "a user's name"),
            password=read.secret("MYSQL_PASS"),
            redis_user=read.matching("REDIS_USERNAME", _NAME, "a user's name"),
            redis_prefix=read.matching("REDIS_PREFIX", _PREFIX, "a prefix such as oe_main:"),
            redis_password=read.secret("REDIS_PASS"),
            final_set=read.matching("FINAL_SET", _OBJECT, "gs://bucket/object", default=""),
            without_final_backup=read.flag("WITHOUT_FINAL_BACKUP"),
            lock_seconds=read.number("LOCK_SECONDS", default=300),
            result_uri=read.result_uri(),
        )

    return read.finish(make)
