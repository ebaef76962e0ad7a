"""A restore over a clinic that is killed in its swap, and another wish than the same one again."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from jobs import backup, kept, maintenance, manifest, nfs_init, settings, swap
from jobs.errors import Refused
from tests.jobs.effects import in_a_group
from tests.jobs.shelf import Shelf
from tests.jobs.test_backup import contents
from tests.jobs.test_restore_over import change, same, undo
from tests.jobs.world import World, tree


def killed_in_the_swap(wanted: settings.NfsInit, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files have changed place, the tables have not."""
    with monkeypatch.context() as patched:
        patched.setattr(swap, "_move_tables", lambda *_: os.killpg(0, 9))
        assert in_a_group(lambda: nfs_init.run(wanted), last=0) == -9


def name_of_the_first(world: World) -> str:
    return str(world.query("SELECT fname FROM patient_data WHERE pid = 1")[0][0])


def renamed(world: World, name: str) -> None:
    world.query(f"UPDATE patient_data SET fname = '{name}' WHERE pid = 1")  # noqa: S608


def test_the_way_back_is_gone_though_the_restore_was_cut(
    living: World, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.back_up(living)
    change(living)
    after = contents(living), tree(living.site)
    killed_in_the_swap(shelf.named(living, restore_over=True), monkeypatch)
    record = nfs_init.run(undo(living))
    assert (record["decision"], record["finished"]) == ("undo", shelf.newest)
    assert same(living, after)


def test_another_set_is_restored_though_the_first_restore_was_cut(
    living: World, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {}
    for name in ("First", "Second"):
        renamed(living, name)
        made[name] = shelf.back_up(living).set
    renamed(living, "Third")
    killed_in_the_swap(shelf.named(living, made["First"], restore_over=True), monkeypatch)
    record = nfs_init.run(shelf.named(living, made["Second"], restore_over=True))
    assert [record[name] for name in ("decision", "source", "finished")] == [
        "restore-over",
        made["Second"],
        made["First"],
    ]
    assert name_of_the_first(living) == "Second"
    nfs_init.run(undo(living))
    assert name_of_the_first(living) == "First"


def test_a_set_is_restored_though_the_way_back_from_it_was_cut(
    living: World, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = shelf.named(living, shelf.back_up(living).set, restore_over=True)
    before = contents(living), tree(living.site)
    change(living)
    nfs_init.run(over)
    killed_in_the_swap(undo(living), monkeypatch)
    assert nfs_init.run(over)["decision"] == "restore-over"
    assert same(living, before)


def test_the_same_wish_again_only_finishes(living: World, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    over = shelf.named(living, shelf.back_up(living).set, restore_over=True)
    killed_in_the_swap(over, monkeypatch)
    record = nfs_init.run(over)
    assert (record["decision"], record["source"]) == ("finish-swap", shelf.newest)


def test_half_of_two_states_becomes_no_set(living: World, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    over = shelf.named(living, shelf.back_up(living).set, restore_over=True)
    for doing, wanted in (("swap", over), ("undo", undo(living))):
        killed_in_the_swap(wanted, monkeypatch)
        for _ in range(2):
            with pytest.raises(Refused, match="no set of what is half of each") as told:
                backup.run(shelf.wanted(living))
        assert told.value.record == {"begun": doing}
        assert len(manifest.names(shelf.store)) == 1
        nfs_init.run(living.wanted)
    assert backup.run(shelf.wanted(living))["state"] == "verified"


def test_a_wish_that_is_refused_after_the_swap_says_what_is_in_place(
    living: World, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = shelf.named(living, shelf.back_up(living).set, restore_over=True)
    shutil.rmtree(living.site)  # of half a clinic no copy can be brought back
    killed_in_the_swap(over, monkeypatch)
    with pytest.raises(Refused, match="What was restored is in place, but there is no kept copy"):
        nfs_init.run(undo(living))


def test_the_page_is_gone_before_earlier_copies_are_removed(
    living: World, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.back_up(living)
    seen: list[bool] = []
    original = kept.remove_other_files

    def remove(sites: Path, name: str) -> None:
        seen.append(maintenance.is_shown(sites))
        original(sites, name)

    monkeypatch.setattr(kept, "remove_other_files", remove)
    nfs_init.run(shelf.named(living, restore_over=True))
    assert seen == [False]
