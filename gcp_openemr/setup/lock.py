"""Regenerates the lock files from what names them: every version pinned, every file by its hash, no registry named.

One lock serves every Python from 3.11 on and both architectures; markers tell them apart.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from gcp_openemr import process
from gcp_openemr.setup.cache import Log
from gcp_openemr.setup.python import LOCKS, ensure_tree

__all__ = ["SOURCES", "relock"]

SOURCES: Mapping[str, tuple[str, ...]] = {
    "runtime": ("pyproject.toml",),
    "build": ("--group", "build"),
    "dev": ("--group", "dev", "--constraint", str(LOCKS / "runtime.txt")),
    "checkov": ("--group", "checkov"),
    "terraform": ("--group", "terraform"),
    "uv": ("--group", "uv"),
    "jobs": ("jobs/requirements.txt", "--constraint", str(LOCKS / "runtime.txt")),
}
"""Lock → where its names come from. Those that share a process are held to the versions of `runtime`."""

_OPTIONS = (
    "--universal", "--python-version=3.11", "--generate-hashes", "--no-emit-index-url", "--no-annotate", "--no-header",
    "--quiet",
)  # fmt: skip


def lock_path(lock: str, checkout: Path) -> Path:
    """The job image is built from `jobs/`, so its lock lies there."""
    return checkout / "jobs" / "requirements.lock" if lock == "jobs" else LOCKS / f"{lock}.txt"


def relock(checkout: Path, *, upgrade: bool, log: Log) -> list[str]:
    """Write every lock again; versions stay where they still fit unless `upgrade`. Returns those that changed."""
    uv = ensure_tree("uv", log=log) / "bin" / "uv"
    changed = []
    for lock, source in SOURCES.items():
        path = lock_path(lock, checkout)
        before = path.read_text() if path.exists() else ""
        extra = ("--upgrade",) if upgrade else ()
        argv = [str(uv), "pip", "compile", *source, *_OPTIONS, *extra, "--output-file", str(path)]
        process.run([*argv, "--python", sys.executable], cwd=checkout)
        if path.read_text() != before:
            changed.append(lock)
    return changed
