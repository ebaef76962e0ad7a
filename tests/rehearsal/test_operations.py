"""Every command that the handbook shows does what it says, on a deployed environment."""

from __future__ import annotations

import re
import shlex
import signal
from pathlib import Path
from typing import Any

import click
import pytest

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


@pytest.mark.parametrize("arguments", [c for c in commands() if c[0] == "rehearse"], ids=" ".join)
def test_the_rehearsal_takes_these_options(arguments: list[str]) -> None:
    """They are played by `test_rehearse`."""
    verb = cli.commands["rehearse"]
    assert isinstance(verb, click.Command)
    verb.make_context("rehearse", arguments[1:])


def test_every_page_that_the_handbook_names_is_there() -> None:
    pages = re.findall(r"\]\(([a-z-]+\.md)\)", PAGE.read_text())
    assert pages
    assert [page for page in pages if not (PAGE.parent / page).is_file()] == []
