"""Copies of a Cloud SQL instance as it was at a moment: made, read out as SQL, and removed again.

Cloud SQL does one thing at a time with an instance, and answers what comes meanwhile by 409; it is asked again then.
"""

from __future__ import annotations

import datetime
import re
import secrets
import time
from collections.abc import Mapping
from typing import Any

from google.api_core.exceptions import Conflict, NotFound

from gcp_openemr import interruption
from gcp_openemr.clients import Cloud
from gcp_openemr.console import Step
from gcp_openemr.errors import CloudRefused, Unreachable

__all__ = ["clone", "copies", "copy_name", "export", "remove"]

_API = "sqladmin"
_OF_A_MOMENT = re.compile(r"-at-[0-9]{8}t[0-9]{6}-[0-9a-f]{4}")
_HOURS = 4 * 3600.0  # a large instance's log is played again from its last backup on
_POLL_SECONDS = (0.2, 10.0)
_ALONE: Mapping[str, Any] = {
    "deletionProtectionEnabled": False,
    "finalBackupConfig": {"enabled": False},
    "retainBackupsOnDelete": False,
}
"""A copy has the settings of its original, which would keep it or its backups."""


def copy_name(instance: str, moment: datetime.datetime) -> str:
    """A new name for a copy: that of an instance which was deleted is taken for a week."""
    return f"{instance}-at-{moment.astimezone(datetime.UTC):%Y%m%dt%H%M%S}-{secrets.token_hex(2)}"


def copies(cloud: Cloud, instance: str) -> list[str]:
    """The names of an instance's copies that are there."""
    listed = cloud.ask(_API, _path(cloud), maxResults=500).get("items", ())
    names = [str(one["name"]) for one in listed]
    return [name for name in names if name.startswith(instance) and _OF_A_MOMENT.fullmatch(name[len(instance) :])]


def clone(cloud: Cloud, instance: str, name: str, moment: datetime.datetime, step: Step) -> str:
    """Copy an instance as it was at a moment, and wait for it. Returns the account under which the copy exports.

    Raises:
        CloudRefused: its log does not reach that moment, or Cloud SQL failed.
    """
    at = moment.astimezone(datetime.UTC).isoformat().replace("+00:00", "Z")
    body = {"cloneContext": {"destinationInstanceName": name, "pointInTime": at}}
    waiting = _Waiting(f"Cloud SQL has not made {name} of {instance}", step)
    while _state(cloud, name) is None:
        try:
            _finish(cloud, cloud.ask(_API, _path(cloud, instance, "clone"), body=body), waiting)
        except Conflict as error:
            waiting.wait(f"{instance} is busy: {error.message}")
    while (found := _state(cloud, name)) is not None and found["state"] == "PENDING_CREATE":
        waiting.wait(str(found["state"]))
    if found is None or found["state"] != "RUNNABLE":
        raise CloudRefused(f"Cloud SQL did not finish {name}: it is {found['state'] if found else 'gone'}.")
    return str(found["serviceAccountEmailAddress"])


def export(cloud: Cloud, name: str, schema: str, place: str, step: Step) -> None:
    """Write a schema as SQL to `gs://BUCKET/OBJECT`; a name in .gz is packed.

    Raises:
        CloudRefused: with Cloud SQL's reason.
    """
    body = {"exportContext": {"fileType": "SQL", "uri": place, "databases": [schema]}}
    waiting = _Waiting(f"Cloud SQL has not written {place}", step)
    while True:
        try:
            return _finish(cloud, cloud.ask(_API, _path(cloud, name, "export"), body=body), waiting)
        except Conflict as error:
            waiting.wait(f"{name} is busy: {error.message}")


def remove(cloud: Cloud, name: str, step: Step) -> None:
    """Delete a copy, with whatever backups it has; one that is gone is fine.

    Raises:
        CloudRefused, Unreachable: it stays, and costs.
    """
    waiting = _Waiting(f"Cloud SQL has not deleted {name}", step)
    freed = False
    while _state(cloud, name) is not None:
        try:
            if not freed:
                _finish(cloud, cloud.ask(_API, _path(cloud, name), body={"settings": _ALONE}, method="PATCH"), waiting)
                freed = True
            deleting = cloud.ask(_API, _path(cloud, name), method="DELETE", enableFinalBackup="false")
            _finish(cloud, deleting, waiting)
        except Conflict as error:
            waiting.wait(f"{name} is busy: {error.message}")
        except NotFound:
            return


class _Waiting:
    """How long a change may take, and what it is at."""

    def __init__(self, late: str, step: Step) -> None:
        self._late = late
        self._step = step
        self._deadline = time.monotonic() + _HOURS
        self._pause, self._longest = _POLL_SECONDS

    def wait(self, told: str) -> None:
        self._step.update(told)
        if time.monotonic() > self._deadline:
            raise Unreachable(f"{self._late} in {_HOURS / 3600:.0f} hours.", do="Run the same command again.")
        interruption.pause(self._pause)
        self._pause = min(self._pause * 1.5, self._longest)


def _finish(cloud: Cloud, operation: Mapping[str, Any], waiting: _Waiting) -> None:
    while operation.get("status") != "DONE":
        waiting.wait(f"{operation.get('operationType', '')} {operation.get('status', '')}")
        operation = cloud.ask(_API, f"v1/projects/{cloud.project}/operations/{operation['name']}")
    errors = operation.get("error", {}).get("errors", [])
    if errors:
        raise CloudRefused("Cloud SQL: " + "; ".join(str(one.get("message") or one["code"]) for one in errors))


def _state(cloud: Cloud, name: str) -> dict[str, Any] | None:
    try:
        return cloud.ask(_API, _path(cloud, name))
    except NotFound:
        return None


def _path(cloud: Cloud, instance: str = "", what: str = "") -> str:
    return "/".join(part for part in (f"v1/projects/{cloud.project}/instances", instance, what) if part)
