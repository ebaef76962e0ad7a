"""MySQL: connections over verified TLS, and the lock that keeps two jobs off one clinic."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pymysql
from pymysql.cursors import Cursor

from jobs import log
from jobs.errors import Busy, DatabaseRefused, Unreachable
from jobs.redacted import Redacted
from jobs.settings import Server

__all__ = [
    "Connection",
    "Lock",
    "connect",
    "execute",
    "fetch",
    "identifier",
    "is_locked",
    "locked",
    "rows",
    "run",
    "value",
]

Connection = pymysql.connections.Connection

_ACCESS_DENIED = {1044, 1045, 1049, 1227, 1251, 3159, 4151}
_SESSION_SECONDS = 7 * 24 * 3600
# Cloud Run tells that the first packets of Direct VPC egress may take a minute or more
_CONNECT_SECONDS = 120.0
# the clinic's lock is silent while files are copied; Google's network forgets what is silent for ten minutes:
# https://cloud.google.com/compute/docs/troubleshooting/general-tips
_KEEPALIVE = {socket.TCP_KEEPIDLE: 60, socket.TCP_KEEPINTVL: 30, socket.TCP_KEEPCNT: 8}


def connect(server: Server, user: str, password: Redacted, schema: str | None = None) -> Connection:
    """Open a connection in autocommit mode; waits while the server cannot be reached yet.

    Raises:
        Unreachable: nothing answers, or the certificate is not the server's.
        DatabaseRefused: name, password or schema are wrong.
    """
    deadline = time.monotonic() + _CONNECT_SECONDS
    delay = 0.5
    while True:
        try:
            return _open(server, user, password, schema)
        except pymysql.OperationalError as error:
            number, words = error.args[0], str(error.args[-1])
            if number in _ACCESS_DENIED:
                raise DatabaseRefused(f"MySQL refused {user} at {server.host}: {words}") from error
            if "CERTIFICATE_VERIFY_FAILED" in words:
                raise Unreachable(f"{server.host} shows a certificate that is not its own: {words}") from error
            if time.monotonic() + delay > deadline:
                raise Unreachable(f"MySQL at {server.host}:{server.port} does not answer: {words}") from error
            log.info("MySQL does not answer yet", host=server.host)
        time.sleep(delay)
        delay = min(delay * 2, 10.0)


def _open(server: Server, user: str, password: Redacted, schema: str | None) -> Connection:
    context = ssl.create_default_context(cadata=server.authority) if server.authority else None
    connection = pymysql.connect(
        host=server.host,
        port=server.port,
        user=user,
        # as text it would be sent as Latin-1, and PHP sends UTF-8
        password=password.reveal().encode(),
        database=schema,
        charset="utf8mb4",
        autocommit=True,
        connect_timeout=10,
        ssl=context,
        init_command=f"SET SESSION wait_timeout={_SESSION_SECONDS}, SESSION net_write_timeout=600",
    )
    for option, number in _KEEPALIVE.items():  # that it is kept alive at all PyMySQL asks for
        connection._sock.setsockopt(socket.IPPROTO_TCP, option, number)  # type: ignore[attr-defined]
    return connection


def identifier(name: str) -> str:
    """A name for use in a statement."""
    return "`" + name.replace("`", "``") + "`"


def run(connection: Connection, statement: str | bytes, values: Sequence[Any] | None = None) -> Cursor:
    """Execute one statement. Values are not repeated in an error, the statement's first words are.

    Raises:
        Unreachable: the connection went away.
        DatabaseRefused: the server's reason.
    """
    cursor = connection.cursor()
    execute(cursor, statement, values)
    return cursor


def execute(cursor: Cursor, statement: str | bytes, values: Sequence[Any] | None = None) -> None:
    """As `run`, with a cursor of any kind."""
    with _told(statement):
        cursor.execute(statement, values)  # type: ignore[arg-type]


def fetch(cursor: Cursor, rows: int) -> Sequence[tuple[Any, ...]]:
    """The next rows of a cursor that leaves them with the server."""
    with _told("fetching rows"):
        return cursor.fetchmany(rows)


@contextlib.contextmanager
def _told(statement: str | bytes) -> Iterator[None]:
    try:
        yield
    except (pymysql.OperationalError, pymysql.InterfaceError) as error:
        number = error.args[0] if error.args else 0
        if number in (0, 2006, 2013, 2014, 2055, 4031, 1053):
            raise Unreachable(f"The connection to MySQL was lost: {error}") from error
        raise _refused(statement, error) from error
    except pymysql.MySQLError as error:
        raise _refused(statement, error) from error


def rows(connection: Connection, statement: str, values: Sequence[Any] | None = None) -> tuple[tuple[Any, ...], ...]:
    return run(connection, statement, values).fetchall()


def value(connection: Connection, statement: str, values: Sequence[Any] | None = None) -> Any:
    """The first column of the first row, or None."""
    row = run(connection, statement, values).fetchone()
    return row[0] if row else None


def _refused(statement: str | bytes, error: pymysql.MySQLError) -> DatabaseRefused:
    words = statement.decode("utf-8", "replace") if isinstance(statement, bytes) else statement
    start = " ".join(re.split(r"['\"(]", words[:200])[0].split()[:4])  # no values
    number, reason = (error.args[0], str(error.args[-1])) if error.args else (0, "")
    refused = DatabaseRefused(f"MySQL refused {start!r} …: {reason[:300]} ({number})")
    refused.number = number
    return refused


class Lock:
    """A held GET_LOCK. It vanishes with its connection (failover, idle timeout), so it is checked again."""

    def __init__(self, connection: Connection, name: str) -> None:
        self.connection = connection
        self._name = name

    def check(self) -> None:
        """Before each step that cannot be undone.

        Raises:
            Busy: the lock was lost; another job may be at work.
        """
        if value(self.connection, "SELECT IS_USED_LOCK(%s) = CONNECTION_ID()", [self._name]) != 1:
            raise Busy("The clinic's lock was lost; another job may be at work.", do="Run the same command again.")


@contextlib.contextmanager
def locked(connection: Connection, schema: str, *, seconds: int) -> Iterator[Lock]:
    """Hold the clinic's lock while the block runs.

    Raises:
        Busy: another job holds it for longer than `seconds`.
    """
    name = _lock_name(schema)
    if value(connection, "SELECT GET_LOCK(%s, 0)", [name]) != 1:
        log.info("Waiting for another job of this clinic", holder=_holder(connection, name), at_most_seconds=seconds)
        if value(connection, "SELECT GET_LOCK(%s, %s)", [name, seconds]) != 1:
            raise Busy(
                f"Another job works on this clinic ({_holder(connection, name)}).",
                do="Wait until it ends, then run the same command again.",
            )
    try:
        yield Lock(connection, name)
    finally:
        with contextlib.suppress(Exception):
            value(connection, "SELECT RELEASE_LOCK(%s)", [name])


def is_locked(connection: Connection, schema: str) -> bool:
    """Whether a job holds the clinic's lock."""
    return bool(value(connection, "SELECT IS_FREE_LOCK(%s)", [_lock_name(schema)]) != 1)


def _lock_name(schema: str) -> str:
    return f"gcp_openemr:{schema}"


def _holder(connection: Connection, name: str) -> str:
    holder = value(connection, "SELECT IS_USED_LOCK(%s)", [name])
    found = rows(connection, "SELECT HOST, TIME FROM information_schema.PROCESSLIST WHERE ID = %s", [holder or 0])
    return f"connection {holder} from {found[0][0]}" if found else f"connection {holder}"
