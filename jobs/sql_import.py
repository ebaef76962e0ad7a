"""A SQL dump, statement by statement, into one schema and no other."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from typing import Any

from jobs import database, sql_rules
from jobs.archives import packing
from jobs.archives.entries import Readable, damage_told
from jobs.database import Connection, identifier
from jobs.errors import BackupInvalid, DatabaseRefused

__all__ = ["import_dump", "statements"]

_FIRST_READ = 1 << 20
_HEAD = _END = 4096
_COMMIT_EVERY = 64

_DELIMITER = re.compile(rb"\s*DELIMITER[ \t]+(\S+)[ \t]*\r?(?:\n|$)", re.IGNORECASE)
# MySQL passes over what MariaDB has for its own versions only; and MariaDB marks a dump with a conditional comment that
# ends without a delimiter.
# Repetitions of alternatives are bounded and repeated in Python: unbounded ones keep a place to go back to for every
# round, and possessive ones match wrongly in Python 3.11.2, which is Debian 12's.
_BLANK = re.compile(
    rb"(?:\s++|--(?=[ \t\r\n])[^\n]*+\n|\#[^\n]*+\n|/\*!999999.*?\*/|/\*(?!!|\+).*?\*/){1,500}", re.DOTALL
)
_WRITTEN_BY = re.compile(rb"-- Server version\s+([\w.+:~-]+)")
# the first and the last comment of mysqldump and mariadb-dump
_BEGUN = re.compile(rb"^-- (?:MySQL|MariaDB) dump \d", re.MULTILINE)
_COMPLETED = b"-- Dump completed"


def import_dump(
    dump: io.BufferedReader[Any], connection: Connection, schema: str, told: Callable[[int], None] = lambda _: None
) -> int:
    """Run a dump, plain or packed by gzip, in `schema`, whose connection this is. Returns how many statements ran.

    `told` hears of each statement's size before it runs, and may raise.

    Raises:
        BackupInvalid: it was cut, or a statement is not one of a dump of tables, leaves its schema, or is refused.
    """
    for setting in ("foreign_key_checks=0", "unique_checks=0", "sql_mode='NO_AUTO_VALUE_ON_ZERO'", "autocommit=0"):
        database.run(connection, f"SET SESSION {setting}")
    database.run(connection, f"USE {identifier(schema)}")
    with damage_told():
        count = _run_all(_opened(dump), connection, told)
    for setting in ("foreign_key_checks=1", "unique_checks=1", "autocommit=1"):
        database.run(connection, f"SET SESSION {setting}")
    database.run(connection, "SET NAMES utf8mb4")  # a dump may have left its own
    if count == 0:
        raise BackupInvalid("The backup's SQL file holds no statement.")
    return count


def _run_all(dump: io.BufferedReader[Any], connection: Connection, told: Callable[[int], None]) -> int:
    head = dump.peek(_HEAD)[:_HEAD]
    kept = _KeepingItsEnd(dump)
    schemas = {str(row[0]) for row in database.rows(connection, "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA")}
    most = int(database.value(connection, "SELECT @@max_allowed_packet"))
    count = 0
    for statement in statements(kept, longest=most):
        told(len(statement))
        wanted = sql_rules.fitting(statement, schemas)
        if wanted is None:
            continue
        try:
            database.run(connection, wanted)
        except DatabaseRefused as error:
            reason = sql_rules.without_values(wanted, error.what)
            raise BackupInvalid(f"The backup's SQL does not run here. {reason}.{_origin(head)}") from error
        count += 1
        if count % _COMMIT_EVERY == 0:
            connection.commit()
    if _BEGUN.search(head) and _COMPLETED not in kept.end:
        raise BackupInvalid(
            "The backup's SQL file does not end as mysqldump ends one: it is truncated.", do="Make the backup again."
        )
    connection.commit()
    return count


class _KeepingItsEnd:
    """A stream that remembers its last bytes."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self.end = b""

    def read(self, size: int = -1, /) -> bytes:
        piece = self._stream.read(size)
        self.end = (self.end + piece[-_END:])[-_END:]
        return piece


def statements(dump: Readable, *, longest: int) -> Iterator[bytes]:
    """Split a dump at its delimiters, outside of strings, names and comments. Memory: the longest statement.

    Raises:
        BackupInvalid: the dump ends within a statement, or one is longer than the server takes.
    """
    delimiter = b";"
    buffer = b""
    at_end = False
    while True:
        start = _blank_until(buffer, at_end)
        changed = _DELIMITER.match(buffer, start)
        cut = changed is not None and changed.end() == len(buffer) and not at_end
        if changed and not cut:
            delimiter, buffer = changed[1], buffer[changed.end() :]
            continue
        end = start if cut else _run(_tokens(delimiter), buffer, start)
        if not cut and buffer.startswith(delimiter, end):
            statement = buffer[start:end].strip()
            buffer = buffer[end + len(delimiter) :]
            if len(statement) > longest:
                raise _too_long(longest)
            if statement:
                yield statement
            continue
        if at_end:
            if buffer[start:].strip():
                raise BackupInvalid("The backup's SQL file ends within a statement: it is truncated.")
            return
        if len(buffer) - start > longest:
            raise _too_long(longest)
        # reading as much again as is there keeps the work for a long statement linear
        more = dump.read(max(_FIRST_READ, len(buffer)))
        buffer += more
        at_end = not more


def _blank_until(buffer: bytes, at_end: bool) -> int:
    end = _run(_BLANK, buffer, 0)
    # a last line of comment without its line's end
    if at_end and buffer[end:].startswith((b"--", b"#")) and b"\n" not in buffer[end:]:
        return len(buffer)
    return end


def _run(pattern: re.Pattern[bytes], buffer: bytes, start: int) -> int:
    """Where matches of a pattern, one after the other from `start`, end."""
    while found := pattern.match(buffer, start):
        start = found.end()
    return start


_patterns: dict[bytes, re.Pattern[bytes]] = {}


def _tokens(delimiter: bytes) -> re.Pattern[bytes]:
    """What a statement is made of up to its delimiter; strings, names and comments are stepped over whole."""
    if delimiter not in _patterns:
        first, whole = re.escape(delimiter[:1]), re.escape(delimiter)
        _patterns[delimiter] = re.compile(
            rb"(?:[^'\"`#/\-" + first + rb"]++"
            rb"|" + sql_rules.QUOTED + rb"|`[^`]*+`"
            rb"|--(?=[ \t\r\n])[^\n]*+\n|\#[^\n]*+\n|/\*.*?\*/|/(?!\*)|-(?!-[ \t\r\n])"
            rb"|(?!" + whole + rb")" + first + rb"){1,500}",
            re.DOTALL,
        )
    return _patterns[delimiter]


def _too_long(longest: int) -> BackupInvalid:
    return BackupInvalid(
        f"The backup's SQL file has a statement of more than the {longest} bytes that this server takes.",
        do="Make the database flag max_allowed_packet larger, then run the same command again.",
    )


def _opened(dump: io.BufferedReader[Any]) -> io.BufferedReader[Any]:
    """The dump itself, or what its gzip holds."""
    return packing.gunzipped(dump) if dump.peek(2)[:2] == b"\x1f\x8b" else dump


def _origin(head: bytes) -> str:
    """` It was written by …` from the comments at a dump's head; empty where they say nothing."""
    found = _WRITTEN_BY.search(head)
    return f" It was written by a server of version {found[1].decode()}." if found else ""
