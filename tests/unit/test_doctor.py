"""What each check of `doctor` makes of what it is shown, by itself."""

from __future__ import annotations

import dataclasses
import io
import threading
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from google.api_core.exceptions import BadRequest, Forbidden, NotFound
from google.auth import compute_engine, identity_pool, impersonated_credentials
from google.oauth2 import credentials as user
from google.oauth2 import service_account

from gcp_openemr import secret_store
from gcp_openemr.clients import Cloud
from gcp_openemr.commands import state
from gcp_openemr.console import Console
from gcp_openemr.credentials import kind_of
from gcp_openemr.doctor import CHECKS, Check, Finding, Level, Subject, buckets, examine, health, identity, names, places
from gcp_openemr.doctor import permissions as permission_checks
from gcp_openemr.doctor import project as project_checks
from gcp_openemr.doctor.model import Absent, ok
from gcp_openemr.environment import ClinicNames, Names
from gcp_openemr.environment.ci import ISSUERS
from gcp_openemr.errors import NotPermitted, ToolMissing
from gcp_openemr.needed import needed, types_of_the_stack, types_with_a_row
from gcp_openemr.sandbox.api.iam import predefined_roles
from tests.unit.environment_file import load


@dataclasses.dataclass(frozen=True)
class Told:
    """A cloud that answers questions from a table: path → answer or error."""

    answers: Mapping[str, Any]
    project: str = "my-clinic-test"

    def ask(self, _api: str, path: str, *, body: Mapping[str, Any] | None = None, **_query: Any) -> Any:
        answer = self.answers[path]
        if isinstance(answer, Exception):
            raise answer
        return answer(body) if callable(answer) else answer


def subject_of(tmp_path: Path, answers: Mapping[str, Any], **sections: str) -> Subject:
    environment = load(tmp_path, sections)
    return Subject(
        file=tmp_path / "openemr.toml",
        workspace=tmp_path,
        console=Console(people=io.StringIO(), results=io.StringIO()),
        environment_or=environment,
        cloud_or=cast("Cloud", Told(answers)),
        project=environment.project,
        region=environment.region,
        verbs=("deploy",),
    )


def found(look: Callable[[Subject], Iterable[Finding]], subject: Subject) -> list[Finding]:
    ((_, findings),) = examine([Check(name="one", look=look)], subject)
    return list(findings)


GITHUB = 'provider = "github"\nrepository = "my-clinic/openemr"'
IN_STATE_BUCKET = "storage/v1/b/my-clinic-test-oe-test-state/iam/testPermissions"
PROJECT = "v3/projects/my-clinic-test"
COMPUTE = "compute/v1/projects/my-clinic-test"


def test_a_broken_check_hides_nothing_of_the_others_nor_of_itself(tmp_path: Path) -> None:
    def breaks(_subject: Subject) -> Iterator[Finding]:
        yield ok("the first half")
        raise ZeroDivisionError("by mistake")

    checks = [Check(name="breaks", look=breaks), Check(name="works", look=lambda _: [ok("fine")])]
    results = [findings for _, findings in examine(checks, subject_of(tmp_path, {}))]
    assert [finding.what for finding in results[0]] == [
        "the first half",
        "this check has a defect: ZeroDivisionError: by mistake",
    ]
    assert [finding.level for finding in results[0]] == [Level.OK, Level.NOT_VISIBLE]
    assert [finding.what for finding in results[1]] == ["fine"]


def test_a_check_that_hangs_ends_at_its_own_limit(tmp_path: Path) -> None:
    never = threading.Event()

    def hangs(_subject: Subject) -> Iterator[Finding]:
        never.wait()
        yield ok("too late")

    checks = [Check(name="hangs", look=hangs, seconds=0.05), Check(name="works", look=lambda _: [ok("fine")])]
    (_, first), (_, second) = examine(checks, subject_of(tmp_path, {}))
    assert (first[0].level, first[0].what) == (Level.NOT_VISIBLE, "no answer within 0.05 s")
    assert second[0].level is Level.OK
    never.set()


DISABLED = Forbidden(
    "GET https://run.googleapis.com/x: Cloud Run API has not been used in project 1 before or it is disabled. "
    "Enable it by visiting https://console.developers.google.com/apis/api/run.googleapis.com/overview?project=1."
)


