"""What a pipeline's runner is shown: annotations, groups, masks, a summary; and how a run ends without a terminal."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gcp_openemr.console import Console
from gcp_openemr.errors import UsageError
from gcp_openemr.pipeline import Pipeline

GITHUB = {"GITHUB_ACTIONS": "true", "CI": "true"}
GITLAB = {"GITLAB_CI": "true", "CI": "true"}


def run(*arguments: str, cwd: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gcp_openemr.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env={**os.environ, **env})


def written(pipeline: Pipeline) -> tuple[Console, io.StringIO]:
    people = io.StringIO()
    return Console(people=people, results=io.StringIO(), pipeline=pipeline, title="gcp-openemr plan"), people


@pytest.mark.parametrize(
    ("environment", "kind"), [({}, ""), ({"CI": "true"}, "plain"), (GITHUB, "github"), (GITLAB, "gitlab")]
)
def test_the_runner_is_known_by_its_environment(environment: dict[str, str], kind: str) -> None:
    assert Pipeline.of(environment).kind == kind


def test_github_annotates_a_failure_and_keeps_it_in_the_summary(tmp_path: Path) -> None:
    summary = tmp_path / "summary.md"
    done = run("--json", "plan", cwd=tmp_path, env={**GITHUB, "GITHUB_STEP_SUMMARY": str(summary)})
    assert done.returncode == 66
    (annotation,) = [line for line in done.stderr.splitlines() if line.startswith("::")]
    assert annotation.startswith("::error title=gcp-openemr::There is no environment file openemr.toml.%0ARun ")
    assert "exit code 66" in summary.read_text()
    assert json.loads(done.stdout)["error"]["exit_code"] == 66


def test_gitlab_shows_a_failure_in_red_and_a_named_file_gets_the_summary(tmp_path: Path) -> None:
    done = run("--summary", "summary.md", "plan", cwd=tmp_path, env=GITLAB)
    assert "\x1b[31mgcp-openemr: There is no environment file" in done.stderr
    assert "There is no environment file" in (tmp_path / "summary.md").read_text()


def test_a_summary_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    init = ("init", "--name", "demo", "--project", "demo-clinic-1", "--region", "europe-west1")
    done = run("--summary", "no/such/folder/summary.md", *init, cwd=tmp_path, env={})
    assert done.returncode == 66
    assert "no/such/folder" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_result_is_in_every_summary_under_the_commands_name(tmp_path: Path) -> None:
    own = tmp_path / "step"
    pipeline = Pipeline.of({**GITHUB, "GITHUB_STEP_SUMMARY": str(own)}, summary=tmp_path / "summary.md")
    console, _ = written(pipeline)
    console.result({"a": 1}, "a is 1\n")
    console.result({"a": 2}, f"~~~ {'x' * 70_000}")
    first, second = own.read_text().split("### gcp-openemr plan\n\n")[1:]
    assert first == "~~~text\na is 1\n~~~\n\n"
    assert "10006 characters more" in second
    assert second.count("~~~") == 2
    assert (tmp_path / "summary.md").read_text() == own.read_text()


def test_blocks_fold_in_github_and_gitlab_and_are_plain_elsewhere() -> None:
    shown = {}
    for kind in ("plain", "github", "gitlab"):
        console, people = written(Pipeline(kind=kind))
        console.block("Critical path, 3 s:", ["one", "two"])
        shown[kind] = people.getvalue().rstrip("\n").split("\n")
    assert shown["plain"] == ["Critical path, 3 s:", "one", "two"]
    assert shown["github"] == ["::group::Critical path, 3 s:", "one", "two", "::endgroup::"]
    assert shown["gitlab"][0].startswith("section_start:")
    assert "critical_path_3_s[collapsed=true]" in shown["gitlab"][0]
    assert shown["gitlab"][-1].startswith("section_end:")


@pytest.mark.parametrize(
    "evil", ["::add-mask::x", "  ::set-env name=A::b", "well\n::error::no", "##[group]x", "GET /##[stop-commands]x 404"]
)
def test_text_from_elsewhere_gives_the_runner_no_commands(evil: str) -> None:
    """Neither what people read nor a result: both are in the log."""
    people, results = io.StringIO(), io.StringIO()
    console = Console(people=people, results=results, pipeline=Pipeline(kind="github"))
    console.say(evil)
    console.block("title", [evil])
    console.line(evil)
    console.result({}, evil)
    lines = (people.getvalue() + results.getvalue()).splitlines()
    ours = ("::group::title", "::endgroup::")
    assert not [line for line in lines if line not in ours and (line.lstrip().startswith("::") or "##[" in line)]


def test_json_gives_the_runner_no_commands_and_means_the_same() -> None:
    results = io.StringIO()
    console = Console(as_json=True, people=io.StringIO(), results=results, pipeline=Pipeline(kind="github"))
    console.result({"line": "GET /##[group]x", "next": "::error::no"}, "")
    assert "##[" not in results.getvalue()
    assert json.loads(results.getvalue()) == {"line": "GET /##[group]x", "next": "::error::no"}


def test_a_secret_is_masked_before_it_is_printed_and_never_summarised(tmp_path: Path) -> None:
    """In one stream: the runner reads the two side by side, and could show the secret first."""
    summary, results = tmp_path / "summary.md", io.StringIO()
    console = Console(results=results, people=io.StringIO(), pipeline=Pipeline(kind="github", summaries=(summary,)))
    console.result({"password": "p%1"}, "password: p%1", secrets=("p%1",))
    assert results.getvalue() == "::add-mask::p%251\npassword: p%1\n"
    assert not summary.exists()


def test_a_secret_in_json_is_masked_some_time_before(monkeypatch: pytest.MonkeyPatch) -> None:
    people, results = io.StringIO(), io.StringIO()
    seen: list[tuple[str, str]] = []
    monkeypatch.setattr("time.sleep", lambda _: seen.append((people.getvalue(), results.getvalue())))
    console = Console(as_json=True, people=people, results=results, pipeline=Pipeline(kind="github"))
    console.result({"password": "p%1"}, "", secrets=("p%1",))
    assert seen == [("::add-mask::p%251\n", "")]
    assert json.loads(results.getvalue()) == {"password": "p%1"}


@pytest.mark.parametrize("kind", ["gitlab", "plain"])
def test_a_log_that_cannot_mask_gets_no_secret(kind: str) -> None:
    results = io.StringIO()
    console = Console(people=io.StringIO(), results=results, pipeline=Pipeline(kind=kind))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="log of this pipeline"):
        console.result({"password": "p"}, "password: p", secrets=("p",))
    assert results.getvalue() == ""


WAITING = """
import sys, time
import click
from gcp_openemr import cli, ending, interruption
@cli.cli.command()
def wait():
    try:
        print("begun", flush=True)
        interruption.pause(60)
    finally:
        time.sleep(0.5)  # as a lock is given back
        print("cleaned", flush=True)
sys.argv = ["gcp-openemr", *sys.argv[1:], "wait"]
cli.main()
"""


def test_a_cancelled_job_gets_its_time_to_clean_up_whatever_it_is_sent() -> None:
    """GitHub sends SIGINT, then SIGTERM, then kills."""
    with subprocess.Popen([sys.executable, "-c", WAITING], stdout=-1, stderr=-1, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        stdout, stderr = process.communicate()
    assert process.returncode == 130
    assert stdout == "cleaned\n"
    assert "Run the same command again" in stderr


def test_the_time_limit_ends_a_run_in_order() -> None:
    command = [sys.executable, "-c", WAITING, "--timeout", "0.005"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert done.stdout == "begun\ncleaned\n"
    assert "The time limit was reached." in done.stderr
