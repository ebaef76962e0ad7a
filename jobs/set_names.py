"""The names of backup sets, `YYYYMMDDTHHMMSSZ-` and four digits: in order of time, so the last is the newest set."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta

from jobs import database
from jobs.database import Connection
from jobs.errors import Refused

__all__ = ["fresh"]

_FORM = "%Y%m%dT%H%M%SZ"
_SECOND = timedelta(seconds=1)
_SKEW = timedelta(minutes=5)


def fresh(connection: Connection, newest: str) -> str:
    """A name after `newest`, which is empty where there is no set, by the database's clock, which all runs share.

    Raises:
        Refused: a clock is wrong; the order of sets, and which of restic's locks is stale, are known by it.
    """
    there = datetime.fromtimestamp(int(database.value(connection, "SELECT UNIX_TIMESTAMP()")), UTC)
    here = datetime.now(UTC)
    if abs(here - there) > _SKEW:
        raise Refused(
            f"The database's clock says {there:%Y-%m-%d %H:%M:%S} UTC, this job's {here:%Y-%m-%d %H:%M:%S}; no set was"
            " made.",
            do="Run the same command again; if the clocks differ still, ask Google's support.",
        )
    before = datetime.strptime(newest.partition("-")[0], _FORM).replace(tzinfo=UTC) if newest else there - _SECOND
    if before > there + _SKEW:
        raise Refused(
            f"The newest set, {newest}, is of the future: it is {there:%Y-%m-%d %H:%M} UTC. A set of now would not be"
            " the newest, so none was made.",
            do="A clock was wrong when that set was made: move its manifest out of sets/, then run again.",
        )
    return f"{max(there, before + _SECOND):{_FORM}}-{secrets.token_hex(2)}"
