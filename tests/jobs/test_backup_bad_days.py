"""Bad days of backups: each ends in a clear sentence, or in a set that is whole; what was there stays restorable."""

from __future__ import annotations

import dataclasses
import os
import random
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pymysql
import pytest

from jobs import backup, database, dump, keys, manifest, nfs_init, restic, secrets
from jobs.errors import BackupInvalid, BackupMissing, Busy, JobError, Refused, SecretUnavailable
from jobs.redacted import Redacted
from jobs.settings import SecretVersion
from tests.jobs.shelf import Shelf
from tests.jobs.test_backup import contents, emptied
from tests.jobs.world import DATABASE_PASSWORD, World, secret_named, tree

KINDS = ("config", "keys", "index", "snapshots", "data")


def files_of(shelf: Shelf, kind: str) -> list[Path]:
    return sorted(path for path in [shelf.repository / kind, *(shelf.repository / kind).rglob("*")] if path.is_file())


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at % len(content)] ^= 0x10
    path.chmod(0o600)
    path.write_bytes(content)


def test_one_flipped_byte_in_each_kind_of_file_is_found(living: World, shelf: Shelf) -> None:
    shelf.back_up(living)
    generator = random.Random(20261122)  # noqa: S311
    for kind in KINDS:
        path = generator.choice(files_of(shelf, kind))
        whole = path.read_bytes()
        flip(path, generator.randrange(len(whole)))
        with pytest.raises((BackupInvalid, SecretUnavailable)):
            shelf.verify()
        path.write_bytes(whole)
    assert shelf.verify()


def test_a_damaged_pack_stops_a_restore_before_it_changes_anything(living: World, shelf: Shelf) -> None:
    shelf.back_up(living)
    for pack in files_of(shelf, "data"):
        flip(pack, 200)
    before = contents(living), tree(living.site)
    with pytest.raises(BackupInvalid, match=r"restic (restore|dump) failed"):
        nfs_init.run(shelf.named(living, restore_over=True))
    assert (contents(living), tree(living.site)) == before


def test_people_go_on_working(living: World, shelf: Shelf) -> None:
    """A document's file comes before its row, and two rows in one transaction: the set has both or neither."""
    living.query("CREATE TABLE pairs (one INT PRIMARY KEY, two INT)")
    living.query("CREATE TABLE others (one INT PRIMARY KEY)")
    over = threading.Event()
    done = []

    def work() -> None:
        with living.mysql.root() as connection, connection.cursor() as cursor:
            connection.select_db(living.wanted.schema)
            connection.autocommit(False)
            number = 1000
            while not over.is_set():
                number += 1
                (living.site / f"documents/1/{number}").write_bytes(os.urandom(2000))
                url = f"file:///sites/default/documents/1/{number}"
                cursor.execute("INSERT INTO documents (id, url) VALUES (%s, %s)", [number, url])
                cursor.execute("INSERT INTO pairs VALUES (%s, 1)", [number])
                cursor.execute("INSERT INTO others VALUES (%s)", [number])
                connection.commit()
                over.wait(0.02)
            done.append(number - 1000)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        made = shelf.back_up(living)
    finally:
        over.set()
        worker.join()
    assert done[0] > 10
    assert made.verified
    nfs_init.run(shelf.named(emptied(living)))
    rows = [living.query(f"SELECT one FROM {table} ORDER BY 1") for table in ("pairs", "others")]  # noqa: S608
    assert rows[0] == rows[1]
    assert len(rows[0]) == made.documents.named - 30


def test_a_document_deleted_meanwhile_is_told_and_the_set_is_good(
    living: World, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = keys.on_share

    def between(site: Path) -> str:
        for identity, url in living.query("SELECT id, url FROM documents WHERE id = 3"):
            (site / "documents" / str(url).partition("/documents/")[2]).unlink()
            living.query(f"UPDATE documents SET deleted = 1 WHERE id = {identity}")  # noqa: S608
        return original(site)

    with monkeypatch.context() as patched:
        patched.setattr(keys, "on_share", between)
        made = shelf.back_up(living)
    assert made.verified
    assert made.documents == manifest.Documents(named=30, found=29, deleted_meanwhile=("3",))
    assert nfs_init.run(shelf.named(emptied(living)))["decision"] == "restore"


def test_a_lost_document_fails_one_set_and_is_reported_by_the_next(living: World, shelf: Shelf) -> None:
    next((living.site / "documents/1").iterdir()).unlink()
    with pytest.raises(BackupInvalid, match="1 documents have no file: ids"):
        shelf.back_up(living)
    assert [one.state for one in manifest.every(shelf.store)] == ["failed"]
    with pytest.raises(BackupMissing, match="no verified backup set"):
        manifest.choose(shelf.store, "latest")
    made = shelf.back_up(living)
    assert made.verified
    assert len(made.documents.missing) == 1
    assert nfs_init.run(shelf.named(emptied(living)))["decision"] == "restore"


def test_two_at_once_make_two_sets(living: World, shelf: Shelf) -> None:
    wanted = dataclasses.replace(shelf.wanted(living), lock_seconds=120)
    children = []
    for _ in range(2):
        child = os.fork()
        if child == 0:
            code = 99
            try:
                backup.run(wanted)
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]
    assert len(shelf.verify()["sets"]) == 2


