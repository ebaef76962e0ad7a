"""docs/ci.md: its ten steps, and every other command it shows, run in their order against the sandbox."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from gcp_openemr.ci.write import WORKFLOWS
from gcp_openemr.cli import cli
from gcp_openemr.sandbox import control

TEXT = (Path(__file__).parents[2] / "docs" / "ci.md").read_text()
BLOCKS = re.findall(r"^( *)```sh\n(.*?)^ *```", TEXT, re.MULTILINE | re.DOTALL)
LINES = [line.strip() for _, block in BLOCKS for line in block.splitlines()]
COMMANDS = [shlex.split(line)[1:] for line in LINES if line.startswith("gcp-openemr ")]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    yield tmp_path
    control.stop(tmp_path / ".gcp-openemr" / "sandbox")


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_every_command_is_one_of_the_program(arguments: list[str]) -> None:
    done = CliRunner().invoke(cli, [*arguments, "--help"])
    assert done.exit_code == 0, done.output


def test_what_is_shown_beside_our_commands_is_known() -> None:
    assert [line for line in LINES if not line.startswith("gcp-openemr ")] == ["gcloud auth application-default login"]


def test_every_workflow_is_in_the_table() -> None:
    table = set(re.findall(r"^\| ([a-z]+) \|", TEXT, re.MULTILINE)) - {"workflow"}
    assert table | set(re.findall(r"\*([a-z]+)\*", TEXT)) == {name for names in WORKFLOWS.values() for name in names}


@pytest.mark.torture
def test_the_ten_steps_lead_from_an_empty_folder_to_a_clinic(folder: Path) -> None:
    for arguments in COMMANDS:
        sandbox = [] if "--sandbox" in arguments else ["--sandbox"]
        command = [sys.executable, "-m", "gcp_openemr.cli", *sandbox, *arguments]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    assert (folder / ".github" / "workflows" / "openemr-prod-deploy.yml").is_file()
    assert (folder / ".github" / "workflows" / "openemr-review-expire.yml").is_file()
