"""Installing OpenEMR into an empty share and an empty schema, with OpenEMR's own installer."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from jobs import clinic_state, database, log, marker, php, share, sqlconf, tables
from jobs import site as layout
from jobs.database import Connection, Lock, identifier
from jobs.errors import InstallFailed
from jobs.redacted import Redacted
from jobs.settings import NfsInit

__all__ = ["install", "remove_begun"]

_BESIDE = ".staging-install"


def install(wanted: NfsInit, lock: Lock, password: Redacted, admin_password: Redacted) -> dict[str, Any]:
    """Install and return what the result record tells of it. Success is judged by facts in the database.

    Raises:
        InstallFailed: the installer complained, or did not leave a working clinic; the next run starts again.
    """
    begun = time.monotonic()
    site = wanted.sites / "default"
    lock.check()
    marker.write(wanted.sites, marker.Marker(doing="install"))
    _lay_skeleton(wanted, site)
    php.install(wanted, password, admin_password)
    php.make_keys(wanted, password)
    facts = _check(wanted, lock.connection, site)
    # only now does the site say that it is configured
    sqlconf.write(site)
    marker.clear(wanted.sites)
    seconds = round(time.monotonic() - begun, 2)
    log.info("OpenEMR is installed", tables=len(facts.tables), seconds=seconds)
    return {"release": facts.release, "tables": len(facts.tables), "admin_user": wanted.admin_user, "seconds": seconds}


def remove_begun(wanted: NfsInit, connection: Connection) -> None:
    """Remove an interrupted installation, in which there is no patient by the decision's own look."""
    log.info("Removing an interrupted installation")
    tables.empty(connection, wanted.schema)
    share.remove_tree(wanted.sites / "default")
    marker.clear(wanted.sites)


def _lay_skeleton(wanted: NfsInit, site: Path) -> None:
    """The image's skeleton beside, then in place by one rename."""
    skeleton = wanted.skeleton / "default"
    if not skeleton.is_dir():
        raise InstallFailed(f"The image has no skeleton of a site at {skeleton}.", do="Build the image again.")
    beside = wanted.sites / _BESIDE
    share.remove_tree(beside)
    share.copy_tree(skeleton, beside)
    layout.ensure_layout(beside)
    sqlconf.write(beside, configured=False)
    sqlconf.write_authority(beside, wanted.server.authority)
    with share.errors_told(f"{site} cannot be put in place"):
        beside.rename(site)


def _check(wanted: NfsInit, connection: Connection, site: Path) -> clinic_state.DatabaseFacts:
    """Version, administrator, access rows and keys, whatever the installer said."""
    facts = clinic_state.look_at_database(connection, wanted.schema)
    code, release = clinic_state.code_version(wanted.application)
    admin = database.value(
        connection,
        f"SELECT COUNT(*) FROM {identifier(wanted.schema)}.users_secure WHERE username = %s",  # noqa: S608  # quoted
        [wanted.admin_user],
    )
    site_keys = clinic_state.look_at_site(site).keys
    lacking = {
        f"version {release}": facts.version == code,
        f"the user {wanted.admin_user}": admin == 1,
        "access rows": facts.access_rows > 0,
        "encryption keys": bool(facts.keys) and not clinic_state.unmatched_keys(site_keys, facts.keys),
    }
    missing = [fact for fact, there in lacking.items() if not there]
    if missing:
        raise InstallFailed(f"The installer left no working clinic: {', '.join(missing)} missing.")
    return facts
