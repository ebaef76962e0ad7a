"""The user's cache, shared between checkouts, and the lock that lets two setups run at once."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["Log", "cache_directory", "locked"]

Log = Callable[[str], None]
"""Receives one line for people."""


def cache_directory() -> Path:
    """`$XDG_CACHE_HOME/gcp-openemr`, by default `~/.cache/gcp-openemr`. Not created."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if os.path.isabs(home) else Path.home() / ".cache") / "gcp-openemr"


@contextlib.contextmanager
def locked(path: Path, *, log: Log) -> Iterator[None]:
    """Hold an exclusive lock on a file; the kernel drops it when the process ends, however it ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log(f"Another setup is at work ({path}); waiting for it.")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
