"""A server's binary log from its first start on, and how much of it was there at a moment.

Played into an empty data directory it gives the data of then. MySQL plays it itself, as a replica its relay log.
"""

from __future__ import annotations

import os
import shutil
import struct
import time
from pathlib import Path
from typing import Any

from pymysql.connections import Connection
from pymysql.cursors import DictCursor

from gcp_openemr.sandbox.interfaces import Refused

__all__ = ["REPLAY_OPTIONS", "cut", "finish", "lay_out", "make_ready", "options"]

REPLAY_OPTIONS = ("--server-id=2", "--relay-log=relay", "--skip-networking")
_DIRECTORY = "log"
_LATE = "late"
_FIRST = 4  # behind the file's magic number
_HEADER = struct.Struct("<IBIIIH")  # time, kind, server, size, next, flags
_TRANSACTIONS = (33, 34)  # the kinds of event with which one begins
_SECONDS = 600.0


def options(disk: str) -> list[str]:
    """What makes a server keep its log, whose disk is mounted at `disk` for it."""
    place = f"{disk}/{_DIRECTORY}/binlog"
    kept = ("--server-id=1", "--sync-binlog=0", "--binlog-expire-logs-seconds=604800")
    return [f"--log-bin={place}", f"--log-bin-index={place}.index", *kept]


def make_ready(disk: Path, uid: int, *, data: bool) -> None:
    """A directory for the log; `data`: there is data already, which the log will not have."""
    if (disk / _DIRECTORY).is_dir():
        return
    (disk / _DIRECTORY).mkdir(mode=0o700)
    os.chown(disk / _DIRECTORY, uid, uid)
    if data:
        (disk / _DIRECTORY / _LATE).touch()


def cut(disk: Path, at: float) -> None:
    """Leave of a log what was written before a moment, up to the end of a transaction.

    Raises:
        Refused: there is no log, or it does not go back to the beginning.
    """
    logs = _logs(disk)
    if not logs or (disk / _DIRECTORY / _LATE).exists():
        raise Refused("The binary log of the instance does not go back to its beginning.", code=9)
    for number, log in enumerate(logs):
        end = _end(log, at)
        if end is not None:
            os.truncate(log, end)
            for later in logs[number + 1 :]:
                later.unlink()
            break
    index = disk / _DIRECTORY / "binlog.index"
    names = {log.name for log in _logs(disk)}
    index.write_text("".join(line for line in index.read_text().splitlines(True) if Path(line.strip()).name in names))


def lay_out(disk: Path, data: Path, uid: int) -> None:
    """Put a log where `finish` has it played from, in the data directory of a server that does not run yet."""
    logs = _logs(disk)
    for number, log in enumerate(logs, start=1):
        shutil.copyfile(log, data / f"relay.{number:06}")
    (data / "relay.index").write_text("".join(f"./relay.{number:06}\n" for number in range(1, len(logs) + 1)))
    for path in data.glob("relay.*"):
        os.chown(path, uid, uid)


def finish(connection: Connection[Any], data: Path) -> None:
    """Have a server play what was laid out. Raises Refused with its reason when it cannot."""
    last = sorted(data.glob("relay.0*"))[-1]
    until = f"RELAY_LOG_FILE='{last.name}', RELAY_LOG_POS={last.stat().st_size}"
    with connection.cursor(DictCursor) as cursor:
        cursor.execute(
            f"CHANGE REPLICATION SOURCE TO SOURCE_HOST='log', RELAY_LOG_FILE='relay.000001', RELAY_LOG_POS={_FIRST}"
        )
        cursor.execute(f"START REPLICA SQL_THREAD UNTIL {until}")
        deadline = time.monotonic() + _SECONDS
        while True:
            cursor.execute("SHOW REPLICA STATUS")
            state = cursor.fetchone() or {}
            if state["Last_SQL_Error"] or time.monotonic() > deadline:
                raise Refused(f"The binary log cannot be played: {state['Last_SQL_Error'] or 'it takes too long'}.")
            if state["Replica_SQL_Running"] == "No":
                break
            time.sleep(0.05)
        cursor.execute("RESET REPLICA ALL")


def _logs(disk: Path) -> list[Path]:
    return sorted((disk / _DIRECTORY).glob("binlog.0*"))


def _end(log: Path, at: float) -> int | None:
    """Where the first transaction that is not before `at` begins; None where all are."""
    place = _FIRST
    with log.open("rb") as file:
        while True:
            file.seek(place)
            head = file.read(_HEADER.size)
            if len(head) < _HEADER.size:
                return None
            when, kind, _, size, *_ = _HEADER.unpack(head)
            if kind in _TRANSACTIONS and when >= at:
                return place
            place += size
