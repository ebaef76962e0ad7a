"""Servers for the session, and a clinic's world for each test: its own schemas, user, directory and code tree."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from gcp_openemr.sandbox.standin.sample_backup import SampleBackup, make_backup
from jobs import nfs_init, restic, secrets, settings, sources
from tests.jobs.servers import ADDRESS, Authority, Mysql, Redis, make_authority, mysql_server, redis_server
from tests.jobs.shelf import Shelf, on_disk
from tests.jobs.world import APP, DATABASE_PASSWORD, DiskRanges, World, restore, secret_named

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def authority() -> Authority:
    return make_authority()


@pytest.fixture(scope="session")
def mysql(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Mysql]:
    with mysql_server(tmp_path_factory.mktemp("mysql"), authority) as server:
        yield server


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    with redis_server(tmp_path_factory.mktemp("redis") / "data") as server:
        yield server


@pytest.fixture
def world(mysql: Mysql, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Schemas and user as provision makes them; secrets known by their names."""
    number = next(_numbers)
    schema = f"oe_t{number}"
    staging, kept, scratch = (f"{schema}_{part}" for part in ("staging", "kept", "scratch"))
    with mysql.root() as connection, connection.cursor() as cursor:
        for name in (schema, staging, kept, scratch):
            cursor.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci")
        cursor.execute(f"CREATE USER {schema} IDENTIFIED BY %s REQUIRE SSL", [DATABASE_PASSWORD])
        for name in (schema, staging, kept, scratch):
            cursor.execute(f"GRANT ALL PRIVILEGES ON `{name.replace('_', chr(92) + '_')}`.* TO {schema}")
    application = tmp_path / "openemr"
    shutil.copytree(APP, application, ignore=shutil.ignore_patterns("sites"))
    (application / "sites").mkdir()
    monkeypatch.setattr(secrets, "access", secret_named)
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


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`gs://backups/x` is the file x of this directory."""
    directory = tmp_path / "bucket"
    directory.mkdir()

    def opened(backup: settings.Backup) -> sources.RangeFile:
        return sources.RangeFile(DiskRanges(directory / backup.place.removeprefix("gs://backups/")))

    monkeypatch.setattr(sources, "open_backup", opened)
    return directory


@pytest.fixture
def installed(world: World) -> World:
    nfs_init.run(world.wanted)
    return world


@pytest.fixture(scope="session")
def backups(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SampleBackup]:
    """The same clinic as .zip, .tar, .tar.gz and .tar.zst."""
    directory = tmp_path_factory.mktemp("backups")
    return {
        suffix: make_backup(
            directory / f"clinic{suffix}",
            documents=30,
            bytes_per_document=20_000,
            seed=7,
            admin_user="admin",
            admin_password="the old clinic's password",
        )
        for suffix in (".zip", ".tar", ".tar.gz", ".tar.zst")
    }


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """An empty place for backup sets."""
    monkeypatch.setattr(restic, "_CACHE", tmp_path / "restic-cache")
    return on_disk(tmp_path / "shelf", monkeypatch)


@pytest.fixture
def living(world: World, bucket: Path, backups: dict[str, SampleBackup]) -> World:
    """A clinic with patients and documents."""
    restore(world, bucket, backups[".tar"].path)
    return world
