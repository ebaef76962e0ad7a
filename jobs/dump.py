"""A schema as SQL, out of one transaction, with what the same moment says of it.

The server writes the values: a row comes as the text of its VALUES, so Python copies bytes and nothing is lost between
character sets. mysqldump would count no rows, could not name the documents of the very same moment, and is MariaDB's in
Alpine. Statements end where the content says so, not after a number of rows: one more row changes the statements around
it only, and an incremental backup stays small.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import IO

from pymysql.cursors import SSCursor

from jobs import clinic_state, database, documents, keys, log, tables
from jobs.database import Connection, identifier
from jobs.errors import BackupInvalid, DatabaseRefused

__all__ = ["NAME", "Dumped", "write"]

NAME = "openemr.sql"
_LEAST, _MOST = 64 << 10, 1 << 20
_ENDS = 0x7F  # of 128 rows one ends its statement
_ROWS = 500
_HEAD = b"SET TIME_ZONE='+00:00';\n"
_BINARY = frozenset(
    {"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob", "geometry", "point", "linestring", "polygon"}
    | {"multipoint", "multilinestring", "multipolygon", "geometrycollection", "geomcollection"}
)
_EXACT = frozenset({"tinyint", "smallint", "mediumint", "int", "bigint", "decimal", "year"})
# QUOTE takes for text what it is given, and refuses bytes that are none
_BINARY_QUOTED = (
    r"CONCAT(_binary'_binary\'',REPLACE(REPLACE({},_binary'\\',_binary'\\\\'),_binary'\'',_binary'\\\''),_binary'\'')"
)
# a definition that changed, or a table that went, since the transaction began
_CHANGED = {1146, 1412, 1054}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dumped:
    """What was written, and the state of the clinic at that moment. `named` is document id → path below documents/."""

    moment: str
    position: str
    rows: Mapping[str, int]
    bytes: int
    sha256: str
    facts: clinic_state.DatabaseFacts
    named: Mapping[str, str]
    keys: str
    left_out: tuple[str, ...]


def write(connection: Connection, schema: str, out: IO[bytes]) -> Dumped:
    """Write a schema's tables, views and triggers; the connection is this dump's own.

    Raises:
        BackupInvalid: tables were changed meanwhile, or a row is larger than the server can send.
        DatabaseRefused, Unreachable: as the database says.
    """
    for setting in (
        "time_zone='+00:00'",
        "sql_mode=''",
        "transaction_isolation='REPEATABLE-READ'",
        "net_write_timeout=3600",
    ):
        database.run(connection, f"SET SESSION {setting}")
    database.run(connection, f"USE {identifier(schema)}")
    database.run(connection, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
    try:
        return _write(connection, schema, _Sink(out))
    except DatabaseRefused as error:
        if error.number in _CHANGED:
            raise BackupInvalid(f"Tables were changed while they were dumped. {error.what}.") from error
        raise
    finally:
        connection.rollback()


def _write(connection: Connection, schema: str, sink: _Sink) -> Dumped:
    moment = str(database.value(connection, "SELECT DATE_FORMAT(UTC_TIMESTAMP(), '%Y-%m-%dT%H:%i:%SZ')"))
    with _released(connection):
        facts = clinic_state.look_at_database(connection, schema)
        named = documents.named(connection)
        fingerprint = keys.in_database(connection)
    sink.write(_HEAD)
    rows = {}
    found = tables.base_tables(connection, schema)
    progress = log.Progress("Dumping the database", total=len(found))
    for number, table in enumerate(found, start=1):
        with _released(connection):
            rows[table] = _write_table(connection, schema, table, sink)
        progress.add(files=1, at=number)
    views, triggers = tables.views_and_triggers(connection, schema)
    for statement in _in_order(views):
        sink.write(statement.encode() + b";\n")
    for statement in triggers:
        sink.write(b"DELIMITER ;;\n" + statement.encode() + b";;\nDELIMITER ;\n")
    return Dumped(
        moment=moment,
        position=_position(connection),
        rows=rows,
        bytes=sink.size,
        sha256=sink.sum.hexdigest(),
        facts=facts,
        named=named,
        keys=fingerprint,
        left_out=_left_out(connection, schema),
    )


@contextlib.contextmanager
def _released(connection: Connection) -> Iterator[None]:
    """Afterwards the definitions of tables that were read are free again: nobody who alters one waits for the dump."""
    database.run(connection, "SAVEPOINT reading")
    yield
    database.run(connection, "ROLLBACK TO SAVEPOINT reading")


class _Sink:
    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self.size = 0
        self.sum = hashlib.sha256()

    def write(self, content: bytes | bytearray) -> None:
        self._out.write(content)
        self.sum.update(content)
        self.size += len(content)


def _write_table(connection: Connection, schema: str, table: str, sink: _Sink) -> int:
    """Returns how many rows it has."""
    name = identifier(table)
    created = str(database.rows(connection, f"SHOW CREATE TABLE {name}")[0][1])
    sink.write(f"DROP TABLE IF EXISTS {name};\n{created};\n".encode())
    columns = _columns(connection, schema, table)
    if not columns:
        return 0
    begin = f"INSERT INTO {name} ({','.join(identifier(column) for column, _ in columns)}) VALUES\n(".encode()
    count = 0
    held = bytearray()
    for row in _rows(connection, schema, table, [expression for _, expression in columns]):
        held += b"),\n(" if held else begin
        held += row
        count += 1
        if len(held) > _MOST or (len(held) > _LEAST and not zlib.crc32(row) & _ENDS):
            sink.write(held + b");\n")
            held.clear()
    if held:
        sink.write(held + b");\n")
    return count


def _rows(connection: Connection, schema: str, table: str, expressions: Sequence[str]) -> Iterator[bytes]:
    order = _primary_key(connection, schema, table)
    ordered = f" ORDER BY {','.join(identifier(column) for column in order)}" if order else ""
    values = f"CONCAT_WS(_binary',',{','.join(expressions)})"
    with connection.cursor(SSCursor) as cursor:
        database.execute(cursor, f"SELECT {values} FROM {identifier(table)}{ordered}")  # noqa: S608  # quoted
        while found := database.fetch(cursor, _ROWS):
            for (row,) in found:
                if row is None:
                    raise BackupInvalid(
                        f"A row of {table} is larger than the server's max_allowed_packet.",
                        do="Make the database flag max_allowed_packet larger.",
                    )
                yield row


def _columns(connection: Connection, schema: str, table: str) -> list[tuple[str, str]]:
    """(name, how its value is written) of the columns that can be inserted."""
    statement = (
        "SELECT COLUMN_NAME, DATA_TYPE, EXTRA FROM information_schema.COLUMNS"
        " WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s ORDER BY ORDINAL_POSITION"
    )
    found = database.rows(connection, statement, [schema, table])
    return [
        (str(name), f"CAST({_expression(identifier(str(name)), str(kind).lower())} AS BINARY)")
        for name, kind, extra in found
        if "GENERATED" not in str(extra).upper().replace("DEFAULT_GENERATED", "")
    ]


def _expression(column: str, kind: str) -> str:
    if kind in _EXACT:
        return f"IFNULL({column},'NULL')"
    if kind in ("float", "double"):
        return f"IFNULL(CAST({column} AS DOUBLE),'NULL')"  # a FLOAT's own text has six digits
    if kind == "bit":
        return f"IFNULL({column}+0,'NULL')"
    if kind in _BINARY:
        return f"IFNULL({_BINARY_QUOTED.format(column)},'NULL')"
    return f"QUOTE(CONVERT({column} USING utf8mb4))"


def _primary_key(connection: Connection, schema: str, table: str) -> list[str]:
    statement = (
        "SELECT COLUMN_NAME FROM information_schema.KEY_COLUMN_USAGE WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s"
        " AND CONSTRAINT_NAME = 'PRIMARY' ORDER BY ORDINAL_POSITION"
    )
    return [str(row[0]) for row in database.rows(connection, statement, [schema, table])]


def _in_order(views: Sequence[str]) -> list[str]:
    """A view after those it stands on: those whose names its statement has."""
    waiting = {statement.partition(" VIEW ")[2].split(" ", 1)[0]: statement for statement in views}
    ordered = []
    while waiting:
        ready = [
            name
            for name, statement in waiting.items()
            if not any(other != name and other in statement for other in waiting)
        ]
        ordered += [waiting.pop(name) for name in ready or list(waiting)]
    return ordered


def _position(connection: Connection) -> str:
    """The server's GTID set just after the snapshot, as far as it has one and tells it."""
    try:
        return str(database.value(connection, "SELECT @@GLOBAL.gtid_executed") or "").replace("\n", "")
    except DatabaseRefused:
        return ""  # MariaDB has no such variable


def _left_out(connection: Connection, schema: str) -> tuple[str, ...]:
    """Procedures, functions and events: OpenEMR has none, and a dump of tables holds none."""
    routines = database.rows(
        connection,
        "SELECT ROUTINE_TYPE, ROUTINE_NAME FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = %s",
        [schema],
    )
    events = database.rows(
        connection, "SELECT 'EVENT', EVENT_NAME FROM information_schema.EVENTS WHERE EVENT_SCHEMA = %s", [schema]
    )
    return tuple(f"{str(kind).lower()} {name}" for kind, name in (*routines, *events))
