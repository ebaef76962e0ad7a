"""Small tasks in several threads, because one file after the other waits for the share each time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

__all__ = ["Workers"]

_THREADS = 8
_BYTES_IN_HAND = 32 << 20
_BYTES_OF_A_TASK = 4096  # what the task itself takes: of a million empty files not all are in hand, either


class Workers:
    """A context: at its end every task is done, or the first failure is raised. Tasks run in any order."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="work")
        self._changed = threading.Condition()
        self._in_hand = 0
        self._failure: BaseException | None = None

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=error is not None)
        if error is None:
            self._raise()

    def do(self, task: Callable[[], object], *, size: int = 0) -> None:
        """Hand a task in that keeps `size` bytes; waits while there are too many in hand.

        Raises:
            what an earlier task raised.
        """
        size += _BYTES_OF_A_TASK
        with self._changed:
            while self._in_hand > _BYTES_IN_HAND and self._failure is None:
                self._changed.wait(1.0)
            self._raise()
            self._in_hand += size
        self._pool.submit(task).add_done_callback(lambda done: self._finished(done, size))

    def _finished(self, done: Future[object], size: int) -> None:
        with self._changed:
            self._in_hand -= size
            if not done.cancelled() and self._failure is None:
                self._failure = done.exception()
            self._changed.notify()

    def _raise(self) -> None:
        if self._failure is not None:
            raise self._failure
