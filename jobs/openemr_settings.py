"""OpenEMR's own settings, which live in the clinic's table `globals`: what the environment file says of them.

A setting that is taken out of the file keeps its last value, since what was there before is not known.
"""

from __future__ import annotations

from collections.abc import Mapping

from jobs import database, log
from jobs.database import Connection, identifier
from jobs.settings import OPENEMR_SETTING, OURS

__all__ = ["write"]


def write(connection: Connection, schema: str, wanted: Mapping[str, str]) -> list[str]:
    """Set what differs, and return the names. A name this OpenEMR does not have is left out and told of.

    Raises:
        Unreachable, DatabaseRefused: as the database says.
    """
    table = f"{identifier(schema)}.`globals`"
    present = dict(database.rows(connection, f"SELECT gl_name, gl_value FROM {table} WHERE gl_index = 0"))  # noqa: S608 - quoted
    changed = []
    for name, value in wanted.items():
        if name not in present and name not in OURS:
            log.warning(f"This OpenEMR has no setting {name}; {OPENEMR_SETTING}{name} is left out")
        elif present.get(name) != value:
            statement = f"INSERT INTO {table} (gl_name, gl_index, gl_value) VALUES (%s, 0, %s)"  # noqa: S608 - quoted
            database.run(connection, f"{statement} ON DUPLICATE KEY UPDATE gl_value = VALUES(gl_value)", [name, value])
            changed.append(name)
    return changed
