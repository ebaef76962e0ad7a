"""The environment's lock in the hands of a rotation."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.auth.transport.requests import AuthorizedSession
from google.cloud.storage import Bucket

from gcp_openemr import lock
from jobs import rest
from jobs.errors import Busy, Unreachable
from jobs.rotation import locks
from tests.unit import cloud as clouds
from tests.unit.test_lock import plant, plant_long_ago


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    with clouds.cloud(tmp_path) as cloud:
        session = AuthorizedSession(cloud.credentials)
        monkeypatch.setattr(rest, "_session", lambda: session)
        monkeypatch.setattr(rest, "_root", lambda _api: cloud.base)
        yield cloud.storage.create_bucket("rotations-state", location="europe-west1")


def renewed(bucket: Bucket) -> Any:
    found = lock.read_holder(bucket, "prod")
    assert found is not None
    return found.renewed


def test_who_could_not_renew_the_lock_asks_whether_it_is_still_his(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    with locks.environment(bucket.name, "prod", execution="", seconds=0) as held:
        first = renewed(bucket)
        held.check()
        assert renewed(bucket) == first
        monkeypatch.setattr(locks, "RENEW_SECONDS", 0.0)  # as if long ago
        held.check()
        assert renewed(bucket) > first
        content = bucket.blob("prod/environment.lock").download_as_bytes().replace(b'"rotate"', b'"deploy"')
        bucket.blob("prod/environment.lock").upload_from_string(content)
        with pytest.raises(Busy, match="Another run took this environment's lock over"):
            held.check()


def test_without_the_lock_being_renewed_nothing_more_is_done(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_answer(*_: Any, **__: Any) -> dict[str, Any]:
        raise Unreachable("Google's storage does not answer")

    with locks.environment(bucket.name, "prod", execution="", seconds=0) as held:
        with monkeypatch.context() as patch:
            patch.setattr(locks, "RENEW_SECONDS", 0.0)
            patch.setattr(rest, "call", no_answer)
            with pytest.raises(Unreachable):
                held.check()
        held.check()


@pytest.mark.parametrize("ahead", [-1, 1])
def test_a_holder_is_dead_by_the_bucket_s_clock(bucket: Bucket, ahead: int) -> None:
    """That of its machine may be hours `ahead`, and so may be ours."""
    then = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=ahead)
    plant(bucket, acquired=then, renewed=then)
    with (
        pytest.raises(Busy, match="eve@laptop holds the environment"),
        locks.environment(bucket.name, "prod", execution="", seconds=0),
    ):
        pass
    plant_long_ago(bucket, renewed=then)
    with locks.environment(bucket.name, "prod", execution="", seconds=0):
        found = lock.read_holder(bucket, "prod")
        assert found is not None
        assert found.command == "rotate"
