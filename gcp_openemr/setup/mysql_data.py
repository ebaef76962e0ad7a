"""An empty data directory of MySQL, made once and copied: making one takes MySQL seconds, a copy takes a blink."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from gcp_openemr import process

__all__ = ["copy", "prepare"]

# No keys, which must not be the same in two servers, and a log of the size that the sandbox's servers have.
_OPTIONS = (
    "--skip-log-bin",
    "--loose-innodb-redo-log-capacity=64M",
    "--loose-auto-generate-certs=OFF",
    "--loose-caching-sha2-password-auto-generate-rsa-keys=OFF",
    "--loose-sha256-password-auto-generate-rsa-keys=OFF",
)
_IDENTITY = "auto.cnf"  # of one server, which makes it when it starts without
_SECONDS = 120.0


def prepare(initialize: Sequence[str], directory: Path) -> None:
    """Make `directory` by the command `initialize`, whole or not at all; nothing happens where it is already.

    Raises:
        ProgramFailed: MySQL made none.
    """
    if directory.is_dir():
        return
    partial = directory.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    user = ["--user=root"] if os.geteuid() == 0 else []
    process.run([*initialize, *user, f"--datadir={partial}", *_OPTIONS], timeout=_SECONDS)
    (partial / _IDENTITY).unlink()
    partial.rename(directory)


def copy(prepared: Path, directory: Path, *, owner: tuple[int, int]) -> None:
    """A data directory of its own for a server that runs as `owner` (uid, gid). `directory` must not be there.

    Raises:
        ProgramFailed: it could not be written; what is there then is not whole.
    """
    # no holes: what MySQL has reserved for itself must be there still when the disk is full
    process.run(["cp", "--recursive", "--sparse=never", str(prepared), str(directory)])
    for folder, _, files in os.walk(directory):
        for path in (folder, *(os.path.join(folder, name) for name in files)):
            os.chown(path, *owner)
