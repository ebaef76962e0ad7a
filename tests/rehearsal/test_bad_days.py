"""Interrupted runs, two runs at once, dead holders: each is told in a sentence, and the next run continues."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gcp_openemr import leftovers
from gcp_openemr.environment import load_environment
from tests import leaks
from tests.rehearsal.place import Place, begin, empty, environment_file, terraform_processes, wait_for


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Place]:
    with empty(tmp_path, environment_file()) as place:
        yield place


def test_stopped_killed_and_doubled_deploys_are_continued_by_the_next(fresh: Place) -> None:
    """One environment on its way up: each run goes on where the one before was stopped."""
    stop(fresh, begin(fresh, "deploy", "-y"), signal.SIGINT, "→ platform: apply")

    killed = begin(fresh, "deploy", "-y")
    wait_for(killed, "→ platform: apply")
    killed.kill()
    killed.communicate(timeout=60)
    deadline = time.monotonic() + 60
    while terraform_processes(fresh) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert terraform_processes(fresh) == []
    seen = fresh.run("status")
    assert (seen.status, seen.json["lock"]["dead"]) == (6, True)
    assert [one["command"] for one in seen.json["unfinished"]][:1] == ["gcp-openemr deploy"]

    first = begin(fresh, "deploy", "-y")
    wait_for(first, "Took over the lock of a run that died")
    second = fresh.run("deploy", "-y")
    assert second.status == 75
    assert "holds the environment 'test' with `deploy` since" in second.json["error"]["what"]
    stop(fresh, first, signal.SIGTERM, "→ clinics/main: nfs-init")
    last = fresh.run("deploy", "-y")
    assert last.status == 0, last.stderr
    assert "Took over" not in last.stderr


def stop(place: Place, run: subprocess.Popen[str], sign: signal.Signals, moment: str) -> None:
    wait_for(run, moment)
    time.sleep(random.Random(f"{moment}{sign}").uniform(0.05, 0.6))  # noqa: S311
    run.send_signal(sign)
    stdout, stderr = run.communicate(timeout=60)
    assert run.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert "Run the same command again: it continues." in stdout
    assert terraform_processes(place) == []


@pytest.mark.torture
def test_a_developer_s_environment_goes_by_one_command_without_a_trace(
    deployed_copy: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = [tmp_path / "home", tmp_path / "tmp"]
    for name, folder in zip(("HOME", "TMPDIR"), elsewhere, strict=True):
        folder.mkdir()
        monkeypatch.setenv(name, str(folder))
    assert processes(deployed_copy)
    gone = deployed_copy.must("destroy", "-y", "--environment", "test")
    assert gone["destroyed"] == ["clinics/main", "platform", "foundation"]
    assert (gone["last_sets"], gone["kept"], gone["left"]) == ({}, [], [])
    environment = load_environment(deployed_copy.folder / "openemr.toml")
    assert leftovers.find(environment, deployed_copy.cloud()) == []
    assert processes(deployed_copy) == []
    assert [path for folder in elsewhere for path in folder.iterdir()] == []
    assert deployed_copy.must("destroy", "-y", "--environment", "test")["destroyed"] == []


@pytest.mark.torture
def test_a_deploy_brings_back_what_google_still_keeps(deployed_copy: Place) -> None:
    deployed_copy.must("destroy", "-y", "--environment", "test")
    again = deployed_copy.run("deploy", "-y")
    assert again.status == 0, again.stderr
    assert "oe-test-audit was deleted and is still kept; it is brought back" in again.stderr


def processes(place: Place) -> list[str]:
    """What runs for the environment: servers, services and jobs, without the sandbox itself."""
    return [line for line in leaks.processes("none", place.folder) if "gcp_openemr.sandbox.daemon" not in line]
