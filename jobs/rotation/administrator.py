"""The password of OpenEMR's administrator, as OpenEMR keeps it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from jobs import database, log, php
from jobs.backup_settings import Clinic
from jobs.database import Connection, identifier
from jobs.errors import Refused
from jobs.redacted import Redacted

__all__ = ["Administrator", "Seen"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seen:
    """How the user was found: which of the passwords is stored (its place, or None), and what to tell an operator."""

    stored: str = dataclasses.field(repr=False)
    is_of: int | None
    fresh: str = dataclasses.field(repr=False)
    locked_by: tuple[str, ...]
    second_factors: tuple[str, ...]

    def as_record(self) -> dict[str, Any]:
        return {"locked_by": list(self.locked_by), "second_factors": list(self.second_factors)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Administrator:
    """One user of the clinic, reached with the clinic's own database password."""

    clinic: Clinic
    user: str
    database_password: Redacted
    still_ours: Callable[[], None]

    def look(self, passwords: Sequence[Redacted], fresh: Redacted | None = None) -> Seen:
        """Raises Refused when there is no such user."""
        reached = php.Database(
            server=self.clinic.server,
            schema=self.clinic.schema,
            user=self.clinic.user,
            password=self.database_password,
        )
        found = php.administrator(self.clinic.application, reached, self.user, passwords, fresh=fresh)
        if not found["found"]:
            raise Refused(
                f"OpenEMR has no user {self.user!r}.",
                do="Set [openemr] admin_user to the administrator's name, then deploy.",
            )
        matching = [place for place, verifies in enumerate(found["verifies"]) if verifies]
        return Seen(
            stored=found["stored"],
            is_of=matching[0] if matching else None,
            fresh=found["fresh"] or "",
            locked_by=tuple(found["locked_by"]),
            second_factors=tuple(found["second_factors"]),
        )

    def set(self, connection: Connection, seen: Seen) -> None:
        """Store the new hash in place of the one that was seen; what failed logins locked is open again.

        Raises:
            Refused: somebody changed the password meanwhile.
        """
        table = f"{identifier(self.clinic.schema)}.users_secure"
        self.still_ours()
        cursor = database.run(
            connection,
            f"UPDATE {table} SET password = %s, last_update_password = NOW(), login_fail_counter = 0"  # noqa: S608 - quoted
            " WHERE BINARY username = %s AND BINARY password = %s",
            [seen.fresh, self.user, seen.stored],
        )
        if cursor.rowcount != 1:
            raise Refused(
                f"The password of {self.user} was changed just now by another.", do="Run the same command again."
            )
        if "inactive" in seen.locked_by:
            log.warning(f"The user {self.user} is inactive in OpenEMR; it stays so, and cannot log in")
