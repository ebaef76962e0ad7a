"""Cloud SQL: one request for each of its refusals."""

from __future__ import annotations

from typing import Any

from gcp_openemr.sandbox.interfaces import Refused
from tests.sandbox.api.conformance.parts import SQL, instance, made, settle
from tests.sandbox.api.conformance.target import Answer, Target, case, rest

BACKUPS = {"enabled": True, "binaryLogEnabled": True}

# Settings, and fields beside them, with which no instance is made.
REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "sqladmin.name": ({}, {"name": "Conf"}),
    "sqladmin.name-length": ({}, {"name": "c" * 97}),
    "sqladmin.required": ({"tier": ""}, {}),
    "sqladmin.version": ({}, {"databaseVersion": "POSTGRES_16"}),
    "sqladmin.tier": ({"tier": "db-custom-3-7680"}, {}),
    "sqladmin.tier-edition": ({"edition": "ENTERPRISE_PLUS"}, {}),
    "sqladmin.disk-size": ({"dataDiskSizeGb": "5"}, {}),
    "sqladmin.connectivity": ({"ipConfiguration": {"ipv4Enabled": False}}, {}),
    "sqladmin.flag": ({"databaseFlags": [{"name": "local_infile", "value": "maybe"}]}, {}),
    "sqladmin.flag-name": ({"databaseFlags": [{"name": "datadir", "value": "/"}]}, {}),
    "sqladmin.binary-log": ({"backupConfiguration": {"enabled": False, "binaryLogEnabled": True}}, {}),
    "sqladmin.regional": ({"availabilityType": "REGIONAL"}, {}),
    "sqladmin.log-days": ({"backupConfiguration": {**BACKUPS, "transactionLogRetentionDays": 8}}, {}),
}
for refusal, (settings, fields) in REFUSED.items():
    case(refusal)(
        lambda target, settings=settings, fields=fields: target.call(  # type: ignore[misc]
            "POST", "sqladmin", SQL, {**instance("conf-new", **settings), **fields}
        )
    )


def _instance(target: Target) -> str:
    return made(target, "sqladmin", SQL, instance("conf-sql", dataDiskSizeGb="20"))


def _stopped(target: Target) -> str:
    return made(target, "sqladmin", SQL, instance("conf-stopped", activationPolicy="NEVER"))


def _later(target: Target) -> str:
    return made(
        target, "sqladmin", SQL, {**instance("conf-later", tier="db-n1-standard-1"), "databaseVersion": "MYSQL_5_7"}
    )


def _logged(target: Target) -> str:
    return made(target, "sqladmin", SQL, instance("conf-logged", backupConfiguration=BACKUPS))


def _protected(target: Target) -> str:
    return made(target, "sqladmin", SQL, instance("conf-protected", deletionProtectionEnabled=True))


def _with_user(target: Target) -> str:
    path = _instance(target)
    settle(
        target, "sqladmin", target.call("POST", "sqladmin", f"{path}/users", {"name": "conf", "password": "long one"})
    )
    return path


CLONE = {"destinationInstanceName": "conf-clone"}
# The instance, and the call on it.
CALLS: dict[str, tuple[Any, str, str, Any]] = {
    "sqladmin.exists": (_instance, "POST", "/..", instance("conf-sql")),
    "sqladmin.disk-shrink": (_instance, "PATCH", "", {"settings": {"dataDiskSizeGb": "10"}}),
    "sqladmin.stale": (_instance, "PATCH", "", {"settings": {"settingsVersion": "99"}}),
    "sqladmin.protected": (_protected, "DELETE", "", None),
    "sqladmin.stopped": (_stopped, "POST", "/users", {"name": "x", "password": "y"}),
    "sqladmin.not-regional": (_instance, "POST", "/failover", {}),
    "sqladmin.user": (_instance, "DELETE", "/users?name=nobody&host=%25", None),
    "sqladmin.password": (_instance, "POST", "/users", {"name": "x"}),
    "sqladmin.dual-version": (_later, "PUT", "/users?name=root", {"dualPasswordType": "NO_DUAL_PASSWORD"}),
    "sqladmin.dual-password": (_with_user, "PUT", "/users?name=conf", {"dualPasswordType": "DUAL_PASSWORD"}),
    "sqladmin.database": (_instance, "GET", "/databases/none", None),
    "sqladmin.backup": (_instance, "GET", "/backupRuns/1", None),
    "sqladmin.export-bucket": (
        _instance,
        "POST",
        "/export",
        {"exportContext": {"fileType": "SQL", "uri": "gs://conf-export/x.sql", "databases": ["conf"]}},
    ),
    "sqladmin.no-log": (
        _instance, "POST", "/clone", {"cloneContext": {**CLONE, "pointInTime": "2026-01-01T00:00:00Z"}}
    ),
    "sqladmin.moment": (
        _logged, "POST", "/clone", {"cloneContext": {**CLONE, "pointInTime": "2026-01-01T00:00:00Z"}}
    ),
}  # fmt: skip
for refusal, (part, method, tail, body) in CALLS.items():
    case(refusal)(
        lambda target, part=part, method=method, tail=tail, body=body: target.call(  # type: ignore[misc]
            method, "sqladmin", (part(target) + tail).replace("/conf-sql/..", ""), body
        )
    )
rest("sqladmin.not-found", "GET", "sqladmin", f"{SQL}/conf-none")


@case("sqladmin.denied")
def caller_without_rights(target: Target) -> Answer:
    return target.call("GET", "sqladmin", _instance(target), token=target.token())


@case("sqladmin.database-exists")
def database_twice(target: Target) -> Answer:
    path = _instance(target)
    body = {"name": "conf"}
    settle(target, "sqladmin", target.call("POST", "sqladmin", f"{path}/databases", body))
    return target.call("POST", "sqladmin", f"{path}/databases", body)


@case("sqladmin.busy")
def two_operations_at_once(target: Target) -> Answer:
    path = _instance(target)
    if target.sandbox:
        target.here.runtime.hold.clear()
    begun = target.call("POST", "sqladmin", f"{path}/restart")
    try:
        return target.call("POST", "sqladmin", f"{path}/backupRuns", {})
    finally:
        if target.sandbox:
            target.here.runtime.hold.set()
            name = f"sqladmin.googleapis.com/{target.fill('{p}')}/operations/{begun.body['name']}"
            target.here.app.operations.wait(name, 20)


def _refusing(target: Target, what: str, method: str, path: str, body: Any) -> Answer:
    """A call while the server refuses `what`; at Google nothing makes it."""
    target.here.runtime.refuse[what] = Refused("The server refuses.")
    try:
        return settle(target, "sqladmin", target.call(method, "sqladmin", path, body))
    finally:
        target.here.runtime.refuse.clear()


@case("sqladmin.server")
def user_that_the_server_refuses(target: Target) -> Answer:
    path = f"{_instance(target)}/users"
    return _refusing(target, "create_database_user", "POST", path, {"name": "x", "password": "y"})


@case("sqladmin.backup-state")
def restore_of_a_failed_backup(target: Target) -> Answer:
    path = _instance(target)
    failed = _refusing(target, "copy_database", "POST", f"{path}/backupRuns", {})
    context = {"backupRunId": failed.body["backupContext"]["backupId"]}
    return target.call("POST", "sqladmin", f"{path}/restoreBackup", {"restoreBackupContext": context})
