"""What Google does without being asked, in a thread: groups mend their machines, schedules come due."""

from __future__ import annotations

import threading
import traceback

from gcp_openemr.sandbox.api.rules import CHORES, App

__all__ = ["Clock"]

_SECONDS = 1.0


class Clock:
    """Does every chore about once a second from its making until `close`."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="clock", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ending.wait(_SECONDS):
            for chore in CHORES:
                try:
                    chore(self._app)
                except Exception:  # one chore's defect must not end the others
                    traceback.print_exc()
