"""Containers: a process with a root file system, a network address, a user and an environment of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gcp_openemr
from gcp_openemr.sandbox.runtime.cgroups import Group, Groups
from gcp_openemr.sandbox.runtime.logs import Lines
from gcp_openemr.sandbox.runtime.network import Interface, Networks
from gcp_openemr.sandbox.runtime.resources import side_by_side

__all__ = ["Bind", "Container", "Containers", "File", "NotStarted", "Overlay", "Spec"]

GRACE_SECONDS = 10.0  # https://cloud.google.com/run/docs/container-contract#instance-shutdown
_OPEN_FILES = 25_000
_MEMORY_SECONDS = 0.3
_MEMORY_WORDS = (
    "Memory limit of {} MiB exceeded with {} MiB used. Consider increasing the memory limit, "
    "see https://cloud.google.com/run/docs/configuring/memory-limits"
)
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
    """A directory or file of the daemon shown in the container. `share` is `NETWORK SERVER:PATH` of NFS."""

    source: str
    target: str
    read_only: bool = True
    share: str = ""


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

    Its file system is `overlays`, or the directory `root`. Without `interface` it has loopback only. `memory` in bytes
    bounds the files it keeps in memory, and with `cpu`, in CPUs, all it uses (0: no limit). `memory_volumes`
    are directories in memory → bytes, `devices` path → number of block devices. A `machine` is not a container: its
    root may mount.
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
    cpu: float = 0
    memory_volumes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    devices: Mapping[str, int] = dataclasses.field(default_factory=dict)
    machine: bool = False


class Container:
    """A running container. `pid` is its first process, seen from the daemon."""

    def __init__(
        self,
        spec: Spec,
        launcher: subprocess.Popen[bytes],
        pid: int,
        follower: threading.Thread,
        group: Group | None,
        log: Lines,
        ended: Callable[[], None],
    ) -> None:
        self.spec = spec
        self.pid = pid
        self.out_of_memory = False
        self._launcher = launcher
        self._follower = follower
        self._group = group
        self._log = log
        self._ended = ended
        self._waiting = threading.Lock()
        self._holding = threading.Lock()

    def wait(self, timeout: float | None = None) -> int | None:
        """Exit code (128 + signal), or None when it still runs after `timeout` seconds."""
        try:
            code = self._launcher.wait(timeout)
        except subprocess.TimeoutExpired:
            return None
        self.short_of_memory()
        with self._waiting:
            self._follower.join(timeout=2)
            self._ended()
        return code

    def short_of_memory(self) -> bool:
        """Whether it has used all its memory; its log then says so in Cloud Run's words."""
        used = self._group.killed() if self._group and self.spec.cpu else 0
        with self._waiting:
            if used and not self.out_of_memory:
                self.out_of_memory = True
                self._log.write(self.spec.name, _MEMORY_WORDS.format(self.spec.memory >> 20, -(-used >> 20)))
            return self.out_of_memory

    def last_words(self, code: int) -> str:
        """How it ended, as Cloud Run logs it."""
        if self.out_of_memory:
            return f"Container terminated on signal {signal.SIGKILL}."
        return f"Container called exit({code})."

    def processes(self) -> list[int]:
        """All its processes, as the daemon counts them."""
        namespace = os.readlink(f"/proc/{self.pid}/ns/pid")
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if os.readlink(entry / "ns/pid") == namespace:
                    found.append(int(entry.name))
        return found

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Nothing of it runs inside the block."""
        with self._holding:
            try:
                self._signal_all(signal.SIGSTOP)
                yield
            finally:
                self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> None:
        with contextlib.suppress(OSError):
            for pid in self.processes():
                os.kill(pid, number)

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
    """Starts containers, knows which run, and ends those that use more memory than they have."""

    def __init__(self, *, mountpoint: Path, networks: Networks, groups: Groups) -> None:
        self._mountpoint = mountpoint
        self._networks = networks
        self._groups = groups
        self._running: dict[int, Container] = {}
        self._lock = threading.Lock()
        threading.Thread(target=self._watch_memory, name="memory", daemon=True).start()

    def _watch_memory(self) -> None:
        """The kernel ends one process of a container that has no memory left, Cloud Run the whole instance."""
        while True:
            time.sleep(_MEMORY_SECONDS)
            for container in self.running():
                if container.spec.cpu and container.short_of_memory():
                    container.signal(signal.SIGKILL)

    def start(self, spec: Spec, log: Lines) -> Container:
        """Start a container; returns when its program has been started (not when it is ready).

        Raises:
            NotStarted: its file system, network or program could not be had.
        """
        group = self._groups.make()
        if group and spec.cpu:
            group.limit(memory=spec.memory, cpu=spec.cpu)
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
                pid = self._converse(ours, spec, group)
            except (OSError, NotStarted) as error:
                launcher.kill()
                launcher.wait()
                follower.join(timeout=2)
                self._forget(0, spec, group)
                raise NotStarted(str(error)) from error
        container = Container(spec, launcher, pid, follower, group, log, lambda: self._forget(pid, spec, group))
        with self._lock:
            self._running[pid] = container
        return container

    def _converse(self, ours: socket.socket, spec: Spec, group: Group | None) -> int:
        """Send the specification, plug in the network when asked, until the program runs; returns its pid.

        The other end closes by itself when the program takes the launcher's place.
        """
        ours.settimeout(60)
        ours.sendall(json.dumps(self._wire(spec, group)).encode() + b"\n")
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

    def _wire(self, spec: Spec, group: Group | None) -> dict[str, Any]:
        return {
            **dataclasses.asdict(spec),
            "groups": group.members if group else [],
            "mountpoint": str(self._mountpoint),
            "network": spec.interface.commands() if spec.interface else ["link set lo up"],
            "cpus": math.ceil(spec.cpu),
            "open_files": _OPEN_FILES,
        }

    def _forget(self, pid: int, spec: Spec, group: Group | None) -> None:
        with self._lock:
            first = self._running.pop(pid, None) is not None
        if group:
            group.remove()
        if spec.interface and (first or pid == 0):
            self._networks.release(spec.interface)

    def running(self) -> list[Container]:
        """Those that have not been seen to end."""
        with self._lock:
            return list(self._running.values())

    def stop_all(self, grace: float = GRACE_SECONDS) -> None:
        """Stop every container, side by side."""
        side_by_side(Container.stop, [(one, grace) for one in self.running()])


def python_binds() -> list[Bind]:
    """The daemon's interpreter and packages, at their own places, readable wherever they lie."""
    prefixes = {str(Path(prefix).resolve()) for prefix in (sys.prefix, sys.base_prefix)} | {sys.prefix}
    return [Bind(source=prefix, target=prefix) for prefix in sorted(prefixes) if not prefix.startswith("/usr")]


def program(name: str) -> str:
    """Absolute path of a system program, or its bare name so that the error names it."""
    return shutil.which(name, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin") or name
