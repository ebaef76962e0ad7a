"""Cloud Scheduler v1: jobs that call an API as a service account, when they are due or when they are told to.

Schedules come due only with `settings.schedules`; `jobs.run` always works. Targets are APIs of the sandbox. Schedules
are in unix-cron form: https://cloud.google.com/scheduler/docs/configuring/cron-job-schedules
"""

from __future__ import annotations

import base64
import dataclasses
import re
import time
from datetime import datetime, timedelta
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from gcp_openemr.sandbox.api import crud
from gcp_openemr.sandbox.api.errors import CODES, ApiError
from gcp_openemr.sandbox.api.messages import parse_json
from gcp_openemr.sandbox.api.names import duration_seconds, new_uid, now, timestamp
from gcp_openemr.sandbox.api.refusals import beyond_if, refuse, refuse_if
from gcp_openemr.sandbox.api.rules import CHORES, WORK, App, Call, Change, Collection, Json, Operation, handles

__all__ = ["ScheduleInvalid", "fire", "read_schedule"]

# Least and greatest value of minute, hour, day of the month, month, day of the week (0 and 7 are Sunday).
_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_NAMES = {name: number for number, name in (*enumerate(_MONTHS, 1), *enumerate(_DAYS))}
_FARTHEST_DAYS = 4 * 366 + 1  # the 29th of February comes within them
_API = re.compile(r"[a-z0-9-]+\.googleapis\.com")
_LONGEST, _SHORTEST = 1800, 15  # seconds of an attempt at an HTTP target
# https://cloud.google.com/scheduler/docs/configuring/retry-jobs
_RETRY: Json = {
    "maxRetryDuration": "0s",
    "minBackoffDuration": "5s",
    "maxBackoffDuration": "3600s",
    "maxDoublings": 5,
}


class ScheduleInvalid(ValueError):
    """The text is no schedule, or the zone no time zone."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Schedule:
    """Values that fit, by field. `either_day`: a day fits when one of its two fields does, as in cron."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool
    zone: ZoneInfo

    def next(self, after: float) -> float:
        """The first time after a moment (seconds of the epoch). Raises ScheduleInvalid when there is none."""
        start = datetime.fromtimestamp(after, tz=self.zone).replace(second=0, microsecond=0) + timedelta(minutes=1)
        for distance in range(_FARTHEST_DAYS):
            day = (start + timedelta(days=distance)).date()
            if day.month not in self.months or not self._day(day.day, day.isoweekday() % 7):
                continue
            for hour in sorted(self.hours):
                for minute in sorted(self.minutes):
                    moment = datetime(day.year, day.month, day.day, hour, minute, tzinfo=self.zone)
                    if moment >= start:
                        return moment.timestamp()
        raise ScheduleInvalid("never")

    def _day(self, day: int, weekday: int) -> bool:
        fits = (day in self.days, weekday in self.weekdays)
        return any(fits) if self.either_day else all(fits)


def read_schedule(text: str, zone: str) -> _Schedule:
    """Raises ScheduleInvalid."""
    parts = text.split()
    if len(parts) != len(_RANGES):
        raise ScheduleInvalid(text)
    try:
        place = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ScheduleInvalid(zone) from error
    minutes, hours, days, months, weekdays = (
        frozenset(_values(part, *limits)) for part, limits in zip(parts, _RANGES, strict=True)
    )
    return _Schedule(
        minutes=minutes,
        hours=hours,
        days=days,
        months=months,
        weekdays=frozenset(value % 7 for value in weekdays),
        either_day="*" not in (parts[2][0], parts[4][0]),
        zone=place,
    )


def _values(part: str, least: int, greatest: int) -> set[int]:
    found: set[int] = set()
    for item in part.split(","):
        span, _, step = item.partition("/")
        first, _, last = ("*", "", "") if span == "*" else span.partition("-")
        begin = least if first == "*" else _number(first)
        end = greatest if first == "*" or (step and not last) else _number(last or first)
        width = _number(step) if step else 1
        if not least <= begin <= end <= greatest or width < 1:
            raise ScheduleInvalid(part)
        found.update(range(begin, end + 1, width))
    return found


def _number(text: str) -> int:
    if re.fullmatch(r"[0-9]{1,2}", text):
        return int(text)
    try:
        return _NAMES[text.upper()]
    except KeyError as error:
        raise ScheduleInvalid(text) from error


def _complete(change: Change) -> None:
    new, call = change.new, change.call
    new.setdefault("timeZone", "Etc/UTC")
    try:
        following = read_schedule(str(new.get("schedule") or ""), new["timeZone"]).next(time.time())
    except ScheduleInvalid as error:
        raise refuse("cloudscheduler.schedule") from error
    targets = [field for field in ("httpTarget", "pubsubTarget", "appEngineHttpTarget") if new.get(field)]
    refuse_if(len(targets) != 1, "cloudscheduler.target")
    beyond_if(targets != ["httpTarget"], "The sandbox stands in for HTTP targets only.")
    _check_target(call, new["httpTarget"])
    seconds = duration_seconds(new.setdefault("attemptDeadline", "180s"))
    refuse_if(not _SHORTEST <= seconds <= _LONGEST, "cloudscheduler.deadline", least=_SHORTEST, most=_LONGEST)
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


@handles("cloudscheduler.projects.locations.jobs.run", needs="cloudscheduler.jobs.run")
def run(call: Call) -> Json:
    """Now, also when it is paused. The answer does not wait for the attempt."""
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
    app.ask(account["serviceAccountEmail"], target["httpMethod"], path, body)


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
