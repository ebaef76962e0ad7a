"""Labels, validation and IAM members, without Terraform."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest

from gcp_openemr.sandbox.provider import labels
from gcp_openemr.sandbox.provider.protocol import UNKNOWN, conform
from gcp_openemr.sandbox.provider.rest import ApiError, Client
from gcp_openemr.sandbox.provider.schema import resource_schema
from gcp_openemr.sandbox.provider.types import row
from gcp_openemr.sandbox.provider.types.model import Change, Settings
from gcp_openemr.sandbox.provider.validation import validate

SECRET = resource_schema("google_secret_manager_secret").block


def _settings(client: Client | None = None, **said: Any) -> Settings:
    defaults: dict[str, Any] = {
        "project": "p",
        "region": "r",
        "zone": "z",
        "default_labels": {},
        "attribution_label": True,
        "attribution_strategy": "CREATION_ONLY",
        "client": client or Client(url="http://127.0.0.1:1", token="t"),
    }
    return Settings(**{**defaults, **said})


def test_labels_of_a_new_resource() -> None:
    state = conform(SECRET, {"labels": {"a": "b", "team": "own"}})
    labels.plan(SECRET, state, None, _settings(default_labels={"team": "all", "x": "y"}))
    expected = {"a": "b", "team": "own", "x": "y", "goog-terraform-provisioned": "true"}
    assert state["terraform_labels"] == state["effective_labels"] == expected


def test_labels_may_be_unknown() -> None:
    state = conform(SECRET, {"labels": {"a": UNKNOWN}})
    labels.plan(SECRET, state, None, _settings())
    assert state["effective_labels"] is UNKNOWN


@pytest.mark.parametrize(
    ("said", "marked"),
    [({}, False), ({"attribution_strategy": "PROACTIVE"}, True), ({"attribution_label": False}, False)],
)
def test_existing_resources_are_marked_only_when_asked(said: Mapping[str, Any], marked: bool) -> None:
    prior = conform(
        SECRET, {"labels": {"a": "b"}, "terraform_labels": {"a": "b"}, "effective_labels": {"a": "b", "o": "x"}}
    )
    state = copy.deepcopy(prior) | {"labels": {"a": "c"}}
    labels.plan(SECRET, state, prior, _settings(**said))
    assert ("goog-terraform-provisioned" in state["terraform_labels"]) is marked
    assert state["effective_labels"]["o"] == "x"
    assert state["effective_labels"]["a"] == "c"


def test_label_that_is_no_longer_said_goes() -> None:
    both = {"a": "b", "gone": "x"}
    prior = conform(SECRET, {"labels": both, "terraform_labels": both, "effective_labels": {**both, "other": "y"}})
    state = copy.deepcopy(prior) | {"labels": {"a": "b"}}
    labels.plan(SECRET, state, prior, _settings())
    assert state["effective_labels"] == {"a": "b", "other": "y"}


def _problems(terraform_type: str, said: dict[str, Any]) -> list[str]:
    schema = resource_schema(terraform_type)
    return [f"{one.summary}: {one.detail}" for one in validate(schema, conform(schema.block, said))]


def test_validation_speaks_of_each_problem() -> None:
    service = {
        "name": "s",
        "ingress": "EVERYBODY",
        "template": [
            {"timeout": "5 minutes", "vpc_access": [{"connector": "c", "network_interfaces": [{"network": "n"}]}]}
        ],
    }
    problems = _problems("google_cloud_run_v2_service", service)
    assert any(one.startswith("expected ingress to be one of [") for one in problems)
    assert any("doesn't match regexp" in one and "template.0.timeout" in one for one in problems)
    assert any("conflicts with template.vpc_access" in one for one in problems)


def test_exactly_one_counts() -> None:
    both = {"secret_id": "s", "replication": [{"auto": [{}], "user_managed": [{"replicas": [{"location": "l"}]}]}]}
    (problem,) = _problems("google_secret_manager_secret", both)
    assert "only one of `replication.auto,replication.user_managed` can be specified" in problem
    assert _problems("google_secret_manager_secret", {"secret_id": "s", "replication": [{"auto": [{}]}]}) == []
    assert _problems("google_secret_manager_secret", {"secret_id": "s", "replication": UNKNOWN}) == []


class Policies(Client):
    """Keeps one policy; somebody else writes before the first write arrives."""

    def __init__(self) -> None:
        super().__init__(url="http://127.0.0.1:1", token="t")
        object.__setattr__(self, "policy", {"etag": "1", "bindings": []})
        object.__setattr__(self, "writes", 0)

    policy: dict[str, Any]
    writes: int

    def call(  # the client's arguments, of which this one needs two
        self,
        method: str,  # noqa: ARG002
        host: str,  # noqa: ARG002
        path: str,
        body: Any = None,
        query: Mapping[str, str] | None = None,  # noqa: ARG002
    ) -> Any:
        if path.endswith(":getIamPolicy"):
            return copy.deepcopy(self.policy)
        object.__setattr__(self, "writes", self.writes + 1)
        if self.writes == 1:
            other = {"role": "roles/viewer", "members": ["user:other@example.com"]}
            object.__setattr__(self, "policy", {"etag": "2", "bindings": [other]})
        if body["policy"]["etag"] != self.policy["etag"]:
            raise ApiError(409, {"error": {"message": "There were concurrent policy changes."}})
        object.__setattr__(self, "policy", {**body["policy"], "etag": str(self.writes + 10)})
        return self.policy


MEMBER = {
    "secret_id": "projects/p/secrets/s",
    "project": "p",
    "role": "roles/viewer",
    "member": "user:Me@example.com",
    "condition": [],
}


def test_member_is_added_beside_others_after_a_conflict() -> None:
    client = Policies()
    kind, settings = row("google_secret_manager_secret_iam_member"), _settings(client)
    change = Change(row=kind, settings=settings, prior=None)
    assert kind.create is not None
    assert kind.fetch is not None
    assert kind.settle is not None
    assert kind.delete is not None
    kind.create(dict(MEMBER), change)
    assert client.writes == 2
    (binding,) = client.policy["bindings"]
    assert binding["members"] == ["user:other@example.com", "user:Me@example.com"]
    state = {**MEMBER, "secret_id": "s", "member": "user:me@EXAMPLE.com"}
    found = kind.fetch(state, settings)
    assert found is not None
    kind.settle(state, found, settings)
    assert state["id"] == "projects/p/secrets/s/roles/viewer/user:me@EXAMPLE.com"
    kind.delete(dict(MEMBER), change)
    assert client.policy["bindings"] == [{"role": "roles/viewer", "members": ["user:other@example.com"]}]
    assert kind.fetch(MEMBER, settings) is None


def test_condition_makes_another_binding() -> None:
    client = Policies()
    kind = row("google_secret_manager_secret_iam_member")
    change = Change(row=kind, settings=_settings(client), prior=None)
    assert kind.create is not None
    kind.create(dict(MEMBER), change)
    conditional = {**MEMBER, "condition": [{"title": "t", "description": None, "expression": "true"}]}
    kind.create(conditional, change)
    assert client.policy["version"] == 3
    assert client.policy["bindings"][-1]["condition"] == {"title": "t", "expression": "true"}
    assert len(client.policy["bindings"]) == 2


@pytest.mark.parametrize(
    ("terraform_type", "given", "expected"),
    [
        (
            "google_project_iam_member",
            "p roles/viewer user:a@b.c",
            {"project": "p", "role": "roles/viewer", "member": "user:a@b.c"},
        ),
        (
            "google_storage_bucket_iam_member",
            "b/name roles/viewer allUsers",
            {"bucket": "name", "role": "roles/viewer", "member": "allUsers"},
        ),
        (
            "google_cloud_run_v2_service_iam_member",
            "projects/p/locations/l/services/s roles/run.invoker allUsers",
            {"project": "p", "location": "l", "name": "projects/p/locations/l/services/s"},
        ),
    ],
)
def test_members_are_imported(terraform_type: str, given: str, expected: dict[str, str]) -> None:
    importing = row(terraform_type).importing
    assert importing is not None
    found = importing(given, _settings())
    assert found is not None
    assert expected.items() <= found.items()
