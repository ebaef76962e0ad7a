"""Every `gcp-openemr` command that the README shows, in its order, in a sandbox: the production profile to its end."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gcp_openemr.sandbox import control
from tests.rehearsal.place import Place

README = Path(__file__).parents[2] / "README.md"


def shell_lines() -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)
    return [line.partition("#")[0].strip() for block in blocks for line in block.splitlines()]


def commands() -> list[list[str]]:
    return [shlex.split(line)[1:] for line in shell_lines() if line.startswith("gcp-openemr ")]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    control.stop(tmp_path / ".gcp-openemr" / "sandbox")


def rehearse(folder: Path, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """The command as shown, with --sandbox, and -y where it would ask."""
    sandbox = [] if "--sandbox" in arguments else ["--sandbox"]
    yes = ["-y"] if arguments == ["deploy"] else []
    command = [sys.executable, "-m", "gcp_openemr.cli", *sandbox, *arguments, *yes]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=240)


def test_the_readme_deploys_production_and_destroy_takes_it_down(folder: Path) -> None:
    shown = commands()
    assert [arguments[0] for arguments in shown] == ["init", "--sandbox", "plan", "deploy", "status", "credentials"]
    for arguments in shown:
        done = rehearse(folder, arguments)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    place = Place(folder=folder)
    gone = place.must("destroy", "-y", "--environment", "prod")
    assert gone["destroyed"] == ["clinics/main", "platform"]


def test_every_other_command_of_the_readme_is_a_make_target() -> None:
    others = [line for line in shell_lines() if line and not line.startswith("gcp-openemr ")]
    assert others == ["make demo", "make stop", "make test"]
    for line in others:
        shown = subprocess.run([*shlex.split(line), "--dry-run"], cwd=README.parent, capture_output=True, check=False)
        assert shown.returncode == 0, line


def test_the_table_of_commands_is_the_one_of_the_program() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "gcp_openemr.cli", "--help"], capture_output=True, text=True, check=True
    ).stdout
    program = re.findall(
        r"^  ([a-z]+)  +[A-Z]", shown.partition("Commands:")[2].partition("Exit codes")[0], re.MULTILINE
    )
    table = re.findall(r"^\| `([a-z]+)[^|]*\|", README.read_text(), re.MULTILINE)
    assert sorted(program) == sorted(table)
