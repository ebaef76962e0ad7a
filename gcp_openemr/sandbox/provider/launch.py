"""What Terraform starts as the provider: it lets a warm process serve in its place, or becomes the provider itself.

    python -I -S launch.py PARENT INTERPRETER START

PARENT is Terraform's process id as the launcher saw it. Only the standard library is read here, and little of it: this
file is run for each of Terraform's commands, which is why it is run by its path and not as a part of its package. What
is said to the warm process, and when it is not there, see `warm`.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys

ADDRESS_VARIABLE = "GCP_OPENEMR_SANDBOX_WARM_PROVIDER"
_GLANCE = 1.0  # seconds between looks at whether Terraform is still there
HERE = b"1"  # what a warm process says when it has taken over


def main(parent: int, interpreter: str, start: str) -> None:
    """Serve by the warm process until one of the three ends; without one, become the provider."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for Terraform to act on
    serving = _served(os.environ.get(ADDRESS_VARIABLE, ""))
    if serving is None:
        os.execv(interpreter, [interpreter, "-I", "-c", start, str(parent)])  # noqa: S606
    while os.getppid() == parent:
        if select.select([serving], [], [], _GLANCE)[0]:
            return


def _served(address: str) -> socket.socket | None:
    """A connection to the process that serves for this one, with its environment and its streams."""
    if not address:
        return None
    warm = socket.socket(socket.AF_UNIX)
    try:
        warm.connect(f"\0{address}")
        settings = b"\0".join(name + b"=" + value for name, value in os.environb.items())
        socket.send_fds(warm, [len(settings).to_bytes(4)], [1, 2])
        warm.sendall(settings)
        return warm if warm.recv(1) == HERE else None
    except OSError:
        return None


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:4])
