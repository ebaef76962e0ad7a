"""GitHub's runner, as far as our pipelines use it: their YAML is read and their own commands are run.

Each job gets a clean checkout, its steps run by the same shell, with the same files and expressions. What leaves the
machine is played: actions are known by name, `gh` is a program beside this file, and Google Cloud is the sandbox.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.rehearsal.workflow import evaluate, holds, read_workflow

__all__ = ["REPOSITORY", "TOKEN", "Github", "JobRun"]

REPOSITORY = "my-clinic/openemr"
TOKEN = "gh-token-of-this-job"
_PLAYED = Path(__file__).parent / "programs"


@dataclasses.dataclass(kw_only=True)
class JobRun:
    """A job that ran, or was skipped: its log as people read it, its outputs and its summary."""

    result: str
    log: str = ""
    summary: str = ""
    outputs: dict[str, str] = dataclasses.field(default_factory=dict)
    account: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Github:
    """`origin` is the repository, `programs` comes first on PATH, `sandbox` is the folder of Google Cloud's state.

    `authenticate` makes what the auth action leaves in the environment: (provider, account, claims) → variables.
    """

    origin: Path
    folder: Path
    programs: Path
    sandbox: Path
    variables: Mapping[str, str]
    authenticate: Callable[[str, str, Mapping[str, str]], Mapping[str, str]]

    def run(
        self,
        workflow: str,
        event: str,
        *,
        payload: Mapping[str, Any] | None = None,
        inputs: Mapping[str, str] | None = None,
        ref: str = "refs/heads/main",
        cancel_at: str = "",
    ) -> dict[str, JobRun]:
        """Run a workflow's jobs in order. `cancel_at`: cancel the run when a line with these words is logged."""
        known = read_workflow(self.origin, f".github/workflows/{workflow}.yml")
        assert event in known["on"], f"{workflow} does not run on {event}"
        trigger = known["on"][event]
        declared = trigger.get("inputs", {}) if isinstance(trigger, Mapping) else {}
        given = {name: one.get("default", "") for name, one in declared.items()} | dict(inputs or {})
        context = {
            "github": {
                "event": {**(payload or {}), "inputs": given},
                "event_name": event,
                "repository": REPOSITORY,
                "ref": ref,
                "token": TOKEN,
            },
            "vars": self.variables,
            "inputs": given,
        }
        done: dict[str, JobRun] = {}
        for name, job in known["jobs"].items():
            needed = job.get("needs", [])
            needs = {need: done[need] for need in ([needed] if isinstance(needed, str) else needed)}
            around = {**context, "needs": {need: dataclasses.asdict(run) for need, run in needs.items()}}
            if not all(run.result == "success" for run in needs.values()) or not holds(job.get("if", ""), around):
                done[name] = JobRun(result="skipped")
                continue
            done[name] = _Job(github=self, job=job, context=around, ref=ref, cancel_at=cancel_at).run()
        return done

    @property
    def artifacts(self) -> Path:
        return self.folder / "artifacts"

    def played(self, kind: str) -> list[dict[str, Any]]:
        """Comments or issues, oldest first."""
        file = self.folder / f"{kind}.json"
        found: list[dict[str, Any]] = json.loads(file.read_text()) if file.exists() else []
        return found


