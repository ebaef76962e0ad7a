"""What the README shows is there: its commands run in test_destroy.py, which takes down what they made."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

from tests.rehearsal.shown import ROOT, shell_lines


def test_every_other_command_of_the_readme_is_a_make_target() -> None:
    others = [line for line in shell_lines("README.md") if line and not line.startswith("gcp-openemr ")]
    assert others == ["make demo", "make stop", "make test"]
    for line in others:
        shown = subprocess.run([*shlex.split(line), "--dry-run"], cwd=ROOT, capture_output=True, check=False)
        assert shown.returncode == 0, line


def test_the_table_of_commands_is_the_one_of_the_program() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "gcp_openemr.cli", "--help"], capture_output=True, text=True, check=True
    ).stdout
    program = re.findall(
        r"^  ([a-z]+)  +[A-Z]", shown.partition("Commands:")[2].partition("Exit codes")[0], re.MULTILINE
    )
    table = re.findall(r"^\| `([a-z]+)[^|]*\|", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert sorted(program) == sorted(table)
