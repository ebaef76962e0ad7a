"""Fingerprints of a clinic's encryption keys: whether a restored pair has the very keys that were backed up."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from jobs import database, share
from jobs.database import Connection

__all__ = ["METHODS", "in_database", "on_share"]

METHODS = "documents/logs_and_misc/methods"


def in_database(connection: Connection) -> str:
    rows = database.rows(connection, "SELECT `name`, `value` FROM `keys` ORDER BY `name`")
    return _fingerprint((str(name), str(value).encode()) for name, value in rows)


def on_share(site: Path) -> str:
    with share.errors_told("the keys on the share cannot be read"):
        files = sorted((site / METHODS).iterdir())
        return _fingerprint((file.name, file.read_bytes()) for file in files)


def _fingerprint(pairs: Iterable[tuple[str, bytes]]) -> str:
    """SHA-256 over names, lengths and contents."""
    total = hashlib.sha256()
    for name, content in pairs:
        total.update(f"{name}\0{len(content)}\0".encode() + content)
    return total.hexdigest()
