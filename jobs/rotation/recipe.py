"""rotate: new passwords for a clinic, in this order.

First what an earlier run left half-way is finished or undone; that is its rotation. Then, for what is due: a new
version, valid beside the old one, in use everywhere, in force; and the old one ended when nobody has it any more. Each
step looks first, so a run that was killed anywhere is continued by the next, and at every moment the version in force
is one that opens what it is for.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator
from typing import Any

from jobs import database, log, metrics
from jobs.database import Connection
from jobs.errors import JobError, Refused
from jobs.redacted import Redacted
from jobs.rotation import change as changes
from jobs.rotation import executions, locks, sessions, versions
from jobs.rotation.account import Account
from jobs.rotation.administrator import Administrator
from jobs.rotation.change import Change
from jobs.rotation.locks import Fence
from jobs.rotation.outcome import Outcome
from jobs.rotation.repository import Repository
from jobs.rotation.served import Database, Redis, Served
from jobs.rotation.settings import KINDS, Rotate
from jobs.rotation.versions import LEFT, Secret

__all__ = ["run"]

_SERVED = ("database", "redis")
_SETTLE_SECONDS = 120  # in which an execution that begins may be told the version before
_GRACE_DAYS = 3  # in which a rotation that found the clinic busy is tried again


def run(wanted: Rotate) -> dict[str, Any]:
    """Rotate what is due and return the result record.

    Raises:
        Busy: another run holds the environment, or the clinic.
        Unhealthy: the new revision was not; the old passwords serve.
        Refused: what was found can only be mended by a person; the sentence says how.
    """
    outcome = Outcome(what=wanted.what)
    try:
        with locks.environment(
            wanted.state_bucket, wanted.clinic.environment, execution=wanted.execution, seconds=wanted.lock_seconds
        ) as held:
            found = {kind: changes.look(kind, wanted.secrets[kind], outcome) for kind in KINDS}
            with (
                _opened(wanted, found["database"], outcome) as (connection, in_force),
                locks.clinic_fence(held, connection, wanted.clinic.schema, seconds=wanted.lock_seconds) as fence,
            ):
                _Rotation(wanted, fence, outcome).all(found, drifted=not in_force)
                left = _left(wanted, outcome)
                if left:
                    again = dataclasses.replace(wanted, what=left)
                    found = {kind: versions.look(wanted.secrets[kind]) for kind in KINDS}
                    _Rotation(again, fence, outcome).all(found, drifted=False)
            _tell_ages(wanted, outcome)
    except JobError as error:
        error.record = outcome.as_record()
        raise
    return outcome.as_record()


def _left(wanted: Rotate, outcome: Outcome) -> tuple[str, ...]:
    """What was asked for and has the password that it had, since an earlier run's new one was taken back.

    In an incident that one may be known as well as the old one, so with `now` it is not enough that it is in force.
    """
    old = {*outcome.undone, *(outcome.finished if wanted.now else ())} - {*outcome.skipped}
    return tuple(kind for kind in wanted.what if kind in old)


@contextlib.contextmanager
def _opened(wanted: Rotate, secret: Secret, outcome: Outcome) -> Iterator[tuple[Connection, bool]]:
    """A connection to MySQL, and whether the version in force is the one that opens it.

    Raises:
        Refused: no enabled version does.
    """
    account = Account(clinic=wanted.clinic, still_ours=lambda: None)
    ordered = sorted(secret.enabled, key=lambda number: number != secret.current)
    for number in ordered:
        password = versions.value(secret.name, number)
        if account.opens(password):
            connection = database.connect(wanted.clinic.server, wanted.clinic.user, password, wanted.clinic.schema)
            with connection:
                yield connection, number == secret.current
            return
    outcome.changed_by_hand.append("database")
    raise Refused(
        f"MySQL takes no enabled version of {secret.name}: the password was changed by hand.",
        do="Run gcp-openemr rotate database, which has provision set it again.",
    )


class _Rotation:
    def __init__(self, wanted: Rotate, fence: Fence, outcome: Outcome) -> None:
        self._wanted = wanted
        self._fence = fence
        self._outcome = outcome
        self._account = Account(clinic=wanted.clinic, still_ours=fence.check, own_thread=fence.thread)

    def all(self, found: dict[str, Secret], *, drifted: bool) -> None:
        self._service(found, drifted=drifted)
        self._administrator(found["admin"])
        self._repository(found["backup"])

    def _is_wanted(self, kind: str, secret: Secret) -> bool:
        due = self._wanted.due_or_not or changes.is_due(secret, self._wanted.every_days)
        return kind in self._wanted.what and due

    def _service(self, found: dict[str, Secret], *, drifted: bool) -> None:
        wanted = self._wanted
        redis = Redis(job=wanted.redis_job, opens=lambda value: sessions.opens(wanted.redis, wanted.redis_user, value))
        due = {kind: self._is_wanted(kind, found[kind]) for kind in _SERVED}
        due["database"] |= drifted
        self._mend_redis(found["redis"], redis)
        served = Served(
            wanted=self._wanted,
            parts={"database": Database(account=self._account), "redis": redis},
            fence=self._fence,
            outcome=self._outcome,
        )
        if any(due.values()):
            served.check_traffic()
        begun = [changes.begin(kind, found[kind], self._outcome, due=due[kind]) for kind in _SERVED]
        going = [change for change in begun if change is not None]
        at_once = [change for change in going if self._wanted.now and not change.back]
        if at_once:
            served.rotate_now(at_once)
        served.rotate([change for change in going if change not in at_once])

    def _mend_redis(self, secret: Secret, redis: Redis) -> None:
        """At rest, Redis takes the version in force; half-way, accepting the new version sets both."""
        if secret.half_way:
            return
        password = versions.value(secret.name, secret.current)
        if secret.at_once:
            redis.finish_at_once(secret.name, valid=password)
        elif not redis.opens(password):
            redis.set(valid=password)
            self._outcome.mend("redis", "Redis did not take the password in force; it does again")

    def _administrator(self, secret: Secret) -> None:
        if not secret.half_way and not self._is_wanted("admin", secret):
            changes.begin("admin", secret, self._outcome, due=False)
            return
        administrator = Administrator(
            clinic=self._wanted.clinic,
            user=self._wanted.admin_user,
            database_password=self._value("database"),
            still_ours=self._fence.check,
        )
        if not secret.half_way and not self._wanted.force:
            seen = administrator.look([self._value("admin")])
            if seen.is_of is None:
                self._skip_administrator(secret.name)
                return
        change = changes.begin("admin", secret, self._outcome, due=True)
        assert change is not None  # noqa: S101  # due, or half-way
        self._set_administrator(administrator, change)

    def _set_administrator(self, administrator: Administrator, change: Change) -> None:
        outcome = self._outcome
        if change.back:  # disabled by hand; its value may be stored already
            versions.enable(change.secret, change.new)
        fresh = change.fresh()
        with outcome.step("admin", "new password in OpenEMR"):
            seen = administrator.look([fresh, *change.others()], fresh=fresh)
            if seen.is_of is None and not self._wanted.force:
                change.retire(outcome, keep=change.old)
                dataclasses.replace(change, back=True).finish(outcome)
                self._skip_administrator(change.secret)
                return
            if seen.is_of != 0:
                administrator.set(self._fence.clinic.connection, seen)
        with outcome.step("admin", "new version in force"):
            change.put_in_force()
        with outcome.step("admin", "sessions ended"):
            wanted = self._wanted
            ended = sessions.end(
                wanted.redis,
                wanted.redis_user,
                self._value("redis"),
                prefix=wanted.redis_prefix,
                user=wanted.admin_user,
            )
        outcome.admin = {**seen.as_record(), "sessions_ended": ended}
        change.retire(outcome, keep=change.new)
        dataclasses.replace(change, back=False).finish(outcome)

    def _skip_administrator(self, secret: str) -> None:
        """A password that a person chose is left to that person, and marked as such.

        Raises:
            Refused: nothing else was asked for.
        """
        versions.point(secret, {}, annotations={LEFT: "a person set it in OpenEMR"})
        sentence = f"The password of {self._wanted.admin_user} was set in OpenEMR by a person; it was left as it is."
        if self._wanted.what == ("admin",) and self._wanted.due_or_not:
            raise Refused(sentence, do="To replace it all the same: gcp-openemr rotate admin --force")
        log.warning(sentence)
        self._outcome.skipped["admin"] = sentence

    def _repository(self, secret: Secret) -> None:
        wanted, outcome = self._wanted, self._outcome
        repository = Repository(
            store=wanted.store,
            lock_seconds=wanted.lock_seconds,
            still_ours=self._fence.check,
            is_alone=lambda: not executions.running(wanted.jobs, but=wanted.execution),
        )
        due = self._is_wanted("backup", secret)
        change = changes.begin("backup", secret, outcome, due=due)
        if change is None:
            return
        if change.back:  # disabled by hand; a key for it may be there already
            versions.enable(change.secret, change.new)
        fresh = change.fresh()
        with outcome.step("backup", "new key"):
            outcome.mend("backup", repository.accept(fresh, change.others(), new=change.own))
        with outcome.step("backup", "new version in force"):
            moved = change.put_in_force()
        if not wanted.now:
            settle = _SETTLE_SECONDS if wanted.drain_seconds is None else wanted.drain_seconds
            with outcome.step("backup", "executions that began before"):
                self._fence.pause(until=time.monotonic() + settle)
                begun = executions.running(wanted.jobs, but=wanted.execution, moved=moved)
                left = executions.wait(begun, seconds=wanted.wait_seconds, meanwhile=self._fence.check)
            if left:
                names = ", ".join(one.rpartition("/")[2] for one in left)
                outcome.waiting["backup"] = f"{names} began before; the old key stays for it."
                return
        with outcome.step("backup", "old key removed"):
            repository.keep_only(fresh, change.others())
        change.retire(outcome, keep=change.new)
        dataclasses.replace(change, back=False).finish(outcome)

    def _value(self, kind: str) -> Redacted:
        name = self._wanted.secrets[kind]
        return versions.value(name, versions.look(name).current)


def _tell_ages(wanted: Rotate, outcome: Outcome) -> None:
    """How old the versions in force are, for the alert that tells of rotations that do not happen."""
    for kind in KINDS:
        secret = versions.look(wanted.secrets[kind])
        metrics.write(wanted.clinic, wanted.name, {"secret_age": secret.age_seconds}, secret=kind)
        if (
            kind in wanted.what
            and kind not in outcome.skipped
            and changes.is_due(secret, wanted.every_days + _GRACE_DAYS)
        ):
            log.error(f"The password {kind} is older than {wanted.every_days} days.", overdue="rotation")
