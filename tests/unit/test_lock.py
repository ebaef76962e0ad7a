"""The environment's lock, over the wire."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import datetime
import json
import os
import pwd
import socket
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
from google.cloud.storage import Bucket

from gcp_openemr import lock
from gcp_openemr.clients import Cloud
from gcp_openemr.errors import Locked
from gcp_openemr.sandbox.api.storage import objects

OBJECT = "prod/environment.lock"


@pytest.fixture
def bucket(cloud: Cloud) -> Bucket:
    return cloud.storage.create_bucket("unit-tests-1-oe-prod-state", location="europe-west1")


def plant(bucket: Bucket, **changes: object) -> None:
    """A lock of another machine, acquired and renewed now, with some fields changed."""
    now = datetime.datetime.now(datetime.UTC)
    holder = lock.Holder(
        id="other",
        who="eve@laptop",
        machine="another machine",
        process="17 4711",
        command="deploy",
        acquired=now,
        renewed=now,
    )
    fields = dataclasses.asdict(dataclasses.replace(holder, **changes))  # type: ignore[arg-type]
    del fields["silent"]
    bucket.blob(OBJECT).upload_from_string(json.dumps(fields, default=datetime.datetime.isoformat))


def test_a_held_lock_names_its_holder_and_is_gone_afterwards(bucket: Bucket) -> None:
    with lock.hold(bucket, "prod", "deploy") as (held, dead):
        seen = lock.read_holder(bucket, "prod")
        assert seen is not None
        assert (seen.id, seen.command, dead) == (held.holder.id, "deploy", None)
        assert "@" in seen.who
    assert lock.read_holder(bucket, "prod") is None


def test_a_user_without_a_name_holds_it_too(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a container has that runs as any number."""

    def nameless(number: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr("pwd.getpwuid", nameless)
    monkeypatch.delenv("USER", raising=False)
    with lock.hold(bucket, "prod", "deploy") as (held, _):
        assert held.holder.who.startswith("@")
    monkeypatch.setenv("USER", "eve")
    assert lock.who().startswith("eve@")


def test_a_user_has_the_name_that_terraform_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the state locks of a run that died would not be known for its own: `su` leaves the variables of before."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "somebody-else")
    assert lock.who() == f"{pwd.getpwuid(os.getuid()).pw_name}@{socket.gethostname()}"


def test_it_is_given_back_after_a_failure(bucket: Bucket) -> None:
    with pytest.raises(RuntimeError), lock.hold(bucket, "prod", "deploy"):
        raise RuntimeError
    assert lock.read_holder(bucket, "prod") is None


def test_a_second_run_is_told_who_holds_it_with_what_and_how_long(bucket: Bucket) -> None:
    plant(bucket, acquired=datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=125))
    words = r"eve@laptop holds the environment 'prod' with `deploy` since .* \(2 min 5 s\)"
    with pytest.raises(Locked, match=words), lock.hold(bucket, "prod", "destroy"):
        pass


def test_two_environments_do_not_wait_for_each_other(bucket: Bucket) -> None:
    with lock.hold(bucket, "prod", "deploy"), lock.hold(bucket, "staging", "deploy"):
        assert lock.read_holder(bucket, "staging") is not None


def plant_long_ago(bucket: Bucket, **changes: object) -> None:
    """One that was written last just too long ago, by the bucket's clock."""
    plant(bucket, **changes)
    then = time.time() - lock.STALE_SECONDS - 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(objects, "time", SimpleNamespace(time=lambda: then))
        blob = bucket.blob(OBJECT)
        blob.metadata = {"touched": "then"}
        blob.patch()


@pytest.mark.parametrize("ahead", [-1, 0, 1])
def test_a_lock_that_was_not_renewed_for_five_minutes_is_taken_over(bucket: Bucket, ahead: int) -> None:
    """By the bucket's clock: that of its holder may be hours `ahead`, and so may be ours."""
    plant_long_ago(bucket, renewed=datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=ahead))
    with lock.hold(bucket, "prod", "deploy") as (_, dead):
        assert dead is not None
        assert dead.who == "eve@laptop"
        assert dead.silent >= datetime.timedelta(seconds=lock.STALE_SECONDS)


