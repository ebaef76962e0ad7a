"""Cloud Scheduler v1: jobs that call an API as a service account, when they are due or when they are told to.

Schedules come due only with `settings.schedules`; `jobs.run` always works. Targets are APIs of the sandbox.
"""

from __future__ import annotations

import base64
import re
import time
from urllib.parse import urlsplit

from gcp_openemr.sandbox.api import crud
from gcp_openemr.sandbox.api.agents import ask
from gcp_openemr.sandbox.api.errors import CODES, ApiError
from gcp_openemr.sandbox.api.messages import parse_json
from gcp_openemr.sandbox.api.names import new_uid, now, timestamp
from gcp_openemr.sandbox.api.refusals import refuse, refuse_if
from gcp_openemr.sandbox.api.rules import CHORES, WORK, App, Call, Change, Collection, Json, Operation, handles
from gcp_openemr.sandbox.api.schedule import ScheduleInvalid, read_schedule

__all__ = ["fire"]

_API = re.compile(r"[a-z0-9-]+\.googleapis\.com")
_SECONDS = re.compile(r"(\d+)(\.\d+)?s")
_LONGEST, _SHORTEST = 1800, 15  # seconds of an attempt at an HTTP target
# https://cloud.google.com/scheduler/docs/configuring/retry-jobs
_RETRY: Json = {
    "maxRetryDuration": "0s",
    "minBackoffDuration": "5s",
    "maxBackoffDuration": "3600s",
    "maxDoublings": 5,
}


def _complete(change: Change) -> None:
    new, call = change.new, change.call
    new.setdefault("timeZone", "Etc/UTC")
    try:
        following = read_schedule(str(new.get("schedule") or ""), new["timeZone"]).next(time.time())
    except ScheduleInvalid as error:
        raise refuse("cloudscheduler.schedule") from error
    targets = [field for field in ("httpTarget", "pubsubTarget", "appEngineHttpTarget") if new.get(field)]
    refuse_if(len(targets) != 1, "cloudscheduler.target")
    if targets != ["httpTarget"]:
        raise ApiError(501, "The sandbox stands in for HTTP targets only.")
    _check_target(call, new["httpTarget"])
    deadline = _SECONDS.fullmatch(str(new.setdefault("attemptDeadline", "180s")))
    if deadline is None or not _SHORTEST <= int(deadline[1]) <= _LONGEST:
        raise refuse("cloudscheduler.deadline", least=_SHORTEST, most=_LONGEST)
    new["retryConfig"] = {**_RETRY, **(new.get("retryConfig") or {})}
    new |= {"userUpdateTime": now(), "scheduleTime": timestamp(following)}
    new.setdefault("state", "ENABLED")
    change.hidden.pop("due", None)


def _check_target(call: Call, target: Json) -> None:
    target.setdefault("httpMethod", "POST")
    try:
        uri = urlsplit(str(target.get("uri") or ""))
    except ValueError as error:
        raise refuse("cloudscheduler.uri") from error
    refuse_if(uri.scheme not in {"http", "https"} or not uri.hostname, "cloudscheduler.uri")
    token = target.get("oauthToken") or target.get("oidcToken")
    refuse_if(target.get("oauthToken") and not _API.fullmatch(str(uri.hostname)), "cloudscheduler.token")
    if token:
        email = str(token.get("serviceAccountEmail") or "")
        refuse_if(not call.app.service_account_exists(email), "cloudscheduler.account", email=email)
        call.app.authorize_act_as(call, email)
    if target.get("oauthToken"):
        target["oauthToken"].setdefault("scope", "https://www.googleapis.com/auth/cloud-platform")


JOBS = Collection("cloudscheduler.projects.locations.jobs", id_pattern=r"[a-zA-Z\d_-]{1,500}", complete=_complete)


def _switch(call: Call, permission: str, before: str, after: str) -> Json:
    call.authorize(f"cloudscheduler.jobs.{permission}")
    with call.store.transaction():
        record = crud.existing(call, JOBS)
        refuse_if(record.body["state"] != before, "cloudscheduler.paused", wanted=before)
        body = {**record.body, "state": after, "userUpdateTime": now()}
        call.store.put(record.name, body, hidden={})
    return body


@handles("cloudscheduler.projects.locations.jobs.pause")
def pause(call: Call) -> Json:
    return _switch(call, "pause", "ENABLED", "PAUSED")


@handles("cloudscheduler.projects.locations.jobs.resume")
def resume(call: Call) -> Json:
    return _switch(call, "enable", "PAUSED", "ENABLED")


@handles("cloudscheduler.projects.locations.jobs.run")
def run(call: Call) -> Json:
    """Now, also when it is paused. The answer does not wait for the attempt."""
    call.authorize("cloudscheduler.jobs.run")
    record = crud.existing(call, JOBS)
    _begin(call.app, record.name)
    return record.body


def _begin(app: App, job: str) -> None:
    operation = Operation(
        name=f"cloudscheduler.googleapis.com/attempts/{new_uid()}",
        target=job,
        verb="run",
        user="",
        work="cloudscheduler.attempt",
    )
    app.operations.start(operation)


@WORK.register("cloudscheduler.attempt", abandon=lambda _app, _operation: None)
def attempt(app: App, operation: Operation) -> Json:
    """Call the target as the job's service account, and again as often as it may be retried (without the waits)."""
    record = app.store.get(operation.target)
    if record is None:
        return {}
    app.store.update(operation.target, {"lastAttemptTime": now()})
    status: Json = {}
    for _ in range(1 + int(record.body["retryConfig"].get("retryCount") or 0)):
        try:
            _call(app, record.body["httpTarget"])
            status = {}
            break
        except ApiError as error:
            status = {"code": error.rpc_code or CODES["UNKNOWN"], "message": error.message}
    app.store.update(operation.target, {"status": status})
    return {}


def _call(app: App, target: Json) -> None:
    uri = urlsplit(target["uri"])
    account = target.get("oauthToken") or {}
    if not (account and _API.fullmatch(uri.hostname or "")):
        raise ApiError(501, "The sandbox's scheduler calls APIs with an OAuth token only.")
    body = parse_json(base64.b64decode(target.get("body") or ""))
    path = f"/{uri.hostname}{uri.path}" + (f"?{uri.query}" if uri.query else "")
    ask(app, account["serviceAccountEmail"], target["httpMethod"], path, body)


def fire(app: App) -> None:
    """Begin what is due. A job waits `settings.schedules` times as long as on Google."""
    factor = app.settings.schedules
    for record in app.store.list("cloudscheduler.googleapis.com/projects/") if factor else ():
        if record.body["state"] != "ENABLED":
            continue
        due, moment = record.hidden.get("due"), time.time()
        if due is not None and moment < due:
            continue
        schedule = read_schedule(record.body["schedule"], record.body["timeZone"])
        following = schedule.next(moment)
        body = {**record.body, "scheduleTime": timestamp(following)}
        app.store.put(record.name, body, hidden={"due": moment + (following - moment) * factor})
        if due is not None:
            _begin(app, record.name)


CHORES.append(fire)
