"""Terraform's own state locks that a run left behind, which died or could not give them back.

A command that changes an environment holds its lock first (`lock.py`). So when that was taken over from a run that
died, the state locks that its user took on its machine while it held the environment are that run's, and nobody's once
its Terraform has ended too. Others are of a Terraform that somebody runs by hand.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from google.api_core.exceptions import NotFound, PreconditionFailed
from google.cloud.storage import Blob, Bucket
from google.cloud.storage.retry import DEFAULT_RETRY

from gcp_openemr import interruption, lock
from gcp_openemr.errors import Locked

__all__ = ["give_back", "locks", "release"]

_ENDING_SECONDS = 300.0
_A_MOMENT: Mapping[str, Any] = {"timeout": 10.0, "retry": DEFAULT_RETRY.with_timeout(10.0)}


def release(bucket: Bucket, environment: str, dead: lock.Holder, workspace: Path) -> list[str]:
    """Delete the dead run's `*.tflock` objects, after its Terraform has ended. Returns a sentence for each other one.

    On this machine its processes can be seen; on another one they had the five minutes that made the lock stale.

    Raises:
        Locked: its Terraform still works after five minutes.
    """
    if dead.machine == lock.machine():
        _wait_for_terraform(workspace)
    others = []
    for blob, told in list(locks(bucket, environment)):
        if not _is_of(dead, told):
            others.append(
                f"gs://{bucket.name}/{blob.name} is a lock of {told.get('Who') or 'somebody'} since "
                f"{told.get('Created') or 'an unknown time'}, and not of the run that died. If nobody works there: "
                f"gcloud storage rm gs://{bucket.name}/{blob.name}"
            )
            continue
        with contextlib.suppress(NotFound, PreconditionFailed):
            blob.delete(if_generation_match=blob.generation)
    return others


def give_back(bucket: Bucket, held: lock.Held, environment: str, workspace: Path) -> None:
    """Delete the locks that this run took and does not know of, because the answers that told of them were lost.

    It raises nothing and does nothing more than it can in a moment: what failed before is what is told.
    """
    with contextlib.suppress(Exception):
        held.check()
        if _is_worked_in(workspace):
            return
        for blob, told in list(locks(bucket, environment, **_A_MOMENT)):
            if _is_of(held.holder, told):
                blob.delete(if_generation_match=blob.generation, **_A_MOMENT)


def locks(bucket: Bucket, environment: str, **patience: Any) -> Iterator[tuple[Blob, Mapping[str, str]]]:
    """Every lock on a state of the environment, with what Terraform wrote there: `Who`, `Created` and more.

    Nothing is told of one that cannot be read. `patience` is the library's `timeout` and `retry` of each call.
    """
    for blob in bucket.list_blobs(prefix=f"{environment}/", **patience):
        if not blob.name.endswith(".tflock"):
            continue
        try:
            told = json.loads(blob.download_as_bytes(**patience))
        except NotFound:
            continue
        except ValueError:
            told = {}
        yield blob, told if isinstance(told, dict) else {}


def _is_of(run: lock.Holder, told: Mapping[str, str]) -> bool:
    """Whether a run took it. Both times are by the clock of its machine."""
    try:
        created = datetime.datetime.fromisoformat(told.get("Created", ""))
    except ValueError:
        return False
    return told.get("Who") == run.who and created >= run.acquired


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
