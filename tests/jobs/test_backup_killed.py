"""backup, restore over a clinic, undo and prune killed by SIGKILL before each effect, then run again."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator

import pytest

from jobs import backup, manifest, nfs_init, restic
from tests.jobs.effects import in_a_group, sampled
from tests.jobs.shelf import Shelf
from tests.jobs.test_backup import contents
from tests.jobs.test_restore_over import change, same
from tests.jobs.world import World, tree

_SAMPLE = 1
torn = pytest.mark.parametrize(
    "every", [False, pytest.param(True, marks=[pytest.mark.torture, pytest.mark.timeout(3600)])]
)


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
