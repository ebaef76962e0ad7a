"""Putting a checked copy in place of what is there: announced first, so that the next run finishes what this began.

Files change place by two renames inside the mount, tables by one statement; each is skipped when it is done already.
"""

from __future__ import annotations

import time

from jobs import log, marker, share, tables
from jobs.database import Connection, Lock
from jobs.errors import Refused
from jobs.settings import NfsInit

__all__ = ["STAGING_PREFIX", "begin_swap", "finish_swap", "remove_leftovers"]

STAGING_PREFIX = ".staging-"
KEPT_PREFIX = ".replaced-"


def remove_leftovers(wanted: NfsInit, connection: Connection) -> None:
    """Remove what an interrupted run unpacked beside the clinic. Never called while a swap is pending."""
    for leftover in sorted(wanted.sites.glob(f"{STAGING_PREFIX}*")):
        log.info("Removing what an interrupted run unpacked", path=leftover.name)
        share.remove_tree(leftover)
    tables.empty(connection, wanted.staging_schema)


def begin_swap(wanted: NfsInit, lock: Lock, staging: str, source: str) -> None:
    """Announce the swap; from here it is finished, by this run or the next."""
    lock.check()
    views, triggers = tables.views_and_triggers(lock.connection, wanted.staging_schema)
    marker.write(
        wanted.sites,
        marker.Marker(
            doing="swap",
            staging=staging,
            kept=f"{KEPT_PREFIX}{int(time.time()):x}",
            source=source,
            views=views,
            triggers=triggers,
        ),
    )


def finish_swap(wanted: NfsInit, lock: Lock) -> str:
    """Put the checked copy in place: files by two renames, tables by one statement, each skipped when it is done.

    Returns the name of the directory that keeps the files that were there before; empty when there were none.
    """
    announced = marker.read(wanted.sites)
    if announced is None or announced.doing != "swap":
        raise Refused("No swap was announced.")
    live, kept = wanted.sites / "default", wanted.sites / announced.kept
    new = wanted.sites / announced.staging / "default"
    lock.check()
    with share.errors_told("the restored files cannot be put in place"):
        if new.is_dir():
            if live.is_dir():
                live.rename(kept)
            new.rename(live)
    lock.check()
    tables.move(lock.connection, wanted.staging_schema, wanted.schema)
    tables.create_again(lock.connection, wanted.schema, announced.views, announced.triggers)
    marker.clear(wanted.sites)
    share.remove_tree(wanted.sites / announced.staging)
    log.info("The restored clinic is in place", kept=kept.name if kept.is_dir() else "")
    return kept.name if kept.is_dir() else ""
