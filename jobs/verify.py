"""verify: manifests and repository are whole, and every set's snapshots are in it. Reads nothing of the clinic."""

from __future__ import annotations

import time
from typing import Any

from jobs import log, manifest, restic
from jobs.backup_settings import Verify
from jobs.errors import BackupInvalid, BackupMissing
from jobs.manifest import Checked, Manifest

__all__ = ["run"]


def run(wanted: Verify) -> dict[str, Any]:
    """Check, mark the sets as checked and return the result record.

    Raises:
        BackupInvalid: a manifest or the repository is damaged, or a set's snapshot is not in it.
        BackupMissing: there is no such set, or none at all.
    """
    begun = time.monotonic()
    sets = _sets(wanted)
    repository = restic.opened(wanted.store, lock_seconds=wanted.lock_seconds)
    part = "all" if wanted.read_data == 100 else f"{wanted.read_data}%"
    log.info("Checking the repository", sets=len(sets), data_read=part)
    repository.check(wanted.read_data)
    there = repository.snapshots()
    lost = [one.set for one in sets if not all(_among(snapshot, there) for snapshot in one.snapshots)]
    if lost := sorted({*lost} & {one.set for one in _sets(wanted)}):  # prune removes snapshots, then their manifest
        raise BackupInvalid(
            f"The repository is whole, but has no snapshots of the sets {', '.join(lost)}.",
            do="Restore from another set; bring deleted objects back while the bucket's soft delete holds them.",
        )
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    manifest.mark_checked(wanted.store, sets, Checked(when=moment, how=f"verify {part}"))
    seconds = round(time.monotonic() - begun, 2)
    without_sum = [one.set for one in sets if not one.has_sum]
    log.info("The repository is whole", sets=len(sets), seconds=seconds, without_sum=len(without_sum))
    return {
        "sets": [one.set for one in sets],
        "without_sum": without_sum,
        "data_read": part,
        "checked": moment,
        "seconds": seconds,
    }


def _sets(wanted: Verify) -> list[Manifest]:
    if wanted.set:
        return [manifest.choose(wanted.store, wanted.set)]
    verified = [one for one in manifest.every(wanted.store) if one.verified]
    if not verified:
        raise BackupMissing(
            f"{wanted.store.clinic} has no verified backup set.", do="Make one: gcp-openemr backup create"
        )
    return verified


def _among(snapshot: str, there: dict[str, Any]) -> bool:
    return any(identity.startswith(snapshot) for identity in there)
