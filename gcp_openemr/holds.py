"""What Google refuses to delete for a while, told by its words: who still holds it, and how long that takes."""

from __future__ import annotations

import dataclasses
import re

__all__ = ["HOLDS", "Hold", "of"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hold:
    """`what` holds it, in a sentence; `seconds` is the longest it was seen to last. `words` are Google's."""

    words: re.Pattern[str]
    what: str
    seconds: float
    source: str


def _hold(words: str, what: str, *, minutes: int, source: str) -> Hold:
    return Hold(words=re.compile(words), what=what, seconds=minutes * 60.0, source=source)


HOLDS = (
    _hold(
        r"serverless-ipv[46]-|addressReservations",
        "Cloud Run keeps its addresses in the subnetwork for one to two hours after the last service or job is gone",
        minutes=120,
        source="https://cloud.google.com/run/docs/configuring/vpc-direct-vpc#delete-subnet",
    ),
    _hold(
        r"another operation was already in progress|operationInProgress",
        "Cloud SQL is still at work on the instance (a backup, a stop, maintenance)",
        minutes=60,
        source="https://cloud.google.com/sql/docs/mysql/troubleshooting",
    ),
    _hold(
        r"has running executions",
        "a job is still running; it may be a backup, and is let finish",
        minutes=24 * 60,
        source="https://cloud.google.com/run/docs/managing/jobs#delete-job",
    ),
    _hold(
        r"is already being used by|resourceInUseByAnotherResource|resourceNotReady|is not ready",
        "something that is being deleted still uses it",
        minutes=15,
        source="https://cloud.google.com/compute/docs/troubleshooting/troubleshooting-resource-errors",
    ),
)
"""The more particular come first."""


def of(text: str) -> Hold | None:
    """The hold that an error tells of; None where waiting does not help."""
    return next((hold for hold in HOLDS if hold.words.search(text)), None)
