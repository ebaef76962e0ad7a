"""Interrupted runs, two runs at once, dead holders: each is told in a sentence, and the next run continues."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gcp_openemr.sandbox import control
from tests.rehearsal.place import Place, begin, environment_file, terraform_processes, wait_for


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Place]:
    (tmp_path / "openemr.toml").write_text(environment_file())
    place = Place(folder=tmp_path)
    control.start(place.sandbox)
    yield place
    control.stop(place.sandbox)


def test_stopped_killed_and_doubled_deploys_are_continued_by_the_next(fresh: Place) -> None:
    """One environment on its way up: each run goes on where the one before was stopped."""
    stopped_by(fresh, signal.SIGINT, "→ platform: apply")

    killed = begin(fresh, "deploy", "-y")
    wait_for(killed, "→ platform: apply")
    killed.kill()
    killed.communicate(timeout=60)
    deadline = time.monotonic() + 60
    while terraform_processes(fresh) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert terraform_processes(fresh) == []

    first = begin(fresh, "deploy", "-y")
    wait_for(first, "Took over the lock of a run that died")
    second = fresh.run("deploy", "-y")
    assert second.status == 75
    assert "holds the environment 'test' with `deploy` since" in second.json["error"]["what"]
    first.kill()
    first.communicate(timeout=60)

    stopped_by(fresh, signal.SIGTERM, "→ clinics/main: nfs-init")
    last = fresh.run("deploy", "-y")
    assert last.status == 0, last.stderr
    assert "Took over" not in last.stderr


def stopped_by(place: Place, sign: signal.Signals, moment: str) -> None:
    run = begin(place, "deploy", "-y")
    wait_for(run, moment)
    time.sleep(random.Random(f"{moment}{sign}").uniform(0.05, 0.6))  # noqa: S311
    run.send_signal(sign)
    stdout, stderr = run.communicate(timeout=60)
    assert run.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert "Run the same command again: it continues." in stdout
    assert terraform_processes(place) == []


def test_destroy_takes_everything_but_the_foundation_away_and_deploy_brings_it_back(fresh: Place) -> None:
    fresh.must("deploy", "-y")
    refused = fresh.run("destroy", "-y")
    assert refused.status == 64
    assert "--environment test" in refused.json["error"]["do"]
    gone = fresh.must("destroy", "-y", "--environment", "test")
    assert gone["destroyed"] == ["clinics/main", "platform"]
    assert fresh.run("status").status == 6
    cloud = fresh.cloud()
    assert not list(cloud.services.list_services(parent="projects/rehearsal-1/locations/europe-west1"))
    kept = [secret.name.rpartition("/")[2] for secret in cloud.secrets.list_secrets(parent="projects/rehearsal-1")]
    assert kept == ["oe-test-main-backup-password"]  # the foundation's, as long as there may be backup sets
    assert cloud.storage.lookup_bucket("rehearsal-1-oe-test-backups") is not None
    assert fresh.run("destroy", "-y", "--environment", "test").status == 0
    fresh.must("deploy", "-y")
