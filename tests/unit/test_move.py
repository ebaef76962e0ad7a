"""A clinic that moves here from an older OpenEMR: what is done, in which order, and from where the next run goes on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gcp_openemr import cloud_run
from gcp_openemr.cloud_run import Container
from gcp_openemr.commands import jobs, move, releases
from gcp_openemr.commands.context import Context
from gcp_openemr.commands.move import Move
from gcp_openemr.console import Console
from gcp_openemr.errors import JobFailed
from gcp_openemr.variables import Platform, SecretVersions, Upgrading
from tests.unit import environment_file

WAY = Upgrading(from_version="7.0.4", to_version="8.4.0", image="the job's", set="a set")
JOB = Container(
    image="the job's", variables={"UPGRADE_FROM": "7.0.4", "OPENEMR_VERSION": "8.4.0", "UPGRADE_SET": "a set"}
)
OLDER = {"decision": "restore", "release": "7.0.4", "upgrade_needed": True}


@pytest.fixture
def context(tmp_path: Path) -> Context:
    cloud: Any = None
    environment = environment_file.load(tmp_path, {"openemr": 'version = "8.4.0"'})
    return Context(environment=environment, cloud=cloud, console=Console(), workspace=tmp_path, terraform=Path())


class Done:
    """What a move does, noted instead of done; a job fails that is named in `fails`."""

    def __init__(
        self, context: Context, monkeypatch: pytest.MonkeyPatch, record: Mapping[str, Any], *fails: str
    ) -> None:
        self.steps: list[str] = []
        self._fails = fails
        versions = SecretVersions(database_password=1, redis_password=1, admin_password=1)
        self.move = Move(
            context=context,
            clinic=context.environment.clinic("main"),
            platform=Platform(outputs={}),
            versions=versions,
            image="the job's",
            apply=lambda way: self.steps.append(f"job from {way.from_version} after {way.set}" if way else "no job"),
        )

        def prepare(_c: object, _o: object, _p: object, _v: object, told: Mapping[str, str]) -> Mapping[str, Any]:
            self.steps.append(f"nfs-init {dict(told)}")
            return record

        monkeypatch.setattr(jobs, "prepare_storage", prepare)
        monkeypatch.setattr(jobs, "run", self._run)
        monkeypatch.setattr(cloud_run, "await_running", lambda *_: self.steps.append("wait"))

    def _run(self, _c: object, _o: object, job: str, told: Mapping[str, str] | None = None) -> dict[str, Any]:
        self.steps.append(f"{job} after {told['UPGRADE_SET']}" if told and "UPGRADE_SET" in told else job)
        if job in self._fails:
            raise JobFailed("It failed.", do="Go back: gcp-openemr upgrade --back")
        return {"set": "a set"} if job == "backup" else {}


UPGRADED = ["job from 7.0.4 after a set", "upgrade after a set", "nfs-init", "no job"]


def test_older_data_is_restored_saved_upgraded_and_looked_at(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    done = Done(context, monkeypatch, OLDER)
    assert move.fill_and_upgrade(done.move, {"BACKUP_SOURCE": "set"}) == "upgrade"
    assert done.steps == ["nfs-init {'BACKUP_SOURCE': 'set', 'UPGRADE': 'yes'}", "backup", *UPGRADED]


def test_data_of_this_release_is_only_restored(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    done = Done(context, monkeypatch, {**OLDER, "upgrade_needed": False})
    assert move.fill_and_upgrade(done.move, {}) == "restore"
    assert done.steps == ["nfs-init {'UPGRADE': 'yes'}"]


def test_what_an_earlier_run_began_goes_on_after_its_set(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    done = Done(context, monkeypatch, OLDER)
    assert move.fill_and_upgrade(dataclasses.replace(done.move, under_way=WAY), {}) == "upgrade"
    assert done.steps == ["wait", *UPGRADED]


def test_without_a_set_nothing_is_upgraded(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    done = Done(context, monkeypatch, OLDER, "backup")
    with pytest.raises(JobFailed):
        move.fill_and_upgrade(done.move, {})
    assert done.steps[-1] == "backup"


def test_without_a_record_nothing_is_guessed(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    done = Done(context, monkeypatch, {})
    with pytest.raises(JobFailed, match="did not tell of which release"):
        move.fill_and_upgrade(done.move, {})
    assert len(done.steps) == 1


def test_an_upgrade_that_failed_names_the_set_and_stays_begun(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = Done(context, monkeypatch, OLDER, "upgrade")
    with pytest.raises(JobFailed, match="does not serve yet, and set a set is its data") as caught:
        move.fill_and_upgrade(done.move, {})
    assert "run the same command again" in caught.value.do
    assert "--back" not in caught.value.do, "there is no service to go back to"
    assert done.steps[-1] == "upgrade after a set"


@pytest.mark.parametrize(
    ("version", "upgrade", "refused"),
    [("8.4.0", False, True), ("8.4.0", True, False), ("7.0.4", True, True)],
)
def test_a_deploy_is_told_of_a_move_unless_it_goes_on_with_it(
    context: Context, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str, upgrade: bool, refused: bool
) -> None:
    monkeypatch.setattr(cloud_run, "service_state", lambda *_: None)
    monkeypatch.setattr(cloud_run, "job_container", lambda *_: JOB)
    text = f'version = "{version}"\nacknowledge_end_of_support = true'
    here = dataclasses.replace(context, environment=environment_file.load(tmp_path, {"openemr": text}))
    found = list(releases.problems(here, upgrade=upgrade))
    assert bool(found) == refused
    for what, do in found:
        assert "moves here and is on its way from OpenEMR 7.0.4 to 8.4.0" in what
        assert do == 'With version = "8.4.0" in [openemr], finish it: gcp-openemr deploy --upgrade'
