"""Ends the process that made a call, found by its socket in /proc.

The sandbox has process numbers of its own: it sees its containers, not the machine's programs. For those, whoever asks
for such a fault leaves a helper outside (`python -m gcp_openemr.sandbox.api.callers URL`, the token on stdin), which
asks the sandbox for the next victim until no such fault is left or the sandbox is gone. Not reachable are callers on
other machines, in process namespaces beside both, and the sandbox's own process.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import socket
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from gcp_openemr.sandbox.api.messages import Request
from gcp_openemr.sandbox.interfaces import Json

__all__ = ["Callers", "Connection", "kill_caller"]

_HELPER_SECONDS = 5.0
_POLL_SECONDS = 20.0
_UNREACHED = "its caller is out of reach"

Connection = tuple[str, str]  # the caller's end and ours, as ADDRESS:PORT


class Callers:
    """Victims that a helper outside of the sandbox is to end."""

    def __init__(self) -> None:
        self._victims: queue.Queue[Connection] = queue.Queue()
        self._outcomes: dict[Connection, queue.Queue[str]] = {}
        self._helpers = 0
        self._mutex = threading.Lock()

    def kill(self, request: Request) -> str:
        """End whoever made a request; says what was done."""
        killed = kill_caller(request.connection)
        if killed or not self._helpers:
            return killed or _UNREACHED
        outcome: queue.Queue[str] = queue.Queue()
        self._outcomes[request.connection] = outcome
        self._victims.put(request.connection)
        try:
            return outcome.get(timeout=_HELPER_SECONDS) or _UNREACHED
        except queue.Empty:
            return _UNREACHED
        finally:
            del self._outcomes[request.connection]

    def next_victim(self) -> Connection | None:
        """For the helper: whom to end, once there is one."""
        with self._mutex:
            self._helpers += 1
        try:
            return self._victims.get(timeout=_POLL_SECONDS)
        except queue.Empty:
            return None
        finally:
            # The helper is back as soon as it has done its work: who calls meanwhile waits for it.
            threading.Timer(_HELPER_SECONDS, self._helper_left).start()

    def ended(self, victim: Connection, outcome: str) -> None:
        """From the helper: what became of a victim."""
        waiting = self._outcomes.get(victim)
        if waiting is not None:
            waiting.put(outcome)

    def _helper_left(self) -> None:
        with self._mutex:
            self._helpers -= 1


def kill_caller(connection: Connection) -> str:
    """SIGKILL to the processes that hold the other end of a connection; says which, '' when none is seen here."""
    inode = _inode(connection)
    killed = []
    for process in _processes() if inode else ():
        if int(process.name) != os.getpid() and _holds(process, inode):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(process.name), signal.SIGKILL)
                killed.append(process.name)
    return f"killed process {', '.join(killed)}" if killed else ""


def _inode(connection: Connection) -> str:
    """The socket's number, from the table of whichever network it is in."""
    near, far = (_as_kernel_says(end) for end in connection)
    seen: set[str] = set()
    for process in _processes():
        with contextlib.suppress(OSError):
            network = os.readlink(process / "ns/net")
            if network in seen:
                continue
            seen.add(network)
            for line in (process / "net/tcp").read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[1:3] == [near, far]:
                    return fields[9]
    return ""


def _as_kernel_says(end: str) -> str:
    address, _, port = end.rpartition(":")
    return f"{int.from_bytes(socket.inet_aton(address), sys.byteorder):08X}:{int(port):04X}"


def _processes() -> Iterator[Path]:
    return (path for path in Path("/proc").iterdir() if path.name.isdigit())


def _holds(process: Path, inode: str) -> bool:
    with contextlib.suppress(OSError):
        for descriptor in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                if os.readlink(descriptor) == f"socket:[{inode}]":
                    return True
    return False


def main() -> None:
    """The helper: end one victim after the other, in a process that whoever started it need not wait for."""
    url, token = sys.argv[1], sys.stdin.readline().strip()
    if os.fork():
        return
    with contextlib.suppress(OSError):
        while (found := _post(url, token, {})) and not found.get("over"):
            if victim := found.get("victim"):
                _post(url, token, {"victim": victim, "outcome": kill_caller((victim[0], victim[1]))})


def _post(url: str, token: str, body: Json) -> Json:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    asked = urllib.request.Request(f"{url}/sandbox/v1/victims", data=json.dumps(body).encode(), headers=headers)
    with direct.open(asked, timeout=_POLL_SECONDS * 2) as answer:
        answered: Json = json.load(answer)
    return answered


if __name__ == "__main__":
    main()
