"""What is recognised as there already, how each type of the stack is imported, and what is adopted of what exists."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from google.api_core.exceptions import Forbidden, NotFound
from google.auth.credentials import AnonymousCredentials

from gcp_openemr import adoption
from gcp_openemr.adoption import KINDS, NEVER_THERE, Found
from gcp_openemr.assets import asset
from gcp_openemr.clients import Cloud
from gcp_openemr.environment import Environment
from gcp_openemr.errors import TerraformFailed
from gcp_openemr.sandbox.provider import engine
from gcp_openemr.sandbox.provider.rest import Client
from gcp_openemr.sandbox.provider.types import row
from gcp_openemr.sandbox.provider.types.model import Settings
from gcp_openemr.terraform_failures import ThereAlready, failure_of
from tests.unit.environment_file import load

PROJECT = "my-clinic-test"
SECRET = {"secret_id": "oe-test-redisroot"}
INSTANCE = {"name": "oe-test-sql"}
MARKS = {"managed-by": "gcp-openemr", "environment": "test", "more": "of it"}
RUNNABLE = {"state": "RUNNABLE", "settings": {"userLabels": MARKS}}


THERE = """
Error creating Network: googleapi: Error 409: The resource 'projects/p/global/networks/n' already exists, alreadyExists
Error, failed to create instance n: googleapi: Error 409: The Cloud SQL instance already exists., instanceAlreadyExists
googleapi: Error 409: Your previous request to create the named bucket succeeded and you already own it., conflict
googleapi: Error 409: The requested bucket name is not available. Please select a different name., conflict
Error creating ManagedFolder: googleapi: Error 409: The managed folder you tried to create already exists., conflict
Error creating Service: googleapi: Error 409: Resource 'oe-test-main-web' already exists.
Error creating Secret: googleapi: Error 409: Secret [projects/1/secrets/s] already exists.
Error creating service account: googleapi: Error 409: Service account s already exists within project projects/p.
Custom project role projects/p/roles/r already exists and must be imported
Error creating ManagedZone: googleapi: Error 409: The resource 'entity.managedZone' named 'z' already exists
Error creating Repository: googleapi: Error 409: the repository already exists
Error creating Job: googleapi: Error 409: Job projects/p/locations/r/jobs/j already exists.
Unable to create RouterNat, existing object already found: map[name:n]
googleapi: Error 400: The disk 'd' already has a snapshot schedule resource policy attached., invalid
"""
ELSE = """
googleapi: Error 409: Operation failed because another operation was already in progress., operationInProgress
googleapi: Error 400: IP '10.0.0.2' is already being used by another resource., ipInUseByAnotherResource
Error creating Service: googleapi: Error 403: Permission denied
"""


@pytest.mark.parametrize("said", THERE.strip().splitlines())
def test_what_exists_already_is_recognised_in_each_apis_words(said: str, tmp_path: Path) -> None:
    other = {"severity": "error", "summary": "Error 403: no", "address": "google_x.other"}
    there = {"severity": "error", "summary": said, "detail": "", "address": 'module.x.google_y.default["a"]'}
    failure = failure_of(
        tmp_path, [{"severity": "warning", "summary": said, "address": "google_x.warned"}, other, there], ""
    )
    assert isinstance(failure, ThereAlready)
    assert failure.addresses == ('module.x.google_y.default["a"]',)


@pytest.mark.parametrize("said", ELSE.strip().splitlines())
def test_other_refusals_are_not_taken_for_it(said: str, tmp_path: Path) -> None:
    assert not isinstance(
        failure_of(tmp_path, [{"severity": "error", "summary": said, "address": "google_y.default"}], ""), ThereAlready
    )


def test_every_type_of_the_stack_has_an_import_id_or_a_reason_why_it_needs_none() -> None:
    used = {
        type_
        for file in asset("terraform").rglob("*.tf*")
        for type_ in re.findall(r'^resource "(google_\w+)"', file.read_text(encoding="utf-8"), re.M)
    }
    assert used == {*KINDS} | {*NEVER_THERE}
    assert not {*KINDS} & {*NEVER_THERE}


@pytest.mark.parametrize("type_", KINDS)
def test_the_provider_reads_from_an_import_id_what_it_was_made_of(type_: str) -> None:
    kind = KINDS[type_]
    values = {name: f"a-{name}" for name in kind.parts} | {"project": PROJECT, "type": "A"}
    settings = Settings(
        project=PROJECT,
        region="a-region",
        zone="a-zone",
        default_labels={},
        attribution_label=False,
        attribution_strategy="",
        client=Client(url="", token=""),
    )
    read = {
        "account_id": str(values.get("account_id")),
        **engine._named_by(row(type_), kind.id.format(**values), settings),
    }
    assert {name: read.get(name) for name in kind.parts} == {name: values[name] for name in kind.parts}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Google(Cloud):
    """Google as far as it shows what exists: the path's answers one after the other, the last one for ever."""

    shows: Mapping[str, Any]

    def ask(self, api: str, path: str, **_: Any) -> dict[str, Any]:
        if api == "cloudresourcemanager":
            return {"name": "projects/77"}
        answers = self.shows[path]
        answer = answers.pop(0) if isinstance(answers, list) and len(answers) > 1 else answers
        answer = answer[0] if isinstance(answer, list) else answer
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return load(tmp_path)


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adoption, "_LONGEST_PAUSE", 0.01)
    monkeypatch.setattr(adoption, "_APPEARING_SECONDS", 0.1)


