"""How secrets stand between the steps of a rotation, and what the program makes of it, over the wire."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from google.cloud import secretmanager_v1
from google.protobuf.field_mask_pb2 import FieldMask

from gcp_openemr import cloud_run, lock, secret_store
from gcp_openemr.clients import Cloud
from gcp_openemr.cloud_run import Health
from gcp_openemr.commands import rotations
from gcp_openemr.commands.context import Context
from gcp_openemr.commands.rotations import KINDS, Passwords
from gcp_openemr.console import Console
from gcp_openemr.errors import Locked
from gcp_openemr.redacted import Redacted
from gcp_openemr.secret_store import Standing
from tests.unit.cloud import PROJECT
from tests.unit.environment_file import load

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


def test_what_is_not_on_the_schedule_or_a_persons_own_is_never_overdue() -> None:
    old = passwords(days=91)
    assert dataclasses.replace(old, on_schedule=("redis",)).complaints == []
    left = passwords(days=91, left=True)
    assert left.complaints == []
    assert left.lines()[0].endswith("91 days old, set by a person in OpenEMR and left to them")
    assert left.values()["secrets"]["database"]["set_by_a_person"] is True


def test_a_password_that_is_left_to_a_person_is_told(cloud: Cloud, secret: str) -> None:
    changed = secretmanager_v1.Secret(name=NAME, annotations={secret_store.LEFT: "a person set it in OpenEMR"})
    cloud.secrets.update_secret(secret=changed, update_mask=FieldMask(paths=["annotations"]))
    seen = secret_store.standing(cloud, secret)
    assert seen is not None
    assert seen.left


STANDS: dict[str, Any] = {"current": 2, "since": None, "next": None, "previous": None, "enabled": (1, 2)}
PINNED = {"template": {"redis": "2"}, "web-00001": {"redis": "1", "database": "2"}}
JOB = {"MYSQL_PASS_VERSION": "1", "OE_PASS_VERSION": "current"}


def test_what_was_changed_beside_rotations_is_told(
    tmp_path: Path, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version, a revision, a job, and a password that its server does not take."""
    context = Context(
        environment=load(tmp_path), cloud=cloud, console=Console(), workspace=tmp_path, terraform=tmp_path
    )
    clinic = context.environment.clinic("main")
    names = context.environment.clinic_names("main")
    short = {name: kind for kind, field in KINDS.items() for name in [getattr(names, field)]}
    secrets = {"redis": Standing(**STANDS, secret=names.redis_password_secret, problem="disabled, though in force")}
    monkeypatch.setattr(secret_store, "standing", lambda _, name: secrets.get(short[name]))
    pinned = {part: {getattr(names, KINDS[kind]): pin for kind, pin in pins.items()} for part, pins in PINNED.items()}
    monkeypatch.setattr(cloud_run, "pinned", lambda *_: pinned)
    monkeypatch.setattr(cloud_run, "job_variables", lambda _, name: JOB if name.endswith(names.backup_job) else {})
    checks = {"database": "failed", "sessions": "ok", "share": "ok"}
    seen = rotations.look(context, clinic, Health(healthy=False, status=503, parts={"checks": checks}))
    assert seen.on_schedule == context.environment.rotation.secrets
    assert seen.drift == (
        "disabled, though in force",
        f"Secret {names.redis_password_secret}: version 1 can be read, though 2 is in force.",
        f"revision web-00001 has version 1 of {names.redis_password_secret}, in force is 2.",
        f"job {names.backup_job} has MYSQL_PASS_VERSION=1 and not the version in force; gcp-openemr deploy mends it.",
        "the clinic cannot use its database: it is away, or its password was changed by hand.",
    )


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
