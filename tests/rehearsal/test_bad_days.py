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


@pytest.mark.parametrize(
    ("moment", "sign"),
    [("→ platform: apply", signal.SIGINT), ("→ clinics/main: nfs-init", signal.SIGTERM)],
    ids=["Ctrl-C while Terraform works", "SIGTERM while a job runs"],
)
def test_an_interrupted_deploy_ends_cleanly_and_the_next_one_continues(
    fresh: Place, moment: str, sign: signal.Signals
) -> None:
    run = begin(fresh, "deploy", "-y")
    wait_for(run, moment)
    time.sleep(random.Random(f"{moment}{sign}").uniform(0.05, 0.6))  # noqa: S311
    run.send_signal(sign)
    stdout, stderr = run.communicate(timeout=60)
    assert run.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert "Run the same command again: it continues." in stdout
    assert terraform_processes(fresh) == []
    again = fresh.run("deploy", "-y")
    assert again.status == 0, again.stderr
    assert "Took over" not in again.stderr


def test_a_killed_deploy_is_recognised_as_dead_and_the_next_one_continues(fresh: Place) -> None:
    run = begin(fresh, "deploy", "-y")
    wait_for(run, "→ platform: apply")
    run.kill()
    run.communicate(timeout=60)
    deadline = time.monotonic() + 60
    while terraform_processes(fresh) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert terraform_processes(fresh) == []
    seen = fresh.run("status")
    assert (seen.status, seen.json["lock"]["dead"]) == (6, True)
    assert [one["command"] for one in seen.json["unfinished"]][:1] == ["gcp-openemr deploy"]
    again = fresh.run("deploy", "-y")
    assert again.status == 0, again.stderr
    assert "Took over the lock of a run that died" in again.stderr


def test_of_two_deploys_at_once_the_second_says_who_holds_the_lock(fresh: Place) -> None:
    first = begin(fresh, "deploy", "-y")
    wait_for(first, "→ foundation: plan")
    second = fresh.run("deploy", "-y")
    assert second.status == 75
    what = second.json["error"]["what"]
    assert "holds the environment 'test' with `deploy` since" in what
    first.communicate(timeout=240)
    assert first.returncode == 0


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
