from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs import sql_import, sql_rules
from jobs.errors import BackupInvalid

SCHEMAS = ("oe_main", "oe_main_staging", "information_schema")


def split(text: str) -> list[str]:
    return [statement.decode() for statement in sql_import.statements(io.BytesIO(text.encode()), longest=1 << 20)]


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
        ("/*M!100616 SET @OLD_NOTE_VERBOSITY=@@NOTE_VERBOSITY, NOTE_VERBOSITY=0 */;\nA;", ["A"]),
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

    assert [found.decode() for found in sql_import.statements(Dripping(), longest=1 << 20)] == written


@pytest.mark.parametrize(
    "statement",
    [
        "USE `other`",
        "CREATE DATABASE `other`",
        "LOCK TABLES `x` WRITE",
        "SET @@GLOBAL.GTID_PURGED=''",
        "SET @MYSQLDUMP_TEMP_LOG_BIN = @@SESSION.SQL_LOG_BIN",
        "/*!40000 DROP DATABASE IF EXISTS `other`*/",
    ],
)
def test_what_is_of_the_old_server_is_left_out(statement: str) -> None:
    assert sql_rules.fitting(statement.encode(), SCHEMAS) is None


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO `mysql`.`user` VALUES (1)",
        "INSERT INTO other.users VALUES (1)",
        "INSERT INTO other . users VALUES (1)",
        "INSERT INTO /* x */ other.users VALUES (1)",
        "INSERT INTO users /*!50000 .`a` */ VALUES (1)",
        "INSERT INTO /*!50000 other.*/ users VALUES (1)",
        'INSERT INTO "other"."users" VALUES (1)',
        "INSERT INTO users SELECT * FROM other.users",
        "REPLACE INTO `other` .`users` (`a`) VALUES (1)",
        "CREATE INDEX i ON other.users (id)",
        "CREATE TABLE a (id int, CONSTRAINT f FOREIGN KEY (id) REFERENCES `other`/**/./**/`users` (id))",
        "DROP TABLE `a`, `other` /*!50000 . */ `b`",
        "TRUNCATE TABLE other.users",
        "CREATE VIEW `other`.`v` AS select 1",
        "CREATE VIEW v AS select * from OE_MAIN.users",
        "CREATE TRIGGER t BEFORE INSERT ON a FOR EACH ROW DELETE FROM `oe_main` # x\n . `users`",
        "/*!50003 CREATE*/ /*!50003 TRIGGER t BEFORE INSERT ON a FOR EACH ROW DELETE FROM oe_main.users */",
        "SET sql_mode='NO_BACKSLASH_ESCAPES'",
        "UPDATE users SET a = 1",
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
        sql_rules.fitting(statement.encode(), SCHEMAS)


def test_definers_are_taken_away_but_not_from_values() -> None:
    view = b"/*!50013 CREATE DEFINER=`root`@`localhost` SQL SECURITY DEFINER VIEW `v` AS select 1 */"
    assert b"root" not in (sql_rules.fitting(view, SCHEMAS) or b"")
    row = b"INSERT INTO `t` VALUES ('DEFINER=`root`@`localhost`')"
    assert sql_rules.fitting(row, SCHEMAS) == row


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO `t` VALUES ('oe_main.users', 1.5)",
        "INSERT  IGNORE INTO t (`a`, b)\nVALUES\n(1)",
        "REPLACE INTO `t` (`a`) VALUES ('x')",
        "CREATE TABLE `t` (`a` decimal(9,2) DEFAULT 0.00 COMMENT 'oe_main.users', `b` text CHECK (json_valid(`b`)))",
        "ALTER TABLE `t` ADD CONSTRAINT `f` FOREIGN KEY (`a`) REFERENCES `u` (`id`) ON DELETE CASCADE",
        "DROP TABLE IF EXISTS `t`",
        "CREATE ALGORITHM=UNDEFINED SQL SECURITY DEFINER VIEW `v` AS select `t`.`a` AS `a` from `t`",
        "CREATE TRIGGER `g` BEFORE INSERT ON `t` FOR EACH ROW BEGIN SET NEW.a = 'oe_main.x'; END",
        "SET character_set_client = utf8mb4",
    ],
)
def test_what_dumps_have_is_run_as_it_is(statement: str) -> None:
    assert sql_rules.fitting(statement.encode(), SCHEMAS) == statement.encode()


def test_a_refusal_shows_no_value() -> None:
    with pytest.raises(BackupInvalid) as refused:
        sql_rules.fitting(b"UPDATE `patient_data` SET ss='123-45-6789'", SCHEMAS)
    assert "123" not in refused.value.what
    told = "Duplicate entry 'Ann, 1970' for key 't.n' (1062)", "syntax to use near ''Ann'' at line 1 (1064)"
    assert [sql_rules.without_values(b"INSERT INTO t VALUES (1)", reason) for reason in told] == [
        "Duplicate entry '…' for key 't.n' (1062)",
        "syntax to use near '…' at line 1 (1064)",
    ]
    assert sql_rules.without_values(b"CREATE TABLE t (a int)", told[1]) == told[1]


def test_a_statement_longer_than_the_server_takes_is_refused_before_it_is_held() -> None:
    class Endless:
        given = 0

        def read(self, size: int = -1, /) -> bytes:
            self.given += size
            return b"x" * size

    stream = Endless()
    with pytest.raises(BackupInvalid, match="more than the 4000000 bytes"):
        list(sql_import.statements(stream, longest=4_000_000))
    assert stream.given < 16_000_000
