"""The documents that a database names, and which of them are files of a site."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from jobs import database, share
from jobs.database import Connection
from jobs.errors import BackupInvalid

__all__ = ["missing", "named", "require"]

_SHOWN = 5


def named(connection: Connection) -> dict[str, str]:
    """Id → path below the site of each document in a file; the path is empty where it leaves the site."""
    statement = "SELECT id, url FROM documents WHERE url LIKE 'file:%' AND deleted = 0"
    found = {}
    for identity, url in database.rows(connection, statement):
        below = str(url).partition("/documents/")[2]
        found[str(identity)] = f"documents/{below}" if below and ".." not in below else ""
    return found


def missing(wanted: Mapping[str, str], there: Callable[[str], bool]) -> list[str]:
    """Ids of documents without file; `there` tells of a path below the site whether it is one."""
    return [identity for identity, path in wanted.items() if not path or not there(path)]


def require(connection: Connection, site: Path, *, known: Collection[str] = ()) -> int:
    """Make sure that every document the database names is in the site, but for the `known` ones. Returns their number.

    Raises:
        BackupInvalid: with their number and the first ids.
    """
    wanted = named(connection)
    with share.errors_told("the restored documents cannot be looked at"):
        lost = [identity for identity in missing(wanted, lambda path: (site / path).is_file()) if identity not in known]
    if lost:
        shown = ", ".join(lost[:_SHOWN])
        raise BackupInvalid(
            f"{len(lost)} of {len(wanted)} documents that the database names are missing: ids {shown} …"
        )
    return len(wanted)
