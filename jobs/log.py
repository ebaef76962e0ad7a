"""Log lines as JSON objects on stdout, as Cloud Logging reads them."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

__all__ = ["Progress", "error", "info", "warning"]


def info(message: str, **fields: Any) -> None:
    _write("INFO", message, fields)


def warning(message: str, **fields: Any) -> None:
    _write("WARNING", message, fields)


def error(message: str, **fields: Any) -> None:
    _write("ERROR", message, fields)


class Progress:
    """Tells every few seconds how far long work is. `total` is what `at` counts up to, 0 when not known."""

    def __init__(self, what: str, *, total: int = 0, every_seconds: float = 5.0) -> None:
        self._what = what
        self._total = total
        self._every = every_seconds
        self._begun = self._told = time.monotonic()
        self._files = 0
        self._bytes = 0
        self._at = 0

    def add(self, *, files: int = 0, size: int = 0, at: int = 0) -> None:
        """Count files and bytes that are done; `at` is how far the work is, in the unit of `total`."""
        self._files += files
        self._bytes += size
        self._at = max(self._at, at)
        if time.monotonic() - self._told >= self._every:
            self.tell()

    def tell(self) -> None:
        self._told = time.monotonic()
        seconds = max(self._told - self._begun, 0.001)
        left = (self._total - self._at) / self._at * seconds if self._total and self._at else None
        remaining = {} if left is None else {"remaining_seconds": round(left)}
        info(
            self._what, files=self._files, bytes=self._bytes, bytes_per_second=round(self._bytes / seconds), **remaining
        )


def _write(severity: str, message: str, fields: dict[str, Any]) -> None:
    line = json.dumps({"severity": severity, "message": message, **fields}, ensure_ascii=False, default=str)
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
