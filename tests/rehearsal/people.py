"""People at work in a clinic while something happens to it: some stay logged in, others come, all of them write."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import threading
import time
from collections.abc import Iterator
from typing import Any

import pymysql

from gcp_openemr.errors import Unhealthy
from gcp_openemr.redacted import Redacted
from gcp_openemr.sandbox import control
from gcp_openemr.sandbox.visitor import Visitor
from tests.rehearsal.place import PROJECT, Place

__all__ = ["NURSE", "Seen", "at_work", "hire", "root"]

NURSE, PASSWORD = "nurse", Redacted("a nurse's own password")
_HASH = "$2y$04$c5KSh0/BvhrMShpTJi4OsOTFpObuSSw0TgOYqA6cByYQCVIe6Nyae"
PATIENT = 1


@dataclasses.dataclass(kw_only=True)
class Seen:
    """What people met: how many requests were answered, and each that was not."""

    requests: int = 0
    logins: int = 0
    failures: list[str] = dataclasses.field(default_factory=list)


@contextlib.contextmanager
def root(place: Place, instance: str = "oe-test-sql") -> Iterator[Any]:
    """A cursor of MySQL's root, by the private socket in the sandbox's own mounts."""
    info = control.status(place.sandbox)
    assert info is not None
    socket = f"/proc/{info.pid}/root/run/sandbox/sql/{PROJECT}/{instance}/mysql.sock"
    with pymysql.connect(user="root", unix_socket=socket, autocommit=True, ssl_disabled=True) as connection:
        yield connection.cursor()


def hire(place: Place) -> None:
    """Give the clinic `main` a user beside its administrator."""
    with root(place) as cursor:
        cursor.execute("INSERT INTO oe_main.users (username, fname, lname) VALUES (%s, 'N', 'Urse')", [NURSE])
        number = cursor.lastrowid
        row = [number, NURSE, _HASH]
        cursor.execute("INSERT INTO oe_main.users_secure (id, username, password) VALUES (%s, %s, %s)", row)


@contextlib.contextmanager
def at_work(url: str, *, sessions: int = 3, pause: float = 0.0) -> Iterator[Seen]:
    """Keep so many sessions busy, and begin new ones. Each request reads and writes Redis, and reads MySQL.

    Uploads write MySQL and the share, too. Without a `pause` (seconds) there is always a request in hand.
    """
    work = _Work(url, pause)
    workers = [threading.Thread(target=work.stay, args=(number,)) for number in range(sessions)]
    workers.append(threading.Thread(target=work.come))
    for worker in workers:
        worker.start()
    try:
        yield work.seen
    finally:
        work.ended.set()
        for worker in workers:
            worker.join()


class _Work:
    def __init__(self, url: str, pause: float) -> None:
        self._url = url
        self._pause = pause
        self._mutex = threading.Lock()
        self.seen = Seen()
        self.ended = threading.Event()

    def stay(self, number: int) -> None:
        """One session, document after document."""
        visitor = self._logged_in()
        for turn in itertools.count():
            if self.ended.wait(self._pause):
                return
            with self._told("upload"):
                visitor.upload(PATIENT, f"{number}-{turn}.txt", b"while passwords change")

    def come(self) -> None:
        """Again and again somebody who logs in."""
        while not self.ended.wait(0.3):
            with self._told("login"):
                self._logged_in()
                self.seen.logins += 1

    def _logged_in(self) -> Visitor:
        visitor = Visitor(self._url)
        visitor.login(NURSE, PASSWORD)
        return visitor

    @contextlib.contextmanager
    def _told(self, work: str) -> Iterator[None]:
        failure = ""
        try:
            yield
        except (Unhealthy, OSError) as error:
            failure = f"{time.strftime('%H:%M:%S')} {work}: {error}"
        with self._mutex:
            self.seen.requests += 1
            self.seen.failures += [failure] if failure else []
