from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs import sql_import
from jobs.errors import BackupInvalid


def split(text: str) -> list[str]:
    return [statement.decode() for statement in sql_import.statements(io.BytesIO(text.encode()))]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("A;B;", ["A", "B"]),
        ("INSERT 'a;b', \"c;d\", `e;f`;X;", ["INSERT 'a;b', \"c;d\", `e;f`", "X"]),
        (r"INSERT 'it\'s; \\';X;", [r"INSERT 'it\'s; \\'", "X"]),
        ("INSERT 'it''s;';X;", ["INSERT 'it''s;'", "X"]),
        ("-- a;comment\n# an;other\nA;/* and; one */ B;", ["A", "B"]),
        ("A -- tail;\n+ 1;", ["A -- tail;\n+ 1"]),
        ("A 1--1;", ["A 1--1"]),
        ("DELIMITER ;;\nBEGIN a; b; END;;\nDELIMITER ;\nC;", ["BEGIN a; b; END", "C"]),
        ("/*!999999\\- enable the sandbox mode */ \n/*M!999999\\- x */\nA;", ["A"]),
        ("A;\n-- Dump completed", ["A"]),
        ("", []),
        ("\n\n;;\n", []),
    ],
)
def test_splits_as_the_client_does(text: str, wanted: list[str]) -> None:
    assert split(text) == wanted


@pytest.mark.parametrize("text", ["A", "A; INSERT 'x", "A; /* open", "A; B"])
def test_a_cut_dump_is_truncated(text: str) -> None:
    with pytest.raises(BackupInvalid, match="truncated"):
        split(text)


@given(st.lists(st.text(alphabet="ab;'\"`\\-#/* \n", max_size=20), max_size=5), st.integers(1, 7))
def test_strings_survive_wherever_the_stream_is_cut(values: list[str], size: int) -> None:
    quoted = [text.replace("\\", "\\\\").replace("'", "''") for text in values]
    written = [f"INSERT INTO t VALUES ('{text}')" for text in quoted]  # noqa: S608
    dump = io.BytesIO("".join(f"{statement};\n" for statement in written).encode())

    class Dripping:
        def read(self, _: int = -1, /) -> bytes:
            return dump.read(size)

    assert [found.decode() for found in sql_import.statements(Dripping())] == written


@pytest.mark.parametrize(
    "statement",
    [
        "USE `other`",
        "CREATE DATABASE `other`",
        "LOCK TABLES `x` WRITE",
        "SET @@GLOBAL.GTID_PURGED=''",
        "SET @MYSQLDUMP_TEMP_LOG_BIN = @@SESSION.SQL_LOG_BIN",
    ],
)
def test_what_is_of_the_old_server_is_left_out(statement: str) -> None:
    assert sql_import._fitting(statement.encode()) is None


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO `mysql`.`user` VALUES (1)",
        "INSERT INTO other.users VALUES (1)",
        "DROP TABLE IF EXISTS `a`, `other`.`b`",
        "ALTER TABLE `a` RENAME TO `other`.`a`",
        "CREATE TABLE other.x (id int)",
        "CREATE USER x",
        "GRANT ALL ON *.* TO x",
        "SET PASSWORD = 'x'",
        "LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE t",
        "SELECT 1 INTO OUTFILE '/tmp/x'",
        "/*!50003 CREATE*/ /*!50020 DEFINER=`r`@`%`*/ /*!50003 PROCEDURE p() SELECT 1 */",
    ],
)
def test_what_reaches_out_of_the_schema_is_refused(statement: str) -> None:
    with pytest.raises(BackupInvalid):
        sql_import._fitting(statement.encode())


def test_definers_are_taken_away_but_not_from_values() -> None:
    view = b"/*!50013 CREATE DEFINER=`root`@`localhost` SQL SECURITY DEFINER VIEW `v` AS select 1 */"
    assert b"root" not in (sql_import._fitting(view) or b"")
    row = b"INSERT INTO `t` VALUES ('DEFINER=`root`@`localhost`')"
    assert sql_import._fitting(row) == row
