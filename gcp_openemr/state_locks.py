"""Terraform's own state locks that a dead run left behind.

Whoever changes an environment holds its lock first (`lock.py`). So when that was taken over from a run that died, the
state locks of the environment are that run's, and nobody's once its Terraform has ended too.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from google.api_core.exceptions import NotFound, PreconditionFailed
from google.cloud.storage import Bucket

from gcp_openemr import interruption, lock
from gcp_openemr.errors import Locked

__all__ = ["release"]

_ENDING_SECONDS = 300.0


def release(bucket: Bucket, environment: str, dead: lock.Holder, workspace: Path) -> None:
    """Delete the environment's `*.tflock` objects, after the dead run's Terraform has ended.

    On this machine its processes can be seen; on another one they had the five minutes that made the lock stale.

    Raises:
        Locked: its Terraform still works after five minutes.
    """
    if dead.machine == lock.machine():
        _wait_for_terraform(workspace)
    for blob in list(bucket.list_blobs(prefix=f"{environment}/")):
        if blob.name.endswith(".tflock"):
            with contextlib.suppress(NotFound, PreconditionFailed):
                blob.delete(if_generation_match=blob.generation)


def _wait_for_terraform(workspace: Path) -> None:
    end = time.monotonic() + _ENDING_SECONDS
    while _is_worked_in(workspace):
        if time.monotonic() > end:
            raise Locked(
                f"Terraform of a run that died still works in {workspace}.", do="Wait for it, or end it, and run again."
            )
        interruption.pause(0.2)


def _is_worked_in(workspace: Path) -> bool:
    """Whether a Terraform has its working directory there."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (process / "cmdline").read_bytes()
            is_terraform = b"terraform" in command or b"tofu" in command
            if is_terraform and (process / "cwd").readlink().is_relative_to(workspace):
                return True
    return False
