"""background: OpenEMR's own background services (mail, reminders, results), which nobody logged in starts.

OpenEMR calls them from the pages of whoever is logged in, or from cron; a service whose instances sleep between
requests has neither. It keeps in `background_services` which of them is due and which is running, so that two calls at
once, of two runs or of a run and a page, do nothing twice.

The clinic's lock is looked at and not held: like a request, a run may go on beside a backup, and a restore or an
upgrade shows the maintenance page first.
"""

from __future__ import annotations

import time
from typing import Any

from jobs import clinic_state, database, log, maintenance, php, secrets
from jobs.background_settings import Background
from jobs.database import Connection

__all__ = ["run"]

# A service that began so long ago is dead: no run takes a day, and the clinic's time zone is hours from the database's.
_DEAD = "`running` = 1 AND `next_run` - INTERVAL `execute_interval` MINUTE < UTC_TIMESTAMP() - INTERVAL 36 HOUR"


def run(wanted: Background) -> dict[str, Any]:
    """Let the services run that are due, and return the result record; where the clinic is being worked on, none.

    Raises:
        InstallFailed: OpenEMR could not run them.
        Unreachable, DatabaseRefused, SecretUnavailable: as they say.
    """
    begun = time.monotonic()
    clinic = wanted.clinic
    password = secrets.access(clinic.password)
    with database.connect(clinic.server, clinic.user, password, clinic.schema) as connection:
        if reason := _not_now(wanted, connection):
            log.info(f"No background service was started: {reason}")
            return {"ran": [], "reason": reason}
        freed = _free_the_dead(connection)
        before = _times(connection)
        reached = php.Database(server=clinic.server, schema=clinic.schema, user=clinic.user, password=password)
        php.background_services(clinic.application, reached)
        ran = [name for name, due in _times(connection).items() if due != before.get(name)]
    return {"ran": ran, "freed": freed, "seconds": round(time.monotonic() - begun, 2)}


def _not_now(wanted: Background, connection: Connection) -> str:
    """Why nothing may touch the clinic's data at the moment, or ''."""
    clinic = wanted.clinic
    if maintenance.is_shown(clinic.sites):
        return "the maintenance page is shown"
    if database.is_locked(connection, clinic.schema):
        return "another job works on this clinic"
    code = clinic_state.code_version(clinic.application)[0]
    data = clinic_state.look_at_database(connection, clinic.schema).version
    if code != data:
        return f"the data is of database version {data}, and this image of {code}"
    return ""


def _free_the_dead(connection: Connection) -> list[str]:
    """Services that an instance took along when it ended: marked as running, OpenEMR would never start them again."""
    dead = database.rows(connection, f"SELECT `name` FROM `background_services` WHERE {_DEAD}")  # noqa: S608 - ours
    found = [str(name) for (name,) in dead]
    if found:
        database.run(connection, f"UPDATE `background_services` SET `running` = 0 WHERE {_DEAD}")  # noqa: S608 - ours
        log.warning("Background services were left as running by an instance that ended", services=found)
    return found


def _times(connection: Connection) -> dict[str, Any]:
    """When each service is due again."""
    return {
        str(name): due
        for name, due in database.rows(connection, "SELECT `name`, `next_run` FROM `background_services`")
    }
