"""Restores of real archives into a real MySQL; the files are read from the disk instead of a bucket."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pymysql
import pytest

from gcp_openemr import process
from gcp_openemr.sandbox.standin.sample_backup import SampleBackup, make_backup
from jobs import marker, nfs_init, settings, share, sources, tables
from jobs.errors import BackupInvalid, Refused
from tests.jobs.conftest import ADMIN_PASSWORD, DATABASE_PASSWORD, World

VERIFY = "exit(password_verify(stream_get_contents(STDIN), $argv[1]) ? 0 : 1);"
OPEN = """
$_GET['site'] = 'default'; $ignoreAuth = true;
require $argv[1] . '/interface/globals.php';
$row = sqlQuery('SELECT url FROM documents WHERE id = ?', [$argv[2]]);
$file = $GLOBALS['OE_SITE_DIR'] . '/documents/' . explode('/documents/', $row['url'])[1];
echo hash('sha256', (new OpenEMR\\Common\\Crypto\\CryptoGen())->decryptStandard(file_get_contents($file)));
"""

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


class _File:
    """A file of the disk as a source of ranges."""

    digest = b""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.size = path.stat().st_size

    def new_sum(self) -> sources._Sum:
        return hashlib.md5(usedforsecurity=False)

    def read(self, start: int, end: int) -> bytes:
        with self._path.open("rb") as file:
            file.seek(start)
            return file.read(end - start)


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`gs://backups/x` is the file x of this directory."""
    directory = tmp_path / "bucket"
    directory.mkdir()

    def opened(backup: settings.Backup) -> sources.RangeFile:
        return sources.RangeFile(_File(directory / backup.place.removeprefix("gs://backups/")))

    monkeypatch.setattr(sources, "open_backup", opened)
    return directory


def _restore(world: World, bucket: Path, backup: Path) -> dict[str, object]:
    shutil.copy(backup, bucket / backup.name)
    return nfs_init.run(world.with_backup(backup))


def _opens(world: World, document: int) -> str:
    """The hash of a document as the application opens it: with both keys, from the restored database."""
    environment = {
        "MYSQL_HOST": world.wanted.server.host,
        "MYSQL_PORT": str(world.wanted.server.port),
        "MYSQL_DATABASE": world.wanted.schema,
        "MYSQL_USER": world.wanted.user,
        "MYSQL_PASS": DATABASE_PASSWORD,
    }
    application = str(world.wanted.application)
    return process.run(["php8.2", "-r", OPEN, "--", application, str(document)], env=environment).stdout


def _tree(directory: Path) -> dict[str, str]:
    """Path → hash of content, of every file below."""
    files = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz", ".tar.zst"])
def test_restores_every_format(world: World, bucket: Path, backups: dict[str, SampleBackup], suffix: str) -> None:
    backup = backups[suffix]
    record = _restore(world, bucket, backup.path)
    assert record["decision"] == "restore"
    assert record["documents"] == len(backup.documents)
    assert _opens(world, 1) == backup.documents[0].sha256
    assert _opens(world, len(backup.documents)) == backup.documents[-1].sha256
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
    _restore(world, bucket, backups[".zip"].path)
    hashed = str(world.query("SELECT password FROM users_secure WHERE username = 'admin'")[0][0])
    assert process.run(["php8.2", "-r", VERIFY, "--", hashed], stdin=ADMIN_PASSWORD, check=False).status == 0


def test_the_restored_site_reads_its_database_from_the_environment(
    world: World, bucket: Path, backups: dict[str, SampleBackup]
) -> None:
    _restore(world, bucket, backups[".zip"].path)
    text = (world.site / "sqlconf.php").read_text()
    assert "the-old-server" not in text
    assert DATABASE_PASSWORD not in text
    assert "$config = 1;" in text
    assert (world.site / "documents/certificates/mysql-ca").read_text() == world.wanted.server.authority
    methods = world.site / "documents/logs_and_misc/methods"
    assert {file.stat().st_mode & 0o777 for file in methods.iterdir()} == {0o600}
    assert not [path for path in world.site.rglob("*") if path.stat().st_mode & 0o007]


def test_a_second_run_leaves_the_backup_alone(world: World, bucket: Path, backups: dict[str, SampleBackup]) -> None:
    _restore(world, bucket, backups[".zip"].path)
    before = _tree(world.sites)
    world.query("UPDATE patient_data SET fname = 'changed since' WHERE pid = 1")
    record = nfs_init.run(world.with_backup(backups[".zip"].path))
    assert record["decision"] == "configure"
    assert "left alone" in str(record["reason"])
    assert _tree(world.sites) == before
    assert world.query("SELECT fname FROM patient_data WHERE pid = 1") == [("changed since",)]


