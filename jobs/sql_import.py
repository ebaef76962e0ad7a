"""A SQL dump, statement by statement, into one schema and no other."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator

from jobs import database
from jobs.archives import packing
from jobs.archives.entries import Readable, damage_told
from jobs.database import Connection, identifier
from jobs.errors import BackupInvalid, DatabaseRefused

__all__ = ["import_dump", "statements"]


_FIRST_READ = 1 << 20
_HEAD = 4096
_LONGEST_STATEMENT = 1 << 30
_COMMIT_EVERY = 64

_DELIMITER = re.compile(rb"\s*DELIMITER[ \t]+(\S+)[ \t]*\r?(?:\n|$)", re.IGNORECASE)
# MariaDB marks a dump with a conditional comment of its own that ends without a delimiter
# Repetitions of alternatives are bounded and repeated in Python: unbounded ones keep a place to go back to for every
# round, and possessive ones match wrongly in Python 3.11.2, which is Debian 12's.
_BLANK = re.compile(
    rb"(?:\s++|--(?=[ \t\r\n])[^\n]*+\n|\#[^\n]*+\n|/\*M?!999999.*?\*/|/\*(?!M?!|\+).*?\*/){1,500}", re.DOTALL
)
_QUOTED = rb"'[^'\\]*+(?:\\.[^'\\]*+)*+'|\"[^\"\\]*+(?:\\.[^\"\\]*+)*+\""
_DEFINER = re.compile(rb"DEFINER\s*=\s*(?:`[^`]*`|'[^']*'|\S+?)\s*@\s*(?:`[^`]*`|'[^']*'|[\w.%]+)", re.IGNORECASE)
_STRINGS = re.compile(_QUOTED, re.DOTALL)
_WRITTEN_BY = re.compile(rb"-- Server version\s+([\w.+:~-]+)")
# MariaDB's collations since 10.10; MySQL has the Unicode algorithm's next older table under this name
_MARIADB_COLLATION = re.compile(rb"utf8mb4_uca1400_\w+")
_CONDITIONAL = re.compile(rb"/\*!\d{0,6}\s*|\*/")

# statements of a dump that are left out: other schemas' names, other sessions' and servers' settings, locks of the
# dump's own connection
_LEFT_OUT = re.compile(
    rb"(?:USE\b|CREATE\s+(?:DATABASE|SCHEMA)\b|LOCK\s+TABLES\b|UNLOCK\s+TABLES\b|START\s+TRANSACTION\b|COMMIT\b"
    rb"|SET\s+(?:@@GLOBAL\.|GLOBAL\s|@@SESSION\.SQL_LOG_BIN|@MYSQLDUMP_TEMP_LOG_BIN|SESSION\s+SQL_LOG_BIN|AUTOCOMMIT))",
    re.IGNORECASE,
)
_ALLOWED = re.compile(
    rb"(?:SET\s+(?!PASSWORD\b|ROLE\b|DEFAULT\b|PERSIST)"
    rb"|(?:INSERT(?:\s+IGNORE)?|REPLACE)\s+INTO\s+|CREATE\s+(?:OR\s+REPLACE\s+)?(?:TEMPORARY\s+)?TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?"
    rb"|DROP\s+(?:TABLE|VIEW|TRIGGER)\s+(?:IF\s+EXISTS\s+)?|ALTER\s+TABLE\s+|TRUNCATE\s+(?:TABLE\s+)?"
    rb"|CREATE\s+(?:UNIQUE\s+)?INDEX\b|CREATE\s+(?:OR\s+REPLACE\s+)?(?:ALGORITHM\s*=\s*\w+\s+)?(?:DEFINER\b.*?\s)?"
    rb"(?:SQL\s+SECURITY\s+\w+\s+)?VIEW\s+|CREATE\s+(?:DEFINER\b.*?\s)?TRIGGER\s+)(?P<name>`[^`]+`\s*\.|[\w$]+\s*\.(?=[`\w]))?",
    re.IGNORECASE | re.DOTALL,
)


def import_dump(
    dump: io.BufferedReader, connection: Connection, schema: str, *, told: Callable[[int], None] | None = None
) -> int:
    """Run a dump, plain or packed by gzip, in `schema`, whose connection this is. Returns how many statements ran.

    Raises:
        BackupInvalid: a statement is not one of a dump of tables, leaves its schema, or is refused by the server.
    """
    for setting in ("foreign_key_checks=0", "unique_checks=0", "sql_mode='NO_AUTO_VALUE_ON_ZERO'", "autocommit=0"):
        database.run(connection, f"SET SESSION {setting}")
    database.run(connection, f"USE {identifier(schema)}")
    with damage_told():
        count = _run_all(_opened(dump), connection, told)
    for setting in ("foreign_key_checks=1", "unique_checks=1", "autocommit=1"):
        database.run(connection, f"SET SESSION {setting}")
    if count == 0:
        raise BackupInvalid("The backup's SQL file holds no statement.")
    return count


def _run_all(dump: io.BufferedReader, connection: Connection, told: Callable[[int], None] | None) -> int:
    origin = _origin(dump)
    count = 0
    for statement in statements(dump):
        if told is not None:
            told(len(statement))
        wanted = _fitting(statement)
        if wanted is None:
            continue
        try:
            database.run(connection, wanted)
        except DatabaseRefused as error:
            raise BackupInvalid(f"The backup's SQL does not run here. {error.what}.{origin}") from error
        count += 1
        if count % _COMMIT_EVERY == 0:
            connection.commit()
    connection.commit()
    return count


def statements(dump: Readable) -> Iterator[bytes]:
    """Split a dump at its delimiters, outside of strings, names and comments. Memory: the longest statement.

    Raises:
        BackupInvalid: the dump ends within a statement.
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
            if statement:
                yield statement
            continue
        if at_end:
            if buffer[start:].strip():
                raise BackupInvalid("The backup's SQL file ends within a statement: it is truncated.")
            return
        if len(buffer) > _LONGEST_STATEMENT:
            raise BackupInvalid("The backup's SQL file has a statement of more than 1 GiB.")
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
            rb"|" + _QUOTED + rb"|`[^`]*+`"
            rb"|--(?=[ \t\r\n])[^\n]*+\n|\#[^\n]*+\n|/\*.*?\*/|/(?!\*)|-(?!-[ \t\r\n])"
            rb"|(?!" + whole + rb")" + first + rb"){1,500}",
            re.DOTALL,
        )
    return _patterns[delimiter]


