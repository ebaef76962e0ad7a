"""provision: a clinic's directory, schemas, database user and Redis user; or their removal. The only privileged job.

Everything may be repeated: what is there already is brought up to date, passwords that work are left alone. A clinic is
removed only after its last backup set, or where that was renounced in words.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jobs import cloud_sql, database, log, manifest, redis_acl, secrets, settings, share
from jobs.database import Connection, identifier
from jobs.errors import DatabaseRefused, JobError, Refused, ShareUnusable
from jobs.redacted import Redacted

__all__ = ["run"]

_NO_SUCH_PRIVILEGE = {1064, 1045, 1227, 1149, 1410, 3530}


def run(wanted: settings.Provision) -> dict[str, Any]:
    """Do what ACTION says and return the result record."""
    return _ensure(wanted) if wanted.action == "ensure" else _remove(wanted)


def _ensure(wanted: settings.Provision) -> dict[str, Any]:
    password = secrets.access(wanted.password)
    redis_password = secrets.access(wanted.redis_password)
    redis_admin = secrets.access(wanted.redis_admin)
    directory = _clinic_directory(wanted) / "sites"
    made = share.ensure_directory(directory)
    log.info("The clinic's directory is there", path=str(directory), made=made)
    with redis_acl.administrator(wanted.redis, wanted.redis_admin_user, redis_admin) as client:
        redis_acl.ensure_user(client, wanted.redis_user, redis_password, prefix=wanted.redis_prefix)
    log.info("The clinic's Redis user is there", user=wanted.redis_user, keys=f"{wanted.redis_prefix}*")
    with cloud_sql.temporary_administrator(wanted.project, wanted.instance, wanted.clinic) as (admin, admin_password):
        connection = database.connect(wanted.server, admin, admin_password)
        with connection:
            _ensure_schemas(connection, wanted.schemas)
            user = _ensure_user(connection, wanted, password)
            dual_passwords = _grant_dual_passwords(connection, wanted.user)
    log.info("The clinic's database user is there", user=wanted.user, password=user, dual_passwords=dual_passwords)
    return {
        "action": "ensure",
        "clinic": wanted.clinic,
        "directory_made": made,
        "schemas": list(wanted.schemas),
        "database_password": user,
        "dual_passwords": dual_passwords,
        "redis_user": wanted.redis_user,
    }


def _remove(wanted: settings.Provision) -> dict[str, Any]:
    if wanted.final_set:
        manifest.require_verified(wanted.final_set, wanted.clinic)
    elif not wanted.without_final_backup:
        raise Refused(
            f"The clinic {wanted.clinic} is not removed without a verified backup set.",
            do="Name its manifest in FINAL_SET, or say WITHOUT_FINAL_BACKUP=yes.",
        )
    redis_admin = secrets.access(wanted.redis_admin)
    with cloud_sql.temporary_administrator(wanted.project, wanted.instance, wanted.clinic) as (admin, admin_password):
        connection = database.connect(wanted.server, admin, admin_password)
        with connection, database.locked(connection, wanted.schemas[0], seconds=wanted.lock_seconds) as lock:
            for schema in reversed(wanted.schemas):
                lock.check()
                database.run(connection, f"DROP DATABASE IF EXISTS {identifier(schema)}")
            database.run(connection, f"DROP USER IF EXISTS {_account(wanted.user)}")
    with redis_acl.administrator(wanted.redis, wanted.redis_admin_user, redis_admin) as client:
        redis_acl.remove_user(client, wanted.redis_user, prefix=wanted.redis_prefix)
    _remove_directory(_clinic_directory(wanted))
    log.info("The clinic is removed", clinic=wanted.clinic)
    return {"action": "remove", "clinic": wanted.clinic, "schemas": list(wanted.schemas)}


def _clinic_directory(wanted: settings.Provision) -> Path:
    if not wanted.share.is_dir():
        raise ShareUnusable(f"{wanted.share} is not mounted.")
    share.check_writable(wanted.share)
    return wanted.share / "clinics" / wanted.clinic


def _remove_directory(directory: Path) -> None:
    """Out of the way first, so that a killed removal is finished by the next and never half a clinic."""
    leaving = directory.with_name(f".removing-{directory.name}")
    share.remove_tree(leaving)
    if directory.is_dir():
        with share.errors_told(f"{directory} cannot be removed"):
            directory.rename(leaving)
        share.remove_tree(leaving)


def _ensure_schemas(connection: Connection, schemas: tuple[str, ...]) -> None:
    for schema in schemas:
        database.run(
            connection,
            f"CREATE DATABASE IF NOT EXISTS {identifier(schema)} CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci",
        )


def _ensure_user(connection: Connection, wanted: settings.Provision, password: Redacted) -> str:
    """Make the user with rights on its schemas and no others. Returns what became of its password."""
    account = _account(wanted.user)
    database.run(connection, f"CREATE USER IF NOT EXISTS {account} IDENTIFIED BY %s REQUIRE SSL", [password.reveal()])
    if not database.rows(connection, "SHOW WARNINGS"):
        outcome = "set"
    elif _password_works(wanted, password):
        outcome = "kept"
    else:
        _change_password(connection, account, password)
        outcome = "changed"
    database.run(connection, f"ALTER USER {account} REQUIRE SSL")
    for schema in wanted.schemas:
        pattern = identifier(_grant_pattern(connection, schema))
        database.run(connection, f"GRANT ALL PRIVILEGES ON {pattern}.* TO {account}")
    return outcome


def _grant_pattern(connection: Connection, schema: str) -> str:
    """In a GRANT `_` stands for any character, except where partial revokes are on."""
    found = database.rows(connection, "SHOW VARIABLES LIKE 'partial_revokes'")
    return schema if found and found[0][1] == "ON" else schema.replace("_", "\\_")


def _password_works(wanted: settings.Provision, password: Redacted) -> bool:
    try:
        database.connect(wanted.server, wanted.user, password).close()
    except DatabaseRefused:
        return False
    return True


def _change_password(connection: Connection, account: str, password: Redacted) -> None:
    """Running revisions may hold the old password: it stays valid beside the new one where the server can do that."""
    statement = f"ALTER USER {account} IDENTIFIED BY %s"
    try:
        database.run(connection, f"{statement} RETAIN CURRENT PASSWORD", [password.reveal()])
    except DatabaseRefused as error:
        if error.number not in _NO_SUCH_PRIVILEGE:
            raise
        database.run(connection, statement, [password.reveal()])


def _grant_dual_passwords(connection: Connection, user: str) -> bool:
    """Let the user keep an old password of its own beside a new one. False where the server has no such privilege."""
    try:
        database.run(connection, f"GRANT APPLICATION_PASSWORD_ADMIN ON *.* TO {_account(user)}")
    except DatabaseRefused as error:
        if error.number not in _NO_SUCH_PRIVILEGE:
            raise
        log.warning("This server does not grant APPLICATION_PASSWORD_ADMIN; this database password cannot be rotated")
        return False
    return True


def _account(user: str) -> str:
    if not user.replace("_", "").isalnum():
        raise JobError(f"{user!r} is no user name of ours.")
    return f"'{user}'"
