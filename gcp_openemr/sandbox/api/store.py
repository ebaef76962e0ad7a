"""One SQLite file with everything the sandbox knows; only the bytes of objects lie beside it.

A mutation of the API is one transaction. The file is in WAL mode with `synchronous=NORMAL`: the death of the process at
any moment loses nothing that was answered, and a power cut leaves a whole, perhaps slightly older, cloud — enough for a
rehearsal and many times faster than an fsync per call. The lock is exclusive, so that two daemons never share a state.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gcp_openemr.sandbox.interfaces import Json

__all__ = ["Record", "Store", "StoreInUse"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS resources (
    name TEXT PRIMARY KEY, body TEXT NOT NULL, hidden TEXT NOT NULL, version INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS policies (name TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS operations (
    name TEXT PRIMARY KEY, body TEXT NOT NULL, done INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS payloads (name TEXT PRIMARY KEY, data BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS objects (
    bucket TEXT NOT NULL, name TEXT NOT NULL, generation INTEGER NOT NULL, live INTEGER NOT NULL,
    body TEXT NOT NULL, file TEXT NOT NULL, PRIMARY KEY (bucket, name, generation)) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS live_objects ON objects (bucket, name) WHERE live = 1;
CREATE TABLE IF NOT EXISTS uploads (id TEXT PRIMARY KEY, body TEXT NOT NULL, file TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""


class StoreInUse(Exception):
    """Another process holds the state."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """A resource: its full name, Google's JSON, what only the sandbox knows of it, and a number per change."""

    name: str
    body: Json
    hidden: Json
    version: int


class Store:
    """Resources by full name (`run.googleapis.com/projects/p/locations/l/services/s`).

    Every method may be called from any thread; what belongs together goes in one `transaction()`.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        self._lock = threading.RLock()
        self._depth = 0
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=1.0)
        try:
            self._connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.executescript(_SCHEMA)
        except sqlite3.OperationalError as error:
            self._connection.close()
            if "locked" in str(error):
                raise StoreInUse(f"{path} is in use by another process") from error
            raise

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; an inner transaction joins the outer one. Nobody else reads or writes meanwhile."""
        with self._lock:
            if self._depth:
                yield
                return
            self._connection.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            else:
                self._connection.execute("COMMIT")
            finally:
                self._depth -= 1

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of one statement."""
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    def change(self, sql: str, values: Sequence[Any] = ()) -> int:
        """Rows that one statement changed."""
        with self.transaction():
            return self._connection.execute(sql, values).rowcount

    def get(self, name: str) -> Record | None:
        rows = self.query("SELECT name, body, hidden, version FROM resources WHERE name = ?", (name,))
        return _record(rows[0]) if rows else None

    def list(self, prefix: str) -> Sequence[Record]:
        """All records whose name starts with `prefix`, by name."""
        rows = self.query(
            "SELECT name, body, hidden, version FROM resources WHERE name >= ? AND name < ? ORDER BY name",
            (prefix, prefix + "\U0010ffff"),
        )
        return [_record(row) for row in rows]

    def put(self, name: str, body: Json, *, hidden: Json | None = None) -> Record:
        """Write a resource whole. Without `hidden`, what was hidden stays."""
        with self.transaction():
            old = self.get(name)
            record = Record(
                name=name,
                body=body,
                hidden=hidden if hidden is not None else (old.hidden if old else {}),
                version=old.version + 1 if old else 1,
            )
            self.change(
                "INSERT INTO resources VALUES (?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET "
                "body = excluded.body, hidden = excluded.hidden, version = excluded.version",
                (name, json.dumps(body), json.dumps(record.hidden), record.version),
            )
        return record

    def update(self, name: str, fields: Json) -> Record | None:
        """Change some fields of a resource; None when there is none."""
        with self.transaction():
            old = self.get(name)
            return self.put(name, {**old.body, **fields}) if old else None

    def delete(self, name: str) -> bool:
        """Remove a resource and its IAM policy; False when there was none."""
        with self.transaction():
            self.change("DELETE FROM policies WHERE name = ?", (name,))
            return self.change("DELETE FROM resources WHERE name = ?", (name,)) > 0

    def delete_below(self, prefix: str) -> None:
        """Remove everything whose name starts with `prefix`."""
        with self.transaction():
            for table in ("policies", "resources", "payloads"):
                self.change(
                    f"DELETE FROM {table} WHERE name >= ? AND name < ?",  # noqa: S608 -- a name of this module
                    (prefix, prefix + "\U0010ffff"),
                )

    def policy(self, name: str) -> Json | None:
        rows = self.query("SELECT body FROM policies WHERE name = ?", (name,))
        return json.loads(rows[0][0]) if rows else None

    def policies(self, prefix: str) -> Sequence[tuple[str, Json]]:
        """IAM policies of everything whose name starts with `prefix`."""
        rows = self.query(
            "SELECT name, body FROM policies WHERE name >= ? AND name < ? ORDER BY name",
            (prefix, prefix + "\U0010ffff"),
        )
        return [(name, json.loads(body)) for name, body in rows]

    def put_policy(self, name: str, policy: Json) -> None:
        self.change("INSERT OR REPLACE INTO policies VALUES (?, ?)", (name, json.dumps(policy)))

    def payload(self, name: str) -> bytes | None:
        """Bytes of a secret version."""
        rows = self.query("SELECT data FROM payloads WHERE name = ?", (name,))
        return bytes(rows[0][0]) if rows else None

    def put_payload(self, name: str, data: bytes) -> None:
        self.change("INSERT OR REPLACE INTO payloads VALUES (?, ?)", (name, data))

    def delete_payload(self, name: str) -> None:
        self.change("DELETE FROM payloads WHERE name = ?", (name,))

    def fact(self, name: str) -> str | None:
        rows = self.query("SELECT value FROM facts WHERE name = ?", (name,))
        return str(rows[0][0]) if rows else None

    def put_fact(self, name: str, value: str) -> None:
        self.change("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def next_number(self, name: str, at_least: int = 1) -> int:
        """A number that was never given out under this name and is at least `at_least`."""
        with self.transaction():
            number = max(int(self.fact(f"number/{name}") or 0) + 1, at_least)
            self.put_fact(f"number/{name}", str(number))
        return number


def _record(row: tuple[Any, ...]) -> Record:
    return Record(name=row[0], body=json.loads(row[1]), hidden=json.loads(row[2]), version=row[3])
