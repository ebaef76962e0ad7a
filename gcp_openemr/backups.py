"""Backup sets: what their manifests say, and which set is meant.

A set is one clinic's database and files as of one moment. Its manifest, `clinics/CLINIC/backups/sets/ID.json`, is
written by the backup job and read here, if its sum says that it is what was written; the data is in the restic
repository beside it. Ids begin with the moment at which the dump began, so they sort by time.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import datetime
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from google.api_core.exceptions import NotFound
from pydantic import BaseModel, ConfigDict, ValidationError

from gcp_openemr import sealed
from gcp_openemr.clients import Cloud
from gcp_openemr.errors import InputMissing, UsageError

__all__ = [
    "BackupSet",
    "Check",
    "choose",
    "choose_to_restore",
    "clinics",
    "filled_with",
    "growth",
    "latest_run",
    "manifest",
    "moment",
    "nearest",
    "newest",
    "read_sets",
    "repository",
    "whole",
]

_ID = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{4}")
_READ_AT_ONCE = 8
_CLINICS = "clinics/"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Documents(_Part):
    """Documents that the database names, and those of them whose files are in the set."""

    named: int = 0
    found: int = 0


class Version(_Part):
    """Of OpenEMR: its release and the number of its database's structure."""

    release: str = ""
    database: int = 0


class Snapshot(_Part):
    """One half of a set in the repository. Sizes in bytes: of the source, and what the repository grew by."""

    snapshot: str = ""
    bytes: int = 0
    added: int = 0


class Check(_Part):
    """When a set was read back, and how: `verify 5%`, `verify all`, `drill`."""

    when: datetime.datetime
    how: str


class BackupSet(_Part):
    """What a manifest says. `tables` is rows by table; `problems` says why a set is not `verified`."""

    set: str
    clinic: str
    state: str
    begun: datetime.datetime
    problems: tuple[str, ...] = ()
    openemr: Version = Version()
    tables: Mapping[str, int] = {}
    documents: Documents = Documents()
    database: Snapshot = Snapshot()
    files: Snapshot = Snapshot()
    checked: tuple[Check, ...] = ()
    source: Mapping[str, str] = {}
    format: int = sealed.FORMAT

    @property
    def has_sum(self) -> bool:
        """Of manifests of before they had one, a changed digit cannot be told."""
        return self.format >= sealed.FORMAT

    @property
    def is_verified(self) -> bool:
        return self.state == "verified"

    @property
    def is_before_restore(self) -> bool:
        """Whether it was made of what a restore was about to replace."""
        return self.source.get("before") == "restore"

    @property
    def bytes(self) -> int:
        """Of the source, both halves."""
        return self.database.bytes + self.files.bytes

    @property
    def added(self) -> int:
        """By which the repository grew, in bytes."""
        return self.database.added + self.files.added

    @property
    def last_check(self) -> Check | None:
        return max(self.checked, key=lambda check: check.when, default=None)


def repository(bucket: str, clinic: str) -> str:
    """Where a clinic's restic repository is, as restic names it."""
    return f"gs:{bucket}:/clinics/{clinic}/backups/repository"


def manifest(bucket: str, found: BackupSet) -> str:
    """Where a set's manifest is, as `gs://…`."""
    return f"gs://{bucket}/{_sets(found.clinic)}{found.set}.json"


def clinics(cloud: Cloud, bucket: str) -> list[str]:
    """Names of all clinics that have a folder there: also of those that were destroyed and left their sets.

    Raises:
        InputMissing: there is no such bucket.
    """
    listed = cloud.storage.list_blobs(bucket, prefix=_CLINICS, delimiter="/")
    with _bucket_there(bucket):
        for _ in listed:
            pass
    return sorted(folder.removeprefix(_CLINICS).rstrip("/") for folder in listed.prefixes)


def read_sets(cloud: Cloud, bucket: str, clinic: str) -> tuple[list[BackupSet], list[str]]:
    """All sets of a clinic, newest first, and a sentence for each manifest that cannot be read.

    Raises:
        InputMissing: there is no such bucket.
    """
    names = _names(cloud, bucket, _sets(clinic))
    with concurrent.futures.ThreadPoolExecutor(_READ_AT_ONCE) as pool:
        read = list(pool.map(lambda name: _read(cloud, bucket, name), reversed(names)))
    return [found for found in read if isinstance(found, BackupSet)], [text for text in read if isinstance(text, str)]


def newest(cloud: Cloud, bucket: str, clinic: str) -> BackupSet | None:
    """The newest set, whatever its state; None where there is none that can be read."""
    names = _names(cloud, bucket, _sets(clinic))
    found = _read(cloud, bucket, names[-1]) if names else None
    return found if isinstance(found, BackupSet) else None


def latest_run(cloud: Cloud, bucket: str, clinic: str, job: str) -> dict[str, Any] | None:
    """The record of the last run of a clinic's job, with `at` added; None when none left one, or one without form."""
    names = _names(cloud, bucket, _runs(clinic, job))
    return _run(cloud, bucket, names[-1]) if names else None


def filled_with(cloud: Cloud, bucket: str, clinic: str) -> str:
    """The id of the set, or the address, that nfs-init last put in place of nothing; '' where no record tells.

    Raises:
        InputMissing: there is no such bucket.
    """
    for name in reversed(_names(cloud, bucket, _runs(clinic, "nfs-init"))):
        record = _run(cloud, bucket, name) or {}
        if record.get("ok") and record.get("decision") in ("restore", "finish-swap"):
            return str(record.get("source", ""))
    return ""


