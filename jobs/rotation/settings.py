"""The variables of rotate and redis-passwords, read as those of the other jobs are (jobs/settings.py)."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Mapping

from jobs import backup_settings
from jobs.backup_settings import Clinic
from jobs.settings import Reader, RedisServer, SecretVersion, Store

__all__ = ["KINDS", "RedisPasswords", "Rotate", "redis_passwords", "rotate"]

KINDS = ("database", "redis", "admin", "backup")

# the clinics of an environment begin at the same minute, and one after the other has its turn
_SCHEDULED_LOCK_SECONDS = 3 * 3600

_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_CLINIC = re.compile(r"[a-z][a-z0-9]{1,9}")
_PREFIX = re.compile(r"[a-z][a-z0-9_]*:")
_SECRET = re.compile(r"projects/[^/]+/secrets/[^/]+")
_SERVICE = re.compile(r"projects/[^/]+/locations/[^/]+/services/[^/]+")
_JOB = re.compile(r"projects/[^/]+/locations/[^/]+/jobs/[^/]+")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]+")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rotate:
    """What rotate works on. `secrets` is kind → `projects/p/secrets/s`.

    `what` are the kinds to rotate: those older than `every_days`, or all of them where `due_or_not`. `now`: old access
    ends first, with a short interruption. `force`: also an administrator's password that a person has set.
    `jobs` are those whose executions hold passwords; `execution` is this one's name.
    """

    clinic: Clinic
    name: str
    store: Store
    secrets: Mapping[str, str]
    redis: RedisServer
    redis_user: str
    redis_prefix: str
    redis_job: str
    admin_user: str
    service: str
    jobs: tuple[str, ...]
    state_bucket: str
    what: tuple[str, ...]
    now: bool
    force: bool
    due_or_not: bool
    every_days: int
    drain_seconds: int | None
    wait_seconds: int
    lock_seconds: int
    execution: str
    result_uri: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class RedisPasswords:
    """What redis-passwords works on; `secret` is the clinic's."""

    clinic: str
    redis: RedisServer
    redis_admin_user: str
    redis_admin: SecretVersion
    redis_user: str
    redis_prefix: str
    secret: str
    result_uri: str


def rotate(environment: Mapping[str, str]) -> Rotate:
    """Raises SettingsInvalid with every problem."""
    read = Reader(environment)

    def make() -> Rotate:
        by_hand = read.one_of("DUE", "yes", "no", default="yes") == "no"
        what = tuple(part for part in read.text("WHAT", default=",".join(KINDS)).split(",") if part)
        read.problems += [f"WHAT has {part!r}, not one of {', '.join(KINDS)}" for part in what if part not in KINDS]
        service = read.matching("SERVICE", _SERVICE, "projects/P/locations/L/services/S")
        store = read.store("CLINIC")
        secrets = {
            "database": read.secret("MYSQL_PASS").secret,
            "redis": read.secret("REDIS_PASS").secret,
            "admin": read.secret("OE_PASS").secret,
            "backup": store.password.secret,
        }
        return Rotate(
            clinic=backup_settings.clinic(read),
            name=store.clinic,
            store=store,
            secrets=secrets,
            redis=RedisServer(host=read.text("REDIS_SERVER"), port=read.number("REDIS_PORT", default=6379)),
            redis_user=read.matching("REDIS_USERNAME", _NAME, "a user's name"),
            redis_prefix=read.matching("REDIS_PREFIX", _PREFIX, "a prefix such as oe_main:"),
            redis_job=read.matching("REDIS_JOB", _JOB, "projects/P/locations/L/jobs/J"),
            admin_user=read.text("OE_USER", default="admin"),
            service=service,
            jobs=_jobs(read),
            state_bucket=read.matching("STATE_BUCKET", _BUCKET, "a bucket's name"),
            what=what,
            now=read.flag("NOW"),
            force=read.flag("FORCE"),
            due_or_not=by_hand,
            every_days=read.number("EVERY_DAYS", default=90),
            drain_seconds=read.number("DRAIN_SECONDS") if environment.get("DRAIN_SECONDS") else None,
            wait_seconds=read.number("WAIT_SECONDS", default=1800),
            lock_seconds=read.number("LOCK_SECONDS", default=300 if by_hand else _SCHEDULED_LOCK_SECONDS),
            execution=_execution(service, environment),
            result_uri=read.result_uri() or _record(store, "rotate"),
        )

    return read.finish(make)


def redis_passwords(environment: Mapping[str, str]) -> RedisPasswords:
    """Raises SettingsInvalid with every problem."""
    read = Reader(environment)
    return read.finish(
        lambda: RedisPasswords(
            clinic=read.matching("CLINIC", _CLINIC, "a clinic's name"),
            redis=RedisServer(host=read.text("REDIS_SERVER"), port=read.number("REDIS_PORT", default=6379)),
            redis_admin_user=read.text("REDIS_ADMIN_USERNAME", default="admin"),
            redis_admin=read.secret("REDIS_ADMIN"),
            redis_user=read.matching("REDIS_USERNAME", _NAME, "a user's name"),
            redis_prefix=read.matching("REDIS_PREFIX", _PREFIX, "a prefix such as oe_main:"),
            secret=read.matching("REDIS_PASS_SECRET", _SECRET, "projects/P/secrets/S"),
            result_uri=read.result_uri(),
        )
    )


def _jobs(read: Reader) -> tuple[str, ...]:
    jobs = tuple(part for part in read.text("JOBS").split(",") if part)
    read.problems += [f"JOBS has {job!r}, no job's full name" for job in jobs if not _JOB.fullmatch(job)]
    return jobs


def _execution(service: str, environment: Mapping[str, str]) -> str:
    """This run's full name, from the variables that Cloud Run sets in every job."""
    job, own = environment.get("CLOUD_RUN_JOB", ""), environment.get("CLOUD_RUN_EXECUTION", "")
    place = service.partition("/services/")[0]
    return f"{place}/jobs/{job}/executions/{own}" if job and own else ""


def _record(store: Store, job: str) -> str:
    """With the records of scheduled runs."""
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    return f"gs://{store.bucket}/clinics/{store.clinic}/runs/{job}/{moment}.json"
