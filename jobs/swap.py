"""Putting a checked copy in place of what is there: announced first, so that the next run finishes what this began.

Files change place by two renames inside the mount, tables by one statement; each is skipped when it is done already.
What was there is kept beside: its files in a hidden folder, its tables in the kept schema. Going back is the same swap
with the kept copy; what that replaces is kept in turn, but not brought back by another undo, which may only be the
same command again.
"""

from __future__ import annotations

import dataclasses
import time

from jobs import kept, log, maintenance, marker, share, tables
from jobs.database import Connection, Lock
from jobs.errors import Refused
from jobs.kept import Kept
from jobs.marker import Marker
from jobs.settings import NfsInit

__all__ = ["STAGING_PREFIX", "begin_swap", "begin_undo", "finish_swap", "remove_leftovers"]

STAGING_PREFIX = ".staging-"


def remove_leftovers(wanted: NfsInit, connection: Connection) -> None:
    """Remove what an interrupted run unpacked beside the clinic. Never called while a swap is pending."""
    for leftover in sorted(wanted.sites.glob(f"{STAGING_PREFIX}*")):
        log.info("Removing what an interrupted run unpacked", path=leftover.name)
        share.remove_tree(leftover)
    tables.empty(connection, wanted.staging_schema)


def begin_swap(wanted: NfsInit, lock: Lock, staging: str, source: str) -> None:
    """Announce that staging's files and tables take the clinic's place; it is finished, by this run or the next."""
    lock.check()
    views, triggers = tables.views_and_triggers(lock.connection, wanted.staging_schema)
    _announce(
        wanted, lock, Marker(doing="swap", staging=f"{staging}/default", source=source, views=views, triggers=triggers)
    )


def begin_undo(wanted: NfsInit, lock: Lock, copy: Kept) -> None:
    """Announce that the kept copy takes the clinic's place again."""
    lock.check()
    source = f"kept since {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(copy.when))}"
    _announce(
        wanted,
        lock,
        Marker(doing="undo", staging=copy.files, source=source, views=copy.views, triggers=copy.triggers),
    )


def _announce(wanted: NfsInit, lock: Lock, announced: Marker) -> None:
    views, triggers = tables.views_and_triggers(lock.connection, wanted.schema)
    name = f"{kept.PREFIX}{time.time_ns():x}"
    marker.write(wanted.sites, dataclasses.replace(announced, kept=name, kept_views=views, kept_triggers=triggers))


def finish_swap(wanted: NfsInit, lock: Lock) -> str:
    """Put the announced copy in place, and end the maintenance page where it is not to stay.

    Returns the name of the copy that keeps what was there before; empty when nothing was.
    """
    announced = marker.read(wanted.sites)
    if announced is None or announced.doing not in ("swap", "undo"):
        raise Refused("No swap was announced.")
    live, replaced = wanted.sites / "default", wanted.sites / announced.kept
    new = wanted.sites / announced.staging
    lock.check()
    with share.errors_told("the restored files cannot be put in place"):
        if new.is_dir():
            if live.is_dir():
                live.rename(replaced)
            new.rename(live)
    lock.check()
    announced = _move_tables(wanted, lock, announced)
    tables.create_again(lock.connection, wanted.schema, announced.views, announced.triggers)
    with_tables = wanted.kept_schema and tables.base_tables(lock.connection, wanted.kept_schema)
    name = announced.kept if replaced.is_dir() or with_tables else ""
    if name:
        note = Kept(
            files=name,
            source=announced.source,
            when=int(time.time()),
            undone=announced.doing == "undo",
            views=announced.kept_views,
            triggers=announced.kept_triggers,
        )
        kept.write(wanted.sites, note)
    lock.check()
    if not wanted.keep_page:
        maintenance.end(wanted.sites)
    kept.remove_other_files(wanted.sites, announced.kept)  # it may take long, and people work again
    marker.clear(wanted.sites)
    if announced.doing == "swap":
        share.remove_tree(new.parent)
    log.info("The restored clinic is in place", kept=name)
    return name


def _move_tables(wanted: NfsInit, lock: Lock, announced: Marker) -> Marker:
    connection = lock.connection
    if announced.doing == "swap":
        if wanted.kept_schema and tables.base_tables(connection, wanted.staging_schema):
            tables.empty(connection, wanted.kept_schema)  # of the restore before the last
        tables.move(connection, wanted.staging_schema, wanted.schema, wanted.kept_schema)
        return announced
    # the kept schema is full before and after: the marker tells which it is
    if not announced.moved:
        tables.move(connection, wanted.kept_schema, wanted.schema, wanted.staging_schema)
        announced = dataclasses.replace(announced, moved=True)
        marker.write(wanted.sites, announced)
    lock.check()
    tables.move(connection, wanted.staging_schema, wanted.kept_schema)
    return announced