def test_a_restore_at_the_same_time_keeps_a_backup_waiting(living: World, shelf: Shelf) -> None:
    wanted = living.wanted
    with (
        database.connect(wanted.server, wanted.user, Redacted(DATABASE_PASSWORD)) as other,
        database.locked(other, wanted.schema, seconds=1),
        pytest.raises(Busy, match="Another job works on this clinic"),
    ):
        shelf.back_up(living)


@pytest.mark.parametrize("ahead", [400, -400])
def test_a_wrong_clock_makes_no_set(living: World, shelf: Shelf, monkeypatch: pytest.MonkeyPatch, ahead: int) -> None:
    original = database.value

    def value(connection: database.Connection, statement: str, values: Sequence[object] | None = None) -> object:
        found = original(connection, statement, values)
        return found + ahead if statement == "SELECT UNIX_TIMESTAMP()" else found

    monkeypatch.setattr(database, "value", value)
    with pytest.raises(Refused, match=r"The database's clock says .* this job's .* no set was made"):
        shelf.back_up(living)
    assert manifest.every(shelf.store) == []


def test_a_set_of_the_future_is_not_hidden_by_one_of_now(living: World, shelf: Shelf) -> None:
    made = shelf.back_up(living)
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    shelf.manifest_changed(made, set=f"{tomorrow:%Y%m%dT%H%M%SZ}-0000")
    with pytest.raises(Refused, match="is of the future"):
        shelf.back_up(living)


def test_a_lost_password_says_what_is_lost(living: World, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.back_up(living)

    def another(version: SecretVersion) -> Redacted:
        return Redacted("another") if version.secret.endswith("backup") else secret_named(version)

    monkeypatch.setattr(secrets, "access", another)
    with pytest.raises(SecretUnavailable, match="wrong password") as caught:
        shelf.verify()
    assert "nothing in the repository can be read" in caught.value.do
    with pytest.raises(SecretUnavailable):
        shelf.back_up(living)


def test_a_repository_that_is_gone_is_not_begun_anew(living: World, shelf: Shelf) -> None:
    shelf.back_up(living)
    shutil.rmtree(shelf.repository)
    with pytest.raises(BackupInvalid, match="their repository is gone"):
        shelf.back_up(living)
    assert not shelf.repository.exists()


def _newer(shelf: Shelf, made: manifest.Manifest) -> None:
    shelf.manifest_changed(made, openemr={**made.openemr, "release": "8.0.0", "database": 530})


def _failed(shelf: Shelf, made: manifest.Manifest) -> None:
    shelf.manifest_changed(made, state="failed", problems=("3 documents have no file",))


def _others(shelf: Shelf, made: manifest.Manifest) -> None:
    shelf.manifest_changed(made, clinic="other")


def _absent(shelf: Shelf, made: manifest.Manifest) -> None:
    manifest.remove(shelf.store, made)


@pytest.mark.parametrize(
    ("change", "kind", "sentence"),
    [
        (_newer, Refused, "newer OpenEMR 8.0.0"),
        (_failed, Refused, "failed its checks: 3 documents"),
        (_others, Refused, "manifest of other's set"),
        (_absent, BackupMissing, "does not exist"),
    ],
)
def test_a_set_that_does_not_fit_is_refused_at_once(
    living: World, shelf: Shelf, change: Callable[[Shelf, manifest.Manifest], None], kind: type[JobError], sentence: str
) -> None:
    made = shelf.back_up(living)
    change(shelf, made)
    before = tree(living.sites)
    with pytest.raises(kind, match=sentence):
        nfs_init.run(shelf.named(living, made.set, restore_over=True))
    assert tree(living.sites) == before


@pytest.fixture
def locked(living: World, shelf: Shelf) -> Shelf:
    """A repository with the lock of a run that was killed."""
    shelf.back_up(living)
    original = dump._Sink.write

    def die(sink: dump._Sink, content: bytes) -> None:
        while not files_of(shelf, "locks"):
            time.sleep(0.05)
        os.killpg(0, 9)

    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        dump._Sink.write = die  # type: ignore[method-assign,assignment]
        backup.run(shelf.wanted(living))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9
    assert dump._Sink.write is original
    return shelf


def test_a_young_lock_is_respected_and_a_stale_one_removed(locked: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    assert files_of(locked, "locks")
    with pytest.raises(Busy, match=r"already locked by PID .*") as caught:
        locked.verify()
    assert "30 minutes" in caught.value.do
    monkeypatch.setattr(restic, "STALE_SECONDS", 0)
    assert locked.verify()["sets"]
    assert not files_of(locked, "locks")


def test_restic_killed_in_the_middle_leaves_no_half_set(
    living: World, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.back_up(living)
    original = dump._Sink.write
    sizes = []

    def fail(sink: dump._Sink, content: bytes) -> None:
        sizes.append(len(content))
        if len(sizes) == 20:
            raise pymysql.OperationalError(2013, "Lost connection")
        original(sink, content)

    monkeypatch.setattr(dump._Sink, "write", fail)
    with pytest.raises(pymysql.OperationalError):
        shelf.back_up(living)
    assert len(restic.opened(shelf.store, lock_seconds=1).snapshots()) == 2
    assert len(manifest.every(shelf.store)) == 1
