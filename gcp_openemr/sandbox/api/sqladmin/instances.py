"""Instances: they start, stop, restart, fail over, and go with what is kept of them: backups of the project.

What an instance's settings must be, and what Google fills in, is here too.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from gcp_openemr.environment.values import tier_fault
from gcp_openemr.sandbox.api import crud
from gcp_openemr.sandbox.api.errors import ApiError
from gcp_openemr.sandbox.api.names import etag_of, host_of, id_of, new_uid, now, path_of, project_of, timestamp
from gcp_openemr.sandbox.api.operations import Operation
from gcp_openemr.sandbox.api.refusals import beyond_if, demand, refuse, refuse_if
from gcp_openemr.sandbox.api.rules import WORK, App, Call, Change, Collection, Json, fill, handles, marking, shape
from gcp_openemr.sandbox.api.store import Record

__all__ = ["INSTANCES", "begin", "complete", "idle", "online", "start"]

_VERSION = re.compile(r"MYSQL_(5_7|8_0(_\d+)?|8_4)")
_LONGEST_NAME = 98  # of project and instance together (https://cloud.google.com/sql/docs/mysql/instance-settings)
_SMALLEST_DISK, _LARGEST_DISK = 10, 65_536  # GB
_LIKE = {"ENTERPRISE": "db-custom-*", "ENTERPRISE_PLUS": "db-perf-optimized-N-*"}
_LOG_DAYS = {"ENTERPRISE": 7, "ENTERPRISE_PLUS": 35}
# What is filled in when it is not given.
# `defaults` are filled in when they are not given; `flags` of MySQL 8.0 stand by the form of their value.
_TABLES: Json = json.loads(Path(__file__).with_name("settings.json").read_text(encoding="utf-8"))
_FLAGS = {name: form for form, names in _TABLES["flags"].items() for name in names.split()}
_FORMS = {"boolean": r"(?i)on|off", "number": r"-?\d+(\.\d+)?", "string": r".+"}
_ONLINE = {"ALWAYS", ""}
_DEFAULT_DAYS = 30  # https://cloud.google.com/sql/docs/mysql/backup-recovery/backups#final-backup


def complete(change: Change) -> None:
    """Refuse what does not fit together, then fill in."""
    new = change.new
    settings = new.setdefault("settings", {})
    if change.old is not None:
        _check_growth(change.old["settings"], settings)
    _check(change, settings)
    _fill(settings)
    if change.old is None:
        new |= _computed(change)
        new["state"] = "PENDING_CREATE"
    else:
        settings["settingsVersion"] = str(int(change.old["settings"].get("settingsVersion", "1")) + 1)
        for field in _computed(change):
            new.setdefault(field, change.old.get(field))
        new["state"] = change.old["state"]
    new["etag"] = etag_of(change.name, now(), settings["settingsVersion"]).strip('"')
    new |= _endpoints(change, new)


def _check_growth(old: Json, settings: Json) -> None:
    refuse_if(settings.get("settingsVersion", old["settingsVersion"]) != old["settingsVersion"], "sqladmin.stale")
    before, size = int(old["dataDiskSizeGb"]), int(settings.get("dataDiskSizeGb") or old["dataDiskSizeGb"])
    refuse_if(size < before, "sqladmin.disk-shrink", old=before, size=size)


def _check(change: Change, settings: Json) -> None:
    new = change.new
    refuse_if(not settings.get("tier"), "sqladmin.required", field="tier")
    version = str(new.get("databaseVersion") or "")
    refuse_if(not _VERSION.fullmatch(version), "sqladmin.version", value=version or "databaseVersion")
    if change.old is None and len(f"{project_of(change.name)}:{id_of(change.name)}") > _LONGEST_NAME:
        raise refuse("sqladmin.name-length", most=_LONGEST_NAME)
    if new.pop("rootPassword", ""):
        raise ApiError(501, "The sandbox sets no root password with an instance: update the user root afterwards.")
    _check_connectivity(settings.get("ipConfiguration") or {})
    # MySQL 8.0 is ENTERPRISE unless it says otherwise, later versions ENTERPRISE_PLUS.
    edition = settings.setdefault("edition", "ENTERPRISE_PLUS" if version == "MYSQL_8_4" else "ENTERPRISE")
    fault = tier_fault(settings["tier"], edition)
    if fault is not None and fault.related:
        raise refuse("sqladmin.tier-edition", tier=settings["tier"], edition=edition, like=_LIKE.get(edition, ""))
    refuse_if(fault is not None, "sqladmin.tier", tier=settings["tier"])
    size = int(settings.get("dataDiskSizeGb") or _SMALLEST_DISK)
    refuse_if(not _SMALLEST_DISK <= size <= _LARGEST_DISK, "sqladmin.disk-size", size=size)
    _check_backups(settings, edition)
    for flag in settings.get("databaseFlags") or ():
        _check_flag(str(flag.get("name") or ""), str(flag.get("value") or ""))


def _check_connectivity(addresses: Json) -> None:
    beyond_if(addresses.get("ipv4Enabled", True), "The sandbox has no public addresses: set ipv4Enabled to false.")
    if addresses.get("privateNetwork"):
        raise ApiError(501, "The sandbox stands in for Private Service Connect, not for private services access.")
    refuse_if(not (addresses.get("pscConfig") or {}).get("pscEnabled"), "sqladmin.connectivity")


def _check_backups(settings: Json, edition: str) -> None:
    backup = settings.get("backupConfiguration") or {}
    refuse_if(backup.get("binaryLogEnabled") and not backup.get("enabled"), "sqladmin.binary-log")
    if settings.get("availabilityType") == "REGIONAL" and not backup.get("binaryLogEnabled"):
        raise refuse("sqladmin.regional")
    days = backup.get("transactionLogRetentionDays")
    most = _LOG_DAYS.get(edition, 0)
    refuse_if(days is not None and not 1 <= days <= most, "sqladmin.log-days", most=most)


def _check_flag(name: str, value: str) -> None:
    kind = demand(_FLAGS.get(name), "sqladmin.flag-name", name=name)
    refuse_if(not re.fullmatch(_FORMS[kind], value), "sqladmin.flag", name=name, value=value, kind=kind)


def _fill(settings: Json) -> None:
    for field, value in _TABLES["defaults"].items():
        settings.setdefault(field, value)
    settings["kind"] = "sql#settings"
    backup = settings.setdefault("backupConfiguration", {})
    backup |= {"kind": "sql#backupConfiguration", "enabled": bool(backup.get("enabled"))}
    addresses = settings["ipConfiguration"]
    fill(addresses, serverCaMode="GOOGLE_MANAGED_INTERNAL_CA", sslMode="ALLOW_UNENCRYPTED_AND_ENCRYPTED")
    addresses["requireSsl"] = addresses["sslMode"] == "TRUSTED_CLIENT_CERTIFICATE_REQUIRED"


def _computed(change: Change) -> Json:
    new = change.new
    region = str(new.get("region") or "us-central1")
    zone = (new["settings"].get("locationPreference") or {}).get("zone") or f"{region}-b"
    installed = {"MYSQL_8_0": "MYSQL_8_0_44"}.get(new["databaseVersion"], new["databaseVersion"])
    unique = _hash(change.name, 6)
    return shape("sql.instance", change.name, region=region, zone=zone, installed=installed, unique=unique)


def _endpoints(change: Change, new: Json) -> Json:
    """Names and service attachment of Private Service Connect; a fresh instance of the same name gets others."""
    born, project, region = str(new["createTime"]), project_of(change.name), new["region"]
    first, second = _hash(f"{project}{born}", 12), _hash(f"{change.name}{born}", 12)
    name = f"{first}.{second}.{region}.sql.goog."
    values = {"region": region, "second": second, "tenant": _hash(project, 8), "unique": _hash(name, 16)}
    return shape("sql.endpoint", change.name, name=name, **values)


def _hash(text: str, length: int) -> str:
    """Letters and digits that begin with a letter."""
    return "s" + hashlib.sha256(text.encode()).hexdigest()[: length - 1]


def _complete(change: Change) -> None:
    if change.old is not None:
        idle(change.call, change.name)
    complete(change)


def _deletable(call: Call, record: Record) -> None:
    """Decide once what outlives the instance, and under which names, so that work that is repeated keeps it once."""
    idle(call, record.name)
    refuse_if(record.body["settings"].get("deletionProtectionEnabled"), "sqladmin.protected")
    final = {"enabled": call.flag("enableFinalBackup"), "retentionDays": call.number("finalBackupTtlDays")}
    if "enableFinalBackup" not in call.query:
        final = record.body["settings"].get("finalBackupConfig") or {}
    backups = f"{host_of(record.name)}/projects/{project_of(record.name)}/backups"
    kept = {run.name: f"{backups}/{new_uid()}" for run in call.store.list(f"{record.name}/backupRuns/")}
    decided = {"final": {**final, "name": f"{backups}/{new_uid()}"}, "kept": kept, "state": record.body["state"]}
    call.store.put(record.name, record.body | {"state": "PENDING_DELETE"}, hidden={**record.hidden, **decided})


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


@WORK.register("sql.start")
def start(app: App, operation: Operation) -> Json:
    """Bring the server to what its settings say."""
    record = app.store.get(operation.target)
    if record is None:
        return {}
    running = record.body["settings"].get("activationPolicy", "") in _ONLINE
    with marking(app, operation.target, state="FAILED"):
        if running:
            app.runtime.start_database(record.body)
        else:
            app.runtime.stop_database(operation.target)
        certificate = app.runtime.database_certificate(record.body)
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
    with marking(app, operation.target, state=record.hidden["state"]):
        _keep_backups(app, record)
        app.runtime.delete_database(operation.target)
        if not record.body["settings"].get("retainBackupsOnDelete"):
            for run in record.hidden["kept"]:
                app.runtime.delete_database(run)
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
    return begin(call, online(call, call.name), "RESTART", work="sql.restart")


@handles("sql.instances.failover", needs="cloudsql.instances.failover")
def failover(call: Call) -> Json:
    """The standby in the other zone takes over; connections break as with a restart."""
    record = online(call, call.name)
    settings = record.body["settings"]
    refuse_if(settings["availabilityType"] != "REGIONAL", "sqladmin.not-regional")
    given = (call.body.get("failoverContext") or {}).get("settingsVersion")
    refuse_if(given and given != settings["settingsVersion"], "sqladmin.stale")
    return begin(call, record, "FAILOVER", work="sql.restart")


def _keep_backups(app: App, instance: Record) -> None:
    """Make the final backup and keep the others, as the settings say, as far as that is not done yet."""
    final = instance.hidden["final"]
    name = final["name"]
    if final.get("enabled") and app.store.get(name) is None:
        days = int(final.get("retentionDays") or _DEFAULT_DAYS)
        app.runtime.copy_database(instance.name, name, "")
        expires = {"ttlDays": str(days), "expiryTime": timestamp(time.time() + days * 86_400)}
        app.store.put(name, _backup_of(instance, name, "FINAL") | expires, hidden={"data": name})
    if not instance.body["settings"].get("retainBackupsOnDelete"):
        return
    for run in app.store.list(f"{instance.name}/backupRuns/"):
        name = instance.hidden["kept"][run.name]
        body = _backup_of(instance, name, str(run.body["type"])) | {"backupRun": path_of(run.name)}
        app.store.put(name, body, hidden={"data": run.name})


def _backup_of(instance: Record, name: str, kind: str) -> Json:
    """A `Backup` with the settings that its instance had."""
    was = instance.body | {"state": instance.hidden["state"]}
    values = {"location": was["region"], "version": was["databaseVersion"], "settings": was}
    return shape("sql.backup", name, kind=kind, instance=id_of(instance.name), **values)
