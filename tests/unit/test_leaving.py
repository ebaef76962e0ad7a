"""What a destroy looks at before it changes anything: the file is of what stands there, and nothing came meanwhile."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from gcp_openemr import cloud_run
from gcp_openemr.backups import BackupSet
from gcp_openemr.clients import Cloud
from gcp_openemr.cloud_run import Container, ServiceState
from gcp_openemr.commands import jobs, last_sets, leaving, removal, taking_down
from gcp_openemr.commands.context import Context
from gcp_openemr.commands.destroy import destroy
from gcp_openemr.commands.last_sets import LastSet
from gcp_openemr.commands.leaving import Leaving, Wish
from gcp_openemr.commands.taking_down import Going, Patience
from gcp_openemr.console import Console
from gcp_openemr.errors import EnvironmentInvalid, JobFailed, Locked, UsageError
from gcp_openemr.variables import Foundation, Platform
from tests.unit import environment_file
from tests.unit.cloud import PROJECT

PRODUCTION = 'profile = "production"'
OLD = {"openemr": "acknowledge_end_of_support = true"}


def context(cloud: Cloud, tmp_path: Path, own: str = PRODUCTION) -> Context:
    sections = {**OLD, "environment": f'project = "{PROJECT}"\n{own}', "clinics.main": "", "clinics.north": ""}
    return Context(
        environment=environment_file.load(tmp_path, sections),
        cloud=cloud,
        console=Console(people=io.StringIO()),
        workspace=tmp_path / "work",
        terraform=Path(),
    )


def put(cloud: Cloud, root: str, type_: str, module: str = "module.x", **attributes: Any) -> None:
    resource = {"mode": "managed", "module": module, "type": type_, "name": "default"}
    state = {"resources": [{**resource, "instances": [{"attributes": attributes}]}], "outputs": {}}
    cloud.storage.bucket(f"{PROJECT}-oe-test-state").blob(f"test/{root}/default.tfstate").upload_from_string(
        json.dumps(state)
    )


@pytest.fixture
def deployed(cloud: Cloud) -> Cloud:
    """An environment of the production profile with one clinic, as far as its states tell."""
    cloud.storage.create_bucket(f"{PROJECT}-oe-test-state")
    put(cloud, "foundation", "google_artifact_registry_repository", location="europe-west1")
    put(cloud, "platform", "google_compute_disk", zone="europe-west1-b", deletion_policy="PREVENT")
    put(cloud, "clinics/main", "google_secret_manager_secret", deletion_protection=True)
    return cloud


def test_a_file_that_became_a_developer_s_takes_no_production_down(deployed: Cloud, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentInvalid, match="would make no last set and take the backup sets along") as caught:
        leaving.look(context(deployed, tmp_path, ""), Wish())
    assert 'Set profile = "production"' in caught.value.do
    for root in ("platform", "clinics/main"):
        put(deployed, root, "google_compute_firewall")
    assert leaving.look(context(deployed, tmp_path, ""), Wish()).foundation


@pytest.mark.parametrize("elsewhere", ['region = "europe-west3"', 'zone = "europe-west1-c"'])
def test_a_file_that_looks_elsewhere_is_refused(deployed: Cloud, tmp_path: Path, elsewhere: str) -> None:
    """Google would be asked there, and have nothing: no service to make a last set of, and nothing left."""
    with pytest.raises(EnvironmentInvalid, match="and deployed is europe-west1") as caught:
        leaving.look(context(deployed, tmp_path, f"{PRODUCTION}\n{elsewhere}"), Wish())
    assert caught.value.do.startswith("Change the file back.")


def test_a_clinic_that_came_while_people_read_does_not_go_unread(deployed: Cloud, tmp_path: Path) -> None:
    here = context(deployed, tmp_path)
    agreed = leaving.look(here, Wish())
    assert (agreed.clinics, agreed.platform, agreed.sets) == (("main",), True, True)
    assert leaving.look_again(here, agreed) == agreed
    put(deployed, "clinics/north", "google_secret_manager_secret")
    with pytest.raises(Locked, match=r"Another run made this in the meantime: clinic north\. Nothing was changed"):
        leaving.look_again(here, agreed)
    one = leaving.look(here, Wish(clinic="main"))
    assert leaving.look_again(here, one).clinics == ("main",)


def going(here: Context) -> Going:
    foundation = Foundation(registry="", build_account="", build_bucket="", backup_bucket="", roles={})
    return Going(context=here, foundation=foundation, platform=Platform(outputs={}), patience=Patience(0, ""))


def test_a_clinic_that_lost_its_jobs_by_hand_goes_by_words_alone(deployed: Cloud, tmp_path: Path) -> None:
    here = context(deployed, tmp_path)
    main = here.environment.clinics["main"]
    with pytest.raises(JobFailed, match="could not be backed up, so nothing was changed") as caught:
        last_sets.take(going(here), [main], [])
    assert caught.value.do.endswith("To destroy it all the same: --without-final-backup")


def test_a_clinic_whose_protections_a_destroy_lifted_has_its_last_set(
    deployed: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(deployed, "clinics/main", "google_secret_manager_secret", deletion_protection=False)
    here = context(deployed, tmp_path)
    made: Any = type("Made", (), {"is_verified": True, "set": "a-set"})
    known: Sequence[BackupSet] = [made]
    monkeypatch.setattr("gcp_openemr.backups.read_sets", lambda *_: (known, []))
    monkeypatch.setattr("gcp_openemr.backups.manifest", lambda *_: "gs://b/a-set.json")
    taken = last_sets.take(going(here), [here.environment.clinics["main"]], [])
    assert taken == {"main": LastSet(set="a-set", manifest="gs://b/a-set.json")}


def test_a_backup_that_names_no_set_is_none(deployed: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = context(deployed, tmp_path)
    monkeypatch.setattr(jobs, "run", lambda *_: {})
    closed: list[str] = []
    monkeypatch.setattr(taking_down, "close", lambda _, clinic: closed.append(clinic.name))
    with pytest.raises(JobFailed, match="left no record of its set"):
        last_sets.take(going(here), [here.environment.clinics["main"]], [])
    assert closed == []


def test_all_of_the_last_set_is_read_back(deployed: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever part the nightly check of sets reads: what it is made from goes now."""
    here, ran = context(deployed, tmp_path), list[tuple[str, Mapping[str, str]]]()

    def run(_: Context, __: Any, job: str, variables: Mapping[str, str] = MappingProxyType({})) -> dict[str, str]:
        ran.append((job, variables))
        return {"set": "a-set", "manifest": "gs://b/a-set.json"}

    monkeypatch.setattr(jobs, "run", run)
    monkeypatch.setattr(taking_down, "close", lambda *_: None)
    taken = last_sets.take(going(here), [here.environment.clinics["main"]], [])
    assert taken == {"main": LastSet(set="a-set", manifest="gs://b/a-set.json")}
    assert ran == [("backup", {}), ("backup", {}), ("verify", {"SET": "a-set", "READ_DATA": "all"})]