def test_a_holder_whose_clock_is_behind_is_not_taken_for_dead(bucket: Bucket) -> None:
    an_hour_ago = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
    plant(bucket, acquired=an_hour_ago, renewed=an_hour_ago)
    with pytest.raises(Locked), lock.hold(bucket, "prod", "deploy"):
        pass


def test_a_process_of_this_machine_that_is_gone_is_recognised_at_once(bucket: Bucket) -> None:
    ended = subprocess.Popen([sys.executable, "-c", "pass"])
    ended.wait()
    plant(bucket, machine=lock.machine(), process=f"{ended.pid} 1")
    with lock.hold(bucket, "prod", "deploy") as (_, dead):
        assert dead is not None


def test_a_living_process_of_this_machine_is_not_taken_for_dead(bucket: Bucket) -> None:
    alive = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        plant(bucket, machine=lock.machine(), process=lock._process(alive.pid))
        with pytest.raises(Locked), lock.hold(bucket, "prod", "deploy"):
            pass
    finally:
        alive.communicate()


def winners(bucket: Bucket, runs: int) -> int:
    """How many of so many runs that begin at once get the lock while the others are there."""
    start, refused = threading.Barrier(runs), threading.Semaphore(0)

    def contend(_: int) -> bool:
        start.wait()
        try:
            with lock.hold(bucket, "prod", "deploy"):
                return all(refused.acquire(timeout=10) for _ in range(runs - 1))
        except Locked:
            refused.release()
            return False

    with concurrent.futures.ThreadPoolExecutor(runs) as pool:
        return sum(pool.map(contend, range(runs)))


def test_of_many_runs_at_once_exactly_one_gets_it(bucket: Bucket) -> None:
    assert winners(bucket, 6) == 1


def test_a_dead_lock_is_taken_over_by_exactly_one(bucket: Bucket) -> None:
    plant_long_ago(bucket)
    assert winners(bucket, 4) == 1


def test_the_holder_renews_it_and_notices_when_it_was_taken_over(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "RENEW_SECONDS", 0.05)
    with lock.hold(bucket, "prod", "deploy") as (held, _):
        first = lock.read_holder(bucket, "prod")
        assert first is not None
        wait_until(lambda: (seen := lock.read_holder(bucket, "prod")) is not None and seen.renewed > first.renewed)
        held.check()
        plant(bucket)
        wait_until(lambda: lost(held))
    still = lock.read_holder(bucket, "prod")
    assert still is not None
    assert still.who == "eve@laptop"


def test_who_slept_asks_whether_the_lock_is_still_his(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    with lock.hold(bucket, "prod", "deploy") as (held, _):
        first = lock.read_holder(bucket, "prod")
        assert first is not None
        monkeypatch.setattr(lock, "RENEW_SECONDS", 0.0)  # as if long ago
        held.check()
        renewed = lock.read_holder(bucket, "prod")
        assert renewed is not None
        assert renewed.renewed > first.renewed
        plant(bucket)
        with pytest.raises(Locked, match="took this environment's lock over"):
            held.check()


def test_a_renewal_whose_answer_was_lost_is_not_taken_for_another_s(bucket: Bucket) -> None:
    with lock.hold(bucket, "prod", "deploy") as (held, _):
        later = dataclasses.replace(held.holder, renewed=datetime.datetime.now(datetime.UTC))
        lock._write(bucket.blob(OBJECT), later, held._generation)
        held._write_anew()
        held.check()
    assert lock.read_holder(bucket, "prod") is None


def lost(held: lock.Held) -> bool:
    try:
        held.check()
    except Locked:
        return True
    return False


def wait_until(reached: object) -> None:
    end = time.monotonic() + 10
    while not reached():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.02)
