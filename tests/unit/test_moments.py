"""A database as of a moment: a copy of the instance, what it exports, and that neither is left."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import io
import itertools
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from gcp_openemr import cloud_sql_copies, interruption
from gcp_openemr.clients import Cloud
from gcp_openemr.commands import moments, restore, unfinished
from gcp_openemr.commands.context import Context
from gcp_openemr.console import Console
from gcp_openemr.errors import CloudRefused, Interrupted, UsageError
from tests.jobs.effects import in_a_group
from tests.unit import cloud as clouds
from tests.unit.test_backups import SETS

BACKUPS = {"enabled": True, "binaryLogEnabled": True, "transactionLogRetentionDays": 7}
FOLDER = "clinics/main/backups/moments/"
_IN_THE_MIDDLE = 13  # of some twenty requests, while it removes


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    with clouds.cloud(tmp_path) as cloud:
        context = clouds.context(cloud, tmp_path, yes=True)
        bucket = cloud.storage.bucket(context.environment.names.backup_bucket)
        bucket.iam_configuration.uniform_bucket_level_access_enabled = True
        bucket.create()
        made(context)
        yield context


def made(context: Context, **backups: Any) -> None:
    settings = {
        "tier": "db-custom-2-7680",
        "backupConfiguration": {**BACKUPS, **backups},
        "deletionProtectionEnabled": True,
        "finalBackupConfig": {"enabled": True, "retentionDays": 30},
        "ipConfiguration": {"ipv4Enabled": False, "pscConfig": {"pscEnabled": True}},
    }
    name = context.environment.names.database_instance
    body = {"name": name, "region": "europe-west1", "databaseVersion": "MYSQL_8_0", "settings": settings}
    path = f"v1/projects/{clouds.PROJECT}/instances"
    context.cloud.ask("sqladmin", path, body=body)
    while context.cloud.ask("sqladmin", f"{path}/{name}")["state"] != "RUNNABLE":
        pass


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def left(context: Context) -> list[str]:
    """Copies, SQL, the folder and backups of copies."""
    bucket, cloud = context.environment.names.backup_bucket, context.cloud
    folders = cloud.ask("storage", f"storage/v1/b/{bucket}/managedFolders").get("items", [])
    kept = cloud.ask("sqladmin", f"v1/projects/{clouds.PROJECT}/backups").get("backups", [])
    return [
        *cloud_sql_copies.copies(cloud, context.environment.names.database_instance),
        *(blob.name for blob in cloud.storage.list_blobs(bucket)),
        *(str(one["name"]) for one in [*folders, *kept]),
    ]


def test_the_database_of_a_moment_is_there_while_it_is_read_and_then_nothing_is_left(context: Context) -> None:
    clinic, moment = context.environment.clinic("main"), now()
    with moments.database_of(context, clinic, moment) as place:
        assert place == f"gs://{context.environment.names.backup_bucket}/{FOLDER}{moment:%Y%m%dT%H%M%SZ}.sql.gz"
        assert moments.moment_of(place) == f"{moment:%Y%m%dT%H%M%SZ}"
        (copied, *rest) = left(context)
        assert copied.startswith(f"oe-test-sql-at-{moment:%Y%m%dt%H%M%S}-")
        assert len(rest) == 2
        assert [one.command for one in unfinished._copies(context)] == [
            f"gcloud sql instances delete {copied} --project={clouds.PROJECT}"
        ]
    assert left(context) == []


def test_a_restore_that_fails_leaves_no_copy(context: Context) -> None:
    clinic = context.environment.clinic("main")
    with pytest.raises(ZeroDivisionError), moments.database_of(context, clinic, now()):
        raise ZeroDivisionError
    assert left(context) == []


def test_what_a_killed_run_left_is_used_for_the_same_moment_and_removed_for_another(context: Context) -> None:
    clinic, moment = context.environment.clinic("main"), now()
    instance, other = context.environment.names.database_instance, moment - datetime.timedelta(hours=1)
    names = [cloud_sql_copies.copy_name(instance, one) for one in (moment, other)]
    with context.console.step("killed") as step:
        for name in names:
            cloud_sql_copies.clone(context.cloud, instance, name, moment, step)
    with moments.database_of(context, clinic, moment):
        assert names[0] in left(context)
    assert left(context) == []
    assert context.cloud.ask("sqladmin", f"v1/projects/{clouds.PROJECT}/instances/{instance}")["state"] == "RUNNABLE"


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=[pytest.mark.torture, pytest.mark.timeout(1800)])])
def test_a_run_that_was_killed_anywhere_is_ended_by_the_next(
    context: Context, monkeypatch: pytest.MonkeyPatch, every: bool
) -> None:
    """A copy of it is used again, status tells of what is left, and the instance stays as it is."""
    clinic, moment = context.environment.clinic("main"), now()
    instance = context.environment.names.database_instance
    settings = instance_settings(context)
    cloud = context.cloud
    monkeypatch.setattr(cloud_sql_copies, "_POLL_SECONDS", (0.05, 0.05))
    as_slow = {"latency": 0.01}  # that what is begun ends later
    operator = {"Authorization": f"Bearer {cloud.credentials.token}"}
    assert requests.post(f"{cloud.base}/sandbox/v1/settings", json=as_slow, headers=operator, timeout=10).ok

    def run(*, last: int = 0, inside: bool = False) -> None:
        """In a process of its own, with connections of its own; killed before a request, or within the block."""
        original, requests_made = requests.Session.send, itertools.count(1)

        def send(*given: Any, **options: Any) -> requests.Response:
            if next(requests_made) == last:
                os.killpg(0, signal.SIGKILL)
            return original(*given, **options)

        requests.Session.send = send  # type: ignore[method-assign]
        fresh = Cloud(project=cloud.project, credentials=cloud.credentials, base=cloud.base)
        with moments.database_of(dataclasses.replace(context, cloud=fresh), clinic, moment):
            if inside:
                os.killpg(0, signal.SIGKILL)

    for point in itertools.chain([0], itertools.count(1) if every else [_IN_THE_MIDDLE]):
        killed = f"killed before request {point}"
        if in_a_group(functools.partial(run, last=point, inside=not point), last=0) != -9:
            assert point > _IN_THE_MIDDLE  # it came to its end
            break
        there, told = left(context), " ".join(f"{one.what} {one.command}" for one in seen(context))
        copies = cloud_sql_copies.copies(cloud, instance)
        assert all(name in told for name in copies), killed
        assert (FOLDER in told) == any(name.endswith(".sql.gz") for name in there), killed
        with moments.database_of(context, clinic, moment) as place:
            used = cloud_sql_copies.copies(cloud, instance)
            assert len(used) == 1, killed
            assert used == copies or not copies, killed
            assert f"gs://{context.environment.names.backup_bucket}/{left(context)[1]}" == place
        assert left(context) == [], killed
        assert instance_settings(context) == settings


def seen(context: Context) -> list[unfinished.Unfinished]:
    return [*unfinished._copies(context), *unfinished._exports(context)]


def instance_settings(context: Context) -> Any:
    name = context.environment.names.database_instance
    found = context.cloud.ask("sqladmin", f"v1/projects/{clouds.PROJECT}/instances/{name}")
    return found["state"], found["settings"]


def test_after_ctrl_c_the_copy_is_told_of(context: Context) -> None:
    said = io.StringIO()
    context = dataclasses.replace(context, console=Console(people=said))
    clinic = context.environment.clinic("main")

    def interrupted() -> None:
        with moments.database_of(context, clinic, now()):
            interruption.interrupt()
            interruption.check()

    with pytest.raises(Interrupted):
        interrupted()
    interruption.reset()
    assert "A copy of oe-test-sql may be left, and costs." in said.getvalue()
    with moments.database_of(context, clinic, now()):
        pass
    assert left(context) == []


def test_what_cloud_sql_refuses_is_told_with_the_place(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moments, "_GRANTED_WITHIN", 1)
    monkeypatch.setattr(moments, "_ROLE", "roles/storage.objectViewer")
    clinic = context.environment.clinic("main")
    with (
        pytest.raises(CloudRefused, match=r"could not write gs://.*: .*does not have the required permissions"),
        moments.database_of(context, clinic, now()),
    ):
        pass
    assert left(context) == []


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("latest", "--point-in-time wants a moment, not 'latest'"),
        ("2020-01-01", "2020-01-01 00:00:00 UTC is not between "),
        ("2100-01-01", "2100-01-01 00:00:00 UTC is not between "),
    ],
)
def test_a_moment_that_the_log_does_not_reach_is_refused_at_once(context: Context, wanted: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        restore._exact(context, "main", wanted, SETS)


def test_files_are_those_of_the_nearest_set(context: Context) -> None:
    moment = now()
    near = SETS[1].model_copy(update={"begun": moment + datetime.timedelta(hours=1), "set": "20261201T000000Z-0001"})
    far = SETS[2].model_copy(update={"begun": moment - datetime.timedelta(hours=2)})
    failed = SETS[0].model_copy(update={"begun": moment})
    found = restore._exact(context, "main", moment.isoformat(), [failed, near, far])
    assert found.variables["BACKUP_FILEID"] == near.set
    assert (found.exact, found.moment) == (True, moment)
    assert f"{moment:%Y-%m-%d %H:%M:%S} UTC with the files of set {near.set}" in found.title
