"""What containers and servers print: one file per service, execution, database and machine, a time on every line."""

from __future__ import annotations

import datetime
import os
import selectors
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

__all__ = ["Lines", "Log", "read_log"]

_LARGEST_FILE = 16 << 20
_LONGEST_LINE = 64 << 10
_LAST_LINES = 50


class Lines:
    """Somewhere lines go: here, a function."""

    def __init__(self, put: Callable[[str], None]) -> None:
        self._put = put

    def write(self, source: str, text: str) -> None:  # noqa: ARG002 - the source matters to files only
        """Take one line."""
        self._put(text)

    def follow(self, source: str, *streams: BinaryIO) -> threading.Thread:
        """Copy pipes line by line until all their ends are closed, in a thread of its own."""
        thread = threading.Thread(target=self._copy, args=(source, streams), name=f"log-{source}", daemon=True)
        thread.start()
        return thread

    def _copy(self, source: str, streams: tuple[BinaryIO, ...]) -> None:
        rests = dict.fromkeys(streams, b"")
        with selectors.DefaultSelector() as ready:
            for stream in streams:
                ready.register(stream, selectors.EVENT_READ)
            while ready.get_map():
                for key, _ in ready.select():
                    stream = cast("BinaryIO", key.fileobj)
                    chunk = os.read(key.fd, 65536)
                    *lines, rests[stream] = (rests[stream] + chunk).split(b"\n")
                    if len(rests[stream]) > _LONGEST_LINE or (not chunk and rests[stream]):
                        lines.append(rests[stream])
                        rests[stream] = b""
                    for line in lines:
                        self.write(source, line.rstrip(b"\r").decode("utf-8", "surrogateescape"))
                    if not chunk:
                        ready.unregister(stream)
                        stream.close()


class Log(Lines):
    """A file under `logs/`; when it has grown to 16 MiB it becomes `NAME.log.1` and a new one begins."""

    def __init__(self, directory: Path, name: str) -> None:
        super().__init__(lambda text: self.write(name, text))
        self._path = directory / f"{name}.log"
        self._lock = threading.Lock()

    def write(self, source: str, text: str) -> None:
        """Append one line: time, source (revision, task or server), text."""
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        line = f"{now} {source} {text}\n".encode("utf-8", "surrogateescape")
        with self._lock:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if self._path.exists() and self._path.stat().st_size > _LARGEST_FILE:
                self._path.replace(self._path.with_suffix(".log.1"))
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            with open(descriptor, "ab") as out:
                out.write(line)


def read_log(
    state: Path, name: str, tail: int | None = _LAST_LINES, *, only: Callable[[str], bool] | None = None
) -> list[str]:
    """The last `tail` lines (None: all) of a service, execution, database instance or machine, oldest first.

    `name` is the short name or the full one; a name without a log has no lines.
    """
    path = state / "logs" / f"{name.rsplit('/', 1)[-1]}.log"
    lines: list[str] = []
    for part in (path.with_suffix(".log.1"), path):
        if part.is_file():
            lines += part.read_text(encoding="utf-8", errors="replace").splitlines()
    lines = [line for line in lines if only is None or only(line)]
    return lines if tail is None else lines[-tail:] if tail else []
