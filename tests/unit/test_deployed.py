"""What no deploy can change is told before Terraform is asked, with the command that does it."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import pytest

from gcp_openemr.clients import Cloud
from gcp_openemr.commands import deployed
from gcp_openemr.commands.context import Context
from gcp_openemr.console import Console
from gcp_openemr.errors import EnvironmentInvalid, UsageError
from tests.unit import environment_file
from tests.unit.cloud import PROJECT

STATES: dict[str, dict[str, dict[str, Any]]] = {
    "foundation": {"google_artifact_registry_repository": {"location": "europe-west1"}},
    "platform": {
        "google_compute_disk": {"zone": "https://x/zones/europe-west1-b", "size": 10},
        "google_compute_subnetwork": {"ip_cidr_range": "10.20.0.0/22"},
        "google_sql_database_instance": {"database_version": "MYSQL_8_0"},
    },
    "clinics/main": {"google_secret_manager_secret": {}},
    "clinics/north": {"google_secret_manager_secret": {}},
}


def context(cloud: Cloud, tmp_path: Path, sections: dict[str, str] | None = None) -> Context:
    own = (sections or {}).get("environment", "")
    given = {"clinics.main": "", "clinics.north": "", **(sections or {})}
    given["environment"] = f'project = "{PROJECT}"\n{own}'
    return Context(
        environment=environment_file.load(tmp_path, given),
        cloud=cloud,
        console=Console(people=io.StringIO()),
        workspace=tmp_path / "work",
        terraform=Path(),
    )


@pytest.fixture
def deployed_cloud(cloud: Cloud) -> Cloud:
    bucket = cloud.storage.create_bucket(f"{PROJECT}-oe-test-state")
    for root, types in STATES.items():
        resources = [
            {"mode": "managed", "module": "module.x", "type": t, "name": "default", "instances": [{"attributes": a}]}
            for t, a in types.items()
        ]
        state = {"resources": resources, "outputs": {}}
        bucket.blob(f"test/{root}/default.tfstate").upload_from_string(json.dumps(state))
    return cloud


def test_a_file_that_says_what_is_deployed_is_let_through(deployed_cloud: Cloud, tmp_path: Path) -> None:
    grown = {"files": "disk_size_gb = 300", "network": 'cidr = "10.20.0.0/20"'}
    assert deployed.check(context(deployed_cloud, tmp_path, grown)) == ()


@pytest.mark.parametrize(
    ("sections", "problem", "do"),
    [
        (
            {"environment": 'region = "europe-west3"'},
            "[environment] region is europe-west3, and deployed is europe-west1",
            f"gcp-openemr -e OTHER.toml recover --from-bucket {PROJECT}-oe-test-backups",
        ),
        ({"environment": 'zone = "europe-west1-c"'}, "[environment] zone is europe-west1-c, and", "recover --from-"),
        ({"network": 'cidr = "10.80.0.0/20"'}, "[network] cidr is 10.80.0.0/20, and", "A range that holds the"),
    ],
)
def test_what_no_deploy_can_change_is_answered_with_the_command_that_can(
    deployed_cloud: Cloud, tmp_path: Path, sections: dict[str, str], problem: str, do: str
) -> None:
    with pytest.raises(EnvironmentInvalid) as caught:
        deployed.check(context(deployed_cloud, tmp_path, sections))
    assert problem in caught.value.what
    assert caught.value.do.startswith("Change the file back.\n")
    assert do in caught.value.do


def test_a_smaller_disk_and_another_database_are_told_together(cloud: Cloud, tmp_path: Path) -> None:
    bucket = cloud.storage.create_bucket(f"{PROJECT}-oe-test-state")
    held = {"google_compute_disk": {"zone": "europe-west1-b", "size": 900}}
    held["google_sql_database_instance"] = {"database_version": "MYSQL_8_4"}
    resources = [
        {"mode": "managed", "type": t, "name": "default", "instances": [{"attributes": a}]} for t, a in held.items()
    ]
    blob = bucket.blob("test/platform/default.tfstate")
    blob.upload_from_string(json.dumps({"resources": resources, "outputs": {}}))
    with pytest.raises(EnvironmentInvalid) as caught:
        deployed.check(context(cloud, tmp_path))
    assert "[files] disk_size_gb is" in caught.value.what
    assert "[database] database_type is MYSQL_8_0, and deployed is MYSQL_8_4" in caught.value.what
    assert "A disk can only grow." in caught.value.do


def test_a_clinic_that_left_the_file_is_told_of(deployed_cloud: Cloud, tmp_path: Path) -> None:
    both = context(deployed_cloud, tmp_path)
    clinics = {"main": both.environment.clinics["main"]}
    alone = dataclasses.replace(both, environment=dataclasses.replace(both.environment, clinics=clinics))
    assert deployed.check(alone) == ("Clinic 'north' is deployed and stands no more in the file: it stays as it is.",)


def test_a_new_name_beside_an_environment_is_no_renaming(deployed_cloud: Cloud, tmp_path: Path) -> None:
    (told,) = deployed.check(context(deployed_cloud, tmp_path, {"environment": 'name = "other"'}))
    assert told.startswith(f"'other' is new in project {PROJECT}, which has test already.")
    assert told.endswith(f"recover --from-bucket {PROJECT}-oe-test-backups")


def test_another_project_for_what_was_deployed_from_here_is_refused(cloud: Cloud, tmp_path: Path) -> None:
    folder = tmp_path / "work" / "foundation"
    folder.mkdir(parents=True)
    (folder / "terraform.tfvars.json").write_text(json.dumps({"project": "my-old-project"}))
    with pytest.raises(EnvironmentInvalid, match="was deployed from here to project my-old-project") as caught:
        deployed.check(context(cloud, tmp_path))
    assert "recover --from-bucket my-old-project-oe-test-backups" in caught.value.do


DISK = "module.x.google_compute_disk.default"
SECRET = "module.x.google_secret_manager_secret.default"


def test_an_allowed_loss_names_one_resource_that_is_there(deployed_cloud: Cloud, tmp_path: Path) -> None:
    one = context(deployed_cloud, tmp_path)
    assert deployed.allowances(one, [DISK]) == {f"platform:{DISK}"}
    assert deployed.allowances(one, [f"clinics/north:{SECRET}"]) == {f"clinics/north:{SECRET}"}
    assert deployed.allowances(one, []) == frozenset()


@pytest.mark.parametrize(
    ("given", "what", "do"),
    [
        (DISK + "s", "'test' has no module.x.google_compute_disk.defaults", f"Did you mean {DISK}?"),
        (SECRET, "is in several states of 'test'", f"clinics/main:{SECRET} or clinics/north:{SECRET}"),
        ("*", "'test' has no *", "gcp-openemr plan"),
    ],
)
def test_a_wrong_allowed_loss_is_refused_before_anything(
    deployed_cloud: Cloud, tmp_path: Path, given: str, what: str, do: str
) -> None:
    with pytest.raises(UsageError) as caught:
        deployed.allowances(context(deployed_cloud, tmp_path), [given])
    assert what in caught.value.what
    assert do in caught.value.do
