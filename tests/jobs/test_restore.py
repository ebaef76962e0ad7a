"""Restores of real archives into a real MySQL; the files are read from the disk instead of a bucket."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pymysql
import pytest

from gcp_openemr import process
from gcp_openemr.sandbox.standin.sample_backup import SampleBackup
from jobs import nfs_init, settings, tables
from jobs import restore as restoring
from jobs.errors import BackupInvalid, Refused
from tests.jobs.test_settings import NFS_INIT
from tests.jobs.world import ADMIN_PASSWORD, APP, DATABASE_PASSWORD, World, changed, opens, restore, tree

VERIFY = "exit(password_verify(stream_get_contents(STDIN), $argv[1]) ? 0 : 1);"
SET = {
    "BACKUP_BUCKET": "backups",
    "BACKUP_CLINIC": "main",
    "BACKUP_FILEID": "20261122T020000Z-00ff",
    "BACKUP_PASS_SECRET": "projects/p/secrets/b",
    "BACKUP_PASS_VERSION": "current",
    "BACKUP_SOURCE": "set",
}
_VIEWS_AND_MORE = """
CREATE TABLE `parent` (`id` int NOT NULL PRIMARY KEY) ENGINE=InnoDB;
CREATE TABLE `child` (`id` int NOT NULL PRIMARY KEY, `p` int,
  CONSTRAINT `c_p` FOREIGN KEY (`p`) REFERENCES `parent` (`id`) ON DELETE CASCADE) ENGINE=InnoDB;
INSERT INTO `parent` VALUES (1);
INSERT INTO `child` VALUES (1,1);
/*!50001 CREATE ALGORITHM=UNDEFINED */
/*!50013 DEFINER=`root`@`localhost` SQL SECURITY DEFINER */
/*!50001 VIEW `some_view` AS select `child`.`id` AS `id` from `child` */;
/*!50001 CREATE VIEW `a_view` AS select `some_view`.`id` AS `id` from `some_view` */;
DELIMITER ;;
/*!50003 CREATE*/ /*!50017 DEFINER=`root`@`localhost`*/ /*!50003 TRIGGER `grows` BEFORE INSERT ON `child`
  FOR EACH ROW BEGIN SET NEW.p = 1; SET @note = 'a;b'; END */;;
