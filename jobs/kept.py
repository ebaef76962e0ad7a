"""What a restore over a living clinic replaced: its files in a hidden folder, its tables in a schema, and a note.

There is one kept copy at most. It goes so many days after the clinic answered as healthy, or when the next restore
replaces it.
"""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

from jobs import log, share, tables
from jobs.database import Connection
from jobs.errors import Refused
from jobs.settings import NfsInit

__all__ = ["PREFIX", "Kept", "clear_old", "look", "noted", "remove_other_files", "settle", "write"]

PREFIX = ".replaced-"
_NAME = ".kept.json"
_DAY_SECONDS = 86_400


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kept:
    """`files` is the folder's name in sites/, `source` what took its place, `when` seconds since the epoch.

    `undone`: it is not what was there before a restore, but what that restore had brought. `settled`: the run that kept
    it came to its end, so that the same command again is another wish, not the rest of that one. `answered`: when a run
    was first told that the clinic answers with what took its place.
    """

    files: str
    source: str
    when: int
    undone: bool = False
    settled: bool = False
    answered: int = 0
    views: tuple[str, ...] = ()
    triggers: tuple[str, ...] = ()


def look(wanted: NfsInit, connection: Connection) -> Kept | None:
    """The kept copy, where both its files and its tables are there. Raises as `noted` does."""
    kept = noted(wanted)
    if kept is None:
        return None
    whole = (wanted.sites / kept.files).is_dir() and tables.base_tables(connection, wanted.kept_schema)
    return kept if whole else None


def noted(wanted: NfsInit) -> Kept | None:
    """What the note says, whatever of the copy is there: half a clinic that a restore replaced is kept as well.

    Raises:
        Refused: it cannot be understood.
    """
    note = wanted.sites / _NAME
    with share.errors_told(f"{note} cannot be read"):
        if not note.is_file() or not wanted.kept_schema:
            return None
        text = note.read_text()
    try:
        found: dict[str, Any] = json.loads(text)
        return Kept(views=tuple(found.pop("views")), triggers=tuple(found.pop("triggers")), **found)
    except (ValueError, TypeError, KeyError) as error:
        raise Refused(f"{note} cannot be understood; a newer version of this job may have written it.") from error


def write(sites: Path, kept: Kept) -> None:
    share.write_atomically(sites / _NAME, json.dumps(dataclasses.asdict(kept)), mode=share.PRIVATE_MODE)


def settle(wanted: NfsInit) -> None:
    """At the end of a run."""
    kept = noted(wanted)
    if kept is not None and not kept.settled:
        write(wanted.sites, dataclasses.replace(kept, settled=True))


def remove_other_files(sites: Path, name: str) -> None:
    """Remove the files of earlier copies, all but the folder `name`."""
    for folder in sorted(sites.glob(f"{PREFIX}*")):
        if folder.name != name:
            share.remove_tree(folder)


def clear_old(wanted: NfsInit, connection: Connection) -> None:
    """Remove a kept copy when its days are over; its note last. For whole files with a whole database only.

    Its days begin when the clinic answers: what is whole may serve nobody all the same, and then the copy is the way
    back.
    """
    kept = noted(wanted)
    if kept is None or not (kept.answered or wanted.answered):
        return
    if not kept.answered:
        kept = dataclasses.replace(kept, answered=int(time.time()))
        write(wanted.sites, kept)
    if time.time() - kept.answered < wanted.keep_replaced_days * _DAY_SECONDS:
        return
    log.info("Removing what a restore replaced", path=kept.files, days=wanted.keep_replaced_days)
    tables.empty(connection, wanted.kept_schema)
    remove_other_files(wanted.sites, "")
    share.remove_file(wanted.sites / _NAME)
