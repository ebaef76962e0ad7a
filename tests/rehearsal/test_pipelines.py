"""The pipelines that `init --ci github` writes, run step by step as GitHub's runner would, against the sandbox.

Normally a pull request and a night are run, by this checkout. With --torture everything is, as the identities that a
bootstrap made, by a wheel installed in an environment of its own: so that is also the proof that the wheel deploys.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from google.cloud import secretmanager_v1
from google.protobuf.field_mask_pb2 import FieldMask

from gcp_openemr.environment.names import ClinicNames
from tests import distribution
from tests.oidc import Issuer
from tests.rehearsal.github import REPOSITORY, TOKEN, Github, JobRun
from tests.rehearsal.place import PROJECT, TWO_INSTANCES, Place, environment_file

GITHUB = "https://token.actions.githubusercontent.com"
CI = f"""
[ci]
provider = "github"
repository = "{REPOSITORY}"
environment = "test"
"""
PRODUCTION = {"GCP_OPENEMR_ENVIRONMENT_PROFILE": "production"}  # it has other pipelines than one for review
NIGHTLY, WEEKLY = ({"schedule": "17 3 * * *"}, {"schedule": "47 4 * * 0"})


@dataclasses.dataclass(frozen=True, kw_only=True)
class World:
    """A repository with pipelines, GitHub, and Google Cloud with a deployed environment `test`."""

    place: Place
    origin: Path
    github: Github
    runs: list[JobRun]
    secrets: list[bytes]

    def git(self, *arguments: str) -> None:
        subprocess.run(["git", *distribution.COMMITTER, *arguments], cwd=self.origin, check=True, capture_output=True)

    def change(self, old: str, new: str) -> None:
        """Commit a change of the environment file to the checked out branch."""
        path = self.origin / "openemr.toml"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new, 1))
        self.git("commit", "-aqm", f"{old} → {new}")

    def run(self, workflow: str, event: str, **given: Any) -> dict[str, JobRun]:
        done = self.github.run(f"openemr-test-{workflow}", event, **given)
        self.runs.extend(done.values())
        return done

    def pull_request(self, number: int) -> JobRun:
        """What the checked out branch shows as a pull request, whose merge GitHub has made."""
        for ref in ("head", "merge"):
            self.git("update-ref", f"refs/pull/{number}/{ref}", "HEAD")
        payload = {"pull_request": {"number": number, "head": {"repo": {"full_name": REPOSITORY}}}}
        return self.run("plan", "pull_request", payload=payload, ref=f"refs/pull/{number}/merge")["plan"]

    def everything_written(self) -> str:
        """All that others than the operator can read: logs, summaries, comments, issues, artefacts."""
        played = json.dumps([self.github.played(kind) for kind in ("comments", "issues")])
        artifacts = [path.read_text() for path in self.github.artifacts.rglob("*") if path.is_file()]
        return "\n".join([played, *artifacts, *(run.log + run.summary for run in self.runs)])


def programs(folder: Path, *, wheel: bool) -> Path:
    """`gcp-openemr`, `python` and `pip` as a runner has them after its set-up; Google Cloud is the sandbox.

    Without a wheel there is nothing for `pip` to bring.
    """
    if wheel:
        distribution.clone(folder / "clone")
        (folder / "dist").mkdir()
        installed = distribution.install(distribution.build(folder / "clone", folder / "dist"), folder / "installed")
        python, program = f"{installed}/python", f"{installed}/gcp-openemr"
    else:
        python = f"env PYTHONPATH={distribution.CHECKOUT} {sys.executable}"
        program = f"{python} -m gcp_openemr.cli"
    made = folder / "programs"
    made.mkdir()
    pip = f"{python} -m pip" if wheel else "true"
    for name, command in (("gcp-openemr", f"{program} --sandbox"), ("python", python), ("pip", pip)):
        (made / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        (made / name).chmod(0o755)
    return made


@pytest.fixture(scope="module")
def world(deployed_copy: Place, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> World:
    folder = tmp_path_factory.mktemp("pipelines")
    torture = bool(request.config.getoption("--torture"))
    made = programs(folder, wheel=torture)
    origin = folder / "origin"
    origin.mkdir()
    (origin / "openemr.toml").write_text(environment_file(TWO_INSTANCES) + CI)
    subprocess.run(["git", "init", "-q", "-b", "main"], cwd=origin, check=True)
    for variables in (PRODUCTION, {}):
        command = [str(made / "gcp-openemr"), "init", "--ci", "github"]
        subprocess.run(command, cwd=origin, check=True, capture_output=True, env={**os.environ, **variables})
    settings = {f"OPENEMR_TEST_{kind}": kind.lower() for kind in ("PROVIDER", "PLANNER", "DEPLOYER", "DESTROYER")}
    if torture:
        (deployed_copy.folder / "openemr.toml").write_text((origin / "openemr.toml").read_text())
        settings = deployed_copy.must("bootstrap", "-y")["ci"]["settings"]
    issuer = Issuer(GITHUB).trusted_by(deployed_copy.sandbox)

    def authenticate(provider: str, account: str, claims: Mapping[str, str]) -> Mapping[str, str]:
        """Without torture everything is done as the operator, see tests/rehearsal/test_identities.py."""
        if not torture:
            return {}
        file = issuer.credentials_file(
            folder / "signed-in",
            cloud=deployed_copy.cloud().base,
            provider=provider,
            account=account,
            sub=f"repo:{REPOSITORY}",
            repository=REPOSITORY,
            **claims,
        )
        return {"GOOGLE_APPLICATION_CREDENTIALS": str(file)}

    github = Github(
        origin=origin,
        folder=folder / "github",
        programs=made,
        sandbox=deployed_copy.sandbox,
        variables=settings,
        authenticate=authenticate,
    )
    github.folder.mkdir()
    client = deployed_copy.cloud().secrets
    versions = [f"{secret.name}/versions/1" for secret in client.list_secrets(parent=f"projects/{PROJECT}")]
    secrets = [client.access_secret_version(name=version).payload.data for version in versions]
    there = World(place=deployed_copy, origin=origin, github=github, runs=[], secrets=secrets)
    there.git("add", "-A")
    there.git("commit", "-qm", "An environment and its pipelines")
    return there


def test_a_pull_request_gets_its_plan_as_a_comment_and_as_an_artefact(world: World) -> None:
    world.git("checkout", "-q", "-b", "more")
    world.change("max_instances = 2", "max_instances = 3")
    run = world.pull_request(1)
    assert run.result == "success", run.log
    assert "plan" in run.account
    assert "gcp-openemr 0.1.0 (commit " in run.log
    (comment,) = world.github.played("comments")
    assert comment["on"] == "1"
    assert "update   module.service[0].google_cloud_run_v2_service.default" in comment["body"]
    assert comment["body"].partition("\n")[2].strip() == run.summary.strip()
    planned = json.loads((world.github.artifacts / "openemr-test-plan" / "plan.json").read_text())
    changes = planned["roots"]["clinics/main"]["changes"]
    assert "update module.service[0].google_cloud_run_v2_service.default" in changes


def test_a_pull_request_that_cannot_be_planned_is_annotated(world: World) -> None:
    world.git("checkout", "-q", "-b", "wrong", "main")
    world.change('name = "test"', 'name = "Test"')
    run = world.pull_request(2)
    assert run.result == "failure"
    assert "exit code 65" in run.log
    assert re.search(r"^::error title=gcp-openemr::openemr\.toml:3", run.log, re.MULTILINE)
    assert [comment["on"] for comment in world.github.played("comments")] == ["1"]
    world.git("checkout", "-q", "main")


def drift(world: World) -> JobRun:
    done = world.run("watch", "schedule", payload=NIGHTLY)
    assert done["drill"].result == "skipped"
    return done["drift"]


def test_what_was_changed_by_hand_is_an_issue_in_the_morning(world: World) -> None:
    secret = ClinicNames(environment="test", clinic="main").database_password_secret
    unlabelled = secretmanager_v1.Secret(name=f"projects/{PROJECT}/secrets/{secret}")
    labels = FieldMask(paths=["labels"])
    world.place.cloud().secrets.update_secret(secret=unlabelled, update_mask=labels)
    run = drift(world)
    assert run.result == "failure"
    assert "exit code 2" in run.log
    (issue,) = world.github.played("issues")
    assert issue["title"] == "OpenEMR: test is not what its file says"
    assert "changed by hand" in issue["body"]


@pytest.mark.torture
def test_the_next_night_adds_to_the_same_issue(world: World) -> None:
    assert drift(world).result == "failure"
    (issue,) = world.github.played("issues")
    assert len(issue["comments"]) == 1


@pytest.mark.torture
def test_a_merge_deploys_what_was_planned_and_a_cancelled_run_is_continued_by_the_next(world: World) -> None:
    world.git("merge", "-q", "--ff-only", "more")
    cancelled = world.run("deploy", "push", cancel_at="→ clinics/main: apply")
    assert cancelled["plan"].outputs == {"changes": "2"}
    assert cancelled["plan"].account.startswith("oe-test-plan@")
    assert cancelled["deploy"].account.startswith("oe-test-deploy@")
    assert cancelled["deploy"].result == "failure"
    assert "exit code 130" in cancelled["deploy"].log
    assert "::error title=gcp-openemr::Interrupted. What was finished stays." in cancelled["deploy"].log
    stale = world.github.artifacts / "openemr-test-plan" / "plan.json"
    shutil.copy2(stale, world.github.folder / "stale.json")
    continued = world.run("deploy", "push")
    if continued["plan"].outputs == {"changes": "0"}:  # the cancelled run was at its very end
        assert continued["deploy"].result == "skipped"
    else:
        assert continued["deploy"].result == "success", continued["deploy"].log
        assert "Took over" not in continued["deploy"].log  # the cancelled run gave its lock back
        assert "main: http" in continued["deploy"].summary
    again = world.run("deploy", "push")
    assert again["plan"].outputs == {"changes": "0"}
    assert again["deploy"].result == "skipped"
    assert drift(world).result == "success"


@pytest.mark.torture
def test_a_plan_of_before_is_deployed_no_more(world: World) -> None:
    stale = world.github.folder / "stale.json"
    refused = world.place.run("deploy", "-y", "--plan", str(stale))
    assert refused.status == 11
    assert "This is not what was reviewed, so it is not deployed" in refused.stderr


@pytest.mark.torture
def test_the_weekly_drill_restores_the_newest_set(world: World) -> None:
    world.place.must("backup", "create")
    done = world.run("watch", "schedule", payload=WEEKLY)
    assert done["drift"].result == "skipped"
    assert done["drill"].result == "success", done["drill"].log


@pytest.mark.torture
def test_an_environment_for_review_is_destroyed_when_its_days_are_over(world: World) -> None:
    world.git("checkout", "-q", "-b", "tried", "main")
    world.change("[service]", "[service]\ntimeout_seconds = 200")
    world.git("update-ref", "refs/pull/3/head", "HEAD")
    world.git("checkout", "-q", "main")
    asked = {"pull_request": "3", "days": "1"}
    tried = world.run("try", "workflow_dispatch", inputs=asked)["deploy"]
    assert tried.result == "success", tried.log
    kept = world.run("expire", "schedule")["destroy"]
    assert kept.result == "success", kept.log
    assert kept.account.startswith("oe-test-destroy@")
    assert "test: stays until the end of" in kept.summary
    over = world.run("try", "workflow_dispatch", inputs={**asked, "days": "-1"})["deploy"]
    assert over.result == "success", over.log
    gone = world.run("expire", "schedule")["destroy"]
    assert gone.result == "success", gone.log
    assert world.place.run("status").status == 6


@pytest.mark.torture
def test_destroy_by_hand_wants_the_name(world: World) -> None:
    wrong = world.run("destroy", "workflow_dispatch", inputs={"name": "tset"})["destroy"]
    assert wrong.result == "failure"
    assert "exit code 64" in wrong.log
    right = world.run("destroy", "workflow_dispatch", inputs={"name": "test"})["destroy"]
    assert right.result == "success", right.log


def test_nothing_that_others_can_read_holds_a_secret(world: World) -> None:
    secrets = [value.decode() for value in world.secrets]
    written = world.everything_written()
    assert secrets
    assert "### gcp-openemr" in written
    assert [secret for secret in secrets if secret in written] == []
    assert not re.search(r"ya29\.|-----BEGIN|Bearer |private_key|" + TOKEN, written)
