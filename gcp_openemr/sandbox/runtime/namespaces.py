"""The few system calls Python 3.11 has no name for: mounts, namespaces, capabilities."""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import socket
import threading
from collections.abc import Callable
from typing import TypeVar

__all__ = [
    "NEW_IPC",
    "NEW_MOUNT",
    "NEW_NET",
    "NEW_PID",
    "NEW_UTS",
    "bind",
    "carry_in",
    "die_with_parent",
    "drop_privileges",
    "inside",
    "listen_in",
    "mount",
    "overlay",
    "pivot_root",
    "private_mounts",
    "remount",
    "sync",
    "unmount",
    "unshare",
]

NEW_MOUNT, NEW_UTS, NEW_IPC, NEW_PID, NEW_NET = 0x20000, 0x4000000, 0x8000000, 0x20000000, 0x40000000

_NEW_FS = 0x200
_T = TypeVar("_T")
_READ_ONLY, _NO_SUID, _NO_DEV, _SYNCHRONOUS, _REMOUNT, _BIND, _RECURSIVE = 1, 2, 4, 16, 32, 4096, 16384
_PRIVATE = 1 << 18
_DETACH = 2
_PR_SET_PDEATHSIG, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 24, 38
_OPEN_TREE, _MOVE_MOUNT, _HERE, _CLONE, _EMPTY_PATH = 428, 429, -100, 1, 4
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
# What a container engine leaves to root: chown, dac_override, fowner, fsetid, kill, setgid, setuid, setpcap,
# net_bind_service, sys_chroot, mknod, audit_write, setfcap.
_KEPT_CAPABILITIES = {0, 1, 3, 4, 5, 6, 7, 8, 10, 18, 27, 29, 31}
_LAST_CAPABILITY = 40

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2). Raises OSError that names the target."""
    result = _libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode())
    _check(result, f"mount {target}")


def private_mounts() -> None:
    """Let no mount made from here on be seen outside this namespace."""
    mount("none", "/", "", _RECURSIVE | _PRIVATE)


def bind(source: str, target: str, *, read_only: bool = False) -> None:
    """Show a directory or file at another place, with whatever is mounted below it."""
    mount(source, target, "", _BIND | _RECURSIVE)
    if read_only:
        mount(source, target, "", _BIND | _REMOUNT | _READ_ONLY | _NO_SUID)


def overlay(target: str, *, lower: list[str], upper: str, work: str) -> None:
    """Lay `lower` (first one on top, all read-only) under a writable `upper`."""
    mount("overlay", target, "overlay", 0, f"lowerdir={':'.join(lower)},upperdir={upper},workdir={work}")


def carry_in(namespace: int, source: str, target: str, *, read_only: bool) -> None:
    """Show a directory of this namespace at a place of another one, where containers live already."""
    tree = _libc.syscall(_OPEN_TREE, _HERE, source.encode(), _CLONE | os.O_CLOEXEC)
    if tree < 0:
        _check(-1, f"open_tree {source}")

    def attach() -> None:
        _check(_libc.syscall(_MOVE_MOUNT, tree, b"", _HERE, target.encode(), _EMPTY_PATH), f"move_mount {target}")
        if read_only:
            mount("none", target, "", _BIND | _REMOUNT | _READ_ONLY | _NO_SUID)

    try:
        inside(namespace, NEW_MOUNT, attach)
    finally:
        os.close(tree)


def remount(target: str, *, synchronous: bool) -> None:
    """Have every write to a file system reach its device before the writer goes on, or no longer."""
    mount("none", target, "", _REMOUNT | (_SYNCHRONOUS if synchronous else 0))


def sync(descriptor: int) -> None:
    """Write out all of the file system that an open file lies on."""
    _check(_libc.syncfs(descriptor), "syncfs")


def unmount(target: str) -> None:
    """Detach a mount now; it goes when nobody uses it."""
    _check(_libc.umount2(target.encode(), _DETACH), f"unmount {target}")


def unshare(flags: int) -> None:
    """unshare(2) with NEW_… flags."""
    _check(_libc.unshare(flags), "unshare")


def pivot_root(root: str) -> None:
    """Make `root` (a mount point) the root directory and let go of the old one."""
    os.chdir(root)
    _check(_libc.syscall(_PIVOT_ROOT[platform.machine()], b".", b"."), "pivot_root")
    unmount(".")
    os.chdir("/")


def drop_privileges(uid: int, gid: int, *, machine: bool = False) -> None:
    """Become uid:gid for good, with no more than a container's capabilities and no way to more.

    The root of a machine, which mounts its disks, keeps what it has.
    """
    for capability in range(0 if machine else _LAST_CAPABILITY + 1):
        if capability not in _KEPT_CAPABILITIES:
            _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")


def die_with_parent() -> None:
    """Let the kernel kill this process when its parent ends. After `drop_privileges`, which would undo it."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "die_with_parent")


def inside(namespace: int, kind: int, function: Callable[[], _T]) -> _T:
    """Call a function in the namespace of a descriptor (`/proc/PID/ns/…`); what it opens can be used anywhere.

    A namespace belongs to a thread, so a short-lived one goes there. Raises what the function raises.
    """
    results: list[_T] = []
    errors: list[Exception] = []

    def work() -> None:
        try:
            if kind == NEW_MOUNT:
                unshare(_NEW_FS)
            _check(_libc.setns(namespace, kind), "setns")
            results.append(function())
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=work, name="inside")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def listen_in(network: int, address: str, port: int) -> socket.socket:
    """A listening TCP socket in the network namespace of descriptor `network`. Raises OSError: the port is taken."""
    return inside(network, NEW_NET, lambda: socket.create_server((address, port), backlog=512))
