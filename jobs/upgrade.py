"""upgrade: brings a clinic's database and files from an older OpenEMR to this image's, with OpenEMR's own scripts.

A note on the share says that it has begun, and from which release; a run that was killed is continued by the next,
since OpenEMR's scripts skip what is done and write the version last. The maintenance page stays up at the end: nfs-init
ends it when the new revision serves. `PAGE_ONLY=yes` looks at all of that, shows the page, and changes nothing, so that
the set to go back to can be made then. `REHEARSE=yes` upgrades a copy made of a backup set, and removes the copy.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jobs import (
    clinic_state,
    database,
    documents,
    log,
    maintenance,
    marker,
    ownership,
    php,
    secrets,
    sets,
    share,
    sqlconf,
    tables,
)
from jobs import site as layout
from jobs.clinic_state import DatabaseFacts, SiteFacts
from jobs.database import Connection
from jobs.errors import Refused, UpgradeFailed
from jobs.settings import Backup
from jobs.upgrade_settings import Upgrade

__all__ = ["run"]

_REHEARSAL = ".upgrade-"
_CACHES = ("documents/smarty/gacl", "documents/smarty/main")
_BACK = "Go back: gcp-openemr upgrade --back"


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Place:
    """What is upgraded: a site of OpenEMR, by its name below sites/, and its schema."""

    name: str
    site: Path
    schema: str


def run(wanted: Upgrade) -> dict[str, Any]:
    """Upgrade, and return the result record.

    Raises:
        Refused: the data is not of the release that this starts from; nothing was changed.
        UpgradeFailed: a script complained or left something else than this release; run again or go back.
    """
    clinic = wanted.clinic
    _check_image(wanted)
    share.check_writable(clinic.sites)
    if wanted.rehearse:
        return _rehearse(wanted)
    password = secrets.access(clinic.password)
    reached = php.Database(server=clinic.server, schema=clinic.schema, user=clinic.user, password=password)
    connection = database.connect(clinic.server, clinic.user, password, clinic.schema)
    with connection, database.locked(connection, clinic.schema, seconds=wanted.lock_seconds) as lock:
        place = _Place(name="default", site=clinic.sites / "default", schema=clinic.schema)
        before = clinic_state.look_at_database(lock.connection, place.schema)
        begun = marker.read(clinic.sites)
        if _is_done(wanted, place, before, begun):
            return {"from": wanted.release_before, "to": before.release, "already": True, "set": wanted.set}
        _check_data(wanted, place, before, begun)
        if wanted.page_only:
            with maintenance.until_upgraded(clinic.sites, drain_seconds=0 if begun else wanted.drain_seconds):
                return {"page": True}
        log.info("The upgrade begins", release=before.release, to=wanted.release, resumed=begun is not None)
        with maintenance.until_upgraded(clinic.sites, drain_seconds=0 if begun else wanted.drain_seconds):
            lock.check()
            counts = begun.counts if begun else _counts(before)
            marker.write(clinic.sites, marker.Marker(doing="upgrade", source=wanted.release_before, counts=counts))
            record = _upgrade(wanted, place, reached, lock.connection, counts)
            lock.check()
            _count_up(wanted, place.site)
            marker.clear(clinic.sites)
    return {"set": wanted.set, "already": False, **record}


def _check_image(wanted: Upgrade) -> None:
    """This image is of the wanted release, and has a way from the release before."""
    application = wanted.clinic.application
    _, release = clinic_state.code_version(application)
    if release != wanted.release:
        raise Refused(
            f"This image holds OpenEMR {release}, but {wanted.release} is wanted.", do="Build the image again."
        )
    if not clinic_state.upgrades_from(application, wanted.release_before):
        raise Refused(
            f"OpenEMR {release} has no way from {wanted.release_before}: none of its scripts begins there.",
            do="Upgrade to a release between the two first.",
        )


def _is_done(wanted: Upgrade, place: _Place, found: DatabaseFacts, begun: marker.Marker | None) -> bool:
    """Database and files are of this release already, and nothing is under way."""
    code, _ = clinic_state.code_version(wanted.clinic.application)
    return begun is None and found.version == code and _counter(place.site) == _counter(wanted.clinic.application)


def _check_data(wanted: Upgrade, place: _Place, found: DatabaseFacts, begun: marker.Marker | None) -> None:
    """What is there is a whole clinic of the release before, or half upgraded from it.

    Raises:
        Refused: with what is there instead.
    """
    if begun is not None and begun.doing == "upgrade":
        if begun.source != wanted.release_before:
            raise Refused(f"An upgrade from {begun.source} was begun, not one from {wanted.release_before}.", do=_BACK)
        return
    if begun is not None:
        raise Refused(
            f"A run that was to {begun.doing} was interrupted.", do="Finish it first: run that same command again."
        )
    site = clinic_state.look_at_site(place.site)
    problems = [*_not_whole(site, found), *_other_release(wanted, place, found)]
    if problems:
        raise Refused(f"Nothing was changed: {'; '.join(problems)}.", do="See gcp-openemr status.")


def _not_whole(site: SiteFacts, found: DatabaseFacts) -> Iterator[str]:
    if not site.present or not found.complete:
        yield "the clinic is not whole: its files, version, users or access rows are missing"
    yield from clinic_state.unmatched_keys(site.keys, found.keys)


def _other_release(wanted: Upgrade, place: _Place, found: DatabaseFacts) -> Iterator[str]:
    if found.release != wanted.release_before:
        yield f"the database is of OpenEMR {found.release or 'no release'}, not of {wanted.release_before}"
    ours, theirs = _counter(wanted.clinic.application), _counter(place.site)
    if ours is not None and theirs is not None and theirs >= ours:
        yield f"the files' docker-version is {theirs} and this image's {ours}: they do not belong to this database"


def _upgrade(
    wanted: Upgrade, place: _Place, reached: php.Database, connection: Connection, counts: Mapping[str, int]
) -> dict[str, Any]:
    """Files first, then OpenEMR's scripts, then a look at what they left."""
    begun = time.monotonic()
    _bring_files(wanted, place.site)
    output = php.upgrade(wanted.clinic.application, place.name, "sql_upgrade.php", wanted.release_before, reached)
    after = clinic_state.look_at_database(connection, place.schema)
    _check_result(wanted, place, after, counts)
    seconds = round(time.monotonic() - begun, 2)
    log.info("The database is upgraded", release=after.release, seconds=seconds)
    return {
        "from": wanted.release_before,
        "to": after.release,
        "files": output.files,
        "statements": output.statements,
        "upgrade_seconds": seconds,
        "tables": len(after.tables),
    }