class _Job:
    """One job in a workspace of its own, which is gone afterwards."""

    def __init__(
        self, *, github: Github, job: Mapping[str, Any], context: Mapping[str, Any], ref: str, cancel_at: str
    ) -> None:
        self._github = github
        self._job = job
        self._context: dict[str, Any] = {**context, "steps": {}}
        self._ref = ref
        self._cancel_at = cancel_at
        self._workspace = github.folder / "workspace"
        self._temporary = github.folder / "temporary"
        self._environment: dict[str, str] = {}
        self._done = JobRun(result="success")

    def run(self) -> JobRun:
        for folder in (self._workspace, self._temporary):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        try:
            for step in self._job["steps"]:
                failed = self._done.result != "success"
                if holds(step.get("if", ""), self._context, failed=failed):
                    self._step(step)
        finally:
            shutil.rmtree(self._workspace)
        outputs = self._job.get("outputs", {})
        self._done.outputs = {name: evaluate(text, self._context) for name, text in outputs.items()}
        return self._done

    def _step(self, step: Mapping[str, Any]) -> None:
        if "run" in step:
            self._shell(step)
            return
        given = {name: evaluate(text, self._context) for name, text in step.get("with", {}).items()}
        action = step["uses"].partition("@")[0]
        {
            "actions/checkout": self._checkout,
            "actions/setup-python": lambda _given: None,
            "hashicorp/setup-terraform": lambda _given: None,
            "google-github-actions/auth": self._auth,
            "actions/upload-artifact": self._upload,
            "actions/download-artifact": self._download,
        }[action](given)

    def _checkout(self, _given: Mapping[str, str]) -> None:
        for command in (
            ["init", "-q"],
            ["fetch", "-q", str(self._github.origin), self._ref],
            ["checkout", "-q", "FETCH_HEAD"],
        ):
            subprocess.run(["git", *command], cwd=self._workspace, check=True)
        (self._workspace / ".gcp-openemr").mkdir()
        (self._workspace / ".gcp-openemr" / "sandbox").symlink_to(self._github.sandbox)

    def _auth(self, given: Mapping[str, str]) -> None:
        assert self._job["permissions"]["id-token"] == "write"
        claims = {"ref": self._ref, "event_name": self._context["github"]["event_name"]}
        if "environment" in self._job:
            claims["environment"] = self._job["environment"]
        self._done.account = given["service_account"]
        provider = given["workload_identity_provider"]
        self._environment |= self._github.authenticate(provider, self._done.account, claims)

    def _upload(self, given: Mapping[str, str]) -> None:
        target = self._github.artifacts / given["name"]
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy2(self._workspace / given["path"], target)

    def _download(self, given: Mapping[str, str]) -> None:
        shutil.copytree(self._github.artifacts / given["name"], self._workspace, dirs_exist_ok=True)

    def _shell(self, step: Mapping[str, Any]) -> None:
        folder = self._github.folder / "step"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "script.sh").write_text(evaluate(step["run"], self._context))
        for name in ("output", "summary"):
            (folder / name).touch()
        environment = self._variables(folder) | {
            name: evaluate(text, self._context) for name, text in step.get("env", {}).items()
        }
        with subprocess.Popen(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(folder / "script.sh")],
            cwd=self._workspace,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            self._follow(process)
        told = dict(line.split("=", 1) for line in (folder / "output").read_text().splitlines())
        self._context["steps"][step.get("id", "")] = {"outputs": told}
        self._done.summary += (folder / "summary").read_text()
        if process.returncode != 0:
            self._done.result = "failure"
            self._done.log += f"exit code {process.returncode}\n"

    def _variables(self, folder: Path) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        path = [str(_PLAYED), str(self._github.programs), inherited["PATH"]]
        return {
            **inherited,
            **self._environment,
            "PATH": ":".join(path),
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_REPOSITORY": REPOSITORY,
            "GITHUB_SERVER_URL": "https://github.example.org",
            "GITHUB_RUN_ID": "1",
            "RUNNER_TEMP": str(self._temporary),
            "GITHUB_OUTPUT": str(folder / "output"),
            "GITHUB_STEP_SUMMARY": str(folder / "summary"),
            "GH_PLAYED": str(self._github.folder),
            "GH_ORIGIN": str(self._github.origin),
            "PIP_NO_INDEX": "1",  # everything is there already, in the locked version
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_ROOT_USER_ACTION": "ignore",
        }

    def _follow(self, process: subprocess.Popen[str]) -> None:
        """The log, with what is masked in it; and the cancellation."""
        assert process.stdout is not None
        masked: list[str] = []
        for line in process.stdout:
            if line.startswith("::add-mask::"):
                masked.append(line.removeprefix("::add-mask::").strip())
                continue
            for secret in masked:
                line = line.replace(secret, "***")  # noqa: PLW2901 - as the runner does
            self._done.log += line
            if self._cancel_at and self._cancel_at in line:
                self._cancel_at = ""
                process.send_signal(signal.SIGINT)
        process.wait()