def whole(content: bytes) -> dict[str, Any]:
    """A manifest's body.

    Raises:
        ValueError: it is none, or not what was written.
    """
    body = json.loads(content)
    if not isinstance(body, dict) or not sealed.is_whole(body):
        raise ValueError("it is damaged, since its sum is not that of what it says")
    return body


def choose(sets: Sequence[BackupSet], wanted: str) -> BackupSet:
    """The set that `wanted` means: `latest`, an id, or a moment (the last set begun by then).

    Raises:
        UsageError: there is none, or the one named failed its own checks.
    """
    known = _known(sets)
    if _ID.fullmatch(wanted):
        return _named(sets, wanted, known)
    until = None if wanted == "latest" else moment(wanted)
    if until is None and wanted != "latest":
        raise UsageError(
            f"{wanted!r} is no backup set, moment or address.",
            do='Write "latest", a set\'s id, a time in UTC such as 2026-11-22T02:00, gs://BUCKET/OBJECT or drive:ID.',
        )
    fitting = [one for one in sets if one.is_verified and (until is None or one.begun <= until)]
    if not fitting:
        when = f" from {until:%Y-%m-%d %H:%M} UTC or before" if until else ""
        raise UsageError(f"There is no verified backup set{when}.", do=known)
    return max(fitting, key=lambda one: one.begun)


def choose_to_restore(sets: Sequence[BackupSet], wanted: str) -> BackupSet:
    """As `choose`, but `latest` passes over the sets of what restores replaced: people wanted to get away from that.

    So it means the same set when a restore that was cut off is run again.

    Raises:
        UsageError: as `choose` does; also where there are no others.
    """
    if wanted != "latest":
        return choose(sets, wanted)
    others = [one for one in sets if not one.is_before_restore]
    if any(one.is_verified for one in sets) and not any(one.is_verified for one in others):
        raise UsageError(
            "There is no verified backup set but those of what restores replaced.",
            do="Name one by its id. See: gcp-openemr backup list",
        )
    return choose(others, wanted)


def nearest(sets: Sequence[BackupSet], when: datetime.datetime) -> BackupSet:
    """The verified set that was begun nearest to a moment, before or after it.

    Raises:
        UsageError: there is none.
    """
    verified = [one for one in sets if one.is_verified]
    if not verified:
        raise UsageError("There is no verified backup set.", do=_known(sets))
    return min(verified, key=lambda one: abs(one.begun - when))


def moment(text: str) -> datetime.datetime | None:
    """A time as ISO 8601 writes it, as UTC, in which it is where it names no zone; None where it is none."""
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    return found.astimezone(datetime.UTC) if found.tzinfo else found.replace(tzinfo=datetime.UTC)


def growth(older: BackupSet, newer: BackupSet) -> dict[str, int]:
    """Rows that `newer` has more (or fewer) than `older`, by table, most first; tables that did not change left out."""
    names = {*older.tables, *newer.tables}
    changes = {name: newer.tables.get(name, 0) - older.tables.get(name, 0) for name in names}
    return {name: rows for name, rows in sorted(changes.items(), key=lambda item: (-abs(item[1]), item[0])) if rows}


def _named(sets: Sequence[BackupSet], wanted: str, known: str) -> BackupSet:
    found = next((one for one in sets if one.set == wanted), None)
    if found is None:
        raise UsageError(f"There is no backup set {wanted}.", do=known)
    if not found.is_verified:
        problems = "; ".join(found.problems) or "no reason was written down"
        raise UsageError(f"Backup set {wanted} failed its own checks: {problems}.", do=known)
    return found


def _known(sets: Sequence[BackupSet]) -> str:
    verified = sum(one.is_verified for one in sets)
    if not sets:
        return "There are no sets of this clinic. Make one: gcp-openemr backup create"
    return f"{verified} of {len(sets)} sets are verified. See: gcp-openemr backup list"


def _sets(clinic: str) -> str:
    return f"{_CLINICS}{clinic}/backups/sets/"


def _runs(clinic: str, job: str) -> str:
    return f"{_CLINICS}{clinic}/runs/{job}/"


def _run(cloud: Cloud, bucket: str, name: str) -> dict[str, Any] | None:
    try:
        record = json.loads(cloud.storage.bucket(bucket).blob(name).download_as_bytes())
    except (NotFound, ValueError):
        return None
    at = name.rpartition("/")[2].removesuffix(".json")
    return {**record, "at": moment(at)} if isinstance(record, dict) else None


def _names(cloud: Cloud, bucket: str, prefix: str) -> list[str]:
    with _bucket_there(bucket):
        return sorted(b.name for b in cloud.storage.list_blobs(bucket, prefix=prefix) if b.name.endswith(".json"))


@contextlib.contextmanager
def _bucket_there(bucket: str) -> Iterator[None]:
    try:
        yield
    except NotFound as error:
        raise InputMissing(f"There is no bucket {bucket}.", do="Name another one, or deploy first.") from error


def _read(cloud: Cloud, bucket: str, name: str) -> BackupSet | str:
    try:
        body = whole(cloud.storage.bucket(bucket).blob(name).download_as_bytes())
        return BackupSet.model_validate(body)
    except NotFound:
        return f"gs://{bucket}/{name} was removed meanwhile."
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        return f"gs://{bucket}/{name} is no manifest that this version reads: {place}: {first['msg']}."
    except ValueError as error:
        return f"gs://{bucket}/{name} is no manifest that this version reads: {error}."
