"""A project bootstrapped for a pipeline: who is let in as whom, and that each identity needs every right it has."""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.auth import identity_pool
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import Request

from gcp_openemr.needed import ROLES
from gcp_openemr.sandbox import control
from gcp_openemr.sandbox.remote import remote
from tests.oidc import Issuer
from tests.rehearsal import warm
from tests.rehearsal.place import PROJECT, Answer, Place, begin, empty, environment_file, wait_for

GITHUB = "https://token.actions.githubusercontent.com"
REPOSITORY = "my-clinic/openemr"
CI = f"""
[ci]
provider = "github"
repository = "{REPOSITORY}"
environment = "production"

[alerts]
emails = ["it@clinic.example"]

[files]
snapshot_days = 1
ssh_members = ["user:it@clinic.example"]
"""
# Roles without which nothing here is refused: account, role, and where, with the reason.
IDLE = {
    ("oe-test-build", "roles/logging.logWriter", PROJECT): "Cloud Logging is not asked when a build writes its log",
    ("oe-test-main-rot", "roles/run.viewer", "oe-test-main-rotate"): "for a rotation that finds an earlier one's lock",
}
ON_MAIN = {"ref": "refs/heads/main", "event_name": "push"}
PULL_REQUEST = {"ref": "refs/pull/7/merge", "event_name": "pull_request"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bootstrapped:
    """A place whose foundation is there, with what `bootstrap` said, and GitHub's issuer."""

    place: Place
    said: dict[str, Any]
    issuer: Issuer

    def account(self, identity: str) -> str:
        return str(self.said["ci"]["accounts"][identity])

    def signed_in(self, identity: str, **claims: str) -> Path:
        """The file that the step leaves behind which signs a job with these claims in."""
        info = control.status(self.place.sandbox)
        assert info is not None
        return self.issuer.credentials_file(
            self.place.folder / identity,
            cloud=info.url,
            provider=self.said["ci"]["settings"]["OPENEMR_TEST_PROVIDER"],
            account=self.account(identity),
            **{"sub": f"repo:{REPOSITORY}:x", "repository": REPOSITORY, **ON_MAIN, **claims},
        )

    def is_let_in(self, identity: str, **claims: str) -> bool:
        credentials = identity_pool.Credentials.from_file(self.signed_in(identity, **claims))
        try:
            credentials.refresh(Request())
        except GoogleAuthError:
            return False
        return True

    def run(self, identity: str, *arguments: str) -> Answer:
        """The program in a job that signed in: its own environment says as whom."""
        ran_in = {"deployer": "production", "destroyer": "destroy"}.get(identity)
        file = self.signed_in(identity, **({"environment": ran_in} if ran_in else PULL_REQUEST))
        done = warm.run(
            self.place.arguments(*arguments),
            folder=self.place.folder,
            environment={**os.environ, "GOOGLE_APPLICATION_CREDENTIALS": str(file)},
            timeout=400,
        )
        return Answer(status=done.returncode, stdout=done.stdout, stderr=done.stderr)


@pytest.fixture(scope="module")
def bootstrapped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bootstrapped]:
    folder = tmp_path_factory.mktemp("identities")
    file = environment_file(CI).replace("public_access = true", "public_access = false")
    with empty(folder, file) as place:
        said = place.must("bootstrap", "-y")
        yield Bootstrapped(place=place, said=said, issuer=Issuer(GITHUB).trusted_by(place.sandbox))


def test_bootstrap_says_what_to_paste_and_a_second_run_changes_nothing(bootstrapped: Bootstrapped) -> None:
    settings = bootstrapped.said["ci"]["settings"]
    assert set(settings) == {f"OPENEMR_TEST_{word}" for word in ("PROVIDER", "PLANNER", "DEPLOYER", "DESTROYER")}
    assert settings["OPENEMR_TEST_PROVIDER"].endswith("/workloadIdentityPools/oe-test-ci/providers/github")
    assert settings["OPENEMR_TEST_DEPLOYER"] == f"oe-test-deploy@{PROJECT}.iam.gserviceaccount.com"
    again = bootstrapped.place.run("bootstrap", "-y")
    assert (again.status, again.json) == (0, bootstrapped.said)
    assert "to create" not in again.stderr