@pytest.mark.parametrize(
    ("error", "level", "what", "do"),
    [
        (Absent("needs a region"), Level.SKIPPED, "needs a region", ""),
        (Forbidden("GET https://x/y: No."), Level.NOT_VISIBLE, "No.", "Ask for the right to see it"),
        (
            DISABLED,
            Level.NOT_VISIBLE,
            "Cloud Run API has not been used",
            "gcloud services enable run.googleapis.com --project=my-clinic-test",
        ),
        (ToolMissing("No terraform.", do="Install it."), Level.FAILED, "No terraform.", "Install it."),
        (ConnectionError("refused"), Level.NOT_VISIBLE, "cannot be reached", "Check the network"),
    ],
    ids=["nothing to look at", "refused", "API disabled", "ours", "no network"],
)
def test_each_kind_of_error_is_a_finding(tmp_path: Path, error: Exception, level: Level, what: str, do: str) -> None:
    def raises(_subject: Subject) -> Iterator[Finding]:
        raise error
        yield

    (finding,) = found(raises, subject_of(tmp_path, {}))
    assert finding.level is level
    assert what in finding.what
    assert do in finding.do


def key_file() -> service_account.Credentials:
    return service_account.Credentials(None, "robot@p.iam.gserviceaccount.com", "https://oauth2.example/token")


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (user.Credentials(token="t"), "an access token"),
        (user.Credentials(token="t", refresh_token="r"), "a user's login"),
        (key_file(), "a service account's key file"),
        (
            impersonated_credentials.Credentials(user.Credentials(token="t"), "a@p.iam.gserviceaccount.com", []),
            "an impersonated service account",
        ),
        (
            identity_pool.Credentials(
                audience="//iam.googleapis.com/x",
                subject_token_type="urn:ietf:params:oauth:token-type:jwt",
                token_url="https://sts.googleapis.com/v1/token",
                credential_source={"file": "/nowhere"},
            ),
            "workload identity federation",
        ),
        (compute_engine.Credentials(), "the metadata server of this machine"),
    ],
    ids=["token", "user", "key file", "impersonated", "federation", "metadata"],
)
def test_credentials_are_told_apart(given: Any, kind: str) -> None:
    assert kind_of(given) == kind


def test_a_key_file_is_warned_of(tmp_path: Path) -> None:
    given = key_file()
    given.token = "valid"
    subject = dataclasses.replace(subject_of(tmp_path, {}), cloud_or=Cloud(project="p", credentials=given))
    (finding,) = found(identity.credentials, subject)
    assert finding.level is Level.WARNING
    assert "--impersonate-service-account" in finding.do
    assert found(identity.identity, subject)[0].what == "robot@p.iam.gserviceaccount.com"


def test_without_credentials_that_alone_is_to_mend(tmp_path: Path) -> None:
    lost = NotPermitted("No Google credentials were found on this machine.", do="Run: gcloud auth …")
    subject = dataclasses.replace(subject_of(tmp_path, {}), cloud_or=lost)
    levels = {check.name: [f.level for f in findings] for check, findings in examine(CHECKS, subject)}
    assert levels.pop("credentials") == [Level.FAILED]
    machine = {"environment file", "python", "terraform"}
    assert {name for name, level in levels.items() if level != [Level.SKIPPED]} == machine


@pytest.mark.parametrize(
    ("answer", "level", "what"),
    [
        ({"name": "projects/1", "state": "ACTIVE"}, Level.OK, "ACTIVE, number 1"),
        ({"name": "projects/1", "state": "DELETE_REQUESTED"}, Level.FAILED, "DELETE_REQUESTED"),
        (Forbidden("GET https://x: The caller does not have permission"), Level.FAILED, "does not exist, or"),
    ],
)
def test_the_project_is_there_and_active(tmp_path: Path, answer: Any, level: Level, what: str) -> None:
    (finding,) = found(project_checks.project, subject_of(tmp_path, {PROJECT: answer}))
    assert finding.level is level
    assert what in finding.what


def test_closed_billing_names_the_command(tmp_path: Path) -> None:
    path = "v1/projects/my-clinic-test/billingInfo"
    (finding,) = found(project_checks.billing, subject_of(tmp_path, {path: {"billingEnabled": False}}))
    assert finding.level is Level.FAILED
    assert "gcloud billing projects link my-clinic-test" in finding.do


