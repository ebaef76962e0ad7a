"""Executions of the clinic's jobs: which of them began with passwords that will end, and running the one for Redis."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from jobs import log, rest
from jobs.errors import CloudRefused, Unreachable

__all__ = ["is_over", "run", "running", "wait"]

# "up to a few hours": https://cloud.google.com/secret-manager/docs/reference/consistency
_LATE = timedelta(hours=3)
_POLL_SECONDS = 5.0
_RUN_SECONDS = 900.0


def running(jobs: Sequence[str], *, but: str = "", moved: datetime | None = None) -> list[str]:
    """Full names of the executions that have not ended; a job that is not there has none.

    `moved` is when an alias did: those that began so late that none was told the version before are left out.
    """
    found = []
    for job in jobs:
        try:
            every = list(rest.listed("run", f"v2/{job}/executions", "executions"))
        except rest.NotFound:
            continue
        found += [one for one in every if not one.get("completionTime") and one["name"] != but]
    return [str(one["name"]) for one in found if moved is None or rest.moment(one["createTime"]) < moved + _LATE]


def is_over(execution: str) -> bool:
    """Also where it is forgotten already."""
    try:
        return bool(rest.call("GET", "run", f"v2/{execution}").get("completionTime"))
    except rest.NotFound:
        return True


def wait(executions: Sequence[str], *, seconds: float, meanwhile: Callable[[], None] = lambda: None) -> list[str]:
    """Wait until they have ended, for so long at most. Returns those that have not.

    `meanwhile` is done every few seconds: what keeps a lock's connection in use, and says when it is lost.
    """
    deadline = time.monotonic() + seconds
    left = [one for one in executions if not is_over(one)]
    while left and time.monotonic() < deadline:
        log.info("Waiting for executions that began before", executions=[one.rpartition("/")[2] for one in left])
        time.sleep(min(_POLL_SECONDS, max(deadline - time.monotonic(), 0.1)))
        meanwhile()
        left = [one for one in left if not is_over(one)]
    return left


def run(job: str) -> None:
    """Run a job that may run twice, and wait for its end; first for that of a run which was left behind.

    Raises:
        CloudRefused: it failed.
        Unreachable: it does not end.
    """
    wait(running([job]), seconds=_RUN_SECONDS)
    begun = rest.call("POST", "run", f"v2/{job}:run", body={}, repeatable=True)
    name = str(begun["metadata"]["name"])
    deadline = time.monotonic() + _RUN_SECONDS
    delay = 0.2
    while True:
        state = rest.call("GET", "run", f"v2/{name}")
        if state.get("completionTime"):
            break
        if time.monotonic() > deadline:
            raise Unreachable(f"{name} does not end.", do="Run the same command again; it continues.")
        time.sleep(delay)
        delay = min(delay * 1.5, _POLL_SECONDS)
    if int(state.get("succeededCount", 0)) < int(state.get("taskCount", 1)):
        raise CloudRefused(
            f"Job {job.rpartition('/')[2]} failed: {_reason(state)}", do=f"Its log: {state.get('logUri')}"
        )


def _reason(execution: dict[str, Any]) -> str:
    conditions = execution.get("conditions", [])
    found = (one.get("message") for one in conditions if one.get("type") == "Completed")
    return str(next(found, "") or "no reason was given")
