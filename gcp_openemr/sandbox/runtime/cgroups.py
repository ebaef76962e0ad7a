"""Memory and CPU limits: a control group for each container, enforced by the kernel.

Version 1 (one tree for each controller) and version 2 (one tree) differ in names only, which a table holds. A machine
whose groups the sandbox may not change enforces nothing, and `Groups.enforced` says so.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

__all__ = ["Group", "Groups"]

_ROOT = Path("/sys/fs/cgroup")
_PREFIX = "gcp-openemr-"
_DAEMON = "daemon"
_ATTEMPTS = 3
_PERIOD = 100_000  # microseconds
# Version: controller → where it lies, and what limits memory (bytes), CPUs, writes a second of a device (major:minor).
_TREES = {1: {"memory": "memory", "cpu": "cpu", "blkio": "blkio"}, 2: {"memory": "", "cpu": "", "blkio": ""}}
_MEMORY = {1: (("memory", "memory.limit_in_bytes"),), 2: (("memory", "memory.max"), ("memory", "memory.swap.max"))}
_EVENTS = {1: ("memory.oom_control", "memory.max_usage_in_bytes"), 2: ("memory.events", "memory.peak")}


class Group:
    """One container's group. `members` are the files a process writes "0" to in order to join."""

    def __init__(self, version: int, folders: Mapping[str, Path]) -> None:
        self._version = version
        self._folders = dict(folders)

    @property
    def members(self) -> list[str]:
        return sorted({str(folder / "cgroup.procs") for folder in self._folders.values()})

    def limit(self, *, memory: int, cpu: float) -> None:
        """Bytes, among them files in memory; CPUs, which may be a fraction."""
        for controller, file in _MEMORY[self._version]:
            with contextlib.suppress(FileNotFoundError):
                (self._folders[controller] / file).write_text("0" if "swap" in file else str(memory))
        quota = round(cpu * _PERIOD)
        if self._version == 1:
            (self._folders["cpu"] / "cpu.cfs_quota_us").write_text(str(quota))
        else:
            (self._folders["cpu"] / "cpu.max").write_text(f"{quota} {_PERIOD}")

    def killed(self) -> int:
        """The most memory used, in bytes, when the kernel has ended a process for want of it; else 0."""
        events, peak = (self._folders["memory"] / name for name in _EVENTS[self._version])
        try:
            counts = dict(line.split() for line in events.read_text(encoding="utf-8").splitlines())
            if int(counts.get("oom_kill", 0)) == 0:
                return 0
            return int(peak.read_text(encoding="utf-8")) if peak.exists() else 1
        except OSError:  # it has ended, and its group with it
            return 0

    def remove(self) -> None:
        """Take an empty group away; one that still has processes goes at the sandbox's next start."""
        for folder in set(self._folders.values()):
            with contextlib.suppress(OSError):
                folder.rmdir()


class Groups:
    """The sandbox's groups. The daemon joins one, so that others see that the sandbox lives."""

    def __init__(self, root: Path = _ROOT) -> None:
        self._version = 2 if (root / "cgroup.controllers").is_file() else 1
        self._trees = {controller: root / place for controller, place in _TREES[self._version].items()}
        self._name = f"{_PREFIX}{uuid.uuid4().hex[:8]}"
        self._numbers = itertools.count(1)
        # Another sandbox that starts at the same moment may have swept the new group away.
        self.enforced = any(self._try(self._open) for _ in range(_ATTEMPTS))

    @staticmethod
    def _try(attempt: Callable[[], object]) -> bool:
        try:
            attempt()
        except OSError:
            return False
        return True

    def _open(self) -> None:
        for tree in set(self._trees.values()):
            for old in tree.glob(f"{_PREFIX}*"):
                self._sweep(old)
            if self._version == 2:
                (tree / "cgroup.subtree_control").write_text("+memory +cpu +io")
        self._group(_DAEMON, join=True)

    def _sweep(self, old: Path) -> None:
        """Take away what a killed sandbox left. One that lives has its daemon in its first folder, which then stays."""
        if (old / _DAEMON).is_dir() and not self._try((old / _DAEMON).rmdir):
            return
        for folder in (*(entry for entry in old.glob("*") if entry.is_dir()), old):
            self._try(folder.rmdir)

    def _group(self, name: str, *, join: bool = False) -> Group:
        folders = {controller: tree / self._name / name for controller, tree in self._trees.items()}
        for folder in set(folders.values()):
            if not folder.parent.is_dir():
                folder.parent.mkdir(exist_ok=True)
                if self._version == 2:
                    (folder.parent / "cgroup.subtree_control").write_text("+memory +cpu +io")
            folder.mkdir(exist_ok=True)
        made = Group(self._version, folders)
        for members in made.members if join else ():
            Path(members).write_text(str(os.getpid()), encoding="utf-8")
        return made

    def make(self) -> Group | None:
        """A group for a container, without limits; None where the machine enforces none."""
        return self._group(f"container{next(self._numbers)}") if self.enforced else None

    def slow_writes(self, device: int, each_second: int) -> bool:
        """Let containers write to a block device so many times a second only (0: as they like). False: impossible."""
        number = f"{os.major(device)}:{os.minor(device)}"
        folder = self._trees["blkio"] / self._name
        if self._version == 1:
            return self.enforced and self._try(
                lambda: (folder / "blkio.throttle.write_iops_device").write_text(f"{number} {each_second}")
            )
        limit = f"{number} wiops={each_second or 'max'}"
        return self.enforced and self._try(lambda: (folder / "io.max").write_text(limit))

    def close(self) -> None:
        """Let go of the daemon's own group; empty folders stay until the next start where the kernel keeps them."""
        for tree in set(self._trees.values()):
            self._try(lambda tree=tree: (tree / "cgroup.procs").write_text(str(os.getpid())))  # type: ignore[misc]
            for folder in (tree / self._name / _DAEMON, tree / self._name):
                self._try(folder.rmdir)
