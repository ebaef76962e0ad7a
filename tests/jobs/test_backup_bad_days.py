"""Bad days of backups: each ends in a clear sentence, or in a set that is whole; what was there stays restorable."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from jobs import backup, database, keys, manifest, nfs_init
from jobs.errors import (
    BackupInvalid,
    BackupMissing,
    Busy,
    JobError,
    Refused,
)
from jobs.redacted import Redacted
from tests.jobs.shelf import Shelf
from tests.jobs.test_backup import emptied
from tests.jobs.world import DATABASE_PASSWORD, World, tree


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
            (site / "documents" / str(url).partition("/documents/")[2]).unlink(missing_ok=True)
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


def test_a_set_whose_keys_changed_meanwhile_is_made_again(
    living: World, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is stored would not be what the manifest says, and never be restored."""
    original, seen = keys.on_share, []

    def changing(site: Path) -> str:
        seen.append(original(site))
        return f"{seen[0]}{len(seen)}" if changes else seen[0]

    changes = True
    monkeypatch.setattr(keys, "on_share", changing)
    with pytest.raises(BackupInvalid, match="the encryption keys changed while the set was made"):
        shelf.back_up(living)
    assert len(seen) == 4
    changes = False
    assert shelf.back_up(living).verified


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


def test_a_restore_waits_for_a_backup(living: World, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """So does what else nfs-init does in a deploy."""
    told = []

    def between(_site: Path) -> str:
        for wanted in (living.wanted, shelf.named(living, restore_over=True)):
            with pytest.raises(Busy, match=r"Another job works on this clinic \(connection \d+ from ") as caught:
                nfs_init.run(dataclasses.replace(wanted, lock_seconds=0))
            told.append(caught.value.do)
        return ""

    with monkeypatch.context() as patched:
        patched.setattr(keys, "on_share", between)
        assert shelf.back_up(living).verified
    assert set(told) == {"Wait until it ends, then run the same command again."}
    assert len(told) == 4  # before the files are saved, and after


def test_what_else_works_on_the_clinic_keeps_a_backup_waiting(living: World, shelf: Shelf) -> None:
    """A deploy's nfs-init, a restore, a rotation: each holds the clinic's lock."""
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
