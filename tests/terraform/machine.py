"""A directory that stands for the files machine: the start-up script's functions run in it, with the real tools.

What only a machine has (mounts, systemd, metadata, block devices) is stood in for by small programs first on PATH,
which note how they were called.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from gcp_openemr.assets import asset

__all__ = ["FILES", "MIB", "SCRIPT", "Machine"]

FILES = asset("terraform") / "modules" / "files"
SCRIPT = FILES / "startup.sh"
MIB = 1024 * 1024
STAND_INS = {
    "blockdev": 'stat -c %s "${@: -1}"',
    "systemctl": 'echo "systemctl $*" >> "$CALLS"',
    "exportfs": 'echo "exportfs $*" >> "$CALLS"',
}


class Machine:
    """A directory that stands for the machine, and the script's functions in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.disk = root / "disk"
        self.marker = root / "marker"
        self.bin = root / "bin"
        self.calls_file = root / "calls"
        for folder in ("bin", "etc", "etc/redis", "etc/systemd", "etc/systemd/system", "data"):
            (root / folder).mkdir()
        for name, body in STAND_INS.items():
            self.stand_in(name, body)

    def stand_in(self, name: str, body: str) -> None:
        program = self.bin / name
        program.write_text(f"#!/bin/bash\n{body}\n")
        program.chmod(0o755)

    def run(self, command: str, *, stdin: str = "", within: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        settings = (
            f"DISK={self.disk} DATA={self.root}/data SHARE={self.root}/share ETC={self.root}/etc MARKER={self.marker} "
            f"LIB={self.root}/lib STATE={self.root}/run/state"
        )
        return subprocess.run(
            [*within, "bash", "-c", f"source {SCRIPT}; {settings}; {command}"],
            env={**os.environ, "PATH": f"{self.bin}:/usr/sbin:{os.environ['PATH']}", "CALLS": str(self.calls_file)},
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )

    def ensure_filesystem(self) -> subprocess.CompletedProcess[str]:
        return self.run('ensure_filesystem "$DISK"')

    @property
    def calls(self) -> list[str]:
        return self.calls_file.read_text().splitlines() if self.calls_file.exists() else []
