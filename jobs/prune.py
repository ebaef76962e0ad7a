"""prune: forgets sets that no generation keeps, under an identity of its own. What is there to restore is never less.

A set's snapshots go first, its manifest after them, unused data last: a run that is killed leaves no more than a
manifest without snapshots, which the next run removes, or data that nobody names, which the next prune frees.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from jobs import log, manifest, restic
from jobs.backup_settings import Keep, Prune
from jobs.manifest import Manifest
from jobs.restic import Restic

__all__ = ["kept", "run"]

_ORPHAN_SECONDS = 24 * 3600
"""A snapshot that no manifest names is of a set in the making, which takes less than a day, or of a killed run."""


def run(wanted: Prune) -> dict[str, Any]:
    """Forget, prune and return the result record.

    Raises:
        BackupMissing, SecretUnavailable, Busy, Unreachable …: the next run goes on.
    """
    begun = time.monotonic()
    repository = restic.opened(wanted.store, lock_seconds=wanted.lock_seconds)
    sets = manifest.every(wanted.store)
    keep = kept(sets, wanted.keep)
    leaving = [one for one in sets if one.set not in keep]
    orphans = _forget(repository, sets, leaving)
    for one in leaving:
        manifest.remove(wanted.store, one)
    repository.prune()
    seconds = round(time.monotonic() - begun, 2)
    log.info("Old sets are gone", forgotten=len(leaving), kept=len(keep), orphans=orphans, seconds=seconds)
    return {
        "forgotten": [one.set for one in leaving],
        "kept": sorted(keep),
        "orphans": orphans,
        "seconds": seconds,
    }


def kept(sets: Sequence[Manifest], keep: Keep) -> frozenset[str]:
    """Ids of the sets that stay: by generations of verified sets, the newest of each day, week, month and year.

    The newest verified set always stays, and what failed after it, since that tells why.
    """
    verified = sorted((one for one in sets if one.verified), key=lambda one: one.set, reverse=True)
    wishes = {"%Y-%m-%d": keep.daily, "%G-%V": keep.weekly, "%Y-%m": keep.monthly, "%Y": keep.yearly}
    newest = [verified[0].set] if verified else []
    generations = {one for form, count in wishes.items() for one in _newest_of_each(verified, form=form, count=count)}
    failed = [one.set for one in sets if not one.verified and (not newest or one.set > newest[0])]
    return frozenset({*newest, *generations, *failed})


def _newest_of_each(newest_first: Iterable[Manifest], *, form: str, count: int) -> list[str]:
    found: dict[str, str] = {}
    for one in newest_first:
        found.setdefault(datetime.fromisoformat(one.begun.replace("Z", "+00:00")).strftime(form), one.set)
    return list(found.values())[:count]


def _forget(repository: Restic, sets: Sequence[Manifest], leaving: Sequence[Manifest]) -> int:
    """Forget the snapshots of sets that leave, and of sets that never came to be. Returns how many of those.

    Where no set is left, its manifests may be what is lost: then nothing is taken for a set that never came to be.
    """
    known = {f"set={one.set}" for one in sets}
    leave = {f"set={one.set}" for one in leaving}
    going, orphans = [], []
    for identity, snapshot in repository.snapshots().items():
        tags = {tag for tag in snapshot.get("tags") or () if tag.startswith("set=")}
        if tags & leave:
            going.append(identity)
        elif known and tags and not tags & known and restic.age(snapshot["time"]) > _ORPHAN_SECONDS:
            orphans.append(identity)
    repository.forget([*going, *orphans])
    return len(orphans)