@pytest.mark.parametrize(
    ("constraint", "rule", "complaint"),
    [
        ("run.allowedIngress", {"values": {"allowedValues": ["internal"]}}, "ingress_settings of main is not allowed"),
        ("run.allowedIngress", {"values": {"allowedValues": ["all", "internal"]}}, ""),
        ("iam.allowedPolicyMemberDomains", {"values": {"allowedValues": ["C0abc"]}}, "public_access of main"),
        ("gcp.resourceLocations", {"values": {"allowedValues": ["us-east1"]}}, "europe-west1 are not allowed"),
        ("gcp.resourceLocations", {"values": {"allowedValues": ["in:eu-locations"]}}, ""),
        ("gcp.resourceLocations", {"denyAll": True}, "europe-west1 are not allowed"),
        ("iam.disableServiceAccountKeyCreation", {"enforce": True}, ""),
        ("iam.disableServiceAccountCreation", {"enforce": True}, "service accounts cannot be made"),
        ("iam.disableServiceAccountCreation", {"enforce": False}, ""),
        ("iam.managed.disableServiceAccountCreation", {"enforce": True}, "service accounts cannot be made"),
        ("iam.managed.disableServiceAccountKeyCreation", {"enforce": True}, ""),
        (
            "iam.managed.allowedPolicyMembers",
            {"enforce": True, "parameters": {"allowedPrincipalSets": ["//cloudresourcemanager.googleapis.com/o/1"]}},
            "public_access of main (allUsers) is not allowed",
        ),
        ("iam.managed.allowedPolicyMembers", {"enforce": False}, ""),
        ("run.managed.requireInvokerIam", {"enforce": True}, ""),
        ("run.allowedIngress", {"values": {"allowedValues": ["is:all"]}}, ""),
        ("run.allowedIngress", {"values": {"deniedValues": ["is:all"]}}, "ingress_settings of main is not allowed"),
        ("iam.workloadIdentityPoolProviders", {"denyAll": True}, "tokens of https://token.actions.githubusercontent"),
        ("iam.workloadIdentityPoolProviders", {"values": {"allowedValues": [ISSUERS["github"]]}}, ""),
    ],
)
def test_an_organisation_s_policies_are_held_against_the_file(
    tmp_path: Path, constraint: str, rule: Any, complaint: str
) -> None:
    path = "v2/projects/my-clinic-test/policies/{}:getEffectivePolicy"
    answers = {path.format(name): {"spec": {"rules": [{"allowAll": True}]}} for name in project_checks.CONSTRAINTS}
    answers[path.format(constraint)] = {"spec": {"rules": [rule]}}
    findings = found(
        project_checks.organisation, subject_of(tmp_path, answers, service="public_access = true", ci=GITHUB)
    )
    complaints = [finding.what for finding in findings if finding.level is Level.FAILED]
    assert len(complaints) == bool(complaint)
    assert all(complaint in one for one in complaints)


def test_permissions_that_are_missing_are_named_for_each_command(tmp_path: Path) -> None:
    """What nobody asked for is a warning; a permission that a project cannot have does not spoil the question."""

    def answer(body: Mapping[str, Any]) -> Mapping[str, Any]:
        asked = set(body["permissions"])
        if "storage.objects.get" in asked:
            raise BadRequest("Permission storage.objects.get is not valid for this resource.")
        return {"permissions": sorted(asked - {"run.services.create", "compute.disks.delete"})}

    answers = {f"{PROJECT}:testIamPermissions": answer, IN_STATE_BUCKET: NotFound("no")}
    subject = subject_of(tmp_path, answers)
    told = {finding.what.partition(":")[0]: finding for finding in found(permission_checks.permissions, subject)}
    assert (told["plan"].level, told["backup"].level) == (Level.OK, Level.OK)
    assert (told["deploy"].level, told["deploy"].items) == (Level.FAILED, ["run.services.create"])
    assert (told["destroy"].level, told["destroy"].items) == (Level.WARNING, ["compute.disks.delete"])
    assert any("storage.objects.get" in finding.what for finding in told.values())


