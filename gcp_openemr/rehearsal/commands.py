"""Commands as a user runs them, in processes of their own, which can be stopped half way and run again."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gcp_openemr import interruption
from gcp_openemr.rehearsal.bad_days import Stop
from gcp_openemr.sandbox.runtime import namespaces

__all__ = ["Answer", "run"]

_STEP = re.compile(r"(\d\d:\d\d:\d\d )?→ ")  # what a line begins with that shows a step, see console.py
_POLL_SECONDS = 0.1
_ENDING_SECONDS = 90.0


class Answer:
    """What a command ended with: exit status (negative: the signal), its one JSON object, whether it was stopped."""

    def __init__(self, status: int, stdout: str, *, stopped: bool) -> None:
        self.status = status
        self.stopped = stopped
        try:
            found = json.loads(stdout)
        except ValueError:
            found = {}
        self.values: dict[str, Any] = found if isinstance(found, dict) else {}

    @property
    def error(self) -> str:
        """Its own sentence, or that there was none."""
        told = self.values.get("error", {})
        return f"{told.get('what', f'it ended with {self.status} and said nothing')} {told.get('do', '')}".rstrip()


def run(
    arguments: Sequence[str],
    *,
    folder: Path,
    variables: Mapping[str, str],
    show: Callable[[str], None],
    stop: Stop | None = None,
) -> Answer:
    """Run `gcp-openemr --sandbox --json ARGUMENTS` in `folder` to its end, or `stop` it; `show` gets what people read.

    Interrupted itself, it interrupts the command and waits for its end.
    """
    command = [sys.executable, "-m", "gcp_openemr.cli", "--sandbox", "--json", *arguments]
    with tempfile.TemporaryFile("w+", encoding="utf-8") as results:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=results,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C comes to us, and we tell it
            preexec_fn=namespaces.die_with_parent,  # noqa: PLW1509 - a system call, no locks
        )
        watcher = _Watcher(process, show, stop)
        try:
            while process.poll() is None:
                interruption.pause(_POLL_SECONDS)
        finally:
            _end(process)
            watcher.join()
        results.seek(0)
        return Answer(process.returncode, results.read(), stopped=watcher.stopped)


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGINT)
    try:
        process.wait(_ENDING_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class _Watcher(threading.Thread):
    """Reads what a command says, and stops it when its time has come."""

    def __init__(self, process: subprocess.Popen[str], show: Callable[[str], None], stop: Stop | None) -> None:
        super().__init__(daemon=True, name="what a command says")
        self._process = process
        self._show = show
        self._stop_at = stop
        self._steps = 0
        self.stopped = False
        self.start()

    def run(self) -> None:
        if self._process.stderr is None:
            return
        with self._process.stderr as lines:
            for line in lines:
                if line.strip():
                    self._show(line.strip())
                self._steps += _STEP.match(line) is not None
                if self._stop_at and self._steps >= self._stop_at.step and not self.stopped:
                    self.stopped = True
                    time.sleep(self._stop_at.seconds)
                    self._process.send_signal(self._stop_at.sign)
