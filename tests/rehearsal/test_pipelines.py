"""The pipelines that `init --ci github` writes, run step by step as GitHub's runner would, against the sandbox.

Normally a pull request alone is run, by this checkout. With --torture everything is, by a wheel that is installed in an
environment of its own: so that is also the proof that the wheel deploys clinics.
"""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from gcp_openemr.sandbox import control
from tests import distribution
from tests.rehearsal.github import REPOSITORY, Github, JobRun

PROFILES = {"prod": "production", "review": "developer"}
VARIABLES = {
    f"OPENEMR_{name.upper()}_{kind}": f"{kind.lower()}-of-{name}"
    for name in PROFILES
    for kind in ("PROVIDER", "PLANNER", "DEPLOYER", "DESTROYER")
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class World:
    """A repository with pipelines, GitHub, and Google Cloud."""

    origin: Path
    github: Github
    runs: list[JobRun]

    def git(self, *arguments: str) -> None:
        subprocess.run(["git", *distribution.COMMITTER, *arguments], cwd=self.origin, check=True, capture_output=True)

    def change(self, file: str, old: str, new: str) -> None:
        """Commit a change of an environment file to the checked out branch."""
        path = self.origin / file
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new, 1))
        self.git("commit", "-aqm", f"{old} → {new}")

    def run(self, workflow: str, event: str, **given: object) -> dict[str, JobRun]:
        done = self.github.run(workflow, event, **given)  # type: ignore[arg-type]
        self.runs.extend(done.values())
        return done

    def pull_request(self, number: int) -> JobRun:
        """What the checked out branch shows as a pull request, whose merge GitHub has made."""
        self.git("update-ref", f"refs/pull/{number}/merge", "HEAD")
        self.git("update-ref", f"refs/pull/{number}/head", "HEAD")
        payload = {"pull_request": {"number": number, "head": {"repo": {"full_name": REPOSITORY}}}}
        ref = f"refs/pull/{number}/merge"
        return self.run("openemr-prod-plan", "pull_request", payload=payload, ref=ref)["plan"]

    def gcp_openemr(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The program as a person runs it, in the repository."""
        command = [str(self.github.programs / "gcp-openemr"), "-e", "prod.toml", "--json", *arguments]
        return subprocess.run(command, cwd=self.origin, capture_output=True, text=True, check=False)

    def everything_written(self) -> str:
        """All that others than the operator can read: logs, summaries, comments, issues, artefacts."""
        played = json.dumps([self.github.played(kind) for kind in ("comments", "issues")])
        artifacts = [path.read_text() for path in self.github.artifacts.rglob("*") if path.is_file()]
        return "\n".join([played, *artifacts, *(run.log + run.summary for run in self.runs)])


def programs(folder: Path, *, wheel: bool) -> Path:
    """`gcp-openemr`, `python` and `pip` as a runner has them after its set-up; Google Cloud is the sandbox."""
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
    for name, command in (("gcp-openemr", f"{program} --sandbox"), ("python", python), ("pip", f"{python} -m pip")):
        (made / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        (made / name).chmod(0o755)
    return made


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("pipelines")
    origin = folder / "origin"
    origin.mkdir()
    made = programs(folder, wheel=bool(request.config.getoption("--torture")))
    subprocess.run(["git", "init", "-q", "-b", "main"], cwd=origin, check=True)
    for name, profile in PROFILES.items():
        where = ("--name", name, "--project", f"my-clinic-{name}", "--region", "europe-west1", "--profile", profile)
        command = [str(made / "gcp-openemr"), "-e", f"{name}.toml", "init", *where, "--ci", "github"]
        subprocess.run([*command, "--repository", REPOSITORY], cwd=origin, check=True, capture_output=True)
    sandbox = folder / "sandbox"

    def authenticate(_provider: str, _account: str, _claims: Mapping[str, str]) -> Mapping[str, str]:
        return {}

    github = Github(
        origin=origin,
        folder=folder / "github",
        programs=made,
        sandbox=sandbox,
        variables=VARIABLES,
        authenticate=authenticate,
    )
    github.folder.mkdir()
    there = World(origin=origin, github=github, runs=[])
    (origin / ".gcp-openemr").mkdir()
    (origin / ".gcp-openemr" / "sandbox").symlink_to(sandbox)
    (origin / ".gitignore").write_text(".gcp-openemr/\n")
    there.git("add", "-A")
    there.git("commit", "-qm", "Two environments and their pipelines")
    control.start(sandbox)
    yield there
    control.stop(sandbox)


def test_a_pull_request_gets_its_plan_as_one_comment_and_as_an_artefact(world: World) -> None:
    world.git("checkout", "-q", "-b", "first")
    world.change("prod.toml", 'region = "europe-west1"', 'region = "europe-west3"')
    run = world.pull_request(1)
    assert run.result == "success", run.log
    assert run.account == "planner-of-prod"
    assert "gcp-openemr 0.1.0 (commit " in run.log
    (comment,) = world.github.played("comments")
    assert comment["on"] == "1"
    assert "Nothing exists yet: deploy makes the foundation" in comment["body"]
    assert comment["body"].partition("\n")[2].strip() == run.summary.strip()
    planned = json.loads((world.github.artifacts / "openemr-prod-plan" / "plan.json").read_text())
    assert planned["environment"] == "prod"
    world.change("prod.toml", 'region = "europe-west3"', 'region = "europe-west1"')
    world.change("prod.toml", 'name = "prod"', 'name = "Prod"')
    refused = world.pull_request(1)
    assert refused.result == "failure"
    assert "exit code 65" in refused.log
    assert re.search(r"^::error title=gcp-openemr::prod\.toml:\d+", refused.log, re.MULTILINE)
    assert len(world.github.played("comments")) == 1
    world.git("checkout", "-q", "main")
