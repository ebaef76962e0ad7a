"""One run of nfs-init at a time, on a share that is one, with passwords that nobody sees."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gcp_openemr.sandbox.standin.sample_backup import SampleBackup
from jobs import database, nfs_init, secrets, share, sqlconf
from jobs.errors import Busy, DatabaseRefused, InstallFailed, JobError, ShareUnusable
from jobs.redacted import Redacted
from tests.jobs.test_backup import contents
from tests.jobs.world import ADMIN_PASSWORD, DATABASE_PASSWORD, World, changed, restore, tree


@pytest.fixture
def other(world: World) -> Iterator[database.Connection]:
    """Another job's connection."""
    with database.connect(
        world.wanted.server, world.wanted.user, Redacted(DATABASE_PASSWORD), world.wanted.schema
    ) as connection:
        yield connection


def impatient(world: World) -> World:
    return dataclasses.replace(world, wanted=dataclasses.replace(world.wanted, lock_seconds=1))


def test_a_clinic_that_another_job_holds_is_left_alone(world: World, other: database.Connection) -> None:
    holder = database.value(other, "SELECT CONNECTION_ID()")
    words = rf"Another job works on this clinic \(connection {holder} from "
    with database.locked(other, world.wanted.schema, seconds=1), pytest.raises(Busy, match=words):
        nfs_init.run(impatient(world).wanted)
    assert not world.site.exists()


def test_tables_that_another_job_still_fills_are_not_filled_by_two(
    world: World, other: database.Connection, bucket: Path, backups: dict[str, SampleBackup]
) -> None:
    """It lost the clinic's lock, and does not know yet."""
    with database.locked(other, world.wanted.staging_schema, seconds=1), pytest.raises(Busy):
        restore(impatient(world), bucket, backups[".tar"].path)
    assert not world.site.exists()
    assert restore(world, bucket, backups[".tar"].path)["decision"] == "restore"


def test_a_wrong_database_password_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "access", lambda _: Redacted("another"))
    with pytest.raises(DatabaseRefused, match="Access denied") as caught:
        nfs_init.run(world.wanted)
    assert caught.value.exit_code == 8
    assert not any(world.sites.iterdir())


def test_a_share_is_a_mount(tmp_path: Path) -> None:
    share.require_mount(Path("/proc"))
    with pytest.raises(ShareUnusable, match="No share is mounted at"):
        share.require_mount(tmp_path)


def test_no_password_is_in_an_argument_and_none_in_the_environment_but_the_databases(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[tuple[list[str], dict[str, str]]] = []
    original = subprocess.run

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        started.append((command, options["env"]))
        return original(command, **options)

    monkeypatch.setattr(subprocess, "run", run)
    nfs_init.run(world.wanted)
    assert len(started) == 2
    for command, environment in started:
        passwords = (DATABASE_PASSWORD, ADMIN_PASSWORD)
        assert not [word for word in command if any(password in word for password in passwords)]
        assert [name for name, value in environment.items() if value in passwords] == ["MYSQL_PASS"]


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.torture)])
def test_an_installer_that_ends_after_any_statement_is_begun_again(world: World, every: bool) -> None:
    """The server takes so many changes from the clinic's user, and no more."""

    def at_most(changes: int) -> None:
        world.query(f"ALTER USER {world.wanted.user} WITH MAX_UPDATES_PER_HOUR {changes}")
        world.query("FLUSH USER_RESOURCES")

    refused = []
    for changes in range(4, 400, 1 if every else 12):
        at_most(changes)
        try:
            nfs_init.run(world.wanted)
            break
        except (InstallFailed, DatabaseRefused) as error:
            refused.append((changes, error.record["decision"]))
            assert not sqlconf.is_configured(world.site)
    assert refused
    assert {decision for _, decision in refused} == {"install"}
    at_most(0)
    assert nfs_init.run(world.wanted)["decision"] in ("install", "configure")
    assert world.query("SELECT username FROM users_secure") == [("admin",)]
    assert [entry.name for entry in world.sites.iterdir()] == ["default"]


@pytest.mark.parametrize("names", [["flipped"], pytest.param(["cut", "other"], marks=pytest.mark.torture)])
def test_what_cannot_be_restored_over_a_clinic_leaves_it_byte_for_byte(
    living: World, bucket: Path, tmp_path: Path, names: list[str]
) -> None:
    before = contents(living), tree(living.site)
    whole = changed(tmp_path).read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    bad = {"cut": whole[: len(whole) // 2], "flipped": bytes(flipped), "other": b"x" * 4096}
    for name in names:
        (bucket / name).write_bytes(bad[name])
        wanted = dataclasses.replace(living.with_backup(Path(name)), restore_over=True)
        with pytest.raises(JobError) as caught:
            nfs_init.run(wanted)
        assert caught.value.exit_code == 65, name
        assert (contents(living), tree(living.site)) == before, name
        assert not (living.sites / ".maintenance").exists()
    assert nfs_init.run(living.wanted)["decision"] == "configure"
    assert [entry.name for entry in living.sites.iterdir()] == ["default"]
    assert not living.tables(living.wanted.staging_schema)


@pytest.mark.parametrize("half", ["files", "database"])
def test_half_a_clinic_that_a_restore_replaced_is_kept_for_as_long(
    living: World, bucket: Path, backups: dict[str, SampleBackup], half: str
) -> None:
    if half == "files":
        with living.mysql.root() as connection, connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE {living.wanted.schema}")
            cursor.execute(f"CREATE DATABASE {living.wanted.schema}")
    else:
        shutil.rmtree(living.site)
    record = nfs_init.run(dataclasses.replace(living.with_backup(backups[".tar"].path), restore_over=True))
    assert (record["decision"], bool(record["kept"])) == ("restore-over", True)
    nfs_init.run(living.wanted)
    assert living.sites.joinpath(str(record["kept"])).is_dir() == (half == "files")
    assert bool(living.tables(living.wanted.kept_schema)) == (half == "database")
    nfs_init.run(dataclasses.replace(living.wanted, keep_replaced_days=0, answered=True))
    assert [entry.name for entry in living.sites.iterdir()] == ["default"]
    assert not living.tables(living.wanted.kept_schema)