def find(environment: Environment, type_: str, values: Mapping[str, Any], answers: Any, told: list[str]) -> list[Found]:
    names = adoption._names(environment, values)
    google = Google(
        project=PROJECT, credentials=AnonymousCredentials(), shows={KINDS[type_].path.format(**names): answers}
    )
    return adoption.find(environment, google, {"module.x.one": (type_, values)}, told.append)


@pytest.mark.parametrize(
    ("type_", "values", "answers", "id_"),
    [
        ("google_secret_manager_secret", SECRET, {"labels": MARKS}, f"projects/{PROJECT}/secrets/oe-test-redisroot"),
        ("google_compute_network", {"name": "oe-test-net"}, {}, f"projects/{PROJECT}/global/networks/oe-test-net"),
        (
            "google_compute_router_nat",
            {
                "name": "oe-test-nat",
                "region": "europe-west1",
                "router": f"projects/{PROJECT}/regions/r/routers/oe-test-nat",
            },
            {"name": "oe-test-nat"},
            f"{PROJECT}/europe-west1/oe-test-nat/oe-test-nat",
        ),
        (
            "google_storage_bucket",
            {"name": f"{PROJECT}-oe-test-backups"},
            {"labels": MARKS, "projectNumber": "77"},
            f"{PROJECT}/{PROJECT}-oe-test-backups",
        ),
        (
            "google_project_iam_custom_role",
            {"role_id": "oe_test_prov_users"},
            {"name": "r"},
            f"projects/{PROJECT}/roles/oe_test_prov_users",
        ),
        # The provider labels an address by a call after the one whose answer was lost.
        (
            "google_compute_address",
            {"name": "oe-test-sql", "region": "europe-west1"},
            {"status": "RESERVED"},
            f"projects/{PROJECT}/regions/europe-west1/addresses/oe-test-sql",
        ),
    ],
)
def test_what_is_this_environments_is_found(
    environment: Environment, type_: str, values: dict[str, str], answers: Any, id_: str
) -> None:
    answers = answers or {"name": "there"}
    assert find(environment, type_, values, answers, []) == [Found(address="module.x.one", type=type_, id=id_)]


def test_what_is_still_being_made_is_waited_for_and_told(environment: Environment) -> None:
    told: list[str] = []
    answers = [NotFound("not yet"), {**RUNNABLE, "state": "PENDING_CREATE"}, RUNNABLE]
    assert find(environment, "google_sql_database_instance", INSTANCE, answers, told)
    assert [line.partition("oe-test-sql ")[2] for line in told] == [
        "is not to be seen yet",
        "is still being made (PENDING_CREATE)",
    ]


@pytest.mark.parametrize(
    ("type_", "values", "answer", "what", "do"),
    [
        (
            "google_secret_manager_secret",
            SECRET,
            {"labels": {**MARKS, "environment": "other"}},
            "environment=test",
            "Rename",
        ),
        ("google_secret_manager_secret", SECRET, {"name": "unlabelled"}, "without this environment's labels", "Rename"),
        ("google_secret_manager_secret", SECRET, Forbidden("no"), "may not be seen", "Rename"),
        (
            "google_compute_network",
            {"name": "oe-test2-net"},
            {"name": "n"},
            "no name that only this environment",
            "Rename",
        ),
        ("google_compute_address", {"name": "oe-test-sql"}, {"labels": {"of": "them"}}, "labels", "Rename"),
        (
            "google_storage_bucket",
            {"name": f"{PROJECT}-oe-test-backups"},
            {"labels": MARKS, "projectNumber": "78"},
            "in another project",
            "Rename",
        ),
        ("google_sql_database_instance", INSTANCE, NotFound("gone"), "Google shows nothing", "for a week"),
        (
            "google_sql_database_instance",
            INSTANCE,
            {**RUNNABLE, "state": "FAILED"},
            "in the state FAILED",
            f"gcloud sql instances delete oe-test-sql --project={PROJECT}",
        ),
    ],
)
def test_what_is_not_this_environments_or_will_not_serve_is_refused_with_what_to_do(
    environment: Environment, type_: str, values: dict[str, str], answer: Any, what: str, do: str
) -> None:
    with pytest.raises(TerraformFailed) as caught:
        find(environment, type_, values, answer, [])
    assert "module.x.one: " in caught.value.what
    assert what in caught.value.what
    assert do in caught.value.do


def test_what_is_never_there_or_not_known_yet_is_left_to_terraform(environment: Environment) -> None:
    google = Google(project=PROJECT, credentials=AnonymousCredentials(), shows={})
    planned: dict[str, tuple[str, dict[str, str]]] = {
        "google_monitoring_alert_policy.one": ("google_monitoring_alert_policy", {}),
        "google_dns_record_set.one": ("google_dns_record_set", {"managed_zone": "oe-test-sql", "type": "A"}),
    }
    assert adoption.find(environment, google, planned, print) == []
