"""Containers: a process with a root file system, a network address, a user and an environment of its own."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gcp_openemr
from gcp_openemr.sandbox.runtime.logs import Lines
from gcp_openemr.sandbox.runtime.network import Interface, Networks

__all__ = ["Bind", "Container", "Containers", "File", "NotStarted", "Overlay", "Spec"]

GRACE_SECONDS = 10.0  # https://cloud.google.com/run/docs/container-contract#instance-shutdown
_OPEN_FILES = 25_000
_PACKAGE_ROOT = Path(gcp_openemr.__file__).parent.parent


class NotStarted(Exception):
    """A container's first process did not come to life; the text says why."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Overlay:
    """Directories laid over each other at `target`, the first on top, under a writable layer in memory."""

    target: str
    lower: Sequence[str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bind:
    """A directory or file of the daemon shown in the container."""

    source: str
    target: str
    read_only: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class File:
    """A small text file made in the container's memory, owned by its user."""

    path: str
    text: str
    mode: int = 0o644
    uid: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spec:
    """Everything about a container before it starts.

    Its file system is `overlays`, or the directory `root`. Without `interface` it has loopback only. `memory` in bytes;
    `cpus` 0 means all.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    overlays: Sequence[Overlay] = ()
    root: str = ""
    binds: Sequence[Bind] = ()
    files: Sequence[File] = ()
    interface: Interface | None = None
    uid: int = 1000
    gid: int = 1000
    directory: str = "/"
    memory: int = 512 << 20
    cpus: int = 0


class Container:
    """A running container. `pid` is its first process, seen from the daemon."""

    def __init__(
        self, spec: Spec, launcher: subprocess.Popen[bytes], pid: int, log: threading.Thread, ended: Callable[[], None]
    ) -> None:
        self.spec = spec
        self.pid = pid
        self._launcher = launcher
        self._log = log
        self._ended = ended
        self._waiting = threading.Lock()

    def wait(self, timeout: float | None = None) -> int | None:
        """Exit code (128 + signal), or None when it still runs after `timeout` seconds."""
        try:
            code = self._launcher.wait(timeout)
        except subprocess.TimeoutExpired:
            return None
        with self._waiting:
            self._log.join(timeout=2)
            self._ended()
        return code

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to its first process; nothing happens when it has ended."""
        if self._launcher.poll() is None:
            os.kill(self.pid, number)

    def stop(self, grace: float = GRACE_SECONDS) -> int:
        """SIGTERM, `grace` seconds, SIGKILL; the kernel takes every other process of the container with it."""
        self.signal(signal.SIGTERM)
        code = self.wait(grace)
        if code is None:
            self.signal(signal.SIGKILL)
            code = self.wait()
        return code if code is not None else 137


class Containers:
    """Starts containers and knows which run."""

    def __init__(self, *, mountpoint: Path, networks: Networks) -> None:
        self._mountpoint = mountpoint
        self._networks = networks
        self._running: dict[int, Container] = {}
        self._lock = threading.Lock()

    def start(self, spec: Spec, log: Lines) -> Container:
        """Start a container; returns when its program has been started (not when it is ready).

        Raises:
            NotStarted: its file system, network or program could not be had.
        """
        ours, theirs = socket.socketpair()
        with ours, theirs:
            launcher = subprocess.Popen(
                [sys.executable, "-S", "-m", "gcp_openemr.sandbox.runtime.launcher", str(theirs.fileno())],
                env={"PYTHONPATH": str(_PACKAGE_ROOT), "PATH": os.environ.get("PATH", os.defpath)},
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(theirs.fileno(),),
            )
            theirs.close()
            if launcher.stdout is None or launcher.stderr is None:
                raise NotStarted("the launcher has no output")
            follower = log.follow(spec.name, launcher.stdout, launcher.stderr)  # type: ignore[arg-type]
            try:
                pid = self._converse(ours, spec)
            except (OSError, NotStarted) as error:
                launcher.kill()
                launcher.wait()
                follower.join(timeout=2)
                self._forget(0, spec)
                raise NotStarted(str(error)) from error
        container = Container(spec, launcher, pid, follower, lambda: self._forget(pid, spec))
        with self._lock:
            self._running[pid] = container
        return container

    def _converse(self, ours: socket.socket, spec: Spec) -> int:
        """Send the specification, plug in the network when asked, until the program runs; returns its pid.

        The other end closes by itself when the program takes the launcher's place.
        """
        ours.settimeout(60)
        ours.sendall(json.dumps(self._wire(spec)).encode() + b"\n")
        pid, started = 0, False
        with ours.makefile("rb") as answers:
            for line in answers:
                message = json.loads(line)
                pid = message.get("pid", pid)
                if "error" in message:
                    raise NotStarted(message["error"])
                if "network" in message:
                    # Both processes write to the socket, so the pid may come second.
                    pid = pid or json.loads(answers.readline())["pid"]
                    if spec.interface:
                        self._networks.plug(spec.interface, pid)
                    ours.sendall(b".")
                started = started or "started" in message
        if not started:
            raise NotStarted("the container ended before its program started")
        return int(pid)

    def _wire(self, spec: Spec) -> dict[str, Any]:
        return {
            "mountpoint": str(self._mountpoint),
            "memory": spec.memory,
            "root": spec.root,
            "overlays": [dataclasses.asdict(layer) for layer in spec.overlays],
            "binds": [dataclasses.asdict(entry) for entry in spec.binds],
            "files": [dataclasses.asdict(file) for file in spec.files],
            "network": spec.interface.commands() if spec.interface else ["link set lo up"],
            "uid": spec.uid,
            "gid": spec.gid,
            "directory": spec.directory,
            "command": list(spec.command),
            "environment": dict(spec.environment),
            "cpus": spec.cpus,
            "open_files": _OPEN_FILES,
        }

    def _forget(self, pid: int, spec: Spec) -> None:
        with self._lock:
            first = self._running.pop(pid, None) is not None
        if spec.interface and (first or pid == 0):
            self._networks.release(spec.interface)

    def running(self) -> list[Container]:
        """Those that have not been seen to end."""
        with self._lock:
            return list(self._running.values())

    def stop_all(self, grace: float = GRACE_SECONDS) -> None:
        """Stop every container, side by side."""
        threads = [threading.Thread(target=one.stop, args=(grace,)) for one in self.running()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def python_binds() -> list[Bind]:
    """The daemon's interpreter and packages, at their own places, readable wherever they lie."""
    prefixes = {str(Path(prefix).resolve()) for prefix in (sys.prefix, sys.base_prefix)} | {sys.prefix}
    return [Bind(source=prefix, target=prefix) for prefix in sorted(prefixes) if not prefix.startswith("/usr")]


def program(name: str) -> str:
    """Absolute path of a system program, or its bare name so that the error names it."""
    return shutil.which(name, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin") or name
