"""The manifest of a backup set: what it holds and what proves it, a JSON object in the backup bucket.

A set is there when its manifest is: it is written last, and removed after the snapshots it names. It carries a sum of
itself (jobs/sealed.py), which whoever reads it checks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from jobs import bucket, log, sealed
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
    "names",
    "readable",
    "remove",
    "require_verified",
    "write",
]

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

    `openemr` has `release`, `database` (number) and `container` (counter); `source` project, environment, instance
    and, for a set of what a restore replaces, `before`.
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
    format: int = sealed.FORMAT
    source: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def verified(self) -> bool:
        return self.state == "verified"

    @property
    def has_sum(self) -> bool:
        """Those of before manifests had one are believed as they are."""
        return self.format >= sealed.FORMAT

    @property
    def snapshots(self) -> tuple[str, str]:
        return self.database.snapshot, self.files.snapshot


def write(store: Store, manifest: Manifest) -> str:
    """Write it with its sum and return its `gs://…`; there is none of this set yet."""
    bucket.create(store.bucket, store.manifest(manifest.set), sealed.sealed(dataclasses.asdict(manifest)))
    return f"gs://{store.bucket}/{store.manifest(manifest.set)}"


def names(store: Store) -> list[str]:
    """Ids of all sets, the oldest first, whatever their manifests hold."""
    found = bucket.names(store.bucket, store.sets)
    return [name.removeprefix(store.sets).removesuffix(".json") for name in found if name.endswith(".json")]


def every(store: Store) -> list[Manifest]:
    """All sets, the oldest first. What is no manifest is an error, not an absent set.

    Raises:
        BackupInvalid: one is damaged, or cannot be understood.
    """
    return [_read(store, store.manifest(identity)) for identity in names(store)]


def readable(store: Store) -> list[Manifest]:
    """Those of all sets that can be believed; of the others the log tells, and verify and prune fail."""
    found = []
    for identity in names(store):
        try:
            found.append(_read(store, store.manifest(identity)))
        except BackupInvalid as error:
            log.warning(f"{error.what} {error.do}", set=identity)
    return found


def choose(store: Store, wanted: str) -> Manifest:
    """The set of this id, or the newest verified one for `latest`.

    Raises:
        BackupMissing: there is none.
        BackupInvalid: its manifest is damaged, or, for `latest`, one that is newer.
        Refused: it failed its checks, or is another clinic's.
    """
    if wanted == LATEST:
        for identity in reversed(names(store)):
            found = _read(store, store.manifest(identity))
            if found.verified:
                return found
        raise BackupMissing(f"{store.clinic} has no verified backup set.", do="Make one: gcp-openemr backup create")
    found = _read(store, store.manifest(wanted))
    if not found.verified:
        raise Refused(f"The set {wanted} failed its checks: {'; '.join(found.problems)}.", do="Choose another set.")
    return found


def mark_checked(store: Store, sets: Sequence[Manifest], checked: Checked) -> None:
    """Note a check in the manifests, beside what other runs note; the manifest of a set that was pruned stays gone.

    Raises:
        BackupInvalid: one was damaged meanwhile; a new sum would hide that.
    """
    told = dataclasses.asdict(checked)
    for found in sets:
        name = store.manifest(found.set)

        def marked(body: dict[str, Any], name: str = name) -> dict[str, Any]:
            earlier = [one for one in _whole(name, body)["checked"] if one != told]
            return sealed.sealed({**body, "checked": [*earlier, told]})

        bucket.change(store.bucket, name, marked)


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
        found = _whole(uri, bucket.read(holder, name))
    except BackupInvalid as error:
        raise Refused(f"{uri} is no manifest of a backup set. {error.what}", do=error.do) from error
    facts = {"clinic": found.get("clinic"), "state": found.get("state")}
    if facts != {"clinic": clinic, "state": "verified"}:
        raise Refused(
            f"{uri} is no verified backup set of the clinic {clinic}, but {facts}.",
            do="Make a backup set and verify it first: gcp-openemr backup create, gcp-openemr backup verify",
        )


def _read(store: Store, name: str) -> Manifest:
    found = _whole(name, bucket.read(store.bucket, name))
    try:
        manifest = _manifest(found)
    except (KeyError, TypeError, AttributeError) as error:
        raise BackupInvalid(f"{name} is no manifest of a backup set: {error}.") from error
    if manifest.clinic != store.clinic or store.manifest(manifest.set) != name:
        raise Refused(f"{name} is the manifest of {manifest.clinic}'s set {manifest.set}.")
    return manifest


def _whole(name: str, body: dict[str, Any]) -> dict[str, Any]:
    """The same, which is what was written.

    Raises:
        BackupInvalid: it is not, or of a format that is newer than this code.
    """
    if not sealed.is_whole(body):
        raise BackupInvalid(
            f"{name} is damaged: its sum is not that of what it says.",
            do="The bucket keeps what was replaced for 30 days (gcloud storage ls --all-versions): copy the version"
            " before over it. Until then restore another set.",
        )
    if body["format"] > sealed.FORMAT:
        raise BackupInvalid(f"{name} was written by a newer version.", do="Use the version that wrote it.")
    return body


def _manifest(found: dict[str, Any]) -> Manifest:
    found.pop("sum", None)
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
