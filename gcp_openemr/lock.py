"""The environment's lock: one object in the state bucket, so that one command at a time changes an environment.

It is made with `ifGenerationMatch=0`, so exactly one of two runs gets it. Its holder writes it anew every minute;
a lock that was not renewed for five minutes, or whose process on this very machine is gone, is taken over,
again with the generation as condition. The minutes are counted by the bucket's clock: two machines' may differ by more.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import email.utils
import json
import os
import pwd
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import requests
from google.api_core.exceptions import NotFound, PreconditionFailed, from_http_response
from google.cloud.storage import Blob, Bucket
from google.cloud.storage.retry import DEFAULT_RETRY

from gcp_openemr.errors import Locked

__all__ = ["Held", "Holder", "hold", "machine", "object_name", "read_holder", "who"]

RENEW_SECONDS = 60.0
STALE_SECONDS = 300.0
_ASK_SECONDS = 60
_OF_EXECUTION = "execution "


@dataclasses.dataclass(frozen=True, kw_only=True)
class Holder:
    """Who holds a lock. Times are UTC by that machine's clock; `process` is "PID START" of it.

    `silent` is how long ago the lock was written, by the bucket's clock; it is not in the lock itself.
    A job of Cloud Run has `execution projects/…` for a machine (jobs/rotation/locks.py).
    """

    id: str
    who: str
    machine: str
    process: str
    command: str
    acquired: datetime.datetime
    renewed: datetime.datetime
    silent: datetime.timedelta = datetime.timedelta()

    @property
    def age(self) -> datetime.timedelta:
        return _now() - self.acquired

    @property
    def execution(self) -> str:
        """The full name of the execution that holds it, '' where it is none."""
        return self.machine.removeprefix(_OF_EXECUTION) if self.machine.startswith(_OF_EXECUTION) else ""

    def is_dead(self) -> bool:
        """Not renewed for five minutes, or its process on this machine is gone."""
        if self.silent.total_seconds() > STALE_SECONDS:
            return True
        return self.machine == machine() and self.process != _process(int(self.process.split()[0]))


class Held:
    """A lock that this process holds. `check()` before each step that cannot be undone."""

    def __init__(self, blob: Blob, holder: Holder, generation: int) -> None:
        self._blob = blob
        self._generation = generation
        self._mutex = threading.Lock()
        self._lost = False
        self._done = threading.Event()
        self._renewed = holder.renewed
        self.holder = holder
        self._renewer = threading.Thread(target=self._renew, name="environment-lock", daemon=True)
        self._renewer.start()

    def check(self) -> None:
        """Raises Locked when another run took the lock over.

        One that was not renewed in time is renewed first: this machine may have slept, or had no network.
        """
        with self._mutex:
            if not self._lost and (_now() - self._renewed).total_seconds() > 2 * RENEW_SECONDS:
                self._write_anew()
        if self._lost:
            raise Locked("Another run took this environment's lock over; stopped before the next change.")

    def release(self) -> None:
        self._done.set()
        self._renewer.join()
        with self._mutex, contextlib.suppress(NotFound, PreconditionFailed):
            self._blob.delete(if_generation_match=self._generation)

    def _renew(self) -> None:
        while not self._done.wait(RENEW_SECONDS):
            with self._mutex:
                # A network that is away now may be back before the lock is stale.
                with contextlib.suppress(Exception):
                    self._write_anew()
                if self._lost:
                    return

    def _write_anew(self) -> None:
        now = _now()
        try:
            self._generation = _write(self._blob, dataclasses.replace(self.holder, renewed=now), self._generation)
            self._renewed = now
        except (PreconditionFailed, NotFound):
            self._lost = True


@contextlib.contextmanager
def hold(
    bucket: Bucket, environment: str, command: str, *, is_over: Callable[[str], bool] = lambda _: False
) -> Iterator[tuple[Held, Holder | None]]:
    """Hold the environment's lock; also gives the dead holder it was taken over from, if any.

    `is_over` tells of an execution whether it has ended.

    Raises:
        Locked: a living run holds it.
    """
    held, dead = _acquire(bucket.blob(object_name(environment)), environment, command, is_over)
    try:
        yield held, dead
    finally:
        held.release()


def read_holder(bucket: Bucket, environment: str) -> Holder | None:
    """Who holds the lock now, dead or alive."""
    found = _read(bucket.blob(object_name(environment)))
    return found[0] if found else None


def who() -> str:
    """Whoever runs this, by the name that Terraform gives them too: a container's user often has none.

    https://pkg.go.dev/os/user#Current takes /etc/passwd before $USER.
    """
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = os.environ.get("USER", "")
    return f"{user}@{socket.gethostname()}"


def object_name(environment: str) -> str:
    """Of the lock, in the state bucket."""
    return f"{environment}/environment.lock"


def _acquire(blob: Blob, environment: str, command: str, is_over: Callable[[str], bool]) -> tuple[Held, Holder | None]:
    now = _now()
    holder = Holder(
        id=uuid.uuid4().hex,
        who=who(),
        machine=machine(),
        process=_process(os.getpid()),
        command=command,
        acquired=now,
        renewed=now,
    )
    dead: Holder | None = None
    expected = 0
    while True:
        try:
            return Held(blob, holder, _write(blob, holder, expected)), dead
        except PreconditionFailed:
            found = _read(blob)
        if found is None:
            dead, expected = None, 0
            continue
        other, expected = found
        if not (other.is_dead() or (other.execution and is_over(other.execution))):
            raise Locked(
                f"{other.who} holds the environment '{environment}' with `{other.command}` since "
                f"{other.acquired:%Y-%m-%d %H:%M:%S} UTC ({_spoken(other.age)}).",
                do="Wait for that run to end. A run that has died is recognised after five minutes.",
            )
        dead = other


def _write(blob: Blob, holder: Holder, expected: int) -> int:
    fields = dataclasses.asdict(holder)
    del fields["silent"]
    text = json.dumps(fields, default=datetime.datetime.isoformat)
    fresh = blob.bucket.blob(blob.name)
    try:
        fresh.upload_from_string(text, content_type="application/json", if_generation_match=expected)
    except PreconditionFailed:
        # After its answer was lost, a write meets itself, now or the next time.
        found = _read(blob)
        if found is None or found[0].id != holder.id:
            raise
        return found[1]
    return int(fresh.generation)


def _read(blob: Blob) -> tuple[Holder, int] | None:
    """What stands there now. A blob that was read once asks for that generation ever after, so a new one reads."""
    try:
        generation, silent = _standing(blob)
        content = blob.bucket.blob(blob.name, generation=generation).download_as_bytes()
    except NotFound:
        return None
    fields: dict[str, Any] = json.loads(content)
    for name in ("acquired", "renewed"):
        fields[name] = datetime.datetime.fromisoformat(fields[name])
    return Holder(**fields, silent=silent), generation


def _standing(blob: Blob) -> tuple[int, datetime.timedelta]:
    """Generation of what stands there, and for how long it does: both times are the bucket's.

    The library gives no answer's header, so that this is asked by its session. Raises NotFound.
    """
    client: Any = blob.client
    address = client._connection.build_api_url(blob.path)

    def ask() -> requests.Response:
        answer: requests.Response = client._http.get(address, timeout=_ASK_SECONDS)
        if not answer.ok:
            raise from_http_response(answer)
        return answer

    answer = DEFAULT_RETRY(ask)()
    found, now = answer.json(), email.utils.parsedate_to_datetime(answer.headers["Date"])
    return int(found["generation"]), now - datetime.datetime.fromisoformat(found["updated"])


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def machine() -> str:
    """This boot and process namespace: within it, and only there, a missing PID means a dead process."""
    with contextlib.suppress(OSError):
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {os.readlink('/proc/self/ns/pid')}"
    return f"{socket.gethostname()}-{uuid.getnode():x}"


def _process(pid: int) -> str:
    """PID and start time, so that a number used again is not taken for the process that had it."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return f"{pid} gone"
    return f"{pid} {stat.rpartition(')')[2].split()[19]}"


def _spoken(age: datetime.timedelta) -> str:
    minutes, seconds = divmod(int(age.total_seconds()), 60)
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
