"""A clinic's world as the jobs see it, restores from files of the disk, and what to look at afterwards."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from gcp_openemr import process
from gcp_openemr.sandbox.standin.sample_backup import make_backup
from jobs import nfs_init, settings, sources
from jobs.redacted import Redacted
from tests.jobs.servers import ADDRESS, Mysql

APP = Path(__file__).parents[2] / "gcp_openemr" / "sandbox" / "standin" / "app"
DATABASE_PASSWORD = "a='b\" %s\\ é😀;#"
ADMIN_PASSWORD = "p=w' \"%d $x \\ ü"
BACKUP_PASSWORD = "r'e \"%s $t \\ ö"

_numbers = itertools.count(1)
_OPEN = """
$_GET['site'] = 'default'; $ignoreAuth = true;
require $argv[1] . '/interface/globals.php';
$row = sqlQuery('SELECT url FROM documents WHERE id = ?', [$argv[2]]);
$file = $GLOBALS['OE_SITE_DIR'] . '/documents/' . explode('/documents/', $row['url'])[1];
echo hash('sha256', (new OpenEMR\\Common\\Crypto\\CryptoGen())->decryptStandard(file_get_contents($file)));
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class World:
    """A provisioned clinic without storage, and the servers around it."""

    mysql: Mysql
    wanted: settings.NfsInit

    @property
    def sites(self) -> Path:
        return self.wanted.sites

    @property
    def site(self) -> Path:
        return self.wanted.sites / "default"

    def with_backup(self, path: Path) -> settings.NfsInit:
        return dataclasses.replace(self.wanted, backup=settings.Backup(source="gcs", place=f"gs://backups/{path.name}"))

    def query(self, statement: str, schema: str = "") -> list[tuple[object, ...]]:
        with self.mysql.root() as connection:
            connection.select_db(schema or self.wanted.schema)
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return list(cursor.fetchall())

    def tables(self, schema: str = "") -> set[str]:
        return {str(row[0]) for row in self.query("SHOW TABLES", schema)}


@contextlib.contextmanager
def made_world(mysql: Mysql, directory: Path) -> Iterator[World]:
    """A clinic's schemas and user as provision makes them, and its code tree."""
    number = next(_numbers)
    schema = f"oe_t{number}"
    staging, kept, scratch = (f"{schema}_{part}" for part in ("staging", "kept", "scratch"))
    with mysql.root() as connection, connection.cursor() as cursor:
        for name in (schema, staging, kept, scratch):
            cursor.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci")
        cursor.execute(f"CREATE USER {schema} IDENTIFIED BY %s REQUIRE SSL", [DATABASE_PASSWORD])
        for name in (schema, staging, kept, scratch):
            cursor.execute(f"GRANT ALL PRIVILEGES ON `{name.replace('_', chr(92) + '_')}`.* TO {schema}")
    application = directory / "openemr"
    shutil.copytree(APP, application, ignore=shutil.ignore_patterns("sites"))
    (application / "sites").mkdir()
    yield World(
        mysql=mysql,
        wanted=settings.NfsInit(
            server=settings.Server(host=ADDRESS, port=mysql.port, authority=mysql.authority.pem),
            schema=schema,
            staging_schema=staging,
            user=schema,
            password=settings.SecretVersion(secret="projects/p/secrets/db", version=1),
            admin_user="admin",
            admin_password=settings.SecretVersion(secret="projects/p/secrets/admin", version=1),
            openemr_version="7.0.4",
            backup=None,
            upgrade=False,
            result_uri="",
            application=application,
            skeleton=APP / "sites",
            lock_seconds=5,
            kept_schema=kept,
            drain_seconds=0,
        ),
    )
    with mysql.root() as connection, connection.cursor() as cursor:
        for name in (schema, staging, kept, scratch):
            cursor.execute(f"DROP DATABASE {name}")
        cursor.execute(f"DROP USER {schema}")


class DiskRanges:
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


def restore(world: World, bucket: Path, backup: Path) -> dict[str, object]:
    shutil.copy(backup, bucket / backup.name)
    return nfs_init.run(world.with_backup(backup))


def opens(world: World, document: int) -> str:
    """The hash of a document as the application opens it: with both keys, from the restored database."""
    environment = {
        "MYSQL_HOST": world.wanted.server.host,
        "MYSQL_PORT": str(world.wanted.server.port),
        "MYSQL_DATABASE": world.wanted.schema,
        "MYSQL_USER": world.wanted.user,
        "MYSQL_PASS": DATABASE_PASSWORD,
    }
    application = str(world.wanted.application)
    return process.run(["php8.2", "-r", _OPEN, "--", application, str(document)], env=environment).stdout


def tree(directory: Path) -> dict[str, str]:
    """Path → hash of content, of every file below."""
    files = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def changed(
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


def secret_named(version: settings.SecretVersion) -> Redacted:
    return Redacted(
        {"db": DATABASE_PASSWORD, "admin": ADMIN_PASSWORD, "backup": BACKUP_PASSWORD}[version.secret.rpartition("/")[2]]
    )
