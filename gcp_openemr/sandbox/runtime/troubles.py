"""Bad days of servers: slow ones, and shares that do not answer."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from gcp_openemr.sandbox.runtime import namespaces
from gcp_openemr.sandbox.runtime.processes import Bind, Container
from gcp_openemr.sandbox.runtime.record import Record

__all__ = ["Conditions", "Hung", "Slowable"]

_PAUSE_SECONDS, _WORK_SECONDS = 0.4, 0.02
_SECTION = "conditions"


class Conditions:
    """Which server is in which condition, also over restarts of the sandbox."""

    def __init__(self, record: Record) -> None:
        self._record = record

    def of(self, kind: str, name: str) -> str:
        """`stopped`, `slow`, `full` or `well`."""
        return str(self._record.section(_SECTION).get(f"{kind} {name}", "well"))

    def put(self, kind: str, name: str, condition: str) -> None:
        if condition == "well":
            self._record.remove(_SECTION, f"{kind} {name}")
        else:
            self._record.put(_SECTION, f"{kind} {name}", condition)


class Slowed:
    """Processes that get a twentieth of the time until `end()`: whatever is asked of them waits."""

    def __init__(self, processes: Callable[[], Sequence[int]]) -> None:
        self._processes = processes
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._work, name="slowed", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while not self._ending.wait(_WORK_SECONDS):
            self._signal(signal.SIGSTOP)
            self._ending.wait(_PAUSE_SECONDS)
            self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        for pid in self._processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def end(self) -> None:
        self._ending.set()
        self._thread.join()


@dataclasses.dataclass(kw_only=True)
class Slowable:
    """A server that may be slowed."""

    slowed: Slowed | None = None

    def slow(self, processes: Callable[[], Sequence[int]]) -> None:
        """Slow these processes of it until `hurry`."""
        self.slowed = Slowed(processes)

    def hurry(self) -> None:
        """Give it all its time again."""
        if self.slowed:
            self.slowed.end()
            self.slowed = None


class Hung:
    """A share of a container behind which nobody answers, until `end()` brings its directory back.

    As with a hard NFS mount whose server is gone, whoever looks there waits; unlike there, those who wait get an error
    when it is back, and files that were open before go on. The kernel frees everybody when the sandbox dies.
    """

    def __init__(self, container: Container, bind: Bind) -> None:
        self.container = container
        self.bind = bind
        self._connection = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        self._namespace = os.open(f"/proc/{container.pid}/ns/mnt", os.O_RDONLY)
        options = f"fd={self._connection},rootmode=40000,user_id=0,group_id=0,allow_other"
        with contextlib.suppress(OSError):  # it was not there yet
            self._there(lambda: namespaces.unmount(bind.target))
        self._there(lambda: namespaces.mount("share", bind.target, "fuse", 0, options))

    def _there(self, work: Callable[[], None]) -> None:
        namespaces.inside(self._namespace, namespaces.NEW_MOUNT, work)

    def end(self, directory: Path | None = None) -> None:
        """Free those who wait, and show the directory again where there is one."""
        with contextlib.suppress(OSError):  # the container has ended
            self._there(lambda: namespaces.unmount(self.bind.target))
            if directory:
                namespaces.carry_in(self._namespace, str(directory), self.bind.target, read_only=self.bind.read_only)
        os.close(self._connection)
        os.close(self._namespace)
