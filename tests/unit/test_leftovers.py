"""What Google still has of an environment: found by labels and names, and told from a neighbour's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.api_core.exceptions import Forbidden
from google.auth.credentials import AnonymousCredentials

from gcp_openemr import holds, leftovers, soft_deleted
from gcp_openemr.adoption import KINDS as ADOPTED
from gcp_openemr.adoption import NEVER_THERE
from gcp_openemr.clients import Cloud
from gcp_openemr.environment import Environment
from gcp_openemr.environment.load import parse_environment
from gcp_openemr.errors import CloudRefused
from tests.unit import cloud as clouds
from tests.unit.cloud import PROJECT

LISTED = {
    "google_monitoring_metric_descriptor": "the project's, shared by its environments",
    "google_project_iam_custom_role": "stays without members, since Google keeps a deleted one's id for weeks",
    "google_project_iam_audit_config": "the project's; the foundation's to take back",
    "google_project_service": "stays enabled",
}
"""Types of the stack that nothing is left of, or whose place is in another; iam members go with what they are on."""
INSIDE = ("_iam_member", "dns_record_set", "router_nat", "policy_attachment", "managed_folder", "pool_provider")


@pytest.fixture
def environment() -> Environment:
    file = f"""
[environment]
name = "prod"
project = "{PROJECT}"
region = "europe-west1"
profile = "production"
[openemr]
version = "7.0.4"
acknowledge_end_of_support = true
"""
    return parse_environment(file, file="openemr.toml", overrides={})


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    with clouds.cloud(tmp_path) as made:
        yield made


def make_account(cloud: Cloud, name: str) -> str:
    cloud.ask("iam", f"v1/projects/{PROJECT}/serviceAccounts", body={"accountId": name})
    return f"{name}@{PROJECT}.iam.gserviceaccount.com"


def bind(cloud: Cloud, *members: str) -> None:
    path = f"v3/projects/{PROJECT}"
    policy = cloud.ask("cloudresourcemanager", f"{path}:getIamPolicy", body={})
    policy["bindings"].append({"role": "roles/logging.logWriter", "members": list(members)})
    cloud.ask("cloudresourcemanager", f"{path}:setIamPolicy", body={"policy": policy})


def make_secret(cloud: Cloud, name: str, **labels: str) -> None:
    body = {"replication": {"automatic": {}}, "labels": labels}
    cloud.ask("secretmanager", f"v1/projects/{PROJECT}/secrets", body=body, secretId=name)


def names(found: list[leftovers.Leftover]) -> list[str]:
    return sorted(one.name.partition("@")[0] for one in found)


def test_a_neighbour_s_things_are_not_ours(environment: Environment, cloud: Cloud) -> None:
    for name in ("oe-prod-main-web", "oe-prod2-main-web", "oe-pro-main-web"):
        make_account(cloud, name)
    make_secret(cloud, "oe-prod-main-db-password")
    make_secret(cloud, "hand-made", **{key: environment.labels[key] for key in ("managed-by", "environment")})
    make_secret(cloud, "another", environment="prod")
    assert names(leftovers.find(environment, cloud)) == ["hand-made", "oe-prod-main-db-password", "oe-prod-main-web"]


def test_one_clinic_s_things_are_told_from_another_s(environment: Environment, cloud: Cloud) -> None:
    for name in ("oe-prod-main-web", "oe-prod-mainz-web", "oe-prod-files"):
        make_account(cloud, name)
    assert names(leftovers.find(environment, cloud, clinic="main")) == ["oe-prod-main-web"]


def test_the_bindings_of_an_account_that_is_gone_are_found_and_taken_out(
    environment: Environment, cloud: Cloud
) -> None:
    account = make_account(cloud, "oe-prod-main-web")
    bind(cloud, f"serviceAccount:{account}", "user:anna@example.com")
    for one in leftovers.find(environment, cloud):
        if one.type == "google_service_account":
            leftovers.remove(cloud, one)
    (gone,) = leftovers.find(environment, cloud)
    assert gone.is_binding
    assert gone.name.startswith(f"deleted:serviceAccount:{account}?uid=")
    leftovers.unbind(cloud, [gone.name])
    assert leftovers.find(environment, cloud) == []
    policy = cloud.ask("cloudresourcemanager", f"v3/projects/{PROJECT}:getIamPolicy", body={})
    assert {"role": "roles/logging.logWriter", "members": ["user:anna@example.com"]} in policy["bindings"]


@pytest.mark.parametrize(
    ("sentence", "ends"),
    [("Secret Manager API has not been used in project 1 before", "well"), ("The caller lacks permission", "refused")],
)
def test_what_may_not_be_seen_is_a_failure_and_what_is_not_enabled_is_nothing(
    environment: Environment, sentence: str, ends: str
) -> None:
    class Shut(Cloud):
        def ask(self, api: str, path: str, **_: Any) -> dict[str, Any]:
            if api == "secretmanager" and path:
                raise Forbidden(sentence)
            return {}

    shut = Shut(project=PROJECT, credentials=AnonymousCredentials())
    if ends == "well":
        assert leftovers.find(environment, shut) == []
    else:
        with pytest.raises(CloudRefused, match=f"google_secret_manager_secret is left cannot be seen: {sentence}"):
            leftovers.find(environment, shut)


DISKS = f"https://www.googleapis.com/compute/v1/projects/{PROJECT}/zones/europe-west1-b/disks"


@pytest.mark.parametrize(
    ("collection", "item", "holds"),
    [
        ("snapshots", {"name": "oe-prod-data-europe-west1-b-20261122", "autoCreated": True}, False),
        ("snapshots", {"name": "oe-prod-before-the-move"}, True),
        ("snapshots", {"name": "before-the-move", "sourceDisk": f"{DISKS}/oe-prod-files"}, True),
        ("backups", {"name": f"projects/{PROJECT}/backups/1", "instance": "oe-prod-sql", "type": "AUTOMATED"}, False),
        ("backups", {"name": f"projects/{PROJECT}/backups/2", "instance": "oe-prod-sql", "type": "ON_DEMAND"}, True),
        ("backups", {"name": f"projects/{PROJECT}/backups/3", "instance": "oe-prod-sql", "type": "FINAL"}, False),
    ],
)
def test_a_copy_that_somebody_made_is_theirs_to_delete(
    environment: Environment, collection: str, item: dict[str, Any], holds: bool
) -> None:
    class Listing(Cloud):
        def ask(self, api: str, path: str, **_: Any) -> dict[str, Any]:
            assert api
            return {"items": [item], "backups": [item]} if path.endswith(f"/{collection}") else {}

    (found,) = leftovers.find(environment, Listing(project=PROJECT, credentials=AnonymousCredentials()))
    assert found.name == item.get("instance", item["name"])
    assert bool(found.holds) is holds
    assert found.by_hand.startswith("gcloud ")


def test_every_type_of_the_stack_is_asked_for() -> None:
    asked = {kind.type for kind in leftovers.KINDS}
    stack = {one for one in (*ADOPTED, *NEVER_THERE) if one not in LISTED and not one.endswith(INSIDE)}
    assert stack <= asked, "give a new type a row in leftovers.py, or a reason here"


def test_a_deleted_log_bucket_is_no_leftover_and_comes_back(environment: Environment, cloud: Cloud) -> None:
    parent = f"v2/projects/{PROJECT}/locations/europe-west1/buckets"
    cloud.ask("logging", parent, body={}, bucketId="oe-prod-audit")
    assert names(leftovers.find(environment, cloud)) == ["oe-prod-audit"]
    cloud.ask("logging", f"{parent}/oe-prod-audit", method="DELETE")
    assert leftovers.find(environment, cloud) == []
    assert soft_deleted.bring_back(environment, cloud) == ["oe-prod-audit"]
    assert soft_deleted.bring_back(environment, cloud) == []
    assert cloud.ask("logging", f"{parent}/oe-prod-audit")["lifecycleState"] == "ACTIVE"


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ("is already being used by 'projects/p/regions/r/addressReservations/serverless-ipv4-1'", "Cloud Run keeps"),
        ("Error 409: Operation failed because another operation was already in progress.", "Cloud SQL is still"),
        ("Job oe-prod-main-backup has running executions: cancel them", "a job is still running"),
        ("The network resource 'x' is already being used by 'y'", "something that is being deleted"),
    ],
)
def test_a_hold_is_known_by_google_s_words(words: str, what: str) -> None:
    found = holds.of(words)
    assert found is not None
    assert found.what.startswith(what)
    assert holds.of("Permission denied") is None
