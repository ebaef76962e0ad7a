"""Which sets stay, that prune never takes what is to be restored, and what it frees of runs that were killed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs import manifest, prune, restic
from jobs.backup_settings import Keep
from jobs.manifest import Documents, Keys, Manifest, Part
from tests.jobs.shelf import Shelf
from tests.jobs.world import World

FIRST = datetime(2024, 1, 1, 2, tzinfo=UTC)
NOTHING = Part(snapshot="0", bytes=0, added=0)


def made(moment: datetime, *, good: bool = True) -> Manifest:
    return Manifest(
        clinic="main",
        set=f"{moment:%Y%m%dT%H%M%SZ}-0000",
        state="verified" if good else "failed",
        problems=(),
        openemr={},
        begun=f"{moment:%Y-%m-%dT%H:%M:%SZ}",
        finished="",
        seconds=0,
        position="",
        tables={},
        documents=Documents(named=0, found=0),
        keys=Keys(database="", share=""),
        database=NOTHING,
        files=NOTHING,
    )


def nights(count: int) -> list[Manifest]:
    return [made(FIRST + timedelta(days=day)) for day in range(count)]


def test_generations_reach_back_as_far_as_they_say() -> None:
    sets = nights(800)
    kept = sorted(prune.kept(sets, Keep()))
    assert kept[-7:] == [one.set for one in sets[-7:]]
    assert len([one for one in kept if one[:8] == "20241231"]) == 1
    assert 7 + 4 + 11 + 2 - 4 <= len(kept) <= 7 + 5 + 12 + 7
    assert {one[:6] for one in kept} >= {f"2025{month:02}" for month in range(4, 13)}


@given(
    good=st.lists(st.booleans(), max_size=60),
    keep=st.builds(
        Keep, daily=st.integers(0, 9), weekly=st.integers(0, 4), monthly=st.integers(0, 4), yearly=st.integers(0, 2)
    ),
)
def test_the_newest_verified_set_always_stays(good: list[bool], keep: Keep) -> None:
    sets = [made(FIRST + timedelta(days=day), good=fine) for day, fine in enumerate(good)]
    kept = prune.kept(sets, keep)
    verified = [one.set for one in sets if one.verified]
    if verified:
        assert verified[-1] in kept
    assert not [one for one in sets if not one.verified and one.set in kept and verified and one.set < verified[-1]]


def test_pruned_sets_are_gone_and_the_rest_is_whole(living: World, shelf: Shelf) -> None:
    sets = [shelf.back_up(living).set for _ in range(3)]
    record = shelf.prune(daily=1, weekly=0, monthly=0, yearly=0)
    assert record["forgotten"] == sets[:2]
    assert [one.set for one in manifest.every(shelf.store)] == sets[2:]
    assert len(restic.opened(shelf.store, lock_seconds=1).snapshots()) == 2
    assert shelf.verify()["sets"] == sets[2:]


def test_without_any_manifest_nothing_is_taken_for_what_a_killed_run_left(
    living: World, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest.remove(shelf.store, made := shelf.back_up(living))
    monkeypatch.setattr(prune, "_ORPHAN_SECONDS", 0)
    assert shelf.prune()["orphans"] == 0
    manifest.write(shelf.store, made)
    assert shelf.verify()["sets"] == [made.set]


def test_what_killed_runs_left_is_freed_after_a_day(
    living: World, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = shelf.back_up(living), shelf.back_up(living)
    manifest.remove(shelf.store, first)
    assert shelf.prune()["orphans"] == 0
    monkeypatch.setattr(prune, "_ORPHAN_SECONDS", 0)
    assert shelf.prune()["orphans"] == 2
    assert shelf.verify()["sets"] == [second.set]
