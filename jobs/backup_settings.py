"""The variables of backup, verify, drill and prune, read as those of the other jobs are (jobs/settings.py)."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs.settings import APPLICATION, Reader, SecretVersion, Server, Store

__all__ = [
    "NAME",
    "Clinic",
    "Drill",
    "Keep",
    "MakeSet",
    "Prune",
    "Verify",
    "backup",
    "clinic",
    "common",
    "drill",
    "prune",
    "verify",
]

NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_SET = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{4}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clinic:
    """The clinic that is backed up, and its database account."""

    server: Server
    schema: str
    user: str
    password: SecretVersion
    application: Path
    project: str
    environment: str

    @property
    def sites(self) -> Path:
        return self.application / "sites"


@dataclasses.dataclass(frozen=True, kw_only=True)
class MakeSet:
    """`lock_seconds` is how long a run waits for another one, of the clinic or of its repository.

    After `drill_days` without a good drill each run says so, for an alert; 0 is never. `before_restore`: it is of what
    a restore is about to replace.
    """

    store: Store
    clinic: Clinic
    lock_seconds: int
    result_uri: str
    drill_days: int = 0
    before_restore: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verify:
    """`read_data` is what part of the packs is read: a percentage, 100 for all. `set` names one; empty is every one."""

    store: Store
    read_data: int
    set: str
    lock_seconds: int
    result_uri: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drill:
    store: Store
    clinic: Clinic
    scratch_schema: str
    lock_seconds: int
    result_uri: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Keep:
    """How many generations are kept: the newest set of each of the last so many days, weeks, months and years."""

    daily: int = 7
    weekly: int = 5
    monthly: int = 12
    yearly: int = 7


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prune:
    store: Store
    keep: Keep
    lock_seconds: int
    result_uri: str


def backup(environment: Mapping[str, str]) -> MakeSet:
    """Raises SettingsInvalid with every problem, as the other three do."""
    read = Reader(environment)
    return read.finish(
        lambda: MakeSet(
            clinic=clinic(read),
            drill_days=read.number("DRILL_DAYS", default=0),
            before_restore=read.flag("BEFORE_RESTORE"),
            **common(read, "backup"),
        )
    )


def verify(environment: Mapping[str, str]) -> Verify:
    read = Reader(environment)

    def make() -> Verify:
        part = read.text("READ_DATA", default="5")
        if part != "all" and not (part.isdigit() and int(part) <= 100):
            read.problems.append(f"READ_DATA is {part!r}, not a percentage or all")
            part = "all"
        wanted = read.matching("SET", _SET, "a set's id", default="")
        return Verify(read_data=100 if part == "all" else int(part), set=wanted, **common(read, "verify"))

    return read.finish(make)


def drill(environment: Mapping[str, str]) -> Drill:
    read = Reader(environment)
    return read.finish(
        lambda: Drill(
            clinic=clinic(read),
            scratch_schema=read.matching("MYSQL_SCRATCH_DATABASE", NAME, "a schema's name"),
            **common(read, "drill"),
        )
    )


def prune(environment: Mapping[str, str]) -> Prune:
    read = Reader(environment)
    return read.finish(
        lambda: Prune(
            keep=Keep(
                daily=read.number("KEEP_DAILY", default=Keep.daily),
                weekly=read.number("KEEP_WEEKLY", default=Keep.weekly),
                monthly=read.number("KEEP_MONTHLY", default=Keep.monthly),
                yearly=read.number("KEEP_YEARLY", default=Keep.yearly),
            ),
            **common(read, "prune"),
        )
    )


def clinic(read: Reader) -> Clinic:
    return Clinic(
        server=read.server(),
        schema=read.matching("MYSQL_DATABASE", NAME, "a schema's name"),
        user=read.matching("MYSQL_USER", NAME, "a user's name"),
        password=read.secret("MYSQL_PASS"),
        application=Path(read.text("OPENEMR_APP", default=str(APPLICATION))),
        project=read.text("GOOGLE_CLOUD_PROJECT", default=""),
        environment=read.text("ENVIRONMENT", default=""),
    )


def common(read: Reader, job: str) -> dict[str, Any]:
    """Store, lock and where the record goes: where RESULT_URI says, or with the records of scheduled runs."""
    store = read.store("CLINIC")
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    records = f"gs://{store.bucket}/clinics/{store.clinic}/runs/{job}/{moment}.json"
    return {
        "store": store,
        "lock_seconds": read.number("LOCK_SECONDS", default=300),
        "result_uri": read.result_uri() or records,
    }
