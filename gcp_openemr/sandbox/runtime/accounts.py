"""What Cloud SQL's API does by SQL: accounts, passwords, schemas."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import pymysql
from pymysql.connections import Connection

from gcp_openemr.sandbox.interfaces import Refused

__all__ = ["Accounts"]

# What Cloud SQL's administrators may: https://cloud.google.com/sql/docs/mysql/users#cloudsqlsuperuser
_ADMIN = "cloudsqlsuperuser"
_PRIVILEGES = (
    "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, RELOAD, PROCESS, REFERENCES, INDEX, ALTER, SHOW DATABASES, "
    "CREATE TEMPORARY TABLES, LOCK TABLES, EXECUTE, REPLICATION SLAVE, REPLICATION CLIENT, CREATE VIEW, SHOW VIEW, "
    "CREATE ROUTINE, ALTER ROUTINE, CREATE USER, EVENT, TRIGGER"
)
_ROLE_PRIVILEGES = "CREATE ROLE, DROP ROLE"
_DYNAMIC_PRIVILEGES = "APPLICATION_PASSWORD_ADMIN, CONNECTION_ADMIN, ROLE_ADMIN, XA_RECOVER_ADMIN"
_INTERNAL_USERS = ("root", "mysql", "mysql.infoschema", "mysql.session", "mysql.sys", "mariadb.sys", _ADMIN)

_SCHEMAS = (
    "SELECT SCHEMA_NAME, DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA ORDER BY 1"
)
_INTERNAL_SCHEMAS = ("information_schema", "mysql", "performance_schema", "sys")


class Accounts:
    """The accounts and schemas of one server, which `connected` reaches as root. MariaDB has no use for `roles`."""

    def __init__(self, connected: Callable[[], AbstractContextManager[Connection[Any]]], *, roles: bool) -> None:
        self._connected = connected
        self._roles = roles

    def make_role(self) -> None:
        """MariaDB lets nobody hand on what a role gave, so there accounts get the privileges themselves."""
        if not self._roles:
            return
        with self._connected() as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE ROLE IF NOT EXISTS {_ADMIN}")
            cursor.execute(f"GRANT {_PRIVILEGES}, {_ROLE_PRIVILEGES} ON *.* TO {_ADMIN} WITH GRANT OPTION")
            cursor.execute(f"GRANT {_DYNAMIC_PRIVILEGES} ON *.* TO {_ADMIN} WITH GRANT OPTION")

    def create_user(self, user: str, host: str, password: str) -> None:
        """Make an account, or give it this password. As with Cloud SQL's API, it may administer nearly all."""
        account = (user, host or "%")
        with self._connected() as connection, connection.cursor() as cursor:
            cursor.execute("CREATE USER IF NOT EXISTS %s@%s IDENTIFIED BY %s", (*account, password))
            cursor.execute("ALTER USER %s@%s IDENTIFIED BY %s", (*account, password))
            if self._roles:
                cursor.execute(f"GRANT {_ADMIN} TO %s@%s WITH ADMIN OPTION", account)
                cursor.execute(f"SET DEFAULT ROLE {_ADMIN} TO %s@%s", account)
            else:
                cursor.execute(f"GRANT {_PRIVILEGES}, DELETE HISTORY ON *.* TO %s@%s WITH GRANT OPTION", account)

    def delete_user(self, user: str, host: str) -> None:
        """Drop the account, if it is there."""
        with self._connected() as connection, connection.cursor() as cursor:
            cursor.execute("DROP USER IF EXISTS %s@%s", (user, host or "%"))

    def set_password(self, user: str, host: str, password: str, old: str) -> None:
        """Change a password ("" keeps it); `old` is what becomes of the former one: "retain", "discard" or ""."""
        account = (user, host or "%")
        with self._connected() as connection, connection.cursor() as cursor:
            if user == "root":
                cursor.execute("CREATE USER IF NOT EXISTS %s@%s", account)
            if password:
                retain = " RETAIN CURRENT PASSWORD" if old == "retain" else ""
                cursor.execute(f"ALTER USER %s@%s IDENTIFIED BY %s{retain}", (*account, password))
            if old == "discard":
                cursor.execute("ALTER USER %s@%s DISCARD OLD PASSWORD", account)

    def schemas(self) -> list[dict[str, str]]:
        """Those that are not MySQL's own."""
        with self._connected() as connection, connection.cursor() as cursor:
            cursor.execute(_SCHEMAS)
            rows: Sequence[tuple[str, str, str]] = [row for row in cursor.fetchall() if row[0] not in _INTERNAL_SCHEMAS]
        return [dict(zip(("name", "charset", "collation"), row, strict=True)) for row in rows]

    def create_schema(self, name: str, charset: str, collation: str) -> None:
        """Make it, or give it this character set and collation.

        Raises:
            Refused: MySQL does not know them.
        """
        words = [f"{kind} {text}" for kind, text in (("CHARACTER SET", charset), ("COLLATE", collation)) if text]
        if not all(re.fullmatch(r"\w*", text) for text in (charset, collation)):
            raise Refused(f"Invalid character set or collation: {charset} {collation}.", code=3)
        quoted = "`" + name.replace("`", "``") + "`"
        with self._connected() as connection, connection.cursor() as cursor:
            try:
                cursor.execute(f"CREATE DATABASE IF NOT EXISTS {quoted} {' '.join(words)}")
                if words:
                    cursor.execute(f"ALTER DATABASE {quoted} {' '.join(words)}")
            except pymysql.err.MySQLError as error:
                raise Refused(f"Invalid request: {error.args[-1]}.", code=3) from error

    def delete_schema(self, name: str) -> None:
        """Drop it, if it is there."""
        quoted = "`" + name.replace("`", "``") + "`"
        with self._connected() as connection, connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS {quoted}")

    def users(self) -> list[dict[str, str]]:
        """Accounts people made, by the API or by SQL."""
        with self._connected() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT User, Host FROM mysql.user WHERE User <> '' ORDER BY User, Host")
            rows: Sequence[tuple[str, str]] = cursor.fetchall()
        return [{"name": name, "host": host} for name, host in rows if host and name not in _INTERNAL_USERS]
