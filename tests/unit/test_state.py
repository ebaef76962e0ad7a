"""What must be there before Terraform."""

from __future__ import annotations

import dataclasses
import types
from typing import Any

import pytest

from gcp_openemr.clients import Cloud
from gcp_openemr.commands import state
from gcp_openemr.errors import CloudRefused
from gcp_openemr.variables import SERVICES


def test_a_new_project_gets_the_apis_that_the_stack_calls(cloud: Cloud) -> None:
    environment = types.SimpleNamespace(project="a-new-project", clinics={})
    context: Any = types.SimpleNamespace(environment=environment, cloud=cloud)
    place = "v1/projects/a-new-project/services"
    for _ in range(2):
        state.ensure_apis(context)
        found = cloud.ask("serviceusage", place, filter="state:ENABLED", pageSize=200)["services"]
        assert set(SERVICES) <= {service["config"]["name"] for service in found}


def context_of(cloud: Cloud, project: str) -> Any:
    """Of an environment of that project, whoever owns its state bucket."""
    names = types.SimpleNamespace(state_bucket="somebodys-oe-prod-state")
    environment = types.SimpleNamespace(project=project, region="europe-west1", labels={}, names=names)
    return types.SimpleNamespace(environment=environment, cloud=dataclasses.replace(cloud, project=project))


def test_an_open_bucket_that_is_there_is_locked_down_before_it_is_used(cloud: Cloud) -> None:
    cloud.storage.create_bucket("somebodys-oe-prod-state", location="europe-west1")
    for _ in range(2):
        state.ensure_bucket(context_of(cloud, cloud.project))
        bucket = cloud.storage.get_bucket("somebodys-oe-prod-state")
        assert bucket.versioning_enabled
        assert bucket.iam_configuration.uniform_bucket_level_access_enabled
        assert bucket.iam_configuration.public_access_prevention == "enforced"


def test_a_bucket_of_another_project_is_not_taken_though_it_can_be_read(cloud: Cloud) -> None:
    """Its name can be guessed: whoever made it first would get every state."""
    cloud.storage.create_bucket("somebodys-oe-prod-state", location="europe-west1")
    cloud.ask("serviceusage", "v1/projects/a-clinic-1/services/cloudresourcemanager.googleapis.com:enable", body={})
    with pytest.raises(CloudRefused, match="belongs to another project"):
        state.ensure_bucket(context_of(cloud, "a-clinic-1"))
    assert not cloud.storage.get_bucket("somebodys-oe-prod-state").versioning_enabled
