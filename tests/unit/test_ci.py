"""The pipelines that `init --ci` writes: golden, checked by actionlint and shellcheck, and never over another file.

What they do is shown in tests/rehearsal/test_pipelines.py, where they run.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from click.testing import CliRunner

from gcp_openemr.cli import cli

GOLDEN = Path(__file__).parent / "golden" / "ci"
REQUIREMENTS = "openemr-requirements.txt"
KINDS = ("github", "gitlab", "cloudbuild")
PROFILES = {"prod": "production", "review": "developer"}
PROGRAMS = Path(sysconfig.get_path("scripts"))


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gcp_openemr.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


def init(folder: Path, kind: str, name: str) -> dict[str, list[str]]:
    """A new environment file NAME.toml with its pipelines. Returns what the program says of files."""
    where = ("--project", f"my-clinic-{name}", "--region", "europe-west1", "--profile", PROFILES[name])
    pipelines = ("--ci", kind, "--repository", "my-clinic/openemr")
    return well("-e", str(folder / f"{name}.toml"), "init", "--name", name, *where, *pipelines)


def well(*arguments: str) -> dict[str, list[str]]:
    """What a command that goes well says, in this process."""
    done = CliRunner().invoke(cli, ["--json", *arguments])
    assert done.exit_code == 0, done.output
    told: dict[str, list[str]] = json.loads(done.stdout)
    return told


@pytest.fixture(scope="module", params=KINDS)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The kind, and a repository with the pipelines of both environments, written from below its top folder."""
    folder = tmp_path_factory.mktemp(request.param)
    (folder / ".git").mkdir()
    (folder / "openemr").mkdir()
    for name in PROFILES:
        init(folder / "openemr", request.param, name)
    return request.param, folder


def files(folder: Path) -> dict[str, str]:
    """Everything but the environment files and the libraries."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_text() for name, path in found.items() if not name.endswith((".toml", REQUIREMENTS))}


def test_what_is_written_is_what_was_reviewed(written: tuple[str, Path]) -> None:
    kind, folder = written
    made = files(folder)
    if os.environ.get("UPDATE_GOLDEN"):
        for name, text in made.items():
            (GOLDEN / kind / name).parent.mkdir(parents=True, exist_ok=True)
            (GOLDEN / kind / name).write_text(text)
    assert made == files(GOLDEN / kind), "If it should change: UPDATE_GOLDEN=1 pytest tests/unit/test_ci.py"


def test_actionlint_and_shellcheck_find_nothing_in_githubs(written: tuple[str, Path]) -> None:
    kind, folder = written
    if kind != "github":
        return
    workflows = sorted(map(str, folder.glob(".github/workflows/*.yml")))
    shellcheck = str(PROGRAMS / "shellcheck")
    done = subprocess.run(
        [str(PROGRAMS / "actionlint"), "-shellcheck", shellcheck, "-pyflakes", "", *workflows],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert workflows


def test_every_action_is_pinned_by_commit_and_tells_its_version(written: tuple[str, Path]) -> None:
    _, folder = written
    for name, text in files(folder).items():
        for use in re.findall(r"uses: (.*)", text):
            assert re.fullmatch(r"[a-z-]+/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", use), (name, use)


def test_programs_are_pinned_and_no_key_is_asked_for(written: tuple[str, Path]) -> None:
    _, folder = written
    libraries = (folder / REQUIREMENTS).read_text()
    assert all(
        "==" in line and line.endswith("\\") for line in libraries.splitlines() if not line.startswith(("#", " "))
    )
    assert "google-cloud-run==" in libraries
    for name, text in files(folder).items():
        if "gcp-openemr -e" in text.replace("anew with: gcp-openemr -e", ""):
            assert "'gcp-openemr==0.1.0'" in text, name
        assert "secrets." not in text, name
        assert "latest" not in text, name


def test_every_command_in_them_is_one_of_the_program(written: tuple[str, Path]) -> None:
    _, folder = written
    seen = set()
    for text in files(folder).values():
        for line in re.findall(r"gcp-openemr (-e .*)", re.sub(r"#.*", "", text)):
            arguments = shlex.split(line.partition("||")[0])
            done = CliRunner().invoke(cli, [*arguments, "--help"])
            assert done.exit_code == 0, (line, done.output)
            seen.add(next(word for word in arguments if word in cli.commands))
    assert {"plan", "deploy", "backup", "destroy"} <= seen


def test_files_that_are_there_stay_until_replaced_in_words(tmp_path: Path) -> None:
    told = init(tmp_path, "github", "prod")
    pipelines = ("-e", str(tmp_path / "prod.toml"), "init", "--ci", "github")
    assert well(*pipelines)["right"] == told["written"]
    changed = tmp_path / ".github" / "workflows" / "openemr-prod-plan.yml"
    changed.write_text("ours\n")
    (tmp_path / ".github" / "workflows" / "openemr-prod-watch.yml").unlink()
    refused = run("-e", "prod.toml", "init", "--ci", "github", cwd=tmp_path)
    assert refused.returncode == 64
    assert "openemr-prod-plan.yml" in refused.stderr
    assert changed.read_text() == "ours\n"
    assert not (tmp_path / ".github" / "workflows" / "openemr-prod-watch.yml").exists()
    assert len(well(*pipelines, "--replace")["written"]) == 2
    assert changed.read_text() != "ours\n"


def test_gitlabs_own_file_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / ".gitlab-ci.yml").write_text("stages: [test]\n")
    init(tmp_path, "gitlab", "prod")
    assert (tmp_path / ".gitlab-ci.yml").read_text() == "stages: [test]\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--name", "prod", "--project", "my-clinic-prod", "--region", "europe-west1"), "--repository"),
        (("--name", "prod"), "--project"),
    ],
)
def test_what_is_missing_is_told_and_nothing_is_written(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    done = run("init", *arguments, "--ci", "github", cwd=tmp_path)
    assert done.returncode == 64
    assert words in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_another_provider_is_told(tmp_path: Path) -> None:
    init(tmp_path, "gitlab", "prod")
    done = run("-e", "prod.toml", "init", "--ci", "github", cwd=tmp_path)
    assert done.returncode == 64
    assert "[ci]" in done.stderr
    assert not (tmp_path / ".github").exists()