def test_each_run_of_the_pipeline_takes_its_identity_and_no_other(bootstrapped: Bootstrapped) -> None:
    runs = {
        "a pull request": PULL_REQUEST,
        "main": ON_MAIN,
        "main in production": {**ON_MAIN, "environment": "production"},
        "main in destroy": {**ON_MAIN, "environment": "destroy"},
        "a branch in production": {"ref": "refs/heads/mine", "environment": "production"},
        "a pull request in production": {**PULL_REQUEST, "environment": "production"},
        "a stranger's pull request": {**ON_MAIN, "event_name": "pull_request_target", "environment": "production"},
        "another repository": {"repository": "stranger/openemr", "environment": "production"},
    }
    let_in = {who: {name for name in ROLES if bootstrapped.is_let_in(name, **claims)} for who, claims in runs.items()}
    assert let_in == {
        "a pull request": {"planner"},
        "main": {"planner"},
        "main in production": {"planner", "deployer"},
        "main in destroy": {"planner", "destroyer"},
        "a branch in production": {"planner"},
        "a pull request in production": {"planner"},
        "a stranger's pull request": set(),
        "another repository": set(),
    }


def test_a_job_plans_what_is_not_there_yet_and_may_not_deploy_it(bootstrapped: Bootstrapped) -> None:
    planned = bootstrapped.run("planner", "plan")
    assert planned.status == 2, planned.stderr
    assert any(one["action"] == "create" for one in planned.json["roots"]["platform"]["changes"])
    seen = {entry.caller for entry in remote(bootstrapped.place.sandbox).calls()}
    assert f"serviceAccount:{bootstrapped.account('planner')}" in seen
    refused = bootstrapped.run("planner", "deploy", "-y")
    assert refused.status != 0
    assert f"The caller is {bootstrapped.account('planner')}" in refused.stderr
    assert "which lacks storage.objects.create" in refused.stderr


def test_the_deployer_leaves_the_foundation_as_it_is(bootstrapped: Bootstrapped) -> None:
    """Else whoever deploys could let anybody in as anything."""
    file = bootstrapped.place.folder / "openemr.toml"
    before = file.read_text()
    file.write_text(before.replace('environment = "production"', 'environment = "anything"'))
    try:
        answer = bootstrapped.run("deployer", "deploy", "-y")
    finally:
        file.write_text(before)
    assert answer.status == 7, answer.stderr
    assert 'google_service_account_iam_member.federated["deployer"]' in answer.stderr
    assert "Let an administrator run: gcp-openemr bootstrap" in answer.stderr


@pytest.mark.torture
@pytest.mark.parametrize("seen", ["APIs and state bucket", "foundation: plan", "foundation: apply"])
def test_a_bootstrap_that_was_killed_is_finished_by_the_next(seen: str, tmp_path: Path) -> None:
    with empty(tmp_path, environment_file(CI)) as place:
        first = begin(place, "bootstrap", "-y")
        wait_for(first, seen)
        first.send_signal(signal.SIGKILL)
        first.communicate()
        assert len(place.must("bootstrap", "-y")["ci"]["settings"]) == 4
        assert "to create" not in place.run("bootstrap", "-y").stderr