def test_views_triggers_and_foreign_keys_move_with_the_tables(world: World, bucket: Path, tmp_path: Path) -> None:
    archive = _changed(tmp_path, sql=lambda text: text + _VIEWS_AND_MORE)
    _restore(world, bucket, archive)
    assert world.query("SELECT id FROM a_view") == [(1,)]
    world.query("INSERT INTO child VALUES (2, 77)")
    assert world.query("SELECT p FROM child WHERE id = 2") == [(1,)]
    world.query("DELETE FROM parent")
    assert world.query("SELECT * FROM child") == []


def _changed(
    tmp_path: Path,
    *,
    sql: Callable[[str], str] = lambda text: text,
    files: Callable[[Path], None] = lambda _: None,
    version: str = "7.0.4",
) -> Path:
    """A sample backup, unpacked, changed and packed again as .tar.gz."""
    original = make_backup(
        tmp_path / "original.tar",
        documents=3,
        bytes_per_document=1000,
        seed=3,
        admin_user="admin",
        admin_password="old",
        version=version,
    )
    tree = tmp_path / "tree"
    tree.mkdir()
    subprocess.run(["tar", "-xf", original.path, "-C", tree], check=True)
    dump = tree / "openemr.sql"
    dump.write_text(sql(dump.read_text()))
    files(tree / "sites/default")
    return Path(shutil.make_archive(str(tmp_path / "changed"), "gztar", tree))


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
    archive = _changed(tmp_path, **change)  # type: ignore[arg-type]
    with pytest.raises(BackupInvalid, match=sentence):
        _restore(world, bucket, archive)
    assert not world.site.exists()
    assert not world.tables()


@pytest.mark.parametrize(("version", "word"), [("7.0.3", "older"), ("8.0.0", "newer")])
def test_a_backup_of_another_version_is_refused(
    world: World, bucket: Path, tmp_path: Path, version: str, word: str
) -> None:
    with pytest.raises(Refused, match=f"{word} OpenEMR {version}"):
        _restore(world, bucket, _changed(tmp_path, version=version))
    assert not world.site.exists()


def test_a_backup_without_the_administrator_is_refused(world: World, bucket: Path, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no user 'admin'"):
        _restore(world, bucket, _changed(tmp_path, sql=lambda text: text.replace("'admin'", "'somebody'")))


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
    assert _restore(world, bucket, path)["decision"] == "restore"
    assert [entry.name for entry in world.sites.iterdir()] == ["default"]


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _killed_at(run: Callable[[], object], owner: object, name: str, *, after: bool, call: int = 1) -> None:
    """Run in a child of its own, which dies by SIGKILL before or after the n-th call of `owner.name`."""
    child = os.fork()
    if child == 0:
        original = getattr(owner, name)
        calls = iter(range(1, 1_000_000))

        def deadly(*arguments: object, **named: object) -> object:
            number = next(calls)
            if number == call and not after:
                _kill()
            outcome = original(*arguments, **named)
            if number == call and after:
                _kill()
            return outcome

        setattr(owner, name, deadly)
        try:
            run()
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL, "the child lived on"


@pytest.mark.parametrize(
    ("owner", "name", "after", "call"),
    [
        (marker, "write", True, 1),
        (tables, "empty", True, 2),
        (io.RawIOBase, "close", False, 1),
        (marker, "write", False, 2),
        (marker, "write", True, 2),
        (Path, "rename", True, 4),
        (tables, "move", False, 1),
        (tables, "move", True, 1),
        (tables, "create_again", True, 1),
        (marker, "clear", True, 1),
        (share, "remove_tree", True, 1),
    ],
)
def test_a_killed_restore_is_finished_by_the_next_run(
    world: World, bucket: Path, backups: dict[str, SampleBackup], owner: object, name: str, after: bool, call: int
) -> None:
    backup = backups[".tar.zst"]
    shutil.copy(backup.path, bucket / backup.path.name)
    _killed_at(lambda: nfs_init.run(world.with_backup(backup.path)), owner, name, after=after, call=call)
    record = nfs_init.run(world.with_backup(backup.path))
    assert record["decision"] in ("restore", "finish-swap", "configure")
    assert nfs_init.run(world.wanted)["decision"] == "configure"
    assert _opens(world, 7) == backup.documents[6].sha256
    assert not world.tables(world.wanted.staging_schema)
    assert [entry.name for entry in world.sites.iterdir()] == ["default"]


def test_two_at_once_do_the_work_once(world: World, bucket: Path, backups: dict[str, SampleBackup]) -> None:
    backup = backups[".tar.zst"]
    shutil.copy(backup.path, bucket / backup.path.name)
    children = []
    for _ in range(2):
        child = os.fork()
        if child == 0:
            code = 99
            try:
                record = nfs_init.run(world.with_backup(backup.path))
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
        _restore(world, bucket, backups[".zip"].path)
    assert not world.tables()