@pytest.mark.parametrize("serves", [True, False])
def test_a_clinic_is_taken_down_as_the_release_that_it_is(
    deployed: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, serves: bool
) -> None:
    """The file names the next one already: a revision of that on the old image would not start, and keep the rest."""
    here = context(deployed, tmp_path)
    seen = ServiceState(uri="", ready_revision="", created_revision="", traffic={}, openemr="6.0.0", image="web:6")
    told = {"OPENEMR_VERSION": "6.0.0", "UPGRADE_FROM": "6.0.0"}
    monkeypatch.setattr(cloud_run, "service_state", lambda *_: seen if serves else None)
    monkeypatch.setattr(cloud_run, "job_container", lambda *_: Container(image="job:6", variables=told))
    variables = going(here).variables(here.environment.clinics["main"])
    assert here.environment.openemr.version == "7.0.4"
    assert variables["openemr"] == {"version": "6.0.0" if serves else "7.0.4", "jobs": "6.0.0"}
    assert variables["upgrade"]["from"] == "6.0.0"
    assert (variables["serve"], variables["images"]["job"]) == (serves, "job:6")
    assert variables["images"]["service"].startswith("web:6" if serves else "none/")


@pytest.mark.parametrize(
    ("module", "closes"),
    [('module.schedule["backup"]', True), ("module.service[0]", True), ('module.job["backup"]', False)],
)
def test_a_closing_that_lost_the_service_alone_is_finished(
    deployed: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, closes: bool
) -> None:
    """A job that its schedule starts writes, too, with no service there any more."""
    put(deployed, "clinics/main", "google_cloud_scheduler_job", module)
    here, taken = context(deployed, tmp_path), list[Collection[str]]()
    monkeypatch.setattr(taking_down, "take_down", lambda *_, targets: taken.append(targets))
    taking_down.close(going(here), here.environment.clinics["main"])
    assert taken == ([{"module.schedule", "module.service"}] if closes else [])


