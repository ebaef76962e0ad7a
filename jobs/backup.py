"""backup: one consistent set of a clinic, database first, files after, and the manifest that proves it.

Files that the database names are written before their row and are there when the row is read: what is missing among the
files of a set was deleted meanwhile, or is lost on the share, and the manifest says which. The clinic's lock keeps
restores, installations and other backups away for so long; people go on working.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from jobs import (
    bucket,
    clinic_state,
    database,
    documents,
    dump,
    keys,
    log,
    manifest,
    marker,
    metrics,
    restic,
    secrets,
    set_names,
    share,
)
from jobs.backup_settings import MakeSet
from jobs.database import Connection
from jobs.errors import BackupInvalid, BackupMissing, Refused, ShareUnusable
from jobs.manifest import Documents, Keys, Manifest, Part
from jobs.redacted import Redacted
from jobs.restic import Restic
from jobs.settings import Store

__all__ = ["SITE", "drill_age", "run"]

SITE = "default"
# caches and what a page is making: OpenEMR makes their folders' content anew
_EXCLUDED = ("default/documents/temp/*", "default/documents/smarty/*/*", "default/documents/mpdf/pdf_tmp/*")
_ATTEMPTS = 2
_DAY_SECONDS = 86_400
_BRING_BACK = "Bring the bucket's deleted objects back (soft delete), or move what is left away to start anew."
_SWAP = (
    "A restore was interrupted while it put its checked copy in place, so there is no set of what is half of each.",
    "Finish it with the command that was interrupted, or: gcp-openemr deploy",
)
_BEGUN = {
    "upgrade": (
        "An upgrade was begun, so there is no set of what is between two releases.",
        "Finish it: gcp-openemr upgrade --to VERSION. Or go back: gcp-openemr upgrade --back",
    ),
    "swap": _SWAP,
    "undo": _SWAP,
}


def run(wanted: MakeSet) -> dict[str, Any]:
    """Make a set and return the result record.

    Raises:
        BackupInvalid: the set failed a check; its manifest tells which.
        Refused: an upgrade, or the swap of a restore, was begun; there is no set.
        BackupMissing, BackupForbidden, SecretUnavailable, Busy, Unreachable …: there is no set.
    """
    begun = time.monotonic()
    site = wanted.clinic.sites / SITE
    if not site.is_dir():
        raise ShareUnusable(f"{site} is not there.", do="Deploy the clinic first: gcp-openemr deploy")
    password = secrets.access(wanted.clinic.password)
    connection = database.connect(wanted.clinic.server, wanted.clinic.user, password, wanted.clinic.schema)
    with connection, database.locked(connection, wanted.clinic.schema, seconds=wanted.lock_seconds) as lock:
        _refuse_half_of_two(wanted)
        repository = restic.opened(wanted.store, lock_seconds=wanted.lock_seconds)
        names, sets = manifest.names(wanted.store), manifest.readable(wanted.store)
        if not names and not repository.exists():
            _refuse_half_begun(wanted.store)
            repository.create()
        for attempt in range(1, _ATTEMPTS + 1):
            making = _Making(
                wanted, repository, connection, names[-1] if names else "", sets[-1] if sets else None, begun
            )
            with _repository_there():
                made = making.make(password, retry=attempt < _ATTEMPTS)
            if made is not None:
                break
            log.warning("Documents or keys changed while the set was made; it is made again")
        lock.check()
        place = manifest.write(wanted.store, made) if made else ""
    assert made is not None  # noqa: S101  # the last attempt has no other
    if not made.verified:
        raise BackupInvalid(
            f"The set {made.set} failed its checks: {'; '.join(made.problems)}.",
            do="See what is lost; a new set accepts what this one already reports.",
        )
    _tell_of_drills(wanted)
    log.info("The set is complete", set=made.set, seconds=made.seconds)
    return {"set": made.set, "state": made.state, "manifest": place, **_told(made)}


def _told(made: Manifest) -> dict[str, Any]:
    return {
        "bytes": made.database.bytes + made.files.bytes,
        "added": made.database.added + made.files.added,
        "files": made.files.count,
        "tables": len(made.tables),
        "documents": dataclasses.asdict(made.documents),
        "begun": made.begun,
        "seconds": made.seconds,
    }


def _tell_of_drills(wanted: MakeSet) -> None:
    """How long ago the last one was: as a metric, and when it is too long in a line that an alert waits for."""
    seconds = drill_age(manifest.readable(wanted.store))
    metrics.write(wanted.clinic, wanted.store.clinic, {"drill_age": seconds})
    if 0 < wanted.drill_days * _DAY_SECONDS < seconds:
        log.error(f"No set was restored for a trial in {wanted.drill_days} days.", overdue="drill")


def drill_age(sets: Sequence[Manifest]) -> float:
    """Seconds since the last good drill; where there was none, since the oldest set."""
    drills = [checked.when for one in sets for checked in one.checked if checked.how == "drill"]
    since = max(drills, default="") or min((one.begun for one in sets), default="")
    if not since:
        return 0.0
    return max((datetime.now(UTC) - datetime.fromisoformat(since.replace("Z", "+00:00"))).total_seconds(), 0.0)


@contextlib.contextmanager
def _repository_there() -> Iterator[None]:
    """Where a repository went, an empty one in its place would hide the loss.

    Raises:
        BackupInvalid: it is gone.
    """
    try:
        yield
    except BackupMissing as error:
        raise BackupInvalid(
            f"The repository of the sets is gone. {error.what}",
            do=_BRING_BACK,
        ) from error


def _refuse_half_of_two(wanted: MakeSet) -> None:
    """A set of files from before and a database from after, or of two releases, would look whole.

    Raises:
        Refused: its record's `begun` says what was begun.
    """
    begun = marker.read(wanted.clinic.sites)
    told = _BEGUN.get(begun.doing) if begun else None
    if begun and told:
        refused = Refused(told[0], do=told[1])
        refused.record = {"begun": begun.doing}
        raise refused


def _refuse_half_begun(store: Store) -> None:
    """restic writes a key, then the config. With a second key before the config it would take either for the right one.

    Raises:
        BackupInvalid: a run was killed between the two, or there was a repository.
    """
    place = f"gs://{store.bucket}/{store.objects}"
    found = bucket.names(store.bucket, store.objects)
    if not all(name.startswith(f"{store.objects}keys/") for name in found):
        raise BackupInvalid(f"The repository's config is gone from {place}, what it stored is not.", do=_BRING_BACK)
    if found:
        raise BackupInvalid(
            f"A run was killed when it began the repository: in {place} there is a key, and nothing that it opens.",
            do=f"Remove it, then run the same command again: gcloud storage rm '{place}keys/**'",
        )


@dataclasses.dataclass(frozen=True)
class _Making:
    """One attempt at a set; `newest` is the id of the newest that there is, `before` the newest that can be read."""

    wanted: MakeSet
    repository: Restic
    connection: Connection
    newest: str
    before: Manifest | None
    begun: float

    def make(self, password: Redacted, *, retry: bool) -> Manifest | None:
        """None where another attempt is worth it."""
        clinic = self.wanted.clinic
        identity = set_names.fresh(self.connection, self.newest)
        tag = f"set={identity}"
        with database.connect(clinic.server, clinic.user, password, clinic.schema) as reading:
            database_saved, dumped = self.repository.save_stream(
                dump.NAME, [tag, "part=database"], lambda out: dump.write(reading, clinic.schema, out)
            )
        share_keys = keys.on_share(clinic.sites / SITE)
        files_saved = self.repository.save_folder(clinic.sites, SITE, [tag, "part=files"], excluded=_EXCLUDED)
        listed = self.repository.files(files_saved.snapshot)
        found = {path.removeprefix(f"{SITE}/") for path in listed}
        lost = documents.missing(dumped.named, found.__contains__)
        still_named = documents.named(self.connection) if lost else {}
        missing = [one for one in lost if one in still_named]
        known = self.before.documents.missing if self.before else ()  # reported already: they fail no other set
        fresh = [one for one in missing if one not in known]
        after = keys.on_share(clinic.sites / SITE)
        if retry and (fresh or share_keys != after):
            return None
        problems = [
            *self._unread(files_saved),
            *([f"{len(fresh)} documents have no file: ids {', '.join(fresh[:5])}"] if fresh else []),
            *clinic_state.unmatched_keys(
                {p.rpartition("/")[2] for p in found if p.startswith(keys.METHODS)}, dumped.facts.keys
            ),
            *(["the encryption keys changed while the set was made"] if share_keys != after else []),
            *self._snapshot_problems(dumped, database_saved, files_saved),
        ]
        finished = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        return Manifest(
            clinic=self.wanted.store.clinic,
            set=identity,
            state="failed" if problems else "verified",
            problems=tuple(problems),
            openemr=self._versions(dumped.facts),
            begun=dumped.moment,
            finished=finished,
            seconds=round(time.monotonic() - self.begun, 2),
            position=dumped.position,
            tables=dumped.rows,
            documents=Documents(
                named=len(dumped.named),
                found=len(dumped.named) - len(lost),
                deleted_meanwhile=tuple(one for one in lost if one not in still_named),
                missing=tuple(missing),
            ),
            keys=Keys(database=dumped.keys, share=share_keys),
            database=Part(
                snapshot=database_saved.snapshot, bytes=dumped.bytes, added=database_saved.added, sha256=dumped.sha256
            ),
            files=Part(
                snapshot=files_saved.snapshot, bytes=sum(listed.values()), added=files_saved.added, count=len(listed)
            ),
            left_out=dumped.left_out,
            source={
                "project": clinic.project,
                "environment": clinic.environment,
                "instance": clinic.server.host,
                **({"before": "restore"} if self.wanted.before_restore else {}),
            },
        )

    def _unread(self, saved: restic.Summary) -> list[str]:
        """Files that could not be read though they are still there."""
        return [f"{path} cannot be read" for path in saved.unread if (self.wanted.clinic.sites / path).exists()]

    def _snapshot_problems(self, dumped: dump.Dumped, first: restic.Summary, second: restic.Summary) -> list[str]:
        problems = []
        if not (first.snapshot and second.snapshot):
            problems.append("restic tells of no snapshot")
        if first.bytes != dumped.bytes:
            problems.append(f"{dumped.bytes} bytes were dumped, but {first.bytes} stored")
        if not dumped.facts.complete:
            problems.append("the database is not a whole OpenEMR: version, users or access rows are missing")
        return problems

    def _versions(self, facts: clinic_state.DatabaseFacts) -> Mapping[str, Any]:
        counter = self.wanted.clinic.sites / SITE / "docker-version"
        with share.errors_told(f"{counter} cannot be read"):
            text = counter.read_text().strip() if counter.is_file() else ""
        return {"release": facts.release, "database": facts.version, "container": text}
