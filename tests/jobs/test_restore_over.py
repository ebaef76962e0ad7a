"""A set restored over a living clinic, and back again: one swap each way, nothing lost, the current secrets kept."""

from __future__ import annotations

import dataclasses

import pytest

from jobs import database, kept, nfs_init, settings, swap
from jobs.errors import BackupInvalid, Refused
from jobs.redacted import Redacted
from tests.jobs.shelf import Shelf
from tests.jobs.test_backup import contents, emptied
from tests.jobs.world import DATABASE_PASSWORD, World, opens, tree

_MORE = """
CREATE TABLE parent (id INT PRIMARY KEY); CREATE TABLE child (id INT PRIMARY KEY, p INT REFERENCES parent (id));
CREATE VIEW family AS SELECT child.id FROM child; INSERT INTO parent VALUES (1);
CREATE TRIGGER grows BEFORE INSERT ON child FOR EACH ROW SET NEW.p = 1
"""


def change(world: World) -> None:
    """What people do after the backup."""
    world.query("UPDATE patient_data SET fname = 'After' WHERE pid = 1")
    world.query("INSERT INTO documents (id, url) VALUES (99, 'file:///sites/default/documents/1/later')")
    (world.site / "documents/1/later").write_bytes(b"later")


def undo(world: World) -> settings.NfsInit:
    return dataclasses.replace(world.wanted, undo=True)


def test_over_a_clinic_and_back(living: World, shelf: Shelf) -> None:
    with database.connect(
        living.wanted.server, living.wanted.user, Redacted(DATABASE_PASSWORD), living.wanted.schema
    ) as own:
        for statement in _MORE.split(";"):
            database.run(own, statement)
    before = contents(living), tree(living.site)
    shelf.back_up(living)
    change(living)
    after = contents(living), tree(living.site)
    record = nfs_init.run(shelf.named(living, restore_over=True))
    assert record["decision"] == "restore-over"
    assert same(living, before)
    assert living.query("SELECT * FROM family") == []
    living.query("INSERT INTO child VALUES (7, 5)")
    assert living.query("SELECT p FROM child WHERE id = 7") == [(1,)]
    assert nfs_init.run(undo(living))["decision"] == "undo"
    assert same(living, after)
    living.query("INSERT INTO child VALUES (8, 5)")
    assert living.query("SELECT p FROM child WHERE id = 8") == [(1,)]
    assert opens(living, 30)
    again = nfs_init.run(undo(living))
    assert again["row"] == "what a restore replaced is back already"
    assert (living.site / "documents/1/later").is_file()
    assert sorted(path.name for path in living.sites.iterdir())[0] == ".kept.json"


def same(world: World, wanted: tuple[dict[str, list[tuple[object, ...]]], dict[str, str]]) -> bool:
    """Apart from the administrator's password, which is the deployment's, and the settings nfs-init writes."""
    rows, files = contents(world), tree(world.site)
    ours = ("users_secure", "globals")
    return files == wanted[1] and all(rows[name] == wanted[0][name] for name in wanted[0] if name not in ours)


def test_a_clinic_that_was_removed_and_installed_anew_gets_its_last_set_back(living: World, shelf: Shelf) -> None:
    before, seventh = (contents(living), tree(living.site)), opens(living, 7)
    last = shelf.back_up(living)
    assert nfs_init.run(emptied(living).wanted)["decision"] == "install"
    assert shelf.verify()["sets"] == [last.set]
    shelf.back_up(living)
    assert nfs_init.run(shelf.named(living, last.set, restore_over=True))["decision"] == "restore-over"
    assert same(living, before)
    assert opens(living, 7) == seventh


def test_a_bad_set_changes_nothing(living: World, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    made = shelf.back_up(living)
    shelf.manifest_changed(made, tables={**made.tables, "documents": 7})
    before = contents(living), tree(living.site)
    with pytest.raises(BackupInvalid, match="7 rows of documents, but 30 came"):
        nfs_init.run(shelf.named(living, restore_over=True))
    assert (contents(living), tree(living.site)) == before
    assert not (living.sites / ".maintenance").exists()


def test_the_page_stands_while_the_copy_is_put_in_place(
    living: World, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.back_up(living)
    seen = []
    original = swap.begin_swap

    def begin(wanted: settings.NfsInit, *arguments: object) -> None:
        seen.append((wanted.sites / ".maintenance").is_file())
        original(wanted, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(swap, "begin_swap", begin)
    nfs_init.run(shelf.named(living, restore_over=True))
    assert seen == [True]
    assert not (living.sites / ".maintenance").exists()


def test_without_a_kept_copy_there_is_no_way_back(living: World) -> None:
    with pytest.raises(Refused, match="no kept copy"):
        nfs_init.run(undo(living))


def test_a_kept_copy_goes_so_many_days_after_the_clinic_answered(living: World, shelf: Shelf) -> None:
    shelf.back_up(living)
    nfs_init.run(shelf.named(living, restore_over=True))
    unanswered = dataclasses.replace(living.wanted, keep_replaced_days=0)
    nfs_init.run(unanswered)
    assert living.tables(living.wanted.kept_schema)
    nfs_init.run(dataclasses.replace(living.wanted, answered=True))
    since = noted(living).answered
    nfs_init.run(dataclasses.replace(living.wanted, answered=True))
    assert (noted(living).answered, living.tables(living.wanted.kept_schema) != set()) == (since, True)
    nfs_init.run(unanswered)
    assert not living.tables(living.wanted.kept_schema)
    assert [path.name for path in living.sites.iterdir()] == ["default"]


def test_what_an_undo_replaced_waits_for_an_answer_of_its_own(living: World, shelf: Shelf) -> None:
    shelf.back_up(living)
    nfs_init.run(shelf.named(living, restore_over=True))
    nfs_init.run(dataclasses.replace(living.wanted, answered=True))
    nfs_init.run(undo(living))
    assert noted(living).answered == 0


def noted(world: World) -> kept.Kept:
    found = kept.noted(world.wanted)
    assert found is not None
    return found


def test_a_second_restore_keeps_only_the_last_state(living: World, shelf: Shelf) -> None:
    shelf.back_up(living)
    for name in ("First", "Second"):
        living.query(f"UPDATE patient_data SET fname = '{name}' WHERE pid = 1")  # noqa: S608
        nfs_init.run(shelf.named(living, restore_over=True))
    assert len(list(living.sites.glob(f"{kept.PREFIX}*"))) == 1
    nfs_init.run(undo(living))
    assert living.query("SELECT fname FROM patient_data WHERE pid = 1") == [("Second",)]
