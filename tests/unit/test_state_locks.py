"""Terraform's state locks of a dead run: released once its Terraform has ended, and no others."""

from __future__ import annotations

import datetime
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.cloud.storage import Bucket

from gcp_openemr import lock, state_locks
from gcp_openemr.clients import Cloud
from gcp_openemr.errors import Locked

MINE = "prod/platform/default.tflock"
OTHERS = ("staging/platform/default.tflock", "prod/platform/default.tfstate")


@pytest.fixture
def bucket(cloud: Cloud) -> Bucket:
    made = cloud.storage.create_bucket("unit-tests-1-oe-prod-state", location="europe-west1")
    for name in (MINE, *OTHERS):
        made.blob(name).upload_from_string("{}")
    return made


@pytest.fixture
def terraform(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process called terraform that works in the workspace."""
    workspace = tmp_path / "workspace" / "platform"
    workspace.mkdir(parents=True)
    process = subprocess.Popen(["bash", "-c", "exec -a terraform sleep 60"], cwd=workspace)
    yield process
    end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def dead(machine: str) -> lock.Holder:
    now = datetime.datetime.now(datetime.UTC)
    return lock.Holder(
        id="x", who="eve@laptop", machine=machine, process="1 1", command="deploy", acquired=now, renewed=now
    )


def names(bucket: Bucket) -> list[str]:
    return sorted(blob.name for blob in bucket.list_blobs())


def test_a_run_that_died_elsewhere_leaves_no_lock_and_all_else_stays(bucket: Bucket, tmp_path: Path) -> None:
    state_locks.release(bucket, "prod", dead("another machine"), tmp_path)
    assert names(bucket) == sorted(OTHERS)


def test_a_terraform_that_still_works_here_is_waited_for(
    bucket: Bucket, tmp_path: Path, terraform: subprocess.Popen[bytes]
) -> None:
    while not state_locks._is_worked_in(tmp_path):
        time.sleep(0.01)
    ended = threading.Timer(0.5, end, (terraform,))
    ended.start()
    state_locks.release(bucket, "prod", dead(lock.machine()), tmp_path)
    assert terraform.returncode is not None
    assert names(bucket) == sorted(OTHERS)
    ended.join()


def test_a_terraform_that_does_not_end_keeps_its_lock(
    bucket: Bucket, tmp_path: Path, terraform: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_locks, "_ENDING_SECONDS", 0.3)
    while not state_locks._is_worked_in(tmp_path):
        time.sleep(0.01)
    with pytest.raises(Locked, match="still works in"):
        state_locks.release(bucket, "prod", dead(lock.machine()), tmp_path)
    assert MINE in names(bucket)


def test_another_program_that_works_there_is_not_taken_for_terraform(bucket: Bucket, tmp_path: Path) -> None:
    other = subprocess.Popen(["sleep", "60"], cwd=tmp_path)
    try:
        state_locks.release(bucket, "prod", dead(lock.machine()), tmp_path)
    finally:
        other.kill()
        other.wait()
    assert names(bucket) == sorted(OTHERS)
