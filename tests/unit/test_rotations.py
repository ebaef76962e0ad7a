"""How secrets stand between the steps of a rotation, and what the program makes of it, over the wire."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from typing import Any

import pytest
from google.cloud import secretmanager_v1
from google.protobuf.field_mask_pb2 import FieldMask

from gcp_openemr import lock, secret_store
from gcp_openemr.clients import Cloud
from gcp_openemr.commands.rotations import Passwords
from gcp_openemr.errors import Locked
from gcp_openemr.redacted import Redacted
from gcp_openemr.secret_store import Standing
from tests.unit.cloud import PROJECT

NAME = f"projects/{PROJECT}/secrets/db"


@pytest.fixture
def secret(cloud: Cloud) -> str:
    """A secret with three versions, of which the first is in force."""
    made = secretmanager_v1.Secret(replication={"automatic": {}})
    cloud.secrets.create_secret(parent=f"projects/{PROJECT}", secret_id="db", secret=made)
    secret_store.ensure(cloud, "db", lambda: Redacted("one"))
    for value in ("two", "three"):
        secret_store.add(cloud, "db", Redacted(value))
    return "db"


def point(cloud: Cloud, aliases: Mapping[str, int]) -> None:
    changed = secretmanager_v1.Secret(name=NAME, version_aliases=aliases)
    cloud.secrets.update_secret(secret=changed, update_mask=FieldMask(paths=["version_aliases"]))


@pytest.mark.parametrize(
    ("aliases", "half_way", "strange"),
    [
        ({"current": 1}, "", (2, 3)),
        ({"current": 1, "next": 2}, "version 2 is made and not in force yet", (3,)),
        ({"current": 2, "previous": 1}, "version 2 is in force, and version 1 before it is still taken", (3,)),
    ],
)
def test_aliases_tell_how_far_a_rotation_came(
    cloud: Cloud, secret: str, aliases: Mapping[str, int], half_way: str, strange: tuple[int, ...]
) -> None:
    point(cloud, aliases)
    seen = secret_store.standing(cloud, secret)
    assert seen is not None
    assert (seen.current, seen.half_way, seen.strange) == (aliases["current"], half_way, strange)
    assert secret_store.current_version(cloud, secret) == aliases["current"]
    assert seen.since is not None
    assert abs(datetime.datetime.now(datetime.UTC) - seen.since) < datetime.timedelta(minutes=1)


def test_a_version_disabled_by_hand_is_told(cloud: Cloud, secret: str) -> None:
    cloud.secrets.disable_secret_version(name=f"{NAME}/versions/1")
    seen = secret_store.standing(cloud, secret)
    assert seen is not None
    assert "version 1 is disabled" in seen.problem


def test_a_secret_that_is_not_there_stands_nowhere(cloud: Cloud) -> None:
    assert secret_store.standing(cloud, "nothing") is None


def passwords(*, days: float, **changes: Any) -> Passwords:
    since = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=days)
    fields: dict[str, Any] = {"current": 2, "since": since, "next": None, "previous": None, "enabled": (2,), **changes}
    stands = Standing(secret="db", **fields)
    secrets = {"database": stands, "redis": None, "admin": None, "backup": None}
    return Passwords(clinic="main", secrets=secrets, drift=(), every_days=90)


def test_what_is_too_old_or_half_way_is_complained_of() -> None:
    assert passwords(days=89).complaints == []
    assert passwords(days=91).complaints == ["database is older than 90 days"]
    assert passwords(days=1, next=3).complaints == ["database: version 3 is made and not in force yet"]
    assert "OVERDUE" in passwords(days=91).lines()[0]
    assert passwords(days=91).values()["secrets"]["database"]["overdue"] is True


def test_a_lock_of_an_execution_that_has_ended_is_taken_over(cloud: Cloud) -> None:
    bucket = cloud.storage.create_bucket("rotations-state", location="europe-west1")
    job = f"projects/{PROJECT}/locations/europe-west1/jobs/j/executions/e"
    now = datetime.datetime.now(datetime.UTC).isoformat()
    told = {"id": "1", "who": "e", "machine": f"execution {job}", "process": "1 0", "command": "rotate"}
    bucket.blob("test/environment.lock").upload_from_string(json.dumps({**told, "acquired": now, "renewed": now}))
    with pytest.raises(Locked, match="`rotate`"), lock.hold(bucket, "test", "deploy"):
        pass
    with lock.hold(bucket, "test", "deploy", is_over=lambda name: name == job) as (_, dead):
        assert dead is not None
