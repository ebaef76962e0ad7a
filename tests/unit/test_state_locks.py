"""Terraform's state locks of a dead run: released once its Terraform has ended, and no others."""

from __future__ import annotations

import datetime
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.cloud.storage import Bucket

from gcp_openemr import lock, state_locks
from gcp_openemr.clients import Cloud
from gcp_openemr.commands.context import changing
from gcp_openemr.errors import Locked, TerraformFailed
from tests.unit import cloud as unit_cloud

MINE = "prod/platform/default.tflock"
BEGAN = datetime.datetime(2026, 11, 22, 2, tzinfo=datetime.UTC)
OTHERS = ("staging/platform/default.tflock", "prod/platform/default.tfstate")


@pytest.fixture
def bucket(cloud: Cloud) -> Bucket:
    made = cloud.storage.create_bucket("unit-tests-1-oe-prod-state", location="europe-west1")
    for name in (MINE, *OTHERS):
        lock_it(made, name)
    return made


def lock_it(bucket: Bucket, name: str, who: str = "eve@laptop", seconds: float = 1, **more: str) -> None:
    """As Terraform does, that long after the run began."""
    created = f"{(BEGAN + datetime.timedelta(seconds=seconds)):%Y-%m-%dT%H:%M:%S.%f}789Z"
    bucket.blob(name).upload_from_string(json.dumps({"ID": "1", "Who": who, "Created": created, **more}))


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
    return lock.Holder(
        id="x", who="eve@laptop", machine=machine, process="1 1", command="deploy", acquired=BEGAN, renewed=BEGAN
    )


def names(bucket: Bucket) -> list[str]:
    return sorted(blob.name for blob in bucket.list_blobs())


def test_a_run_that_died_elsewhere_leaves_no_lock_and_all_else_stays(bucket: Bucket, tmp_path: Path) -> None:
    assert state_locks.release(bucket, "prod", dead("another machine"), tmp_path) == []
    assert names(bucket) == sorted(OTHERS)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"who": "anna@desktop"}, "is a lock of anna@desktop since 2026-11-22T02:00:01"),
        ({"seconds": -1}, "is a lock of eve@laptop since 2026-11-22T01:59:59"),
        ({"Created": "yesterday"}, "is a lock of eve@laptop since yesterday"),
        ({"Who": ""}, "is a lock of somebody since"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_lock_that_is_not_the_dead_run_s_stays_and_is_told(
    bucket: Bucket, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    """Such as one of a Terraform that somebody began by hand, and that still works."""
    lock_it(bucket, "prod/foundation/default.tflock", **changes)
    (told,) = state_locks.release(bucket, "prod", dead("another machine"), tmp_path)
    assert said in told
    assert told.endswith(f"gcloud storage rm gs://{bucket.name}/prod/foundation/default.tflock")
    assert names(bucket) == sorted(["prod/foundation/default.tflock", *OTHERS])


def test_a_lock_that_says_nothing_stays(bucket: Bucket, tmp_path: Path) -> None:
    bucket.blob(MINE).upload_from_string("")
    (told,) = state_locks.release(bucket, "prod", dead("another machine"), tmp_path)
    assert "of somebody since an unknown time" in told
    assert MINE in names(bucket)


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


@pytest.mark.parametrize("ours", [True, False])
def test_a_run_that_fails_gives_back_what_it_does_not_know_of(bucket: Bucket, tmp_path: Path, ours: bool) -> None:
    """A lock whose answer was lost, while Terraform worked on two roots."""
    bucket.blob(MINE).delete()
    with lock.hold(bucket, "prod", "deploy") as (held, _):
        began = (held.holder.acquired - BEGAN).total_seconds()
        lock_it(bucket, MINE, lock.who() if ours else "eve@laptop", began + 1)
        before = "prod/foundation/default.tflock"
        lock_it(bucket, before, lock.who(), began - 60)
        state_locks.give_back(bucket, held, "prod", tmp_path)
        assert bucket.blob(MINE).exists() is not ours
        assert bucket.blob(before).exists()


def test_a_run_that_lost_its_lock_gives_back_nothing(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lock.hold(bucket, "prod", "deploy") as (held, _):
        lock_it(bucket, MINE, lock.who(), (held.holder.acquired - BEGAN).total_seconds() + 1)
        another = bucket.blob(lock.object_name("prod"))
        another.upload_from_string(json.dumps({**json.loads(another.download_as_bytes()), "id": "another"}))
        monkeypatch.setattr(lock, "RENEW_SECONDS", 0.0)  # as if long ago
        state_locks.give_back(bucket, held, "prod", tmp_path)
        assert bucket.blob(MINE).exists()


def test_a_command_that_fails_leaves_no_state_locked(cloud: Cloud, tmp_path: Path) -> None:
    context = unit_cloud.context(cloud, tmp_path)
    bucket = cloud.storage.create_bucket(context.environment.names.state_bucket, location="europe-west1")
    name = f"{context.environment.name}/platform/default.tflock"

    def fail() -> None:
        with changing(context, "deploy") as held:
            lock_it(bucket, name, lock.who(), (held.holder.acquired - BEGAN).total_seconds() + 1)
            raise TerraformFailed("no answer")

    with pytest.raises(TerraformFailed, match="no answer"):
        fail()
    assert not bucket.blob(name).exists()
