"""Starts, stops, resets and asks the sandbox, from outside of it.

Whether a sandbox runs is told by a lock its process holds (`run/daemon.lock`), which the kernel lets go of when the
process ends however it ends: a process number may be somebody else's by now.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import gcp_openemr
from gcp_openemr import errors
from gcp_openemr.errors import GcpOpenemrError, InputMissing, Locked, NotPermitted, ToolMissing, Unreachable
from gcp_openemr.redacted import Redacted
from gcp_openemr.setup.mysql import locate

__all__ = ["SandboxInfo", "reset", "start", "status", "stop"]

_START_SECONDS = 300.0
_STOP_SECONDS = 120.0
_ANSWER_SECONDS = 10.0
_DYING_SECONDS = 3.0
_NEEDED = ("unshare", "setsid", "nsenter", "ip", "busybox", "redis-server", "apache2", "php8.2", "php-fpm8.2")
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_UNSHARE = ("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--propagation", "private")
_STATE = (
    "ca", "calls", "disks", "endpoint.json", "images", "logs", "objects", "operator-token", "provider-mirror", "run",
    "runtime.json", "sql", "state.sqlite3", "state.sqlite3-shm", "state.sqlite3-wal", "terraform-provider",
    "terraform.rc",
)  # fmt: skip
_START = "Start it again: gcp-openemr sandbox start"
_STOP = "Stop it: gcp-openemr sandbox stop"


@dataclasses.dataclass(frozen=True, kw_only=True)
class SandboxInfo:
    """A running sandbox. `pid` is its process 1 as the host numbers it; `real` and `stands_in` are short phrases."""

    directory: Path
    url: str
    pid: int
    mysql: str
    real: tuple[str, ...]
    stands_in: tuple[str, ...]
    openemr_tree: Path | None
    token: Redacted


def start(directory: Path, *, openemr_tree: Path | None = None, port: int | None = None) -> SandboxInfo:
    """Start the sandbox whose state lies in `directory`, and wait until it answers.

    Raises:
        NotPermitted: root is needed, or this machine allows no namespaces or mounts.
        ToolMissing: a program is not installed.
        InputMissing: `openemr_tree` is no directory.
        Locked: it runs already, or somebody else is starting it.
        Unreachable: the port is taken, or it ended while it started.
    """
    _check(openemr_tree, port)
    directory = directory.resolve()
    (directory / "run").mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
    (directory / "logs").mkdir(mode=0o700, exist_ok=True)
    with _alone(directory):
        if _holder(directory) is not None:
            raise Locked("The sandbox is already running.", do=f"Use it, or stop it first. {_STOP}")
        (directory / "endpoint.json").unlink(missing_ok=True)
        _launch(directory, openemr_tree, port)
        info = status(directory)
    if info is None:
        raise Unreachable("The sandbox ended right after its start.", do=f"Its log: {_log(directory)}")
    return info


def stop(directory: Path) -> bool:
    """Stop it and wait until nothing of it is left; returns whether it ran.

    Raises:
        NotPermitted: it is somebody else's.
    """
    directory = directory.resolve()
    holder = _holder(directory)
    if holder is None:
        if (directory / "run").is_dir():
            (directory / "endpoint.json").unlink(missing_ok=True)
        return False
    _signal(holder, signal.SIGTERM)
    if not _ends(directory, holder, _STOP_SECONDS):
        _signal(holder, signal.SIGKILL)
        if not _ends(directory, holder, _ANSWER_SECONDS):
            raise Unreachable(f"The sandbox (process {holder[0]}) does not end.", do="Restart this machine.")
    (directory / "endpoint.json").unlink(missing_ok=True)
    return True


def reset(directory: Path) -> None:
    """Stop it and delete all it holds; the directory itself and what is not the sandbox's stay.

    Raises:
        NotPermitted: it is somebody else's.
        Locked: somebody is starting it.
    """
    directory = directory.resolve()
    if not (directory / "run").is_dir():
        return
    with _alone(directory):
        stop(directory)
        for name in _STATE:
            path = directory / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def status(directory: Path) -> SandboxInfo | None:
    """The sandbox as it runs now; None when none does, or one is only just starting or stopping.

    Raises:
        Unreachable: its process is there but does not answer.
        NotPermitted: it is somebody else's.
    """
    directory = directory.resolve()
    holder = _holder(directory)
    if holder is None:
        return None
    try:
        described = json.loads((directory / "endpoint.json").read_text(encoding="utf-8"))
        token = (directory / "operator-token").read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise NotPermitted("The sandbox is another user's.", do="Run as that user, usually root.") from error
    if (described["pid"], described["began"]) != holder:
        return None
    if not _answers(described["url"]):
        if _ends(directory, holder, _DYING_SECONDS):
            return None
        raise Unreachable(
            f"The sandbox (process {holder[0]}) does not answer at {described['url']}.", do=f"{_STOP}. {_START}"
        )
    tree = described["openemr_tree"]
    return SandboxInfo(
        directory=directory,
        url=described["url"],
        pid=described["pid"],
        mysql=described["mysql"],
        real=tuple(described["real"]),
        stands_in=tuple(described["stands_in"]),
        openemr_tree=Path(tree) if tree else None,
        token=Redacted(token),
    )


def _check(openemr_tree: Path | None, port: int | None) -> None:
    if os.geteuid() != 0:
        raise NotPermitted(
            "The sandbox needs root: it runs containers in namespaces of their own.", do="Run the same with sudo."
        )
    missing = [name for name in _NEEDED if shutil.which(name, path=_SYSTEM_PATH) is None]
    if missing:
        raise ToolMissing(f"These programs are not installed: {', '.join(missing)}.", do="Run: make setup")
    locate()
    if openemr_tree is not None and not openemr_tree.is_dir():
        raise InputMissing(f"{openemr_tree} is no directory.", do="Name a built OpenEMR tree.")
    if port:
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError as error:
            raise Unreachable(
                f"Port {port} cannot be used: {error.strerror}.", do="Choose another with --port, or leave it out."
            ) from error


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    with (directory / "run/start.lock").open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Locked("Somebody else is starting the sandbox right now.", do="Try again in a moment.") from error
        yield


def _holder(directory: Path) -> tuple[int, int] | None:
    """(pid, time it began) of the process that holds the lock, None when nobody does."""
    path = directory / "run/daemon.lock"
    try:
        path.touch(mode=0o600) if path.parent.is_dir() else None
        with path.open("r+", encoding="utf-8") as lock:
            return _holder_of(lock)
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise NotPermitted("The sandbox is another user's.", do="Run as that user, usually root.") from error


def _holder_of(lock: TextIO) -> tuple[int, int] | None:
    deadline = time.monotonic() + _ANSWER_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: those who only look do not hinder each other
        except BlockingIOError:
            lock.seek(0)
            words = lock.read().split()
            if len(words) == 2 and _lives((int(words[0]), int(words[1]))):
                return int(words[0]), int(words[1])
            if time.monotonic() > deadline:
                raise Unreachable("The sandbox holds its lock, but does not say who it is.") from None
            time.sleep(0.05)  # it has the lock, but has not written its number yet
        else:
            return None


def _launch(directory: Path, openemr_tree: Path | None, port: int | None) -> None:
    """Start the process in a session of its own and wait until it says that it is ready."""
    (directory / "run/daemon.lock").touch(mode=0o600)
    log = _log(directory)
    offset = log.stat().st_size if log.is_file() else 0
    reading, writing = os.pipe()
    network = os.open("/proc/self/ns/net", os.O_RDONLY)
    arguments = ["--directory", str(directory), "--host-network", str(network), "--ready", str(writing)]
    if openemr_tree is not None:
        arguments += ["--openemr-tree", str(openemr_tree.resolve())]
    if port:
        arguments += ["--port", str(port)]
    package = str(Path(gcp_openemr.__file__).parent.parent)
    search = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
    with os.fdopen(reading, "rb") as answers, log.open("ab") as out:
        try:
            subprocess.run(
                ["setsid", "--fork", *_UNSHARE, sys.executable, "-m", "gcp_openemr.sandbox.daemon", *arguments],
                env={**os.environ, "PATH": _SYSTEM_PATH, "PYTHONPATH": search, "PYTHONUNBUFFERED": "1"},
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                pass_fds=(writing, network),
                check=True,
            )
        finally:
            os.close(writing)
            os.close(network)
        # The pipe ends when the process does, so this waits for no one that is gone.
        ready, _, _ = select.select([answers], [], [], _START_SECONDS)
        answer = answers.readline() if ready else b""
    if not ready:
        stop(directory)
        raise Unreachable(f"The sandbox did not start within {_START_SECONDS:g} s.", do=f"Its log: {log}")
    if not answer:
        raise _died(log, offset)
    told = json.loads(answer)
    if "error" in told:
        kind: type[GcpOpenemrError] = getattr(errors, told["error"], Unreachable)
        raise kind(told["what"], do=told["do"])


def _died(log: Path, offset: int) -> GcpOpenemrError:
    with log.open("rb") as file:
        file.seek(offset)
        lines = file.read().decode(errors="replace").strip().splitlines()[-8:]
    said = "\n  ".join(lines) or "(it said nothing)"
    if any("Operation not permitted" in line for line in lines):
        return NotPermitted(
            f"This machine does not let the sandbox start:\n  {said}", do="Use a machine with full root."
        )
    return Unreachable(f"The sandbox ended while it started:\n  {said}", do=f"Its log: {log}")


def _log(directory: Path) -> Path:
    return directory / "logs/daemon.log"


def _answers(url: str) -> bool:
    """Whether any HTTP answer comes."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        direct.open(url, timeout=_ANSWER_SECONDS).close()
    except urllib.error.HTTPError as answer:
        answer.close()
    except OSError:
        return False
    return True


def _signal(holder: tuple[int, int], number: signal.Signals) -> None:
    try:
        os.kill(holder[0], number)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise NotPermitted("The sandbox is another user's.", do="Run as that user, usually root.") from error


def _ends(directory: Path, holder: tuple[int, int], seconds: float) -> bool:
    """Whether the lock is free and the process gone within this time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if _holder(directory) != holder and not _lives(holder):
            return True
        time.sleep(0.05)
    return False


def _lives(holder: tuple[int, int]) -> bool:
    try:
        fields = Path(f"/proc/{holder[0]}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return int(fields[19]) == holder[1] and fields[0] != "Z"
