"""The sandbox's process: API server and runtime, in mount, network and process namespaces of its own.

`control` starts it as `unshare --mount --net --pid --fork --kill-child … python -m gcp_openemr.sandbox.daemon`, so that
whatever ends it takes every process and mount with it. Process 1 of the namespace only collects orphans; the sandbox is
its child. What is said to the starter goes through a pipe: one JSON line, `{"url": …}` or `{"error": …}`.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import signal
import threading
import traceback
from pathlib import Path
from typing import NoReturn, TextIO

from gcp_openemr.errors import GcpOpenemrError, NotPermitted
from gcp_openemr.sandbox.runtime import namespaces

__all__ = ["main"]

# A file system in memory that only this process and its containers see. Paths on it are short (a socket's has 107
# bytes at most) and open to every user, wherever the state lies.
_RUN = Path("/run/sandbox")
_GLANCE_SECONDS = 1.0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="gcp_openemr.sandbox.daemon")
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--openemr-tree", type=Path)
    parser.add_argument("--port", type=int)
    parser.add_argument("--host-network", type=int, required=True, help="descriptor of the network namespace outside")
    parser.add_argument("--ready", type=int, required=True, help="descriptor of the pipe to whoever started this")
    return parser.parse_args()


def main() -> NoReturn:
    """Become process 1, fork the sandbox, collect what ends."""
    options = _arguments()
    for descriptor in (options.host_network, options.ready):
        os.set_inheritable(descriptor, False)
    lock = _hold(options.directory)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = _sandbox(options, lock)
        finally:
            os._exit(status)
    os.close(options.ready)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: os.kill(child, signal.SIGTERM))
    while True:
        ended, status = os.wait()
        if ended == child:
            os._exit(max(0, os.waitstatus_to_exitcode(status)))


def _hold(directory: Path) -> TextIO:
    """Take the lock that says that a sandbox runs, and write down which process holds it, as the host knows it."""
    lock = (directory / "run/daemon.lock").open("r+", encoding="utf-8")
    # Whoever looks whether a sandbox runs holds it for a moment; another sandbox cannot, see control.
    fcntl.flock(lock, fcntl.LOCK_EX)
    # /proc is still the host's here; the 22nd field is when the process began.
    began = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    lock.truncate()
    lock.write(f"{os.readlink('/proc/self')} {began}\n")
    lock.flush()
    return lock


def _sandbox(options: argparse.Namespace, lock: TextIO) -> int:
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with lock, os.fdopen(options.ready, "w", encoding="utf-8") as ready:
        try:
            _settle(options.directory, options.openemr_tree)
            # Only now, so that process 1 stays small.
            from gcp_openemr.sandbox.runtime.wiring import Cloud

            cloud = Cloud(
                run=_RUN,
                application=_RUN / "application" if options.openemr_tree else None,
                told_application=options.openemr_tree,
                host_network=options.host_network,
                port=options.port,
            )
        except GcpOpenemrError as error:
            _say(ready, {"error": type(error).__name__, "what": error.what, "do": error.do})
            return 1
        except Exception:
            traceback.print_exc()  # the log is where the starter looks
            return 1
        try:
            cloud.start(holder=_holder(lock))
            if _say(ready, {"url": cloud.url}):
                ready.close()
                # The kernel may give the signal to another thread, which does not wake this one: it looks by itself.
                while not stopping.wait(_GLANCE_SECONDS):
                    pass
        finally:
            cloud.stop()
    return 0


def _holder(lock: TextIO) -> tuple[int, int]:
    lock.seek(0)
    pid, began = lock.read().split()
    return int(pid), int(began)


def _say(ready: TextIO, message: dict[str, str]) -> bool:
    """Tell the starter; False when it is gone, and with it everybody who waits for this sandbox."""
    try:
        ready.write(json.dumps(message) + "\n")
        ready.flush()
    except BrokenPipeError:
        return False
    return True


def _settle(directory: Path, tree: Path | None) -> None:
    """Make this namespace's own /proc and /run, and show the state there.

    Raises:
        NotPermitted: the machine does not allow it.
    """
    places = {_RUN / "state": os.open(directory, os.O_PATH)}
    if tree is not None:
        places[_RUN / "application"] = os.open(tree, os.O_PATH)
    try:
        namespaces.mount("run", "/run", "tmpfs", 0, "mode=755")
        for target, descriptor in places.items():
            target.mkdir(parents=True)
            namespaces.bind(f"/proc/self/fd/{descriptor}", str(target))
            os.close(descriptor)
        namespaces.mount("proc", "/proc", "proc")
        _try_overlay()
    except OSError as error:
        raise NotPermitted(
            f"This machine does not let the sandbox build containers: {error}.",
            do="Use a machine where root may mount (in a container: --privileged), and a directory on ext4 or xfs.",
        ) from error


def _try_overlay() -> None:
    """The images' layers need a file system that overlays can be made of."""
    place = _RUN / "state/run/overlay"
    paths = {name: place / name for name in ("lower", "upper", "work", "merged")}
    for path in paths.values():
        path.mkdir(parents=True, exist_ok=True)
    merged = str(paths["merged"])
    namespaces.overlay(merged, lower=[str(paths["lower"])], upper=str(paths["upper"]), work=str(paths["work"]))
    namespaces.unmount(merged)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