def test_a_clinic_half_removed_is_not_backed_up_again(
    deployed: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Be it alone that goes now, or all of its environment."""
    told: Mapping[str, dict[str, str]] = {
        "main": {"ACTION": "remove", "FINAL_SET": "gs://b/clinics/main/sets/20261122T020000Z-abcd.json"},
        "north": {"ACTION": "ensure"},
        "south": {"ACTION": "remove"},
    }
    monkeypatch.setattr(cloud_run, "last_told", lambda _cloud, _job, _variable, clinic: told[clinic])
    here = context(deployed, tmp_path)
    every = Leaving(wish=Wish(), clinic="", clinics=(*told,), platform=True, foundation=False, sets=True, there=())
    assert removal.begun(here, every) == {
        "main": LastSet(set="20261122T020000Z-abcd", manifest="gs://b/clinics/main/sets/20261122T020000Z-abcd.json"),
        "south": None,
    }


class Person(Console):
    """Somebody is there, and types this."""

    asks = True

    def __init__(self, types: str) -> None:
        super().__init__(people=io.StringIO())
        self._types = types

    def answer(self, question: str) -> str:
        assert "type the environment's name (test)" in question
        return self._types


@pytest.mark.parametrize("wish", [Wish(), Wish(named="test")])
def test_who_does_not_say_yes_types_the_name(deployed: Cloud, tmp_path: Path, wish: Wish) -> None:
    """Also of a command that was pasted with the name in it."""
    here = context(deployed, tmp_path)
    going = leaving.look(here, wish)
    with pytest.raises(UsageError, match="Nobody can be asked here"):
        leaving.agree(here, going)
    with pytest.raises(UsageError, match="That is not its name; nothing was changed"):
        leaving.agree(dataclasses.replace(here, console=Person("prod")), going)
    leaving.agree(dataclasses.replace(here, console=Person("test")), going)


def test_yes_goes_with_the_name_alone(deployed: Cloud, tmp_path: Path) -> None:
    here = dataclasses.replace(context(deployed, tmp_path), yes=True)
    leaving.agree(here, leaving.look(here, Wish(named="test")))
    with pytest.raises(UsageError, match="wants the environment's name") as caught:
        leaving.agree(here, leaving.look(here, Wish()))
    assert caught.value.do == "Add: --environment test"


@pytest.mark.parametrize(
    ("wish", "asks_for"),
    [(Wish(named="prod"), "--environment says 'prod'"), (Wish(named="test", foundation="prod"), "--foundation says")],
)
def test_another_name_is_refused_though_nothing_is_there(
    cloud: Cloud, tmp_path: Path, wish: Wish, asks_for: str
) -> None:
    with pytest.raises(UsageError, match=asks_for):
        destroy(context(cloud, tmp_path), wish)
