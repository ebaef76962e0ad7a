"""What `rotate` has the clinic's job do, and what it tells of it."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gcp_openemr.commands import jobs, rotate, state
from gcp_openemr.commands.context import Context
from gcp_openemr.console import Console
from gcp_openemr.errors import JobFailed
from tests.unit import environment_file


@dataclasses.dataclass
class Job:
    """The rotate job, which gives these answers one after the other; `steps` are its WHAT, and provision between."""

    answers: list[Mapping[str, Any] | JobFailed]
    steps: list[str] = dataclasses.field(default_factory=list)

    def run(self, _context: object, _clinic: object, _job: str, variables: Mapping[str, str]) -> Mapping[str, Any]:
        self.steps.append(variables["WHAT"])
        answer = self.answers.pop(0)
        if isinstance(answer, JobFailed):
            raise answer
        return answer


@pytest.fixture
def context(tmp_path: Path) -> Context:
    cloud: Any = None
    environment = environment_file.load(tmp_path)
    return Context(
        environment=environment, cloud=cloud, console=Console(), workspace=tmp_path, terraform=tmp_path, yes=True
    )


def job(monkeypatch: pytest.MonkeyPatch, *answers: Mapping[str, Any] | JobFailed) -> Job:
    made = Job([*answers])
    monkeypatch.setattr(jobs, "run", made.run)
    monkeypatch.setattr(jobs, "versions", lambda *_: None)
    monkeypatch.setattr(jobs, "provision", lambda *_: made.steps.append("provision"))
    monkeypatch.setattr(state, "outputs", lambda *_: {})
    monkeypatch.setattr(rotate, "changing", lambda *_: contextlib.nullcontext())
    return made


def run(context: Context, *what: str) -> None:
    rotate.rotate(context, what=what, clinic=None, now=False, force=False)


def test_a_password_set_by_hand_is_ended_whatever_was_to_be_rotated(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """provision leaves it valid beside its own."""
    by_hand = JobFailed("It was changed by hand.", record={"changed_by_hand": ["database"]})
    done = job(monkeypatch, by_hand, {"rotated": {"redis": {"from": 1, "to": 2}}})
    run(context, "redis", "admin")
    assert done.steps == ["redis,admin", "provision", "database,redis,admin"]


def test_how_the_administrator_was_found_is_told(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    told = io.StringIO()
    found = {"locked_by": ["failed logins", "inactive"], "second_factors": ["TOTP"], "sessions_ended": 2}
    job(monkeypatch, {"rotated": {"admin": {"from": 1, "to": 2}}, "admin": found})
    run(dataclasses.replace(context, console=Console(results=told)), "admin")
    assert told.getvalue().splitlines() == [
        "main: rotated: admin 1 → 2",
        "main: the administrator was locked by failed logins and is let in again",
        "main: the administrator is inactive in OpenEMR and cannot log in",
        "main: the administrator's second factors stay: TOTP",
        "main: sessions ended: 2",
    ]


def test_a_job_that_left_no_record_is_not_taken_for_one_with_nothing_to_do(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    job(monkeypatch, {})
    with pytest.raises(JobFailed, match="left no record of what it did"):
        run(context, "redis")
