"""What a test run must not leave behind: processes, mounts, listening ports."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["MARKER", "listening_ports", "mounts", "processes", "settled"]

MARKER = "TEST_RUN_OF_GCP_OPENEMR"
"""Environment variable that every process started by a run inherits; its value names the run."""

_LISTEN = "0A"
# Python keeps these until the end of the process that started them
_PYTHONS_OWN = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")


def processes(run: str, folder: Path) -> list[str]:
    """Living processes of a run: those with its marker, and those that work in its temporary folder or mount it."""
    ours = {os.getpid(), *_ancestors()}
    return sorted(
        f"process {entry.name}: {shown}"
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and int(entry.name) not in ours and (shown := _belongs(entry, run, folder))
    )


def mounts(folder: Path) -> list[str]:
    """Mounts on or from the run's temporary folder that are seen outside of the sandbox's namespaces."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return sorted(f"mount on {line.split()[4]}" for line in lines if f"{folder}/" in line)


def listening_ports() -> list[str]:
    """TCP sockets on which this very process still listens: a server that a test did not close."""
    inodes = set(_own_sockets())
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/self/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTEN and fields[9] in inodes:
                found.append(f"listening port {int(fields[1].rpartition(':')[2], 16)} of the test process")
    return sorted(found)


def settled(look: Callable[[], list[str]], *, seconds: float) -> list[str]:
    """What `look` still finds after giving it time to go away."""
    end = time.monotonic() + seconds
    while (found := look()) and time.monotonic() < end:
        time.sleep(0.05)
    return found


def _ancestors() -> Iterator[int]:
    pid = os.getppid()
    while pid > 1:
        yield pid
        stat = Path(f"/proc/{pid}/stat").read_text()
        pid = int(stat.rpartition(")")[2].split()[1])


def _belongs(entry: Path, run: str, folder: Path) -> str:
    """How a process is shown when it belongs to the run, otherwise nothing. A process may end while it is looked at."""
    try:
        command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        if not command or any(name in command for name in _PYTHONS_OWN):  # kernel threads and zombies have no command
            return ""
        marked = f"{MARKER}={run}".encode() in (entry / "environ").read_bytes().split(b"\0")
        folders = (os.readlink(entry / "cwd"), os.readlink(entry / "root"))
        ours = marked or any(str(folder) in place for place in (command, *folders)) or _mounts(entry, folder)
        return f"{command[:300]} (in {folders[0]})" if ours else ""
    except OSError:
        return ""


def _mounts(entry: Path, folder: Path) -> bool:
    """Whether a process in a mount namespace of its own sees the run's folder mounted: a container."""
    elsewhere = os.readlink(entry / "ns/mnt") != os.readlink("/proc/self/ns/mnt")
    return elsewhere and f"{folder}/" in (entry / "mountinfo").read_text()


def _own_sockets() -> Iterator[str]:
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            target = os.readlink(descriptor)
        except OSError:
            continue
        if target.startswith("socket:["):
            yield target.removeprefix("socket:[").removesuffix("]")
