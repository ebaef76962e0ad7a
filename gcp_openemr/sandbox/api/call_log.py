"""What was called: every call that came through the sandbox's one door, and how it ended.

A line of JSON per call in `calls/calls.jsonl`, written with one system call, so the log is whole after SIGKILL too.
When the file is full it becomes `calls.1.jsonl`, in place of the one before. Bodies, queries and tokens are never
written down: an entry tells who did what to which resource, and what the answer was.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gcp_openemr.sandbox.api.names import timestamp
from gcp_openemr.sandbox.interfaces import Json

if TYPE_CHECKING:
    from gcp_openemr.sandbox.api.faults import Fault

__all__ = ["CURRENT", "CallLog", "Entry", "Trace"]

_MOST = 20_000  # entries of one file
_PATH_LIMIT = 500  # characters
# The call that this thread answers.
CURRENT: contextvars.ContextVar[Trace | None] = contextvars.ContextVar("call", default=None)


@dataclasses.dataclass(kw_only=True)
class Trace:
    """What becomes known of a call while it is answered; `left` are the faults that still wait for it."""

    method_id: str = ""
    caller: str = ""
    resource: str = ""
    refusal: str = ""
    fault: str = ""
    status: int = 0
    left: Sequence[Fault] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """One call. `number` counts in the order of the answers; `time` is its start, RFC 3339; `seconds` what it took.

    `api_method` is Google's id (`run.projects.locations.services.get`), `caller` as IAM writes it, `resource` the full
    name, `status` 0 when the connection ended without an answer, `refusal` the row that said no, `fault` what was
    done to the call on request.
    """

    number: int
    time: str
    seconds: float
    method: str
    path: str
    api_method: str
    caller: str
    resource: str
    status: int
    refusal: str = ""
    fault: str = ""


class CallLog:
    """Safe to use from several threads."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = directory / "calls.jsonl"
        self._former = directory / "calls.1.jsonl"
        self._mutex = threading.Lock()
        kept = list(_entries(self._file))
        self._held = len(kept)
        last = kept[-1:] or list(_entries(self._former))[-1:]
        self._number = last[0].number if last else 0
        self._descriptor = self._open()

    @contextlib.contextmanager
    def timed(self, trace: Trace, method: str, path: str) -> Iterator[Trace]:
        """Write a call down when it ends, however it ends."""
        started, begin = time.time(), time.monotonic()
        try:
            yield trace
        except ConnectionAbortedError:
            trace.status = 0
            raise
        except Exception:
            trace.status = 500
            raise
        finally:
            self._add(trace, timestamp(started), time.monotonic() - begin, method, path)

    def _add(self, trace: Trace, moment: str, seconds: float, method: str, path: str) -> None:
        with self._mutex:
            if self._descriptor < 0:
                return
            if self._held >= _MOST:
                os.close(self._descriptor)
                self._file.replace(self._former)
                self._descriptor, self._held = self._open(), 0
            self._number += 1
            self._held += 1
            told = dataclasses.asdict(trace, dict_factory=_told)
            began = {"number": self._number, "time": moment, "seconds": round(seconds, 4), "method": method}
            entry = {**began, "path": path[:_PATH_LIMIT], **told}
            os.write(self._descriptor, json.dumps(entry).encode() + b"\n")

    def read(self, since: int = 0) -> list[Entry]:
        """Entries with a number above `since`, oldest first; at least the last 20,000 calls are there."""
        with self._mutex:
            files = (self._former, self._file) if since < self._number - self._held else (self._file,)
            return [entry for file in files for entry in _entries(file) if entry.number > since]

    def close(self) -> None:
        with self._mutex:
            if self._descriptor >= 0:
                os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> int:
        return os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def _told(fields: list[tuple[str, object]]) -> Json:
    """What an entry has of a trace."""
    return {"api_method" if name == "method_id" else name: value for name, value in fields if name != "left"}


def _entries(file: Path) -> Iterator[Entry]:
    try:
        lines = file.read_bytes().splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        entry = _parsed(line)
        if entry is not None:
            yield Entry(**entry)


def _parsed(line: bytes) -> Json | None:
    try:
        found: Json = json.loads(line)
    except ValueError:  # the end of a full disk
        return None
    return found
