"""The command line: what it says, its exit codes, and one JSON object on stdout."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gcp_openemr import errors
from tests.rehearsal import warm

VERBS = (
    "backup",
    "init",
    "render",
    "plan",
    "deploy",
    "status",
    "logs",
    "credentials",
    "destroy",
    "rehearse",
    "sandbox",
)


def run(*arguments: str, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return warm.run(arguments, folder=cwd, environment=os.environ if env is None else env, timeout=60)


def initialised(folder: Path) -> Path:
    done = run("init", "--name", "demo", "--project", "demo-clinic-1", "--region", "europe-west1", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "openemr.toml"


def test_help_names_every_verb_and_documents_every_exit_code(tmp_path: Path) -> None:
    text = run("--help", cwd=tmp_path).stdout
    for verb in VERBS:
        assert re.search(rf"^  {verb} ", text, re.MULTILINE), verb
    family = [getattr(errors, name) for name in errors.__all__]
    documented = set(re.findall(r"(?:^|  )(\d+) +[a-zA-Z]", text, re.MULTILINE))
    assert {str(kind.exit_code) for kind in family} <= documented


def test_help_imports_no_client_no_validation_and_no_drawing(tmp_path: Path) -> None:
    code = (
        "import sys; sys.argv = ['gcp-openemr', '--help']\n"
        "from gcp_openemr.cli import cli\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "loaded = {m.split('.')[0] for m in sys.modules}\n"
        "heavy = loaded & {'google', 'googleapiclient', 'pydantic', 'rich', 'jinja2', 'requests', 'grpc'}\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(tmp_path: Path, verb: str) -> None:
    done = run(verb, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert f"Usage: gcp-openemr {verb}" in done.stdout
    assert "...\n" not in done.stdout.partition("\nCommands:\n")[2], "a verb is told in half a sentence"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["deplyo"], 64, "No such command 'deplyo'"),
        (["deploy", "--no-such-option"], 64, "No such option"),
        (["init", "--name", "demo"], 64, "Missing: --project, --region."),
        (["--impersonate", "me", "plan"], 64, "'me' is no service account's address"),
        (["plan"], 66, "gcp-openemr init"),
        (["deploy", "--openemr-tree", "."], 64, "--sandbox"),
        (["backup", "verify", "all"], 64, "See: gcp-openemr backup verify --help"),
        (["sandbox", "status"], 69, ""),
    ],
)
def test_wrong_input_gets_a_sentence_and_its_exit_code(
    tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_libraries_log_is_not_shown_to_people(tmp_path: Path) -> None:
    """urllib3 warns of each connection that it tries again, which is said in our own words where it matters."""
    code = (
        "import logging, sys; from gcp_openemr import cli; "
        "cli.ending.listen(); logging.getLogger('urllib3.connectionpool').warning('Retrying (Policy(total=6))')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stderr == ""


def test_a_failure_with_json_is_one_object(tmp_path: Path) -> None:
    done = run("--json", "plan", cwd=tmp_path)
    answer = json.loads(done.stdout)
    assert answer["error"]["exit_code"] == done.returncode == 66
    assert answer["error"]["what"] in done.stderr


def test_init_writes_a_file_once_and_never_over_another(tmp_path: Path) -> None:
    file = initialised(tmp_path)
    before = file.read_text()
    again = run("init", "--name", "other", "--project", "demo-clinic-1", "--region", "europe-west1", cwd=tmp_path)
    assert again.returncode == 64
    assert file.read_text() == before


def test_a_wrong_environment_file_shows_every_problem_with_its_line(tmp_path: Path) -> None:
    file = initialised(tmp_path)
    file.write_text(
        file.read_text().replace('region = "europe-west1"', 'regoin = "europe-west1"') + "\n[servcie]\ncpu = 2\n"
    )
    done = run("render", "-o", str(tmp_path / "out"), cwd=tmp_path)
    assert done.returncode == 65
    assert "regoin" in done.stderr
    assert "servcie" in done.stderr
    assert re.search(r"openemr\.toml:\d+", done.stderr)
    assert not (tmp_path / "out").exists()


def test_an_unknown_clinic_is_told_with_the_known_ones(tmp_path: Path) -> None:
    initialised(tmp_path)
    done = run("status", "--clinic", "nroth", cwd=tmp_path, env={"GOOGLE_APPLICATION_CREDENTIALS": _key(tmp_path)})
    assert done.returncode == 64
    assert "main" in done.stderr


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    initialised(tmp_path)
    (tmp_path / "taken").write_text("a file")
    done = run("render", "-o", str(tmp_path / "taken"), cwd=tmp_path)
    assert done.returncode == 66
    assert "taken" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "gcp-openemr-error.log").exists()


def test_render_writes_three_roots_without_any_network(tmp_path: Path) -> None:
    initialised(tmp_path)
    done = run("--json", "render", "-o", str(tmp_path / "out"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folders = [Path(folder).relative_to(tmp_path / "out").as_posix() for folder in json.loads(done.stdout)["folders"]]
    assert folders == ["foundation", "platform", "clinics/main"]
    for folder in folders:
        assert (tmp_path / "out" / folder / "terraform.tfvars.json").is_file()


def test_a_terraform_that_is_too_old_is_told(tmp_path: Path) -> None:
    initialised(tmp_path)
    old = tmp_path / "bin" / "terraform"
    old.parent.mkdir()
    old.write_text('#!/bin/sh\necho \'{"terraform_version": "1.2.9"}\'\n')
    old.chmod(0o755)
    done = run("plan", cwd=tmp_path, env={"PATH": f"{old.parent}:/usr/bin:/bin"})
    assert done.returncode == 71
    assert "1.2.9" in done.stderr


def test_no_credentials_are_told_with_both_ways_out(tmp_path: Path) -> None:
    initialised(tmp_path)
    done = run("status", cwd=tmp_path, env={"HOME": str(tmp_path), "NO_GCE_CHECK": "true", "PATH": "/usr/bin:/bin"})
    assert done.returncode == 77
    assert "--sandbox" in done.stderr


def _key(folder: Path) -> str:
    """Credentials of the kind `authorized_user`, good enough to be read; nothing is called with them."""
    file = folder / "adc.json"
    fields = {"type": "authorized_user", "client_id": "a", "client_secret": "b", "refresh_token": "c"}
    file.write_text(json.dumps(fields))
    return str(file)
