"""Long-running operations: real work in a thread, polled by name, kept in the store.

An operation names its work and the arguments, so that one found unfinished after a restart is either taken up again
(work that is safe to repeat) or ends with an error that says why.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import json
import threading
import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING

from gcp_openemr.sandbox.api.call_log import CURRENT, Trace
from gcp_openemr.sandbox.api.errors import CODES, ApiError
from gcp_openemr.sandbox.api.names import now
from gcp_openemr.sandbox.api.settings import seconds_of
from gcp_openemr.sandbox.api.store import Store
from gcp_openemr.sandbox.interfaces import Json, Refused

if TYPE_CHECKING:
    from gcp_openemr.sandbox.api.app import App

__all__ = ["INTERRUPTED", "Operation", "Operations", "Work", "WorkTable"]

# What work returns becomes the operation's response.
Work = Callable[["App", "Operation"], Json]
Abandon = Callable[["App", "Operation"], None]
_GRACE_SECONDS = 0.15  # work that ends within it is answered as done at once, which spares clients a poll
_SPOILED = "Internal error encountered."
_MAKING = {"create", "insert"}  # what a failed operation of theirs was to make is not there
INTERRUPTED = "The operation was interrupted by a restart of the sandbox. Please try again."


@dataclasses.dataclass(frozen=True, kw_only=True)
class Operation:
    """`name` is the full name, `target` that of the resource; times are RFC 3339; `error` is a google.rpc.Status.

    It takes `seconds` at least; a `spoiled` one ends with an error, because somebody asked for it.
    """

    name: str
    target: str
    verb: str
    user: str
    insert_time: str = dataclasses.field(default_factory=now)
    work: str = ""
    arguments: Json = dataclasses.field(default_factory=dict)
    start_time: str = ""
    end_time: str = ""
    metadata_type: str = ""
    response_type: str = ""
    metadata: Json = dataclasses.field(default_factory=dict)
    response: Json | None = None
    error: Json | None = None
    seconds: float = 0.0
    spoiled: bool = False

    @property
    def done(self) -> bool:
        return bool(self.end_time)


class WorkTable:
    """Work by name. Work with `abandon` is not repeated after a restart: `abandon` sets its resource right instead.

    `undo` takes away what a failed operation was to make, where Google leaves nothing of it.
    """

    def __init__(self) -> None:
        self._work: dict[str, Work] = {}
        self._abandon: dict[str, Abandon] = {}
        self._undo: dict[str, Work] = {}

    def register(
        self, name: str, *, abandon: Abandon | None = None, undo: Work | None = None
    ) -> Callable[[Work], Work]:
        def add(function: Work) -> Work:
            self._work[name] = function
            if abandon is not None:
                self._abandon[name] = abandon
            if undo is not None:
                self._undo[name] = undo
            return function

        return add

    def function(self, name: str) -> Work:
        return self._work[name]

    def abandon(self, name: str) -> Abandon | None:
        return self._abandon.get(name)

    def undo(self, name: str) -> Work | None:
        return self._undo.get(name)


class Operations:
    """The engine. `begin` inside a transaction, `submit` after it."""

    def __init__(self, app: App, store: Store, table: WorkTable) -> None:
        self._app = app
        self._store = store
        self._table = table
        self._changed = threading.Condition()
        self._turns: dict[str, threading.Lock] = collections.defaultdict(threading.Lock)
        self._threads: set[threading.Thread] = set()
        self._closing = threading.Event()
        self._here = threading.local()

    def begin(self, operation: Operation) -> Operation:
        """Record an operation; without work and latency it is done already."""
        trace = CURRENT.get() or Trace()
        spoiled = any(fault.effect == "operation" for fault in trace.left)
        seconds = seconds_of("operations", trace.method_id) * self._app.settings.latency
        operation = dataclasses.replace(operation, seconds=seconds, spoiled=spoiled)
        if spoiled and not operation.work and operation.verb in _MAKING:
            self._store.delete(operation.target)
        if not operation.work and not seconds:
            moment = now()
            response, error = self._outcome(operation)
            operation = dataclasses.replace(
                operation, start_time=moment, end_time=moment, response=response, error=error
            )
        self._write(operation)
        return operation

    def refuse_when_spoiled(self) -> None:
        """Raise Refused when this thread does the work of an operation that is to fail."""
        if getattr(self._here, "spoiled", False):
            raise Refused(_SPOILED, code=CODES["INTERNAL"])

    def submit(self, operation: Operation) -> Operation:
        """Start the work and give it a moment; returns the operation as it stands then."""
        if operation.done:
            return operation
        thread = threading.Thread(target=self._run, args=(operation,), name=f"operation {operation.work}", daemon=True)
        self._threads.add(thread)
        thread.start()
        return self.wait(operation.name, _GRACE_SECONDS) or operation

    def start(self, operation: Operation) -> Operation:
        """Record and submit at once."""
        return self.submit(self.begin(operation))

    def get(self, name: str) -> Operation | None:
        rows = self._store.query("SELECT body FROM operations WHERE name = ?", (name,))
        return Operation(**json.loads(rows[0][0])) if rows else None

    def list(self, prefix: str) -> list[Operation]:
        """Operations below a prefix, oldest first."""
        rows = self._store.query(
            "SELECT body FROM operations WHERE name >= ? AND name < ?", (prefix, prefix + "\U0010ffff")
        )
        return sorted((Operation(**json.loads(row[0])) for row in rows), key=lambda found: found.insert_time)

    def unfinished(self, target: str) -> bool:
        """Whether an operation on a resource has yet to end."""
        rows = self._store.query("SELECT body FROM operations WHERE done = 0")
        return any(json.loads(row[0])["target"] == target for row in rows)

    def delete(self, name: str) -> None:
        self._store.change("DELETE FROM operations WHERE name = ?", (name,))

    def wait(self, name: str, seconds: float) -> Operation | None:
        """The operation once it is done, or as it is after `seconds`; None when there is none."""
        with self._changed:
            self._changed.wait_for(lambda: (found := self.get(name)) is None or found.done, timeout=seconds)
        return self.get(name)

    def update(self, name: str, metadata: Json) -> None:
        """What the work has to tell while it runs."""
        with self._store.transaction():
            current = self.get(name)
            if current is not None and not current.done:
                self._write(dataclasses.replace(current, metadata=metadata))

    def resume(self) -> None:
        """Take up, or end with an error, what a former process left unfinished."""
        rows = self._store.query("SELECT body FROM operations WHERE done = 0 ORDER BY name")
        for (body,) in rows:
            operation = Operation(**json.loads(body))
            abandon = self._table.abandon(operation.work)
            if abandon is None:
                self.submit(operation)
                continue
            with self._store.transaction():
                abandon(self._app, operation)
                error = {"code": CODES["ABORTED"], "message": INTERRUPTED}
                self._write(dataclasses.replace(operation, end_time=now(), error=error))

    def interrupt(self) -> None:
        """Before the runtime stops: work that is refused from now on is not over, but taken up after a restart."""
        self._closing.set()

    def close(self, seconds: float = 10.0) -> None:
        """Let running work end, for `seconds` at most. What does not end in time is found again after a restart."""
        self.interrupt()
        end = time.monotonic() + seconds
        for thread in list(self._threads):
            thread.join(timeout=max(0.0, end - time.monotonic()))

    def _run(self, operation: Operation) -> None:
        try:
            with self._turns[operation.target]:
                started = dataclasses.replace(operation, start_time=now())
                self._write(started)
                end = time.monotonic() + operation.seconds
                outcome = self._outcome(started)
                if outcome[1] is not None:
                    self._take_away(started)
                self._closing.wait(min(max(0.0, end - time.monotonic()), threading.TIMEOUT_MAX))
                self._finish(started, *outcome)
        except Exception:
            if not self._closing.is_set():  # else the sandbox ends: the runtime or the store went away under the work
                traceback.print_exc()
        finally:
            self._threads.discard(threading.current_thread())

    def _outcome(self, operation: Operation) -> tuple[Json | None, Json | None]:
        if not operation.work:
            return (None, _error(_SPOILED)) if operation.spoiled else (operation.response, None)
        self._here.spoiled = operation.spoiled
        try:
            response = self._table.function(operation.work)(self._app, operation)
            return (None, _error(_SPOILED)) if operation.spoiled else (response, None)
        except (Refused, ApiError) as refused:
            if self._closing.is_set() and self._table.abandon(operation.work) is None:
                raise
            code = refused.rpc_code if isinstance(refused, ApiError) else refused.code
            return None, {"code": code, "message": refused.message}
        except Exception:
            if self._closing.is_set():
                raise
            traceback.print_exc()
            return None, _error(_SPOILED)

    def _take_away(self, failed: Operation) -> None:
        """What could not be made, as far as it goes."""
        undo = self._table.undo(failed.work) if failed.verb in _MAKING else None
        self._here.spoiled = False
        with contextlib.suppress(Refused, ApiError):
            if undo is not None:
                undo(self._app, failed)

    def _finish(self, operation: Operation, response: Json | None, error: Json | None) -> None:
        current = self.get(operation.name) or operation
        done = dataclasses.replace(
            current, start_time=operation.start_time, end_time=now(), response=response, error=error
        )
        self._write(done)
        with self._changed:  # never inside a transaction: who waits here asks the store
            self._changed.notify_all()

    def _write(self, operation: Operation) -> None:
        body = json.dumps(dataclasses.asdict(operation))
        self._store.change(
            "INSERT OR REPLACE INTO operations VALUES (?, ?, ?)", (operation.name, body, int(operation.done))
        )


def _error(message: str) -> Json:
    return {"code": CODES["INTERNAL"], "message": message}
