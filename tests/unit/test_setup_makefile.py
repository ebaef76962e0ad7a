"""What people and continuous integration type."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
TARGETS = (
    "help",
    "setup",
    "demo",
    "stop",
    "test",
    "lint",
    "torture",
    "bench",
    "lock",
    "clean",
    "terraform-shim",
    "wheel",
)


def make(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**{name: value for name, value in os.environ.items() if not name.startswith("MAKE")}, **(env or {})}
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=CHECKOUT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_make_alone_lists_every_target_for_people() -> None:
    listed = dict(re.findall(r"^  make (\S+) +(.+)$", make().stdout, re.MULTILINE))
    assert set(TARGETS) <= set(listed)
    assert make("help").stdout == make().stdout


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_can_be_made(target: str) -> None:
    done = make("--dry-run", target)
    assert done.returncode == 0, done.stderr


def test_the_demo_sets_up_first_and_then_deploys() -> None:
    lines = make("--dry-run", "demo").stdout.splitlines()
    order = [next(i for i, line in enumerate(lines) if words in line) for words in ("setup packages", "sandbox.demo")]
    assert order == sorted(order)


def test_an_old_or_missing_python_is_told_in_one_sentence() -> None:
    done = make("python", "PYTHON=/nonexistent/python3")
    assert done.returncode != 0
    assert "/nonexistent/python3 is missing or older than Python 3.11" in done.stderr + done.stdout


def test_settings_of_the_machines_terraform_do_not_reach_the_recipes(tmp_path: Path) -> None:
    echo = tmp_path / "echo.mk"
    echo.write_text(f"include {CHECKOUT}/Makefile\nshow:\n\t@env\n")
    shown = make("--file", str(echo), "show", env={"TF_CLI_CONFIG_FILE": "/nonexistent", "TF_DATA_DIR": "/x"}).stdout
    assert "CHECKPOINT_DISABLE=1" in shown
    assert "TF_CLI_CONFIG_FILE" not in shown
    assert "TF_DATA_DIR" not in shown


def test_continuous_integration_makes_test_without_standard_input(tmp_path: Path) -> None:
    (tmp_path / ".ci").mkdir()
    shutil.copy(CHECKOUT / ".ci" / "run", tmp_path / ".ci" / "run")
    fake = tmp_path / "make"
    fake.write_text('#!/bin/sh\necho "made $* in $PWD with [$(cat)]"\nexit 7\n')
    fake.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "CI": "true"}
    done = subprocess.run(
        ["bash", ".ci/run"], cwd=tmp_path, env=environment, input="words", capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (7, f"made test in {tmp_path} with []\n")


@pytest.mark.parametrize(
    ("command", "status", "end"), [("true", 0, r"a step: \d+\.\d s"), ("exit 3", 3, "FAILED with status 3")]
)
def test_a_step_tells_its_name_its_seconds_and_its_failure(command: str, status: int, end: str) -> None:
    done = subprocess.run(
        [CHECKOUT / ".ci" / "step", "a step", "bash", "-c", command], capture_output=True, text=True, check=False
    )
    assert done.returncode == status
    assert done.stdout.startswith("── a step\n")
    assert re.search(end, done.stdout + done.stderr)


def test_offline_leaves_a_command_nothing_but_loopback() -> None:
    done = subprocess.run(
        [CHECKOUT / ".ci" / "offline", "ip", "-oneline", "link"], capture_output=True, text=True, check=True
    )
    assert re.fullmatch(r"1: lo: <[^>]*\bUP\b.*\n", done.stdout)