def _fitting(statement: bytes) -> bytes | None:
    """The statement as it is run here, None when it is left out."""
    plain = statement
    if statement.startswith(b"/*!"):
        # a conditional comment is what it holds; in a view or trigger several of them make one statement
        plain = _CONDITIONAL.sub(b" ", statement).strip()
    if _LEFT_OUT.match(plain) or not plain:
        return None
    if plain[:6].upper() not in (b"INSERT", b"REPLAC"):
        plain = _MARIADB_COLLATION.sub(b"utf8mb4_0900_ai_ci", _DEFINER.sub(b"", plain))
    found = _ALLOWED.match(plain)
    shown = ascii(" ".join(plain[:160].decode("utf-8", "replace").split()[:4]))
    if found is None:
        if re.match(rb"ALTER\s+DATABASE\b", plain, re.IGNORECASE):
            return None
        raise BackupInvalid(f"The backup's SQL file holds a statement that no dump of tables has: {shown} …")
    if found["name"] or _names_other_schema(plain):
        raise BackupInvalid(f"The backup's SQL file names another schema: {shown} …")
    return plain


def _names_other_schema(statement: bytes) -> bool:
    """Whether a statement that changes tables has a name with a schema anywhere."""
    if not re.match(rb"DROP|ALTER|TRUNCATE", statement, re.IGNORECASE):
        return False
    return re.search(rb"[`\w]\s*\.\s*[`A-Za-z_]", _STRINGS.sub(b"", statement)) is not None


def _opened(dump: io.BufferedReader) -> io.BufferedReader:
    """The dump itself, or what its gzip holds."""
    return packing.gunzipped(dump) if dump.peek(2)[:2] == b"\x1f\x8b" else dump


def _origin(dump: io.BufferedReader) -> str:
    """` It was written by …` from the comments at a dump's head; empty where they say nothing."""
    found = _WRITTEN_BY.search(dump.peek(_HEAD)[:_HEAD])
    return f" It was written by a server of version {found[1].decode()}." if found else ""