DELIMITER ;
"""


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz", ".tar.zst"])
def test_restores_every_format(world: World, bucket: Path, backups: dict[str, SampleBackup], suffix: str) -> None:
    backup = backups[suffix]
    record = restore(world, bucket, backup.path)
    assert record["decision"] == "restore"
    assert record["documents"] == len(backup.documents)
    assert opens(world, 1) == backup.documents[0].sha256
    assert opens(world, len(backup.documents)) == backup.documents[-1].sha256
    assert not world.tables(world.wanted.staging_schema)
    assert [entry.name for entry in world.sites.iterdir()] == ["default"]


def test_the_format_is_known_by_content_not_by_name(
    world: World, bucket: Path, backups: dict[str, SampleBackup]
) -> None:
    shutil.copy(backups[".tar.zst"].path, bucket / "backup.zip")
    record = nfs_init.run(world.with_backup(Path("backup.zip")))
    assert record["decision"] == "restore"


def test_the_administrator_has_the_deployments_password(
    world: World, bucket: Path, backups: dict[str, SampleBackup]
) -> None:
    restore(world, bucket, backups[".zip"].path)
    hashed = str(world.query("SELECT password FROM users_secure WHERE username = 'admin'")[0][0])
    assert process.run(["php8.2", "-r", VERIFY, "--", hashed], stdin=ADMIN_PASSWORD, check=False).status == 0


def test_the_restored_site_reads_its_database_from_the_environment(
    world: World, bucket: Path, backups: dict[str, SampleBackup]
) -> None:
    restore(world, bucket, backups[".zip"].path)
    text = (world.site / "sqlconf.php").read_text()
    assert "the-old-server" not in text
    assert DATABASE_PASSWORD not in text
    assert "$config = 1;" in text
    assert (world.site / "documents/certificates/mysql-ca").read_text() == world.wanted.server.authority
    methods = world.site / "documents/logs_and_misc/methods"
    assert {file.stat().st_mode & 0o777 for file in methods.iterdir()} == {0o600}
    assert not [path for path in world.site.rglob("*") if path.stat().st_mode & 0o007]


def test_a_second_run_leaves_the_backup_alone(world: World, bucket: Path, backups: dict[str, SampleBackup]) -> None:
    restore(world, bucket, backups[".zip"].path)
    before = tree(world.sites)
    world.query("UPDATE patient_data SET fname = 'changed since' WHERE pid = 1")
    record = nfs_init.run(world.with_backup(backups[".zip"].path))
    assert record["decision"] == "configure"
    assert "left alone" in str(record["reason"])
    assert tree(world.sites) == before
    assert world.query("SELECT fname FROM patient_data WHERE pid = 1") == [("changed since",)]


def test_views_triggers_and_foreign_keys_move_with_the_tables(world: World, bucket: Path, tmp_path: Path) -> None:
    archive = changed(tmp_path, sql=lambda text: text + _VIEWS_AND_MORE)
    restore(world, bucket, archive)
    assert world.query("SELECT id FROM a_view") == [(1,)]
    world.query("INSERT INTO child VALUES (2, 77)")
    assert world.query("SELECT p FROM child WHERE id = 2") == [(1,)]
    world.query("DELETE FROM parent")
    assert world.query("SELECT * FROM child") == []


def _without_keys(site: Path) -> None:
    shutil.rmtree(site / "documents/logs_and_misc/methods")


def _without_documents(site: Path) -> None:
    shutil.rmtree(site / "documents/1")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"files": _without_keys}, "key sevena is in the database but not on the share"),
        ({"files": _without_documents}, "3 of 3 documents that the database names are missing"),
        (
            {"sql": lambda text: text.replace("INSERT INTO `keys`", "-- INSERT INTO `keys`")},
            "on the share but not in the",
        ),
        ({"sql": lambda text: text[: len(text) - 300]}, "SQL file ends within a statement"),
        (
            {"sql": lambda text: f"-- MySQL dump 10.13  Distrib 8.0.39\n{text.replace('-- Dump completed', '')}"},
            "does not end as mysqldump ends one",
        ),
        ({"sql": lambda text: text + "DROP TABLE `mysql`.`user`;\n"}, "names another schema"),
        ({"sql": lambda text: text + "GRANT ALL ON *.* TO x;\n"}, "no dump of tables has"),
        ({"sql": lambda text: text + "SET PASSWORD = 'x';\n"}, "no dump of tables has"),
        (
            {"sql": lambda text: text.replace("INSERT INTO `users_secure`", "INSERT INTO `nothing`")},
            "does not run here",
        ),
        ({"sql": lambda _: ""}, "no statement"),
    ],
)
def test_a_bad_backup_changes_nothing(
    world: World, bucket: Path, tmp_path: Path, change: dict[str, Callable[..., object]], sentence: str
) -> None:
    archive = changed(tmp_path, **change)  # type: ignore[arg-type]
    with pytest.raises(BackupInvalid, match=sentence):
        restore(world, bucket, archive)
    assert not world.site.exists()
    assert not world.tables()


@pytest.mark.parametrize(
    ("version", "word", "do"),
    [("7.0.3", "older", "gcp-openemr deploy --upgrade"), ("8.0.0", "newer", "Set [openemr] version")],
)
def test_a_backup_of_another_version_is_refused(
    world: World, bucket: Path, tmp_path: Path, version: str, word: str, do: str
) -> None:
    (world.wanted.application / "sql" / "7_0_3-to-7_0_4_upgrade.sql").touch()
    with pytest.raises(Refused, match=f"{word} OpenEMR {version}") as caught:
        restore(world, bucket, changed(tmp_path, version=version))
    assert do in caught.value.do
    assert not world.site.exists()


@pytest.mark.parametrize(
    ("variables", "do"),
    [
        ({"BACKUP_FILEID": "gs://b/o"}, "gcp-openemr deploy --upgrade"),
        (SET, "gcp-openemr recover --upgrade"),
        ({**SET, "RESTORE_OVER": "yes", "MYSQL_KEPT_DATABASE": "kept"}, "gcp-openemr upgrade --back"),
    ],
)
def test_the_command_that_takes_an_older_backup_is_named(variables: dict[str, str], do: str, tmp_path: Path) -> None:
    (tmp_path / "sql").mkdir()
    (tmp_path / "sql/7_0_3-to-7_0_4_upgrade.sql").touch()
    shutil.copy(APP / "version.php", tmp_path)
    wanted = settings.nfs_init({**NFS_INIT, "OPENEMR_APP": str(tmp_path), **variables})
    with pytest.raises(Refused) as caught:
        restoring._check_version(wanted, 516, "7.0.3")
    assert do in caught.value.do


def test_a_backup_without_the_administrator_is_refused(world: World, bucket: Path, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no user 'admin'"):
        restore(world, bucket, changed(tmp_path, sql=lambda text: text.replace("'admin'", "'somebody'")))


@pytest.mark.parametrize(
    "content", [b"not an archive at all" * 100, b"PK\x03\x04" + b"x" * 600, b"\x1f\x8b" + b"x" * 600]
)
def test_something_else_is_no_backup(world: World, bucket: Path, content: bytes) -> None:
    (bucket / "x.zip").write_bytes(content)
    with pytest.raises(BackupInvalid):
        nfs_init.run(world.with_backup(Path("x.zip")))
    assert not world.site.exists()


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz", ".tar.zst"])
def test_a_truncated_archive_is_damaged_and_the_next_run_works(
    world: World, bucket: Path, backups: dict[str, SampleBackup], suffix: str
) -> None:
    path = backups[suffix].path
    (bucket / path.name).write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(BackupInvalid):
        nfs_init.run(world.with_backup(path))
    assert not world.site.exists()
    assert restore(world, bucket, path)["decision"] == "restore"
    assert [entry.name for entry in world.sites.iterdir()] == ["default"]


def test_two_at_once_do_the_work_once(world: World, bucket: Path, backups: dict[str, SampleBackup]) -> None:
    backup = backups[".tar.zst"]
    shutil.copy(backup.path, bucket / backup.path.name)
    wanted = dataclasses.replace(world.with_backup(backup.path), lock_seconds=120)
    children = []
    for _ in range(2):
        child = os.fork()
        if child == 0:
            code = 99
            try:
                record = nfs_init.run(wanted)
                code = {"restore": 10, "configure": 11}[str(record["decision"])]
            finally:
                os._exit(code)
        children.append(child)
    codes = sorted(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)
    assert codes == [10, 11]


def test_a_lost_lock_stops_before_the_swap(
    world: World, bucket: Path, backups: dict[str, SampleBackup], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = tables.views_and_triggers

    def lose_it(connection: pymysql.connections.Connection, schema: str) -> object:
        with connection.cursor() as cursor:
            cursor.execute("SELECT RELEASE_ALL_LOCKS()")
        return original(connection, schema)

    monkeypatch.setattr(tables, "views_and_triggers", lose_it)
    with pytest.raises(Exception, match="lock was lost"):
        restore(world, bucket, backups[".zip"].path)
    assert not world.tables()