def test_rights_in_the_state_bucket_count(tmp_path: Path) -> None:
    """A pipeline's identities have none on the project's objects."""
    everything = frozenset[str]().union(*needed().values())
    objects = sorted(one for one in everything if one.startswith("storage.objects."))
    project = {"permissions": sorted(everything.difference(objects))}
    for answer, level in (({"permissions": objects}, Level.OK), (NotFound("no"), Level.FAILED)):
        subject = subject_of(tmp_path, {f"{PROJECT}:testIamPermissions": lambda _: project, IN_STATE_BUCKET: answer})
        told = {finding.what.partition(":")[0]: finding for finding in found(permission_checks.permissions, subject)}
        assert told["deploy"].level is level


def test_every_permission_is_one_of_google_s() -> None:
    known = frozenset[str]().union(*(role["permissions"] for role in predefined_roles().values()))
    assert frozenset[str]().union(*needed().values()) <= known
    assert needed()["plan"] < needed()["deploy"]
    assert {"compute.networks.create", "run.jobs.runWithOverrides"} <= needed()["deploy"] - needed()["plan"]


def test_every_type_of_the_stack_has_its_permissions() -> None:
    assert "cloud_run_v2_service" in types_of_the_stack()
    assert types_of_the_stack() <= types_with_a_row(), "give a new type a row in gcp_openemr/needed.py"


def place_answers(**changes: Any) -> dict[str, Any]:
    locations = {"locations": [{"locationId": "europe-west1"}]}
    zones = [f"https://x/zones/europe-west1-{letter}" for letter in "bcd"]
    quotas = [{"metric": "CPUS", "limit": 24, "usage": 0}, {"metric": "SSD_TOTAL_GB", "limit": 500, "usage": 0}]
    return {
        COMPUTE: {"quotas": [{"metric": "NETWORKS", "limit": 5, "usage": 4}]},
        f"{COMPUTE}/regions/europe-west1": {"zones": zones, "quotas": quotas},
        f"{COMPUTE}/zones/europe-west1-b/machineTypes/e2-small": {"guestCpus": 2},
        "v1/projects/my-clinic-test/locations": locations,
        "v1/projects/my-clinic-test/tiers": {"items": [{"tier": "db-g1-small", "region": ["europe-west1"]}]},
        **changes,
    }


@pytest.mark.parametrize(
    ("changed", "what", "do"),
    [
        ({f"{COMPUTE}/regions/europe-west1": NotFound("no")}, "no region europe-west1", "[environment]"),
        (
            {f"{COMPUTE}/zones/europe-west1-b/machineTypes/e2-small": NotFound("no")},
            "no machine type e2-small",
            "gcloud compute machine-types list",
        ),
        ({"v1/projects/my-clinic-test/tiers": {}}, "europe-west1 has no Cloud SQL", "another region"),
    ],
)
def test_what_a_region_does_not_have(tmp_path: Path, changed: Any, what: str, do: str) -> None:
    assert {f.level for f in found(places.region, subject_of(tmp_path, place_answers()))} == {Level.OK}
    findings = found(places.region, subject_of(tmp_path, place_answers(**changed)))
    (finding,) = [one for one in findings if one.level is Level.FAILED]
    assert what in finding.what
    assert do in finding.do


def test_what_mends_a_deployed_environment_names_its_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "exists", lambda _: True)
    monkeypatch.setattr(state, "outputs", lambda *_: {})
    monkeypatch.setattr(state, "known_clinics", lambda _: [])
    monkeypatch.setattr(secret_store, "find_version", lambda *_: None)
    job = "v2/projects/my-clinic-test/locations/europe-west1/jobs/oe-test-provision"
    version = "v1/projects/my-clinic-test/secrets/oe-test-redisroot/versions/1"
    reference = {"secretKeyRef": {"secret": "oe-test-redisroot", "version": "1"}}
    answers = {
        "v1/projects/my-clinic-test/instances/oe-test-sql": NotFound("no"),
        job: {"template": {"env": [{"valueSource": reference}]}},
        version: {"state": "DISABLED"},
    }
    subject = subject_of(tmp_path, answers)
    (gone,) = found(health.database, subject)
    assert (gone.level, gone.what) == (Level.FAILED, "oe-test-sql is gone")
    assert "backup-recovery/restoring" in gone.do
    assert "gcp-openemr backup list" in gone.do
    pinned = found(health.pins, subject)[0]
    assert pinned.level is Level.FAILED
    assert "gcloud secrets versions enable 1 --secret=oe-test-redisroot --project=my-clinic-test" in pinned.do


