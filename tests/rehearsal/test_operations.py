"""Every command that the handbook shows does what it says, on a deployed environment."""

from __future__ import annotations

import re
import shlex
import signal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gcp_openemr.cli import cli
from tests.rehearsal.place import Place, begin

ELSEWHERE = {"rehearse": "test_rehearse", "status --drift": "test_deploy"}
PAGE = Path(__file__).parents[2] / "docs" / "operations.md"


def commands() -> list[list[str]]:
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    lines = [line.partition("#")[0].strip() for block in blocks for line in block.splitlines()]
    assert all(line.startswith("gcp-openemr ") for line in lines if line)
    return [shlex.split(line)[1:] for line in lines if line]


def here() -> list[list[str]]:
    """Those that no other module runs; each costs the start of a program at least."""
    return [c for c in commands() if not ELSEWHERE.keys() & {c[0], " ".join(c)}]


@pytest.mark.torture
@pytest.mark.parametrize("arguments", here(), ids=" ".join)
def test_the_command_works(place: Place, deployed: dict[str, Any], arguments: list[str]) -> None:
    if "--follow" in arguments:
        run = begin(place, *arguments)
        assert run.stdout is not None
        assert run.stdout.readline().startswith("{")
        run.send_signal(signal.SIGINT)
        run.communicate(timeout=60)
        assert run.returncode == 0
    else:
        place.must(*arguments)


def shown_anywhere() -> list[list[str]]:
    """Every command in a block of any page."""
    pages = [PAGE.parents[1] / "README.md", *sorted(PAGE.parent.glob("*.md"))]
    blocks = [
        b for page in pages for b in re.findall(r"^```\w*\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    ]
    lines = [line.partition(" #")[0].strip() for block in blocks for line in block.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("gcp-openemr ")]


def test_the_program_takes_every_command_that_a_page_shows() -> None:
    """Running it costs a deployment; that its verb and options are there costs nothing."""
    shown = shown_anywhere()
    assert {"upgrade", "restore", "rotate", "destroy", "plan"} <= {word for arguments in shown for word in arguments}
    for arguments in shown:
        explained = CliRunner().invoke(cli, [*arguments, "--help"])
        assert explained.exit_code == 0, (arguments, explained.output)


def test_every_page_that_the_handbook_names_is_there() -> None:
    pages = re.findall(r"\]\(([a-z-]+\.md)\)", PAGE.read_text())
    assert pages
    assert [page for page in pages if not (PAGE.parent / page).is_file()] == []
