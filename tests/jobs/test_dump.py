"""What the dump writes is read back by the importer as what it was, for every type and every byte."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import random
import struct
from collections.abc import Iterator

import pytest

from jobs import database, dump, sql_import, tables
from jobs.database import Connection
from jobs.errors import BackupInvalid
from jobs.redacted import Redacted
from tests.jobs.world import DATABASE_PASSWORD, World

_TYPES = """
CREATE TABLE every_type (
  `id` INT AUTO_INCREMENT PRIMARY KEY, `a ``b` VARCHAR(200), latin VARCHAR(20) CHARACTER SET latin1, words LONGTEXT,
  bytes LONGBLOB, few VARBINARY(16), fixed BINARY(4), bits BIT(40), yes TINYINT(1), big BIGINT UNSIGNED,
  exact DECIMAL(30,10), single FLOAT, twice DOUBLE, day DATE, moment DATETIME(6), stamp TIMESTAMP(6) NULL, span TIME(3),
  era YEAR, choice ENUM('a','b''c'), several SET('x','y'), tree JSON, doubled INT AS (yes * 2) STORED,
  made TIMESTAMP NULL DEFAULT CURRENT_TIMESTAMP
) CHARACTER SET utf8mb4
"""


@pytest.fixture
def connection(installed: World) -> Iterator[Connection]:
    wanted = installed.wanted
    with database.connect(wanted.server, wanted.user, Redacted(DATABASE_PASSWORD), wanted.schema) as opened:
        yield opened


def dumped(world: World) -> tuple[bytes, dump.Dumped]:
    out = io.BytesIO()
    with database.connect(
        world.wanted.server, world.wanted.user, Redacted(DATABASE_PASSWORD), world.wanted.schema
    ) as reading:
        told = dump.write(reading, world.wanted.schema, out)
    return out.getvalue(), told


def imported(world: World, text: bytes, connection: Connection) -> str:
    """The schema into which the dump was read."""
    staging = world.wanted.staging_schema
    tables.empty(connection, staging)
    sql_import.import_dump(io.BufferedReader(io.BytesIO(text)), connection, staging)
    return staging


def test_every_type_comes_back(installed: World, connection: Connection) -> None:
    database.run(connection, _TYPES)
    database.run(connection, "SET SESSION time_zone = '+03:00', sql_mode = ''")
    columns = "`a ``b`, latin, words, bytes, few, fixed, bits, yes, big, exact, single, twice, day, moment, stamp, span"
    statement = f"INSERT INTO every_type ({columns}, era, choice, several, tree) VALUES ({','.join(['%s'] * 20)})"  # noqa: S608
    generator = random.Random(5)  # noqa: S311
    odd = "a'b\"c\\d%\n\r\0\x1a;-- /* é😀`\\'"
    for number in range(40):
        database.run(
            connection,
            statement,
            [
                *(
                    odd[number % 20 :] * 2,
                    "naïve ÿ",
                    odd * number,
                    generator.randbytes(3 * number),
                    b"\\'\0",
                    b"\xff\0",
                ),
                *(number * 12345678, -1, 2**64 - 1, "12345678901234567890.0123456789"),
                *(struct.unpack("f", generator.randbytes(3) + b"\x3f")[0], generator.random() * 10**number),
                *("0000-00-00", "2026-11-22 01:02:03.456789", "2026-03-29 02:30:00.000001", "-838:59:58.999"),
                *(2026, "b'c", "x,y", '{"k": ["é", 1.5, null]}'),
            ],
        )
    database.run(connection, "INSERT INTO every_type (yes) VALUES (NULL)")
    text, told = dumped(installed)
    other = imported(installed, text, connection)
    for column in [row[0] for row in installed.query("SHOW COLUMNS FROM every_type")]:
        name = database.identifier(str(column))
        both = f"SELECT id, CAST({name} AS BINARY), {name} FROM every_type ORDER BY id"  # noqa: S608
        assert installed.query(both, other) == installed.query(both)
    assert told.rows["every_type"] == 41
    assert told.bytes == len(text)
    assert told.sha256 == hashlib.sha256(text).hexdigest()


def test_all_of_openemr_comes_back(installed: World, connection: Connection) -> None:
    text, told = dumped(installed)
    other = imported(installed, text, connection)
    assert set(told.rows) == installed.tables() == installed.tables(other)
    for table, rows in told.rows.items():
        assert len(installed.query(f"SELECT * FROM `{table}`", other)) == rows  # noqa: S608
        shown = [str(installed.query(f"SHOW CREATE TABLE `{table}`", schema)[0][1]) for schema in ("", other)]
        made = [words.replace(" CHARACTER SET utf8mb4", "") for words in shown]  # which MySQL adds to some
        assert made[0] == made[1]


def test_views_on_views_and_triggers_come_back(installed: World, connection: Connection) -> None:
    for statement in (
        "CREATE TABLE child (id INT PRIMARY KEY, p INT)",
        "CREATE VIEW some_view AS SELECT id FROM child",
        "CREATE VIEW a_view AS SELECT id FROM some_view",
        "CREATE TRIGGER grows BEFORE INSERT ON child FOR EACH ROW BEGIN SET NEW.p = 1; SET @note = 'a;b'; END",
    ):
        database.run(connection, statement)
    other = imported(installed, dumped(installed)[0], connection)
    database.run(connection, f"INSERT INTO `{other}`.child VALUES (2, 77)")  # noqa: S608
    assert installed.query("SELECT c.p FROM a_view JOIN child c USING (id)", other) == [(1,)]


def test_one_more_row_changes_the_statements_around_it_only(installed: World, connection: Connection) -> None:
    database.run(connection, "CREATE TABLE notes (id INT PRIMARY KEY, words VARCHAR(250))")
    generator = random.Random(3)  # noqa: S311
    rows = [(number, generator.randbytes(100).hex()) for number in range(0, 20_000, 2)]
    database.run(connection, "INSERT INTO notes VALUES " + ",".join(f"({number},'{words}')" for number, words in rows))  # noqa: S608
    first = dumped(installed)[0].split(b";\n")
    database.run(connection, "INSERT INTO notes VALUES (301, 'in between')")
    second = dumped(installed)[0].split(b";\n")
    assert len(first) > 20
    assert len(set(second) - set(first)) <= 2


def test_a_table_that_changes_meanwhile_is_told(installed: World, connection: Connection) -> None:
    class Out(io.BytesIO):
        def write(self, content: object, /) -> int:
            if self.tell() == 0:
                database.run(connection, "ALTER TABLE version ADD COLUMN later INT")
            return super().write(content)  # type: ignore[arg-type]

    wanted = dataclasses.replace(installed.wanted)
    with (
        database.connect(wanted.server, wanted.user, Redacted(DATABASE_PASSWORD), wanted.schema) as reading,
        pytest.raises(BackupInvalid, match="changed while they were dumped"),
    ):
        dump.write(reading, wanted.schema, Out())