@pytest.mark.torture
@pytest.mark.timeout(1200)
def test_each_identity_needs_every_role_it_has(bootstrapped: Bootstrapped) -> None:
    """A whole life, from the first plan to the end: without any one role a call of it would have been refused."""
    must(bootstrapped, "planner", "plan", status=2)
    must(bootstrapped, "deployer", "deploy", "-y")
    take_away(bootstrapped, "run.jobs.run")
    refused = bootstrapped.run("deployer", "backup", "create")
    assert refused.status != 0
    assert f"The caller is {bootstrapped.account('deployer')}" in refused.stderr
    assert "which lacks run.jobs.run" in refused.stderr
    bootstrapped.place.must("bootstrap", "-y")
    must(bootstrapped, "deployer", "backup", "create")
    must(bootstrapped, "planner", "backup", "list")
    must(bootstrapped, "deployer", "backup", "verify")
    must(bootstrapped, "deployer", "restore", "--from", "latest", "--clinic", "main", "--drain", "0", "-y")
    must(bootstrapped, "deployer", "rotate", "--drain", "0", "-y")
    must(bootstrapped, "deployer", "status")
    told = bootstrapped.run("deployer", "logs", "--job", "rotate")
    assert (told.status, bool(told.json["entries"])) == (0, True), told.stderr
    run_job(bootstrapped, "oe-test-main-prune")
    run_job(bootstrapped, "oe-test-main-background")
    file = bootstrapped.place.folder / "openemr.toml"
    file.write_text(file.read_text().replace('version = "7.0.4"', 'version = "8.4.0"'))
    must(bootstrapped, "deployer", "upgrade", "-y", "--to", "8.4.0", "--drain", "0")
    recovering = bootstrapped.run("deployer", "recover", "-y", "--from-bucket", f"{PROJECT}-oe-test-backups")
    assert (recovering.status, "Ask for roles/secretmanager.secretAccessor on" in recovering.stderr) == (7, True)
    policies = remote(bootstrapped.place.sandbox).grants()["policies"]
    must(bootstrapped, "destroyer", "destroy", "-y", "--environment", "test", "--keep-foundation")
    grants = remote(bootstrapped.place.sandbox).grants()
    relied_on = {(policy, role, member) for policy, role, member, _ in grants["relied_on"]}
    relied_on |= {(policy, role, "") for policy, role, member in relied_on if member.startswith("principal://")}
    idle = {
        (who, role, policy.rpartition("/")[2])
        for policy, bindings in {**policies, **grants["policies"]}.items()
        for role, who, member in roles_of_ours(bindings)
        if (policy, role, member) not in relied_on
    }
    assert idle == IDLE.keys()


def must(bootstrapped: Bootstrapped, identity: str, *arguments: str, status: int = 0) -> None:
    answer = bootstrapped.run(identity, *arguments)
    assert answer.status == status, f"{identity} {arguments}: {answer.stderr}"


def take_away(bootstrapped: Bootstrapped, permission: str) -> None:
    """Out of the deployer's role, by a hand that `bootstrap` will correct."""
    roles = bootstrapped.place.cloud().api("iam", "v1").projects().roles()
    name = f"projects/{PROJECT}/roles/oe_test_deploy"
    left = sorted(set(roles.get(name=name).execute()["includedPermissions"]) - {permission})
    roles.patch(name=name, updateMask="includedPermissions", body={"includedPermissions": left}).execute()


def run_job(bootstrapped: Bootstrapped, job: str) -> None:
    place = f"projects/{PROJECT}/locations/europe-west1/jobs/{job}"
    cloud = bootstrapped.place.cloud()
    cloud.ask("run", f"v2/{place}:run", body={})
    for _ in range(600):
        found = cloud.ask("run", f"v2/{place}/executions").get("executions", [])
        if found and found[0].get("succeededCount"):
            return
        time.sleep(0.1)
    raise AssertionError(found)


def roles_of_ours(bindings: list[dict[str, Any]]) -> Iterator[tuple[str, str, str]]:
    """Role, short name of who has it, and as whom it calls ('' for whoever runs of the pipeline call themselves)."""
    for binding in bindings:
        for member in binding["members"]:
            if member.startswith("principalSet://"):
                yield binding["role"], member.partition("/attribute.")[2], ""
            elif member.startswith("serviceAccount:oe-test-"):
                yield binding["role"], member.removeprefix("serviceAccount:").partition("@")[0], member
