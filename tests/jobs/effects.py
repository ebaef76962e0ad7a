"""Counting what a process does to the world, and killing it before any one of those effects.

An effect is whatever leaves the process: a file opened for writing, made, renamed, removed, given a mode, a program
started, a statement that changes the database or is written to a dump, a command that changes Redis's users, and a
request that is no question.
"""

from __future__ import annotations

import dataclasses
import os
import random
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
import requests

from jobs import database, dump

_FILES = {"os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.chmod", "os.chown", "subprocess.Popen"}
_CHANGES = re.compile(
    r"\s*(?:/\*.*?\*/)?\s*(CREATE|DROP|INSERT|UPDATE|RENAME|ALTER|REPLACE|TRUNCATE|DELETE|GRANT)", re.IGNORECASE
)
_SAMPLE = 2
_SEED = 20261122
torn = pytest.mark.parametrize(
    "every", [False, pytest.param(True, marks=[pytest.mark.torture, pytest.mark.timeout(3600)])]
)
"""For a test that kills at a sample of the effects, and in `make torture` at every one."""


@dataclasses.dataclass(kw_only=True)
class Effects:
    """Counts effects of this process and ends its group at number `last`; 0 lets it live."""

    last: int
    count: int = 0

    def watch(self) -> None:
        original, original_command = database.run, redis.Redis.execute_command
        original_write, original_send = dump._Sink.write, requests.Session.send

        def run(connection: Any, statement: Any, *values: Any) -> Any:
            text = statement.decode("utf-8", "replace") if isinstance(statement, bytes) else statement
            if _CHANGES.match(text):
                self.happens()
            return original(connection, statement, *values)

        def command(client: redis.Redis, *words: Any, **options: Any) -> Any:
            if words[0] == "ACL":
                self.happens()
            return original_command(client, *words, **options)  # type: ignore[no-untyped-call]

        def write(sink: dump._Sink, content: bytes) -> None:
            self.happens()
            original_write(sink, content)

        def send(session: requests.Session, request: requests.PreparedRequest, **options: Any) -> requests.Response:
            if request.method != "GET":
                self.happens()
            return original_send(session, request, **options)

        requests.Session.send = send  # type: ignore[method-assign,assignment]
        dump._Sink.write = write  # type: ignore[method-assign,assignment]
        database.run = run  # type: ignore[assignment]
        redis.Redis.execute_command = command  # type: ignore[method-assign,assignment]
        sys.addaudithook(self._hook)

    def happens(self) -> None:
        self.count += 1
        if self.count == self.last:
            os.killpg(0, 9)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in _FILES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_ACCMODE):
            self.happens()


def in_a_group(run: Callable[[], object], *, last: int) -> int:
    """Run in a child that leads its own process group, as a container's processes end together.

    Returns the number of effects, or -9.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setpgid(0, 0)
            effects = Effects(last=last)
            effects.watch()
            run()
            os.write(writer, str(effects.count).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as told:
        count = told.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status or int(count)


def sampled(total: int, *, every: bool, most: int = _SAMPLE) -> Iterator[int]:
    points = range(1, total + 1)
    yield from points if every else sorted(random.Random(_SEED).sample(points, min(most, total)))  # noqa: S311
