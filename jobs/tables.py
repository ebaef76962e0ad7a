"""Moving a whole schema's tables into another in one statement, with the views and triggers that cannot be moved."""

from __future__ import annotations

import re
from collections.abc import Sequence

from jobs import database
from jobs.database import Connection, identifier
from jobs.errors import DatabaseRefused, Refused

__all__ = ["base_tables", "create_again", "empty", "move", "views_and_triggers"]

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


def move(connection: Connection, source: str, target: str) -> int:
    """Move all tables of a schema into an empty one, at once. Returns their number; 0 when that was done before.

    Raises:
        Refused: the target has tables.
    """
    moving = base_tables(connection, source)
    if not moving:
        return 0
    if _tables(connection, target):
        raise Refused(f"The schema {target} has tables; a restore over them is the restore command's work.")
    database.run(connection, f"USE {identifier(source)}")
    for row in database.rows(connection, "SHOW TRIGGERS"):
        database.run(connection, f"DROP TRIGGER IF EXISTS {identifier(str(row[0]))}")
    pairs = ", ".join(
        f"{identifier(source)}.{identifier(name)} TO {identifier(target)}.{identifier(name)}" for name in moving
    )
    database.run(connection, f"RENAME TABLE {pairs}")
    empty(connection, source)
    return len(moving)


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
