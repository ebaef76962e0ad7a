"""Servers for the session, and a clinic's world for each test: its own schemas, user, directory and code tree."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from gcp_openemr.sandbox.standin.sample_backup import SampleBackup, make_backup
from jobs import nfs_init, restic, secrets, settings, sources
from jobs.redacted import Redacted
from tests.jobs import cheap_key
from tests.jobs.rotation_place import Place, made_place
from tests.jobs.servers import Authority, Mysql, Redis, make_authority, mysql_server, redis_server
from tests.jobs.shelf import SECRET, Shelf, on_disk
from tests.jobs.world import BACKUP_PASSWORD, DiskRanges, World, made_world, restore, secret_named


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
    monkeypatch.setattr(secrets, "access", secret_named)
    with made_world(mysql, tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def place(mysql: Mysql, redis: Redis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A clinic in the sandbox's APIs, whose passwords can be rotated."""
    if not mysql.dual_passwords:
        pytest.skip("this server has no dual passwords")
    directory = tmp_path_factory.mktemp("place")
    with made_world(mysql, directory) as world, made_place(world, redis, directory) as made:
        yield made


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


@pytest.fixture(scope="session")
def empty_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository as restic makes it, whose key is cheap to derive."""
    place = tmp_path_factory.mktemp("repository") / "empty"
    store = settings.Store(bucket="backups", clinic="main", password=SECRET, place=str(place))
    restic.Restic(store, Redacted(BACKUP_PASSWORD), lock_seconds=1).create()
    cheap_key.weaken(place, BACKUP_PASSWORD)
    return place


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_repository: Path) -> Shelf:
    """An empty place for backup sets."""
    made = on_disk(tmp_path / "shelf", monkeypatch)
    monkeypatch.setattr(restic, "_CACHE", tmp_path / "restic-cache")
    monkeypatch.setattr(restic.Restic, "create", lambda _: shutil.copytree(empty_repository, made.repository))
    return made


@pytest.fixture
def living(world: World, bucket: Path, backups: dict[str, SampleBackup]) -> World:
    """A clinic with patients and documents."""
    restore(world, bucket, backups[".tar"].path)
    return world
