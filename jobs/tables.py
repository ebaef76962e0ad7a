"""Moving a whole schema's tables into another in one statement, with the views and triggers that cannot be moved."""

from __future__ import annotations

import re
from collections.abc import Sequence

from jobs import database
from jobs.database import Connection, identifier
from jobs.errors import DatabaseRefused, Refused

__all__ = ["base_tables", "create_again", "empty", "move", "views_and_triggers"]

# a request that never ends keeps its tables; the next run tries again
_LOCK_WAIT_SECONDS = 300
_DEFINER = re.compile(r"\s*DEFINER\s*=\s*`[^`]*`@`[^`]*`")


def base_tables(connection: Connection, schema: str) -> list[str]:
    """The names of a schema's tables; views are none."""
    return [name for name, kind in _tables(connection, schema) if kind != "VIEW"]


def empty(connection: Connection, schema: str) -> None:
    """Drop all tables and views of a schema."""
    found = _tables(connection, schema)
    if not found:
        return
    database.run(connection, "SET SESSION foreign_key_checks = 0")
    for name, kind in found:
        what = "VIEW" if kind == "VIEW" else "TABLE"
        database.run(connection, f"DROP {what} IF EXISTS {identifier(schema)}.{identifier(name)}")
    database.run(connection, "SET SESSION foreign_key_checks = 1")


def views_and_triggers(connection: Connection, schema: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Statements that make a schema's views and triggers again in another, without definer; safe to run twice."""
    database.run(connection, f"USE {identifier(schema)}")
    views = []
    for name, kind in _tables(connection, schema):
        if kind == "VIEW":
            statement = str(database.rows(connection, f"SHOW CREATE VIEW {identifier(name)}")[0][1])
            views.append(_here(statement, schema).replace("CREATE ", "CREATE OR REPLACE ", 1))
    triggers = []
    for row in database.rows(connection, "SHOW TRIGGERS"):
        statement = str(database.rows(connection, f"SHOW CREATE TRIGGER {identifier(str(row[0]))}")[0][2])
        triggers += [f"DROP TRIGGER IF EXISTS {identifier(str(row[0]))}", _here(statement, schema)]
    return tuple(views), tuple(triggers)


def move(connection: Connection, source: str, target: str, parking: str = "") -> int:
    """Move all tables of a schema into another at once, and those of that one to `parking`, which is empty.

    Returns their number; 0 when that was done before.

    Raises:
        Refused: the target has tables and there is no parking for them, or that is not empty.
    """
    moving, leaving = base_tables(connection, source), base_tables(connection, target)
    if not moving:
        return 0
    if leaving and (not parking or _tables(connection, parking)):
        raise Refused(f"The schema {target} has tables; a restore over them is the restore command's work.")
    for schema in (source, target):
        _drop_views_and_triggers(connection, schema)
    renamed = [(target, name, parking) for name in leaving] + [(source, name, target) for name in moving]
    pairs = ", ".join(
        f"{identifier(old)}.{identifier(name)} TO {identifier(new)}.{identifier(name)}" for old, name, new in renamed
    )
    database.run(connection, f"SET SESSION lock_wait_timeout = {_LOCK_WAIT_SECONDS}")
    database.run(connection, f"RENAME TABLE {pairs}")
    return len(moving)


def _drop_views_and_triggers(connection: Connection, schema: str) -> None:
    """They cannot be moved; `views_and_triggers` remembers them."""
    database.run(connection, f"USE {identifier(schema)}")
    for row in database.rows(connection, "SHOW TRIGGERS"):
        database.run(connection, f"DROP TRIGGER IF EXISTS {identifier(str(row[0]))}")
    for name, kind in _tables(connection, schema):
        if kind == "VIEW":
            database.run(connection, f"DROP VIEW IF EXISTS {identifier(name)}")


def create_again(connection: Connection, schema: str, views: Sequence[str], triggers: Sequence[str]) -> None:
    """Run the statements of `views_and_triggers`. A view may stand on another: the order is found by trying."""
    database.run(connection, f"USE {identifier(schema)}")
    waiting = list(views)
    while waiting:
        refused = [(view, reason) for view in waiting if (reason := _refusal(connection, view))]
        if len(refused) == len(waiting):
            raise refused[0][1]
        waiting = [view for view, _ in refused]
    for statement in triggers:
        database.run(connection, statement)


def _refusal(connection: Connection, statement: str) -> DatabaseRefused | None:
    try:
        database.run(connection, statement)
    except DatabaseRefused as error:
        return error
    return None


def _here(statement: str, schema: str) -> str:
    return _DEFINER.sub("", statement, count=1).replace(f"{identifier(schema)}.", "")


def _tables(connection: Connection, schema: str) -> list[tuple[str, str]]:
    """(name, BASE TABLE or VIEW), by name."""
    statement = "SELECT TABLE_NAME, TABLE_TYPE FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s ORDER BY 1"
    return [(str(name), str(kind)) for name, kind in database.rows(connection, statement, [schema])]
