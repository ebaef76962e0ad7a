"""The clinic's own MySQL account, which changes its own password and may have two: the first and the old one beside it.

MySQL has a first password and at most one more. `IDENTIFIED BY x RETAIN CURRENT PASSWORD` makes x the first and the
first the old one, whatever was the old one before; without RETAIN the old one stays what it was; `DISCARD OLD PASSWORD`
ends it (https://dev.mysql.com/doc/refman/8.0/en/password-management.html#dual-passwords). So a password that has to
stay is made the first before another is taken in front of it, and before the old one is discarded.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence

from jobs import database, log
from jobs.backup_settings import Clinic
from jobs.database import Connection
from jobs.errors import DatabaseRefused, Refused
from jobs.redacted import Redacted

__all__ = ["Account"]

_SET = "ALTER USER USER() IDENTIFIED BY %s"
_NO_PRIVILEGE = {1227, 1064}
_REUSE_FORBIDDEN = 3638
_GONE = 1094  # a thread that has ended meanwhile


@dataclasses.dataclass(frozen=True, kw_only=True)
class Account:
    """`still_ours` is asked before each change; it raises where another rotation may be at work.

    `own_thread` is the connection that holds this rotation's lock.
    """

    clinic: Clinic
    still_ours: Callable[[], None]
    own_thread: int = 0

    def opens(self, password: Redacted) -> bool:
        try:
            with self._connection(password):
                return True
        except DatabaseRefused:
            return False

    def accept(self, fresh: Redacted, others: Sequence[Redacted]) -> str:
        """Take `fresh` beside the one in use, the first of `others` that opens. Returns what was amiss, or ''.

        Raises:
            Refused: no password opens the account, or it may not have two.
        """
        if self.opens(fresh):
            return ""
        working = next((one for one in others if self.opens(one)), None)
        if working is None:
            raise Refused(
                f"MySQL takes no enabled password of {self.clinic.user}: it was changed by hand.",
                do="Run gcp-openemr rotate, which has provision set it again; or run gcp-openemr deploy.",
            )
        with self._connection(working) as connection:
            if others[0] is not working:
                # people are shut out at this moment: their password comes first
                self._alter(connection, _SET, others[0])
            else:
                self._make_first(connection, working)
            self._alter(connection, f"{_SET} RETAIN CURRENT PASSWORD", fresh)
        return "" if others[0] is working else "the password in force was not MySQL's; it is again"

    def keep_only(self, password: Redacted, *, in_front: Sequence[Redacted] = (), at_once: bool = False) -> None:
        """End every other password. `at_once`: and the sessions that were begun with one.

        `in_front` are those that may be the first one, where this password is not.

        Raises:
            Refused: a policy forbids to make it the first one; ending the old one would end just this.
        """
        with self._connection(password) as connection:
            if not self._make_first(connection, password) and any(self.opens(other) for other in in_front):
                raise Refused(
                    f"A policy of this MySQL server forbids to set the password of {self.clinic.user} again that "
                    "was in force before, so the new one cannot be taken back. Both are valid.",
                    do="Take password_history and password_reuse_interval off the instance, then run gcp-openemr "
                    "rotate.",
                )
            self._change(connection, "ALTER USER USER() DISCARD OLD PASSWORD")
            if at_once:
                self._end_sessions(connection)

    def set_at_once(self, fresh: Redacted, others: Sequence[Redacted]) -> None:
        """Take `fresh` in place of every other one.

        Raises:
            Refused: no password opens the account, or it may not end an old one.
        """
        if not self.opens(fresh):
            working = next((one for one in others if self.opens(one)), None)
            if working is None:
                raise Refused(
                    f"MySQL takes no enabled password of {self.clinic.user}: it was changed by hand.",
                    do="Run gcp-openemr deploy, which sets it again.",
                )
            with self._connection(working) as connection:
                # an account that may not keep the old one could not end it either; here it is refused before any change
                self._alter(connection, f"{_SET} RETAIN CURRENT PASSWORD", fresh)
        self.keep_only(fresh, at_once=True)

    def _make_first(self, connection: Connection, password: Redacted) -> bool:
        """A password that works becomes the first. False where a policy forbids to set it again."""
        try:
            self._alter(connection, _SET, password)
        except DatabaseRefused as error:
            if error.number != _REUSE_FORBIDDEN:
                raise
            log.warning("A policy of this server forbids to set a password again; it is taken to be the first")
            return False
        return True

    def _alter(self, connection: Connection, statement: str, password: Redacted) -> None:
        try:
            self._change(connection, statement, [password.reveal()])
        except DatabaseRefused as error:
            if error.number not in _NO_PRIVILEGE:
                raise
            raise Refused(
                f"{self.clinic.user} may not keep an old password beside a new one: {error.what}",
                do="Run gcp-openemr deploy, whose job provision grants it; "
                "its log says if the server does not grant it: then this password cannot be rotated.",
            ) from error

    def _change(self, connection: Connection, statement: str, values: Sequence[str] = ()) -> None:
        self.still_ours()
        database.run(connection, statement, values or None)

    def _end_sessions(self, connection: Connection) -> None:
        """An account sees its own sessions and may end them."""
        threads = database.rows(
            connection,
            "SELECT ID FROM information_schema.PROCESSLIST WHERE USER = SUBSTRING_INDEX(USER(), '@', 1)"
            " AND ID NOT IN (CONNECTION_ID(), %s)",
            [self.own_thread],
        )
        for (thread,) in threads:
            try:
                database.run(connection, f"KILL {int(thread)}")
            except DatabaseRefused as error:
                if error.number != _GONE:
                    raise

    @contextlib.contextmanager
    def _connection(self, password: Redacted) -> Iterator[Connection]:
        connection = database.connect(self.clinic.server, self.clinic.user, password, self.clinic.schema)
        with connection:
            yield connection
