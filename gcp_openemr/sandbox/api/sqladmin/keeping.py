"""What is kept of an instance that is deleted: backups of the project (`projects/p/backups/ID`)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gcp_openemr.sandbox.api.names import host_of, id_of, new_uid, now, path_of, project_of, timestamp
from gcp_openemr.sandbox.api.store import Record
from gcp_openemr.sandbox.interfaces import Json

if TYPE_CHECKING:
    from gcp_openemr.sandbox.api.app import App

__all__ = ["backup_of", "keep_backups"]

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
    moment = now()
    return {
        "kind": "sql#backup",
        "name": path_of(name),
        "selfLink": f"https://sqladmin.googleapis.com/v1/{path_of(name)}",
        "type": kind,
        "state": "SUCCESSFUL",
        "instance": id_of(instance.name),
        "location": instance.body["region"],
        "databaseVersion": instance.body["databaseVersion"],
        "instanceSettings": instance.body,
        "instanceDeletionTime": moment,
        "backupInterval": {"startTime": moment, "endTime": moment},
    }
