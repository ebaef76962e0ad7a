"""A provider that has read its schemas already, and forks for each of Terraform's commands.

Terraform starts a provider twice for a plan and for an apply, and starting takes Python longer than all it is then
asked. A command of this program listens on an abstract socket (`listen`); the first provider that Terraform launches
wakes the warm process, and whatever connects (`launch`) is served by a fork of it that takes over the launched
process's environment and streams. So it is one process for each, as without, and shared is only what was read before.
The warm process ends with the command, a fork with Terraform. Where nobody listens any more, the launched process
becomes the provider itself.
"""

from __future__ import annotations

import functools
import gc
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import gcp_openemr
from gcp_openemr.sandbox.provider.launch import ADDRESS_VARIABLE, HERE

__all__ = ["listen", "main"]

_PEER = struct.Struct("3i")  # process, user and group at the other end: SO_PEERCRED, unix(7)
_START = (
    "import sys; sys.path.insert(0, {package!r}); "
    "from gcp_openemr.sandbox.provider import warm; warm.main(*map(int, sys.argv[1:]))"
)


@functools.cache
def listen() -> dict[str, str]:
    """Offer a warm provider for as long as this process lives; what Terraform's environment needs to find it."""
    address = f"gcp-openemr-{uuid.uuid4().hex}"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"\0{address}")
    listener.listen(64)
    lifeline, _open_until_the_end = os.pipe()
    threading.Thread(target=_wake, args=(listener.detach(), lifeline), daemon=True).start()
    return {ADDRESS_VARIABLE: address}


def _wake(listener: int, lifeline: int) -> None:
    """Start the warm process when the first connection waits."""
    select.select([listener], [], [])
    package = str(Path(gcp_openemr.__file__).resolve().parent.parent)
    with subprocess.Popen(
        [sys.executable, "-I", "-c", _START.format(package=package), str(listener), str(lifeline)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=(listener, lifeline),
        start_new_session=True,
    ):
        os.close(listener)
        os.close(lifeline)


def main(listening: int, lifeline: int) -> None:
    """The warm process: fork for each connection, until the command that started it is gone."""
    from gcp_openemr.sandbox.provider import plugin, servicer

    servicer.preload()
    gc.freeze()  # what was read stays shared with the forks
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel collects forks that end
    listener = socket.socket(fileno=listening)
    while lifeline not in select.select([listening, lifeline], [], [])[0]:
        launched, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            os.close(lifeline)
            _serve(launched, plugin.serve)
        launched.close()


def _serve(launched: socket.socket, serve: Callable[[Callable[[], bool]], int]) -> NoReturn:
    status = 1
    try:
        _take_over(launched)
        launched.sendall(HERE)
        status = serve(lambda: not select.select([launched], [], [], 0)[0])
        sys.stdout.flush()
    finally:
        os._exit(status)


def _take_over(launched: socket.socket) -> None:
    """Environment and streams of the launched process. Raises PermissionError when it is another user's."""
    _, user, _ = _PEER.unpack(launched.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    if user != os.geteuid():
        raise PermissionError(user)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    size, streams, _, _ = socket.recv_fds(launched, 4, 2)
    for theirs, ours in zip(streams, (1, 2), strict=True):
        os.dup2(theirs, ours)
        os.close(theirs)
    with launched.makefile("rb") as told:
        settings = told.read(int.from_bytes(size))
    os.environ.clear()
    os.environb.update((name, value) for name, _, value in (one.partition(b"=") for one in settings.split(b"\0")))
    tempfile.tempdir = None
