"""One rotation at a time: the environment's lock, which every command takes too, and a lock of the clinic in MySQL.

The environment's lock is the object that gcp_openemr/lock.py describes. It outlives a run that was killed: a holder is
dead when it was not renewed for five minutes by the bucket's clock, and one that is an execution also when that has
ended.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import quote

from jobs import database, log, rest
from jobs.database import Connection
from jobs.errors import Busy, JobError
from jobs.rotation import executions

__all__ = ["EnvironmentLock", "Fence", "clinic_fence", "environment"]

RENEW_SECONDS = 60.0
_STALE_SECONDS = 300.0
_POLL_SECONDS = 5.0
_IDLE_SECONDS = 30.0
_OF_EXECUTION = "execution "


class _Standing(NamedTuple):
    """A lock as it stands in the bucket; `silent` is for how many seconds, by the bucket's clock."""

    holder: dict[str, Any]
    generation: int
    silent: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Place:
    """`gs://bucket/name`."""

    bucket: str
    name: str

    def read(self) -> _Standing | None:
        """What stands there.

        This identity may read the lock and list nothing; to such a one Cloud Storage says of an object that is missing
        what it says of a forbidden one (https://github.com/seung-lab/cloud-volume/pull/260).
        """
        path = f"storage/v1/b/{self.bucket}/o/{quote(self.name, safe='')}"
        try:
            found, now = rest.dated("storage", path)
            generation = int(found["generation"])
            holder = rest.call("GET", "storage", path, query={"alt": "media", "generation": generation})
            return _Standing(holder, generation, (now - rest.moment(found["updated"])).total_seconds())
        except (rest.NotFound, rest.Forbidden):
            return None

    def write(self, holder: dict[str, Any], expected: int) -> int | None:
        """Returns the new generation, or None where another one stands there than the expected."""
        path = f"upload/storage/v1/b/{self.bucket}/o"
        query: dict[str, str | int] = {"uploadType": "media", "name": self.name, "ifGenerationMatch": expected}
        try:
            return int(rest.call("POST", "storage", path, body=holder, repeatable=True, query=query)["generation"])
        except rest.Conflict:
            # tried again after its answer was lost, a write meets itself
            found = self.read()
            return found.generation if found and found.holder == holder else None

    def remove(self, generation: int) -> None:
        path = f"storage/v1/b/{self.bucket}/o/{quote(self.name, safe='')}"
        with contextlib.suppress(rest.Conflict, rest.NotFound):
            rest.call("DELETE", "storage", path, query={"ifGenerationMatch": generation})


class EnvironmentLock:
    """Held; written anew every minute."""

    def __init__(self, place: _Place, holder: dict[str, Any], generation: int) -> None:
        self._place, self._holder, self._generation = place, holder, generation
        self._lost = False
        self._renewed = datetime.fromisoformat(holder["renewed"])
        self._mutex = threading.Lock()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="environment-lock", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """One that was not written anew in time is so now: Cloud Storage may have been out of reach.

        Raises:
            Busy: another run took it over.
            Unreachable, CloudRefused: it cannot be written.
        """
        with self._mutex:
            if not self._lost and (datetime.now(UTC) - self._renewed).total_seconds() > 2 * RENEW_SECONDS:
                self._write_anew()
        if self._lost:
            raise Busy("Another run took this environment's lock over.", do="Run the same command again.")

    def release(self) -> None:
        self._done.set()
        self._thread.join()
        with self._mutex, contextlib.suppress(JobError):
            self._place.remove(self._generation)

    def _renew(self) -> None:
        while not self._done.wait(RENEW_SECONDS):
            with self._mutex, contextlib.suppress(JobError):
                self._write_anew()
            if self._lost:
                return

    def _write_anew(self) -> None:
        now = datetime.now(UTC)
        generation = self._place.write({**self._holder, "renewed": now.isoformat()}, self._generation)
        if generation is None:
            self._lost = True
            return
        self._generation, self._renewed = generation, now


@contextlib.contextmanager
def environment(bucket: str, name: str, *, execution: str, seconds: float) -> Iterator[EnvironmentLock]:
    """Hold the lock of environment `name`; waits so long for another holder.

    `execution` is this run's full name, or '' where it is none.

    Raises:
        Busy: another run holds it.
    """
    place = _Place(bucket=bucket, name=f"{name}/environment.lock")
    now = datetime.now(UTC).isoformat()
    holder = {
        "id": uuid.uuid4().hex,
        "who": execution.rpartition("/")[2] or platform.node(),
        "machine": f"{_OF_EXECUTION}{execution}" if execution else f"{platform.node()} {os.getpid()}",
        "process": f"{os.getpid()} 0",
        "command": "rotate",
        "acquired": now,
        "renewed": now,
    }
    lock = EnvironmentLock(place, holder, _acquired(place, holder, seconds))
    try:
        yield lock
    finally:
        lock.release()


def _acquired(place: _Place, holder: dict[str, Any], seconds: float) -> int:
    deadline = time.monotonic() + seconds
    expected = 0
    while True:
        generation = place.write(holder, expected)
        if generation is not None:
            return generation
        found = place.read()
        if found is None:
            expected = 0
            continue
        if found.silent > _STALE_SECONDS or _has_ended(found.holder):
            expected = found.generation
            continue
        other, expected = found.holder, 0
        if time.monotonic() > deadline:
            raise Busy(
                f"{other['who']} holds the environment with `{other['command']}` since {other['acquired'][:19]} UTC.",
                do="Run the same command again when that has ended. A run that died is recognised after five minutes.",
            )
        log.info("Waiting for another run of this environment", holder=other["who"], command=other["command"])
        time.sleep(min(_POLL_SECONDS, max(deadline - time.monotonic(), 0.1)))


def _has_ended(holder: dict[str, Any]) -> bool:
    """Whether it is an execution that is over."""
    machine = str(holder.get("machine", ""))
    if machine.startswith(_OF_EXECUTION):
        with contextlib.suppress(JobError):
            return executions.is_over(machine.removeprefix(_OF_EXECUTION))
    return False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fence:
    """Both locks of a run."""

    environment: EnvironmentLock
    clinic: database.Lock
    thread: int

    def check(self) -> None:
        """Before each step that cannot be undone. Raises Busy when one of the two is lost."""
        self.environment.check()
        self.clinic.check()

    def pause(self, *, until: float) -> None:
        """Sleep up to a moment of the monotonic clock, with the lock's connection in use."""
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _IDLE_SECONDS))
            self.check()


@contextlib.contextmanager
def clinic_fence(held: EnvironmentLock, connection: Connection, schema: str, *, seconds: int) -> Iterator[Fence]:
    """Keep a second rotation of the clinic away; other jobs go on."""
    with database.locked(connection, f"{schema}:rotation", seconds=seconds) as lock:
        yield Fence(environment=held, clinic=lock, thread=int(database.value(connection, "SELECT CONNECTION_ID()")))
