"""The manifest of a backup set: what it holds and what proves it, a JSON object in the backup bucket.

A set is there when its manifest is: it is written last, and removed after the snapshots it names.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from jobs import bucket
from jobs.errors import BackupInvalid, BackupMissing, Refused
from jobs.settings import Store

__all__ = [
    "Checked",
    "Documents",
    "Keys",
    "Manifest",
    "Part",
    "choose",
    "every",
    "mark_checked",
    "remove",
    "require_verified",
    "write",
]

_FORMAT = 1
LATEST = "latest"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """One of the two snapshots: its id in the repository, its bytes, and how many of them were new there."""

    snapshot: str
    bytes: int
    added: int
    count: int = 0
    sha256: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Documents:
    """How many documents the dump names, how many of them are in the files; ids of those that are not."""

    named: int
    found: int
    deleted_meanwhile: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Keys:
    """SHA-256 over names and contents of the encryption keys, in the database and on the share."""

    database: str
    share: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checked:
    when: str
    how: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    """Times are RFC 3339 in UTC, by the database's clock. `position` is its GTID set, where it tells one.

    `openemr` has `release`, `database` (number) and `container` (counter); `source` project, environment, instance.
    """

    clinic: str
    set: str
    state: Literal["verified", "failed"]
    problems: tuple[str, ...]
    openemr: Mapping[str, Any]
    begun: str
    finished: str
    seconds: float
    position: str
    tables: Mapping[str, int]
    documents: Documents
    keys: Keys
    database: Part
    files: Part
    left_out: tuple[str, ...] = ()
    checked: tuple[Checked, ...] = ()
    source: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def verified(self) -> bool:
        return self.state == "verified"

    @property
    def snapshots(self) -> tuple[str, str]:
        return self.database.snapshot, self.files.snapshot


def write(store: Store, manifest: Manifest) -> str:
    """Write it and return its `gs://…`."""
    bucket.write(store.bucket, store.manifest(manifest.set), {"format": _FORMAT, **dataclasses.asdict(manifest)})
    return f"gs://{store.bucket}/{store.manifest(manifest.set)}"


def every(store: Store) -> list[Manifest]:
    """All sets, the oldest first. What is no manifest is an error, not an absent set.

    Raises:
        BackupInvalid: one cannot be understood.
    """
    return [_read(store, name) for name in bucket.names(store.bucket, store.sets) if name.endswith(".json")]


def choose(store: Store, wanted: str) -> Manifest:
    """The set of this id, or the newest verified one for `latest`.

    Raises:
        BackupMissing: there is none.
        Refused: it failed its checks, or is another clinic's.
    """
    if wanted == LATEST:
        for name in reversed(bucket.names(store.bucket, store.sets)):
            found = _read(store, name)
            if found.verified:
                return found
        raise BackupMissing(f"{store.clinic} has no verified backup set.", do="Make one: gcp-openemr backup create")
    found = _read(store, store.manifest(wanted))
    if not found.verified:
        raise Refused(f"The set {wanted} failed its checks: {'; '.join(found.problems)}.", do="Choose another set.")
    return found


def mark_checked(store: Store, sets: Sequence[Manifest], checked: Checked) -> None:
    """Note a check in the manifests, beside what other runs note; the manifest of a set that was pruned stays gone."""
    for found in sets:
        bucket.change(
            store.bucket,
            store.manifest(found.set),
            lambda body: {**body, "checked": [*body["checked"], dataclasses.asdict(checked)]},
        )


def remove(store: Store, found: Manifest) -> None:
    bucket.remove(store.bucket, store.manifest(found.set))


def require_verified(uri: str, clinic: str) -> None:
    """Make sure that `gs://bucket/object` is the manifest of a verified set of this clinic.

    Raises:
        Refused: it is another clinic's, not verified, or no manifest.
        BackupMissing, BackupForbidden, CloudRefused, Unreachable: it cannot be read.
    """
    holder, _, name = uri.removeprefix("gs://").partition("/")
    try:
        found = bucket.read(holder, name)
    except BackupInvalid as error:
        raise Refused(f"{uri} is no manifest of a backup set.") from error
    facts = {"clinic": found.get("clinic"), "state": found.get("state")}
    if facts != {"clinic": clinic, "state": "verified"}:
        raise Refused(
            f"{uri} is no verified backup set of the clinic {clinic}, but {facts}.",
            do="Make a backup set and verify it first: gcp-openemr backup create, gcp-openemr backup verify",
        )


def _read(store: Store, name: str) -> Manifest:
    found = bucket.read(store.bucket, name)
    try:
        if found.pop("format") != _FORMAT:
            raise BackupInvalid(f"{name} was written by a newer version.", do="Use the version that wrote it.")
        manifest = _manifest(found)
    except (KeyError, TypeError, AttributeError) as error:
        raise BackupInvalid(f"{name} is no manifest of a backup set: {error}.") from error
    if manifest.clinic != store.clinic or store.manifest(manifest.set) != name:
        raise Refused(f"{name} is the manifest of {manifest.clinic}'s set {manifest.set}.")
    return manifest


def _manifest(found: dict[str, Any]) -> Manifest:
    documents: dict[str, Any] = {
        name: tuple(part) if isinstance(part, list) else part for name, part in found.pop("documents").items()
    }
    return Manifest(
        problems=tuple(found.pop("problems")),
        left_out=tuple(found.pop("left_out")),
        documents=Documents(**documents),
        keys=Keys(**found.pop("keys")),
        database=Part(**found.pop("database")),
        files=Part(**found.pop("files")),
        checked=tuple(Checked(**part) for part in found.pop("checked")),
        **found,
    )
