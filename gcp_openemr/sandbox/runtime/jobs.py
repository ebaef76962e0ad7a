"""Cloud Run jobs: the tasks of an execution, with their attempts, their time limit and their counts."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from gcp_openemr.sandbox.interfaces import Json, Refused
from gcp_openemr.sandbox.runtime.host import Host
from gcp_openemr.sandbox.runtime.logs import Log
from gcp_openemr.sandbox.runtime.processes import Container, NotStarted
from gcp_openemr.sandbox.runtime.resources import last, now, seconds_of
from gcp_openemr.sandbox.runtime.template import Exports, container_spec

__all__ = ["Jobs"]

_DEFAULT_TIMEOUT = 600.0
_DEFAULT_RETRIES = 3
_LONGEST_PAUSE = 10.0
_FAILED, _CANCELLED = "NON_ZERO_EXIT_CODE", "CANCELLED"

Report = Callable[[Json], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Outcome:
    """How an attempt ended; an empty message is success."""

    message: str = ""
    retry: bool = True


class _Counts:
    """The execution's numbers, told to `report` whenever they change."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._lock = threading.Lock()
        self._values = dict.fromkeys(
            ("runningCount", "succeededCount", "failedCount", "cancelledCount", "retriedCount"), 0
        )

    def add(self, **changes: int) -> None:
        with self._lock:
            for name, change in changes.items():
                self._values[name] += change
            self._report(dict(self._values))

    def values(self) -> Json:
        with self._lock:
            return dict(self._values)


class _Running:
    """An execution under way: the one that can be cancelled."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()
        self.containers: set[Container] = set()
        self.lock = threading.Lock()

    def cancel(self) -> None:
        self.cancelled.set()
        with self.lock:
            containers = list(self.containers)
        for container in containers:
            threading.Thread(target=container.stop, daemon=True).start()


class Jobs:
    """All executions under way."""

    def __init__(self, host: Host, exports: Exports) -> None:
        self._host = host
        self._exports = exports
        self._running: dict[str, _Running] = {}

    def run(self, execution: Json, report: Report) -> Json:
        """Run every task to its end; returns the execution's last update."""
        name, running = execution["name"], _Running()
        self._running[name] = running
        started = now()
        counts = _Counts(report)
        report({"startTime": started, "conditions": _conditions("CONDITION_RECONCILING", "")})
        tasks = int(execution.get("taskCount") or 1)
        width = int(execution.get("parallelism") or tasks)
        try:
            with ThreadPoolExecutor(max_workers=min(width, tasks), thread_name_prefix="task") as pool:
                work = [pool.submit(self._task, execution, number, tasks, running, counts) for number in range(tasks)]
            messages = [message for message in (task.result() for task in work) if message]
        finally:
            del self._running[name]
        final = {**counts.values(), "startTime": started, "completionTime": now()}
        if running.cancelled.is_set():
            return {**final, "conditions": _conditions("CONDITION_FAILED", "Execution was cancelled.", _CANCELLED)}
        if messages:
            return {**final, "conditions": _conditions("CONDITION_FAILED", messages[0], _FAILED)}
        return {**final, "conditions": _conditions("CONDITION_SUCCEEDED", "Execution completed successfully.")}

    def cancel(self, execution: str) -> None:
        """Stop its tasks; nothing happens when it has ended."""
        running = self._running.get(execution)
        if running:
            running.cancel()

    def stop(self) -> None:
        """Cancel everything."""
        for running in list(self._running.values()):
            running.cancel()

    def _task(self, execution: Json, number: int, tasks: int, running: _Running, counts: _Counts) -> str:
        """Run one task with its retries; returns why it failed, "" for success."""
        template = execution["template"]
        retries = int(template.get("maxRetries", _DEFAULT_RETRIES))
        short = f"{last(execution['name'])}-task{number}"
        log = self._host.log(last(execution["name"]))
        outcome = _Outcome()
        counts.add(runningCount=1)
        for attempt in range(retries + 1):
            if attempt and not running.cancelled.wait(min(_LONGEST_PAUSE, 0.1 * 2**attempt)):
                counts.add(retriedCount=1)
            if running.cancelled.is_set():
                break
            variables = {
                "CLOUD_RUN_JOB": last(execution["name"].partition("/executions/")[0]),
                "CLOUD_RUN_EXECUTION": last(execution["name"]),
                "CLOUD_RUN_TASK_INDEX": str(number),
                "CLOUD_RUN_TASK_ATTEMPT": str(attempt),
                "CLOUD_RUN_TASK_COUNT": str(tasks),
            }
            outcome = self._attempt(execution, short, variables, running, log)
            if outcome.message:
                log.write(short, outcome.message)
            if not outcome.message or not outcome.retry:
                break
        if running.cancelled.is_set():
            counts.add(runningCount=-1, cancelledCount=1)
            return "cancelled"
        if outcome.message:
            counts.add(runningCount=-1, failedCount=1)
            return f"Task {short} failed with {outcome.message}"
        counts.add(runningCount=-1, succeededCount=1)
        return ""

    def _attempt(self, execution: Json, name: str, variables: dict[str, str], running: _Running, log: Log) -> _Outcome:
        template = execution["template"]
        job = execution["name"].partition("/executions/")[0]
        try:
            spec = container_spec(self._host, self._exports, template, name=name, parent=job, environment=variables)
            container = self._host.containers.start(spec, log)
        except Refused as error:
            return _Outcome(message=f"message: {error.message}", retry=False)
        except NotStarted as error:
            return _Outcome(message=f"message: The container failed to start: {error}.")
        with running.lock:
            running.containers.add(container)
        if running.cancelled.is_set():
            container.stop()
        started = time.monotonic()
        code = container.wait(seconds_of(template.get("timeout"), _DEFAULT_TIMEOUT))
        if code is None:
            container.stop()
            seconds = round(time.monotonic() - started)
            return _Outcome(message=f"message: The configured timeout was reached ({seconds} s).")
        with running.lock:
            running.containers.discard(container)
        if code == 0:
            return _Outcome()
        if container.out_of_memory:
            return _Outcome(message="message: The configured memory limit was reached.")
        return _Outcome(message=f"exit code: {code} and message: The container exited with an error.")


def _conditions(state: str, message: str, reason: str = "") -> list[Json]:
    moment = now()
    completed: Json = {"type": "Completed", "state": state, "lastTransitionTime": moment}
    if message:
        completed["message"] = message
    if reason:
        completed["executionReason"] = reason
    if state == "CONDITION_FAILED":
        completed["severity"] = "ERROR"
    done = {"state": "CONDITION_SUCCEEDED", "lastTransitionTime": moment}
    return [completed, *({"type": kind, **done} for kind in ("ResourcesAvailable", "Started"))]
