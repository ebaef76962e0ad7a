"""Schedules in unix-cron form: https://cloud.google.com/scheduler/docs/configuring/cron-job-schedules"""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

__all__ = ["Schedule", "ScheduleInvalid", "read_schedule"]

# Least and greatest value of minute, hour, day of the month, month, day of the week (0 and 7 are Sunday).
_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_NAMES = {name: number for number, name in (*enumerate(_MONTHS, 1), *enumerate(_DAYS))}
_FARTHEST_DAYS = 4 * 366 + 1  # the 29th of February comes within them


class ScheduleInvalid(ValueError):
    """The text is no schedule, or the zone no time zone."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule:
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


def read_schedule(text: str, zone: str) -> Schedule:
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
    return Schedule(
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
    if text.isdigit():
        return int(text)
    try:
        return _NAMES[text.upper()]
    except KeyError as error:
        raise ScheduleInvalid(text) from error
