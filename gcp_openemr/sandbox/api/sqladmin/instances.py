"""Instances: they start, stop, restart, fail over, and go with what is kept of them: backups of the project."""

from __future__ import annotations

import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from gcp_openemr.sandbox.api import crud
from gcp_openemr.sandbox.api.names import host_of, id_of, new_uid, path_of, project_of, timestamp
from gcp_openemr.sandbox.api.refusals import refuse, refuse_if
from gcp_openemr.sandbox.api.rules import WORK, App, Call, Change, Collection, Operation, Record, handles, shape
from gcp_openemr.sandbox.api.sqladmin.settings import complete
from gcp_openemr.sandbox.interfaces import Json, Refused

__all__ = ["INSTANCES", "backup_of", "begin", "begin_on", "idle", "keep_backups", "online", "start"]

_ONLINE = {"ALWAYS", ""}


def _complete(change: Change) -> None:
    if change.old is not None:
        idle(change.call, change.name)
    complete(change)


def _deletable(call: Call, record: Record) -> None:
    idle(call, record.name)
    refuse_if(record.body["settings"].get("deletionProtectionEnabled"), "sqladmin.protected")
    final = {"enabled": call.flag("enableFinalBackup"), "retentionDays": call.number("finalBackupTtlDays")}
    if "enableFinalBackup" not in call.query:
        final = record.body["settings"].get("finalBackupConfig") or {}
    call.store.put(record.name, record.body, hidden={**record.hidden, "final": final})


INSTANCES = Collection(
    "sql.instances",
    permission="cloudsql.instances",
    complete=_complete,
    deletable=_deletable,
    id_pattern=r"[a-z]([-a-z0-9]{0,96}[a-z0-9])?",
    id_refusal="sqladmin.name",
    created="sql.start",
    updated="sql.start",
    deleted="sql.delete",
    immutable=("region", "project", "instanceType"),
)


def idle(call: Call, name: str) -> None:
    """409 while an operation on the instance is in progress: Cloud SQL does one at a time."""
    refuse_if(call.app.operations.unfinished(name), "sqladmin.busy")


def online(call: Call, name: str) -> Record:
    """A running instance that does nothing else."""
    record = crud.existing(call, INSTANCES, name)
    idle(call, name)
    if record.body["state"] != "RUNNABLE" or record.body["settings"].get("activationPolicy", "") not in _ONLINE:
        raise refuse("sqladmin.stopped", name=path_of(name))
    return record


def begin(call: Call, record: Record, kind: str, *, work: str = "", arguments: Json | None = None) -> Json:
    """An operation on an instance. `kind` is Cloud SQL's type of operation (`CREATE_USER`)."""
    with call.store.transaction():
        told = {"operationType": kind}
        operation = crud.begin(call, INSTANCES, record.name, record.body, work=work, arguments=arguments, metadata=told)
    return crud.finish(call, operation)


def begin_on(call: Call, kind: str, work: str, arguments: Json | None = None) -> Json:
    """The same on the instance of the call, which must run and be idle."""
    return begin(call, online(call, call.name), kind, work=work, arguments=arguments)


@WORK.register("sql.start")
def start(app: App, operation: Operation) -> Json:
    """Bring the server to what its settings say."""
    record = app.store.get(operation.target)
    if record is None:
        return {}
    running = record.body["settings"].get("activationPolicy", "") in _ONLINE
    try:
        if running:
            app.runtime.start_database(record.body)
        else:
            app.runtime.stop_database(operation.target)
        certificate = app.runtime.database_certificate(record.body)
    except Refused:
        app.store.update(operation.target, {"state": "FAILED"})
        raise
    authority = {"serverCaCert": _certificate(certificate, operation.target)} if certificate else {}
    # `STOPPED` is what the API calls RUNNABLE with activation policy NEVER.
    app.store.update(operation.target, {"state": "RUNNABLE", **authority})
    return {}


@WORK.register("sql.restart")
def restart_work(app: App, operation: Operation) -> Json:
    app.runtime.stop_database(operation.target)
    return start(app, operation)


@WORK.register("sql.delete")
def delete(app: App, operation: Operation) -> Json:
    """What the settings keep becomes backups of the project, which outlive the instance."""
    record = app.store.get(operation.target)
    if record is None:
        return {}
    gone = keep_backups(app, record)
    app.runtime.delete_database(operation.target)
    for name in gone:
        app.runtime.delete_database(name)
    with app.store.transaction():
        app.store.delete_below(operation.target + "/")
        app.store.delete(operation.target)
    return {}


def _certificate(pem: str, instance: str) -> Json:
    certificate = x509.load_pem_x509_certificate(pem.encode())
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return shape(
        "sql.certificate",
        instance,
        pem=pem,
        serial=str(certificate.serial_number),
        subject=certificate.subject.rfc4514_string(),
        begin=begin.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        end=end.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        sha1=certificate.fingerprint(hashes.SHA1()).hex(),  # noqa: S303 -- the API's field
    )


@handles("sql.instances.restart", needs="cloudsql.instances.restart")
def restart(call: Call) -> Json:
    return begin_on(call, "RESTART", "sql.restart")


@handles("sql.instances.failover", needs="cloudsql.instances.failover")
def failover(call: Call) -> Json:
    """The standby in the other zone takes over; connections break as with a restart."""
    settings = online(call, call.name).body["settings"]
    refuse_if(settings["availabilityType"] != "REGIONAL", "sqladmin.not-regional")
    given = (call.body.get("failoverContext") or {}).get("settingsVersion")
    refuse_if(given and given != settings["settingsVersion"], "sqladmin.stale")
    return begin_on(call, "FAILOVER", "sql.restart")


_DEFAULT_DAYS = 30  # https://cloud.google.com/sql/docs/mysql/backup-recovery/backups#final-backup


def keep_backups(app: App, instance: Record) -> list[str]:
    """Make the final backup and keep the others, as the settings say; returns the backups whose data go."""
    runs = [record.name for record in app.store.list(f"{instance.name}/backupRuns/")]
    final = instance.hidden.get("final") or {}
    if final.get("enabled"):
        days = int(final.get("retentionDays") or _DEFAULT_DAYS)
        name = f"{host_of(instance.name)}/projects/{project_of(instance.name)}/backups/{new_uid()}"
        app.runtime.copy_database(instance.name, name, "")
        expires = {"ttlDays": str(days), "expiryTime": timestamp(time.time() + days * 86_400)}
        app.store.put(name, backup_of(instance, name, "FINAL") | expires, hidden={"data": name})
    if not instance.body["settings"].get("retainBackupsOnDelete"):
        return runs
    for run in app.store.list(f"{instance.name}/backupRuns/"):
        name = f"{host_of(instance.name)}/projects/{project_of(instance.name)}/backups/{new_uid()}"
        body = backup_of(instance, name, str(run.body["type"])) | {"backupRun": path_of(run.name)}
        app.store.put(name, body, hidden={"data": run.name})
    return []


def backup_of(instance: Record, name: str, kind: str) -> Json:
    """A `Backup` with the settings that its instance had."""
    was = {"location": instance.body["region"], "version": instance.body["databaseVersion"], "settings": instance.body}
    return shape("sql.backup", name, kind=kind, instance=id_of(instance.name), **was)
