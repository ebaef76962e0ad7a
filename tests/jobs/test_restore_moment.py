"""A database as of another moment, as Cloud SQL exports it, with the files of a set."""

from __future__ import annotations

import dataclasses
import gzip
import subprocess
from pathlib import Path

import pytest

from gcp_openemr.setup.mysql import locate
from jobs import nfs_init, settings, sources
from jobs.errors import BackupInvalid
from tests.jobs.shelf import Shelf
from tests.jobs.test_backup import contents
from tests.jobs.test_restore_over import change, same, undo
from tests.jobs.world import DiskRanges, World, opens, tree


def exported(world: World, path: Path, *, change: bytes = b"") -> Path:
    """What Cloud SQL writes: mysqldump's, of named databases, packed."""
    command = ["--user=root", f"--socket={world.mysql.socket}", "--single-transaction", "--hex-blob", "--databases"]
    done = subprocess.run([*locate().dump, *command, world.wanted.schema], check=True, capture_output=True)
    path.write_bytes(gzip.compress(done.stdout + change))
    return path


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "20261122T120000Z.sql.gz"
    monkeypatch.setattr(sources, "open_backup", lambda _: sources.RangeFile(DiskRanges(path)))
    return path


def wanted(world: World, shelf: Shelf, identity: str = "latest") -> settings.NfsInit:
    named = shelf.named(world, identity, restore_over=True)
    assert named.backup is not None
    database = "gs://backups/clinics/main/backups/moments/20261122T120000Z.sql.gz"
    return dataclasses.replace(named, backup=dataclasses.replace(named.backup, database=database))


def test_documents_between_the_set_and_the_moment_are_told(living: World, shelf: Shelf, place: Path) -> None:
    files, made = tree(living.site), shelf.back_up(living)
    change(living)
    rows = contents(living)
    exported(living, place)
    living.query("DELETE FROM patient_data")
    record = nfs_init.run(wanted(living, shelf))
    assert (record["decision"], record["documents_without_file"]) == ("restore-over", ["99"])
    assert record["source"].startswith(f"{made.set} with the database of gs://")
    assert same(living, (rows, files))
    assert opens(living, 30)
    assert nfs_init.run(undo(living))["decision"] == "undo"
    assert living.query("SELECT * FROM patient_data") == []


def test_a_database_of_other_keys_than_the_files_is_refused(living: World, shelf: Shelf, place: Path) -> None:
    """Names alike, values not: only opening a document tells."""
    shelf.back_up(living)
    exported(living, place, change=b"UPDATE x SET y = 1;")
    before = contents(living), tree(living.site)
    with pytest.raises(BackupInvalid, match="a statement that no dump of tables has"):
        nfs_init.run(wanted(living, shelf))
    dump = gzip.decompress(place.read_bytes()).removesuffix(b"UPDATE x SET y = 1;")
    name, value = living.query("SELECT name, value FROM `keys` WHERE name NOT LIKE 'oauth%' LIMIT 1")[0]
    other = str(value)[::-1].encode()
    assert str(value).encode() in dump, name
    place.write_bytes(gzip.compress(dump.replace(str(value).encode(), other)))
    with pytest.raises(BackupInvalid, match="cannot be opened"):
        nfs_init.run(wanted(living, shelf))
    assert (contents(living), tree(living.site)) == before


def test_the_same_command_after_the_copy_is_in_place_does_not_restore_again(
    living: World, shelf: Shelf, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = shelf.back_up(living).set
    change(living)
    after = contents(living), tree(living.site)
    exported(living, place)

    def die(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr("jobs.openemr_settings.write", die)
        with pytest.raises(ZeroDivisionError):
            nfs_init.run(wanted(living, shelf, identity))
    assert nfs_init.run(wanted(living, shelf, identity))["row"] == "a backup that an interrupted run has put in place"
    nfs_init.run(undo(living))
    assert same(living, after)