def test_a_quota_that_a_deploy_would_exceed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a deploy it is a fault; afterwards what is nearly used up is worth a word."""
    monkeypatch.setattr(state, "exists", lambda _: False)
    (fine,) = found(places.quotas, subject_of(tmp_path, place_answers()))
    assert (fine.level, "NETWORKS 4 of 5" in fine.what) == (Level.OK, True)
    full = place_answers(**{COMPUTE: {"quotas": [{"metric": "NETWORKS", "limit": 5, "usage": 5}]}})
    findings = found(places.quotas, subject_of(tmp_path, full))
    assert (findings[0].level, findings[0].items) == (Level.FAILED, ["NETWORKS 5 of 5, 1 more needed"])
    monkeypatch.setattr(state, "exists", lambda _: True)
    monkeypatch.setattr(state, "outputs", lambda *_: {})
    findings = found(places.quotas, subject_of(tmp_path, full))
    assert (findings[0].level, findings[0].items) == (Level.WARNING, ["NETWORKS 5 of 5"])


def test_the_sandbox_s_organisation_forbids_nothing(cloud: Cloud, tmp_path: Path) -> None:
    enable(cloud, "orgpolicy")
    subject = dataclasses.replace(
        subject_of(tmp_path, {}, service="public_access = true", ci=GITHUB), cloud_or=cloud, project=cloud.project
    )
    (finding,) = found(project_checks.organisation, subject)
    assert finding.level is Level.OK
    assert all(constraint in finding.what for constraint in project_checks.CONSTRAINTS)


def enable(cloud: Cloud, *apis: str) -> None:
    for api in apis:
        path = f"v1/projects/{cloud.project}/services/{api}.googleapis.com:enable"
        cloud.ask("serviceusage", path, body={})


UNSEEN = Forbidden("GET https://x: web@p does not have storage.buckets.get access to the Google Cloud Storage bucket.")
UNPAID = Forbidden("GET https://x: The account for the project is disabled.", errors=[{"reason": "accountDisabled"}])


@pytest.mark.parametrize(
    ("refusal", "held", "level", "what"),
    [
        (UNSEEN, ["storage.buckets.get"], Level.FAILED, "belongs to somebody else's project"),
        (UNSEEN, [], Level.NOT_VISIBLE, "web@p does not have storage.buckets.get access"),
        (UNPAID, ["storage.buckets.get"], Level.NOT_VISIBLE, "The account for the project is disabled"),
        (DISABLED, ["storage.buckets.get"], Level.NOT_VISIBLE, "API has not been used"),
    ],
    ids=["somebody else's", "no right to see any", "not paid for", "API disabled"],
)
def test_only_who_may_see_every_bucket_of_the_project_calls_one_foreign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: Forbidden, held: list[str], level: Level, what: str
) -> None:
    class Bare(dict[str, Any]):
        def __missing__(self, path: str) -> Any:
            return refusal if path.startswith("storage/v1/b/") else NotFound("no")

    def lookup_bucket(_name: str) -> None:
        raise refusal

    answers = Bare({f"{PROJECT}:testIamPermissions": {"permissions": held}})
    monkeypatch.setattr(Told, "storage", types.SimpleNamespace(lookup_bucket=lookup_bucket), raising=False)
    monkeypatch.setattr(state, "exists", lambda _: False)
    (finding,) = found(buckets.state_bucket, subject_of(tmp_path, answers))
    assert finding.level is level
    assert what in finding.what
    assert found(names.names, subject_of(tmp_path, answers))[0].level is level


@pytest.mark.parametrize(
    ("place", "region", "far"),
    [
        ("europe-west1", "europe-west1", False),
        ("eu", "europe-west1", False),
        ("europe-north1", "europe-west1", False),
        ("us", "europe-west1", True),
        ("us-east1", "europe-west1", True),
        ("asia", "asia-east1", False),
    ],
)
def test_another_continent_is_far(place: str, region: str, far: bool) -> None:
    assert buckets.is_far(place, region) is far


def test_every_name_has_a_kind_or_names_nothing_of_google_s() -> None:
    attributes = {*Names(project="my-project", environment="test").as_tfvars()}
    attributes |= {*ClinicNames(environment="test", clinic="main").as_tfvars()}
    assert attributes == {*names.KINDS, *names.NOT_GOOGLES}, "give a new name a row in doctor/names.py"
