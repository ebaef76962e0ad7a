"""Becomes one container: `python -m gcp_openemr.sandbox.runtime.launcher FD`.

The daemon has threads and must not fork, so this small program does. It reads a `Spec` (JSON, one line) from the
socket FD, forks the container's first process into namespaces of its own and stays as its parent, so that the
container's exit status becomes its own (128 + signal, as a shell says it).

Lines it writes to FD: {"pid": …}; {"network": true}, then waits for a byte while the daemon plugs in the cable;
{"started": true} just before the program starts; {"error": …} when it cannot.
"""

from __future__ import annotations

import json
import os
import resource
import stat
import subprocess
import sys
from typing import Any, NoReturn

from gcp_openemr.sandbox.runtime import namespaces

__all__ = ["main"]

_DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
# Ports below 1024 are open to everybody in a container.
_KERNEL_SETTINGS = {"net/ipv4/ip_unprivileged_port_start": "0", "kernel/hostname": "localhost"}
_LINKS = {"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"}


def _read_line(fd: int) -> str:
    received = bytearray()
    while not received.endswith(b"\n"):
        chunk = os.read(fd, 65536)
        if not chunk:
            raise SystemExit(0)
        received += chunk
    return received.decode()


def _say(fd: int, **message: object) -> None:
    os.write(fd, json.dumps(message).encode() + b"\n")


def _make_devices(root: str) -> None:
    dev = f"{root}/dev"
    os.makedirs(dev, exist_ok=True)
    namespaces.mount("dev", dev, "tmpfs", 2, "mode=755,size=1m")
    for name, (major, minor) in _DEVICES.items():
        os.mknod(f"{dev}/{name}", stat.S_IFCHR | 0o666, os.makedev(major, minor))
        os.chmod(f"{dev}/{name}", 0o666)  # noqa: S103 - as on every system
    for name, target in _LINKS.items():
        os.symlink(target, f"{dev}/{name}")
    os.mkdir(f"{dev}/shm")
    namespaces.mount("shm", f"{dev}/shm", "tmpfs", 6, "mode=1777,size=64m")


def _put_file(root: str, file: dict[str, Any]) -> None:
    path = root + file["path"]
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.islink(path):
        os.unlink(path)
    with open(path, "w", encoding="utf-8") as out:
        out.write(file["text"])
    os.chmod(path, file["mode"])
    os.chown(path, file["uid"], file["uid"])


def _make_way(root: str, path: str) -> None:
    """Let every user pass through the directories above `path`: an interpreter may lie in a closed home."""
    while (path := os.path.dirname(path)) != "/":
        mode = os.stat(root + path).st_mode
        if mode & 0o111 != 0o111:
            os.chmod(root + path, mode | 0o111)  # noqa: S103 - in this container only


def _bind(root: str, entry: dict[str, Any]) -> None:
    target = root + entry["target"]
    if os.path.isdir(entry["source"]):
        os.makedirs(target, exist_ok=True)
    elif not os.path.exists(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        open(target, "x").close()
    _make_way(root, entry["target"])
    namespaces.bind(entry["source"], target, read_only=entry["read_only"])


def _lay_over(memory: str, layers: list[dict[str, Any]]) -> None:
    for number, layer in enumerate(layers):
        upper, work = f"{memory}/upper{number}", f"{memory}/work{number}"
        os.mkdir(upper)
        os.mkdir(work)
        target = f"{memory}/root{layer['target'].rstrip('/')}"
        below = os.stat(layer["lower"][0])
        os.chmod(upper, stat.S_IMODE(below.st_mode))
        os.chown(upper, below.st_uid, below.st_gid)
        namespaces.overlay(target, lower=layer["lower"], upper=upper, work=work)


def _build_root(spec: dict[str, Any]) -> str:
    """Mount the container's file system; everything written in it lives in memory, as on Cloud Run.

    With `root`, an image being built, what is written stays there.
    """
    memory: str = spec["mountpoint"]
    root = f"{memory}/root"
    namespaces.mount("memory", memory, "tmpfs", 2, f"mode=755,size={spec['memory']}")
    os.mkdir(root)
    if spec["root"]:
        namespaces.bind(spec["root"], root)
    else:
        _lay_over(memory, spec["overlays"])
    _make_devices(root)
    for path, size in spec["memory_volumes"].items():
        os.makedirs(root + path, exist_ok=True)
        namespaces.mount("memory", root + path, "tmpfs", 0, f"mode=1777,size={size}")
    for entry in spec["binds"]:
        _bind(root, entry)
    for path, number in spec["devices"].items():
        os.makedirs(os.path.dirname(root + path), exist_ok=True)
        os.mknod(root + path, stat.S_IFBLK | 0o660, number)
    for file in spec["files"]:
        _put_file(root, file)
    os.makedirs(f"{root}/proc", exist_ok=True)
    namespaces.mount("proc", f"{root}/proc", "proc", 14)
    return root


def _join_network(fd: int, commands: list[str]) -> None:
    _say(fd, network=True)
    if not os.read(fd, 1):
        raise SystemExit(1)
    done = subprocess.run(["ip", "-batch", "-"], input="\n".join(commands), text=True, capture_output=True, check=False)
    if done.returncode:
        raise OSError(done.returncode, f"ip: {done.stderr.strip()}")


def _limit(spec: dict[str, Any]) -> None:
    available = sorted(os.sched_getaffinity(0))
    if 0 < spec["cpus"] < len(available):
        first = spec["uid"] + os.getppid()
        os.sched_setaffinity(0, {available[(first + n) % len(available)] for n in range(spec["cpus"])})
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = min(spec["open_files"], hard) if hard != resource.RLIM_INFINITY else spec["open_files"]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))


def _become(fd: int, spec: dict[str, Any]) -> NoReturn:
    """The container's process 1."""
    os.setsid()
    namespaces.unshare(namespaces.NEW_MOUNT | namespaces.NEW_IPC | namespaces.NEW_UTS | namespaces.NEW_NET)
    namespaces.private_mounts()
    _join_network(fd, spec["network"])
    root = _build_root(spec)
    namespaces.pivot_root(root)
    for setting, value in _KERNEL_SETTINGS.items():
        with open(f"/proc/sys/{setting}", "w", encoding="utf-8") as out:
            out.write(value)
    _limit(spec)
    os.makedirs(spec["directory"], exist_ok=True)
    for stream in (1, 2):
        os.fchown(stream, spec["uid"], spec["gid"])
    namespaces.drop_privileges(spec["uid"], spec["gid"], machine=spec["machine"])
    namespaces.die_with_parent()
    os.umask(0o022)
    os.chdir(spec["directory"])
    _say(fd, started=True)
    os.execvpe(spec["command"][0], spec["command"], spec["environment"])  # noqa: S606 - a shell is not wanted


def _watch(fd: int, child: int) -> NoReturn:
    """The container's parent: holds nothing of it but its exit status."""
    for stream in (0, 1, 2):
        os.close(stream)
    _say(fd, pid=child)
    os.close(fd)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


def main() -> NoReturn:
    """Read the specification, fork, become or watch."""
    fd = int(sys.argv[1])
    os.set_inheritable(fd, False)
    spec = json.loads(_read_line(fd))
    for members in spec["groups"]:
        with open(members, "w", encoding="utf-8") as group:
            group.write("0")
    namespaces.unshare(namespaces.NEW_PID)
    child = os.fork()
    if child:
        _watch(fd, child)
    try:
        _become(fd, spec)
    except Exception as error:
        _say(fd, error=str(error))
        os._exit(127)


if __name__ == "__main__":
    main()
