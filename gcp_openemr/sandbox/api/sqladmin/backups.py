"""Backups of instances, restoring them, and clones of an instance as it is or was."""

from __future__ import annotations

import copy
import time
from datetime import UTC, datetime

from gcp_openemr.sandbox.api import crud
from gcp_openemr.sandbox.api.listing import listed, newest_first
from gcp_openemr.sandbox.api.names import id_of, now, timestamp
from gcp_openemr.sandbox.api.refusals import demand, duplicate, refuse, refuse_if
from gcp_openemr.sandbox.api.rules import WORK, App, Call, Change, Operation, Record, handles, marking, shape
from gcp_openemr.sandbox.api.sqladmin.instances import INSTANCES, begin, complete, idle, online, start
from gcp_openemr.sandbox.interfaces import Json, Refused

_DAY = 86_400.0


@handles("sql.backupRuns.insert")
def insert(call: Call) -> Json:
    call.authorize("cloudsql.backupRuns.create", instance := call.name.rsplit("/", 1)[0])
    record = online(call, instance)
    number = call.store.next_number(f"backup/{instance}", at_least=int(time.time() * 1000))
    name = f"{call.name}/{number}"
    description, location = call.body.get("description", ""), call.body.get("location") or record.body["region"]
    values = {"description": description, "location": location, "version": record.body["databaseVersion"]}
    body = shape("sql.backupRun", name, instance=id_of(instance), **values)
    call.store.put(name, body)
    return begin(call, record, "BACKUP_VOLUME", work="sql.backup", arguments={"backup": name})


@WORK.register("sql.backup")
def backup(app: App, operation: Operation) -> Json:
    name = str(operation.arguments["backup"])
    app.store.update(name, {"status": "RUNNING"})
    try:
        app.runtime.copy_database(operation.target, name, "")
    except Refused as refused:
        error = {"kind": "sql#operationError", "code": "INTERNAL_ERROR", "message": refused.message}
        app.store.update(name, {"status": "FAILED", "endTime": now(), "error": error})
        raise
    app.store.update(name, {"status": "SUCCESSFUL", "endTime": now()})
    return {}


@handles("sql.backupRuns.list", "sql.Backups.ListBackups")
def list_(call: Call) -> Json:
    """Newest first."""
    parent = call.name.rsplit("/", 1)[0]
    call.authorize("cloudsql.backupRuns.list", parent)
    if call.verb == "list":
        crud.existing(call, INSTANCES, parent)
    prefix = call.name + "/"
    records = [record for record in call.store.list(prefix) if "/" not in record.name[len(prefix) :]]
    field, kind = ("items", "sql#backupRunsList") if call.verb == "list" else ("backups", "")
    return {field: []} | listed(call, newest_first(records, _moment), field, kind=kind)


def _moment(record: Record) -> str:
    return str(record.body.get("enqueuedTime") or record.body["backupInterval"]["startTime"])


@handles("sql.backupRuns.get", "sql.Backups.GetBackup", needs="cloudsql.backupRuns.get")
def get(call: Call) -> Json:
    return demand(call.store.get(call.name), "sqladmin.backup").body


@handles("sql.backupRuns.delete", "sql.Backups.DeleteBackup", needs="cloudsql.backupRuns.delete")
def delete(call: Call) -> Json:
    """The data go with it."""
    record = demand(call.store.get(call.name), "sqladmin.backup")
    instance = call.store.get(call.name.split("/backupRuns/")[0])
    if instance is not None:
        idle(call, instance.name)
    return begin(call, instance or record, "DELETE_BACKUP", work="sql.deleteBackup", arguments={"backup": call.name})


@WORK.register("sql.deleteBackup")
def delete_work(app: App, operation: Operation) -> Json:
    name = str(operation.arguments["backup"])
    record = app.store.get(name)
    if record is not None:
        app.runtime.delete_database(record.hidden.get("data", name))
        app.store.delete(name)
    return {}


@handles("sql.instances.restoreBackup", needs="cloudsql.instances.restoreBackup")
def restore(call: Call) -> Json:
    """All data of the instance are replaced. The backup may be another instance's, or one that outlived its own."""
    record = online(call, call.name)
    context = call.body.get("restoreBackupContext") or {}
    source = str(call.body.get("backup") or "")
    if not source:
        instance = context.get("instanceId") or id_of(call.name)
        project = context.get("project") or call.project
        source = f"projects/{project}/instances/{instance}/backupRuns/{context.get('backupRunId', '')}"
    kept = demand(call.store.get(f"sqladmin.googleapis.com/{source}"), "sqladmin.backup")
    call.authorize("cloudsql.backupRuns.get", kept.name)
    refuse_if("SUCCESSFUL" not in {kept.body.get("status"), kept.body.get("state")}, "sqladmin.backup-state")
    data = kept.hidden.get("data", kept.name)
    return begin(call, record, "RESTORE_VOLUME", work="sql.restore", arguments={"source": data})


@WORK.register("sql.restore")
def restore_work(app: App, operation: Operation) -> Json:
    app.runtime.stop_database(operation.target)
    try:
        app.runtime.copy_database(str(operation.arguments["source"]), operation.target, "")
    finally:
        start(app, operation)
    return {}


@handles("sql.instances.clone", needs="cloudsql.instances.clone")
def clone(call: Call) -> Json:
    """A new instance with the settings and the data of another, now or at a moment that its log reaches."""
    source = online(call, call.name)
    context = call.body.get("cloneContext") or {}
    body = {"name": str(context.get("destinationInstanceName") or "")}
    name = f"{call.name.rsplit('/', 1)[0]}/{crud.chosen_id(call, INSTANCES, body)}"
    moment = str(context.get("pointInTime") or "")
    if moment:
        _check_moment(source, moment)
    kept = ("databaseVersion", "region", "settings")
    new = {**body, **{field: copy.deepcopy(source.body[field]) for field in kept}}
    new["settings"]["deletionProtectionEnabled"] = False
    with call.store.transaction():
        if call.store.get(name) is not None:
            raise duplicate(name, INSTANCES.kind)
        change = Change(call=call, name=name, new=new, old=None, hidden={})
        complete(change)
        record = call.store.put(name, change.new)
    arguments = {"source": source.name, "at": moment}
    return begin(call, record, "CLONE", work="sql.clone", arguments=arguments)


def _check_moment(source: Record, moment: str) -> None:
    backup_settings = source.body["settings"]["backupConfiguration"]
    refuse_if(not backup_settings.get("binaryLogEnabled"), "sqladmin.no-log")
    try:
        at = datetime.fromisoformat(moment).astimezone(UTC).timestamp()
    except (ValueError, OverflowError) as error:
        raise refuse("sqladmin.moment", moment=moment) from error
    oldest = time.time() - int(backup_settings.get("transactionLogRetentionDays") or 7) * _DAY
    born = str(source.body["createTime"])
    refuse_if(not oldest <= at <= time.time() or timestamp(at) < born, "sqladmin.moment", moment=moment)


@WORK.register("sql.clone")
def clone_work(app: App, operation: Operation) -> Json:
    source, at = str(operation.arguments["source"]), str(operation.arguments["at"])
    with marking(app, operation.target, state="FAILED"):
        app.runtime.copy_database(source, operation.target, at)
    return start(app, operation)
