"""backup, restore over a clinic, undo and prune killed by SIGKILL before each effect, then run again."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator

import pytest

from jobs import backup, kept, manifest, nfs_init, restic
from tests.jobs.effects import in_a_group, sampled, torn
from tests.jobs.shelf import Shelf
from tests.jobs.test_backup import contents
from tests.jobs.test_restore_over import change, same
from tests.jobs.world import World, tree

_SAMPLE = 1


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock of a killed run is stale at once; each statement of a dump is an effect."""
    monkeypatch.setattr(restic, "STALE_SECONDS", 0)


def points(run: Callable[[], object], start: Callable[[], None], *, every: bool) -> Iterator[tuple[int, int]]:
    """(point, total): after `start` the run was killed there."""
    start()
    total = in_a_group(run, last=0)
    assert total > 8
    for point in sampled(total, every=every, most=_SAMPLE):
        start()
        assert in_a_group(run, last=point) == -9, f"effect {point} of {total} did not come"
        yield point, total


@torn
def test_a_backup(living: World, shelf: Shelf, every: bool) -> None:
    first = shelf.back_up(living)
    aside = shelf.directory.with_name("aside")
    shutil.copytree(shelf.directory, aside)

    def start() -> None:
        shutil.rmtree(shelf.directory)
        shutil.copytree(aside, shelf.directory)

    for point, total in points(lambda: backup.run(shelf.wanted(living)), start, every=every):
        known = {one.set for one in manifest.every(shelf.store)}
        assert first.set in known, f"killed at {point} of {total}"
        again = shelf.back_up(living)
        assert set(shelf.verify()["sets"]) == known | {again.set}, f"killed at {point} of {total}"


@torn
def test_a_restore_over_a_clinic(living: World, shelf: Shelf, every: bool) -> None:
    before = contents(living), tree(living.site)
    wanted = shelf.named(living, shelf.back_up(living).set, restore_over=True)
    undo = dataclasses.replace(living.wanted, undo=True)
    change(living)
    after = contents(living), tree(living.site)

    def start() -> None:
        """What was there before the restore is kept, wherever that was interrupted."""
        if (living.sites / ".kept.json").is_file():
            assert nfs_init.run(undo)["decision"] == "undo"
        assert same(living, after)

    for point, total in points(lambda: nfs_init.run(wanted), start, every=every):
        assert nfs_init.run(wanted)["decision"] in ("finish-swap", "restore-over", "configure")
        assert same(living, before), f"killed at {point} of {total}"
        assert not (living.sites / ".maintenance").exists()
    start()


@torn
def test_an_undo(living: World, shelf: Shelf, every: bool) -> None:
    shelf.back_up(living)
    change(living)
    after = contents(living), tree(living.site)
    undo = dataclasses.replace(living.wanted, undo=True)

    def start() -> None:
        nfs_init.run(shelf.named(living, restore_over=True))

    start()
    nfs_init.run(undo)  # from here each way back has the same effects
    for point, total in points(lambda: nfs_init.run(undo), start, every=every):
        assert nfs_init.run(undo)["decision"] in ("finish-swap", "undo", "configure")
        assert same(living, after), f"killed at {point} of {total}"
        assert not (living.sites / ".maintenance").exists()


@torn
@pytest.mark.parametrize("days", [7, pytest.param(0, marks=pytest.mark.torture)])
def test_the_end_of_a_kept_copy(living: World, shelf: Shelf, every: bool, days: int) -> None:
    """It is whole until its days are over; from then on it goes, and no half of it is brought back."""
    before = contents(living), tree(living.site)
    shelf.back_up(living)
    answered = dataclasses.replace(living.wanted, answered=True, keep_replaced_days=days)
    undo = dataclasses.replace(living.wanted, undo=True)

    def start() -> None:
        nfs_init.run(shelf.named(living, restore_over=True))

    for point, total in points(lambda: nfs_init.run(answered), start, every=every):
        assert same(living, before), f"killed at {point} of {total}"
        assert nfs_init.run(answered)["decision"] == "configure"
        note = kept.noted(living.wanted)
        assert (note is not None and note.answered > 0) == (days > 0), f"killed at {point} of {total}"
        assert {entry.name for entry in living.sites.glob(".*")} == ({".kept.json", note.files} if note else set())
        assert bool(living.tables(living.wanted.kept_schema)) == (days > 0)
    if days:
        assert nfs_init.run(undo)["decision"] == "undo"


@torn
def test_a_prune(living: World, shelf: Shelf, every: bool) -> None:
    newest = [shelf.back_up(living) for _ in range(2)][-1]
    aside = shelf.directory.with_name("aside")
    shutil.copytree(shelf.directory, aside)
    keep = {"daily": 1, "weekly": 0, "monthly": 0, "yearly": 0}

    def start() -> None:
        shutil.rmtree(shelf.directory)
        shutil.copytree(aside, shelf.directory)

    for point, total in points(lambda: shelf.prune(**keep), start, every=every):
        shelf.prune(**keep)
        assert shelf.verify()["sets"] == [newest.set], f"killed at {point} of {total}"