def _bring_files(wanted: Upgrade, site: Path) -> None:
    """Folders and settings of this release; the old config.php stays beside, since a clinic may have changed it."""
    layout.ensure_layout(site)
    for cache in _CACHES:
        for entry in sorted((site / cache).iterdir()):
            share.remove_tree(entry) if entry.is_dir() else share.remove_file(entry)
    ours, theirs = wanted.skeleton / "default" / "config.php", site / "config.php"
    if ours.is_file():
        kept = site / f"config.php.{wanted.release_before}"
        if theirs.is_file() and not kept.is_file():
            share.write_atomically(kept, theirs.read_text())
        share.write_atomically(theirs, ours.read_text())
    sqlconf.write(site)
    sqlconf.write_authority(site, wanted.clinic.server.authority)
    ownership.put_right(site)


def _check_result(wanted: Upgrade, place: _Place, after: DatabaseFacts, counts: Mapping[str, int]) -> None:
    code, release = clinic_state.code_version(wanted.clinic.application)
    site = clinic_state.look_at_site(place.site)
    problems = [*_not_whole(site, after)]
    if (after.version, after.release) != (code, release):
        problems.append(f"the database says OpenEMR {after.release} ({after.version}), not {release} ({code})")
    fewer = [name for name, count in _counts(after).items() if count < counts.get(name, 0)]
    problems += [f"there are {_counts(after)[name]} {name} where there were {counts[name]}" for name in fewer]
    if problems:
        raise UpgradeFailed(f"The upgrade left no whole OpenEMR {release}: {'; '.join(problems)}.", do=_BACK)


def _counts(found: DatabaseFacts) -> dict[str, int]:
    return {"users": found.users, "patients": found.patients, "documents": found.documents}


def _counter(folder: Path) -> int | None:
    """OpenEMR's counter of container lines; None where there is none."""
    file = folder / "docker-version"
    text = file.read_text().strip() if file.is_file() else ""
    return int(text) if text.isdigit() else None


def _count_up(wanted: Upgrade, site: Path) -> None:
    """The site belongs to this release from now on; without the file, the service would not compare."""
    counter = wanted.clinic.application / "docker-version"
    if counter.is_file():
        share.write_atomically(site / "docker-version", counter.read_text())


def _rehearse(wanted: Upgrade) -> dict[str, Any]:
    """The newest set, or the named one, restored beside the clinic, upgraded, looked at and removed again."""
    clinic = wanted.clinic
    password = secrets.access(clinic.password)
    opened = sets.opened(
        Backup(source="set", place=wanted.set or "latest", store=wanted.store), lock_seconds=wanted.lock_seconds
    )
    made = opened.found
    if made.openemr["release"] != wanted.release_before:
        raise Refused(f"The set {made.set} is of OpenEMR {made.openemr['release']}, not of {wanted.release_before}.")
    reached = php.Database(server=clinic.server, schema=wanted.scratch_schema, user=clinic.user, password=password)
    connection = database.connect(clinic.server, clinic.user, password, wanted.scratch_schema)
    with (
        connection,
        database.locked(connection, wanted.scratch_schema, seconds=wanted.lock_seconds),
        _copy(clinic.sites, connection, wanted.scratch_schema) as unpacked,
    ):
        opened.unpack(unpacked.site, connection, unpacked.schema)
        place = _as_site_of_openemr(clinic.sites, unpacked)
        counts = _counts(clinic_state.look_at_database(connection, place.schema))
        record = _upgrade(wanted, place, reached, connection, counts)
        found = documents.require(connection, place.site, known=opened.lost(connection, place.site))
    return {"rehearsed": True, "set": made.set, "documents": found, **record}


@contextlib.contextmanager
def _copy(sites: Path, connection: Connection, schema: str) -> Iterator[_Place]:
    """An empty folder and an empty schema, gone again afterwards; what a killed rehearsal left goes first."""
    _clear(sites, connection, schema)
    site = sites / f"{_REHEARSAL}set" / "default"
    share.ensure_directory(site)
    try:
        yield _Place(name="", site=site, schema=schema)
    finally:
        _clear(sites, connection, schema)


def _as_site_of_openemr(sites: Path, place: _Place) -> _Place:
    """OpenEMR finds a site by its name directly below sites/."""
    site = sites / f"{_REHEARSAL}site"
    with share.errors_told(f"{place.site} cannot be put in place"):
        place.site.rename(site)
    return dataclasses.replace(place, name=site.name, site=site)


def _clear(sites: Path, connection: Connection, schema: str) -> None:
    for leftover in sorted(sites.glob(f"{_REHEARSAL}*")):
        share.remove_tree(leftover)
    tables.empty(connection, schema)
