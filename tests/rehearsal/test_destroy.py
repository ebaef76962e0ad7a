"""An environment of the production profile taken down: a clinic alone, then all with every trap on, then for good."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gcp_openemr import leftovers
from gcp_openemr.environment import load_environment
from gcp_openemr.leftovers import Leftover
from gcp_openemr.sandbox import control
from gcp_openemr.sandbox.remote import remote
from tests.rehearsal.place import PROJECT, Place, begin, environment_file, terraform_processes, visit, wait_for

STEPS = (
    "clinics/main: backup",
    "clinics/main: plan",
    "clinics/main: apply",
    "clinics/main: verify",
    "platform: plan",
    "platform: apply",
    "ask Google what is left",
)
GO = ("destroy", "-y", "--environment", "test")


def production(folder: Path, clinics: str) -> Place:
    (folder / "openemr.toml").write_text(environment_file(clinics).replace("developer", "production"))
    place = Place(folder=folder)
    control.start(place.sandbox)
    return place


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    made = production(tmp_path_factory.mktemp("destroy"), "[backups]\nscheduled = false\n[clinics.main]\n[clinics.north]\n")
    try:
        made.must("deploy", "-y")
        yield made
    finally:
        control.stop(made.sandbox)


def left(place: Place, clinic: str = "") -> list[Leftover]:
    return leftovers.find(load_environment(place.folder / "openemr.toml"), place.cloud(), clinic=clinic)


def sets(place: Place, clinic: str) -> list[str]:
    listed: list[dict[str, Any]] = place.must("backup", "list", "--clinic", clinic)["clinics"][clinic]["sets"]
    return [one["set"] for one in listed]


def test_no_name_no_destroy(place: Place) -> None:
    refused = place.run("destroy", "-y")
    assert (refused.status, refused.json["error"]["do"]) == (64, "Add: --environment test")
    assert "clinic north: service, jobs" in refused.stderr
    assert "north: no backup set" in refused.stderr
    other = place.run("destroy", "-y", "--environment", "prod")
    assert (other.status, "the file describes 'test'" in other.json["error"]["what"]) == (64, True)
    nobody = place.run(*GO, "--clinic", "south")
    assert (nobody.status, nobody.json["error"]["do"]) == (64, "Its clinics: main, north.")


def test_a_clinic_goes_alone_and_leaves_its_sets(place: Place) -> None:
    before = {(one.type, one.name) for one in left(place, "main")}
    gone = place.must(*GO, "--clinic", "north")
    assert gone["destroyed"] == ["clinics/north"]
    assert sets(place, "north")[0] == gone["last_sets"]["north"]
    assert {one.name for one in left(place, "north")} == {
        "oe-test-north-backup-password",
        f"oe-test-north-prune@{PROJECT}.iam.gserviceaccount.com",
    }
    assert {(one.type, one.name) for one in left(place, "main")} == before
    file = place.folder / "openemr.toml"
    file.write_text(file.read_text().replace("[clinics.north]\n", ""))
    assert place.run("plan").status == 0


def test_with_every_trap_on_it_ends_with_nothing_left(place: Place) -> None:
    """Killed at some step, addresses held, a job of the platform's no state knows; one run after the other goes on."""
    remote(place.sandbox).settings(held_addresses=1)
    cloud = place.cloud()
    visit(place, "main").upload(1, "last.txt", b"written before the end")
    sink = {"name": "oe-test-stray", "filter": "x", "destination": f"storage.googleapis.com/{PROJECT}-oe-test-build"}
    cloud.ask("logging", f"v2/projects/{PROJECT}/sinks", body=sink)
    kill(place, random.Random(9).choice(STEPS[:6]), 0.3)  # noqa: S311 -- a sample
    unfinished = place.run(*GO, "--wait", "0s")
    assert unfinished.status == 10, unfinished.stderr
    error = unfinished.json["error"]
    assert "Cloud Run keeps its addresses in the subnetwork" in error["what"]
    assert error["do"].endswith(" ".join(place.command(*GO, "--wait", "0s")[3:]))
    types = {one.type for one in left(place)}
    assert {"google_compute_subnetwork", "google_compute_network"} <= types
    assert not types & {"google_sql_database_instance", "google_compute_disk", "google_cloud_run_v2_job"}
    waiting = begin(place, *GO, "--wait", "10m")
    wait_for(waiting, "→ platform: wait for Google")
    remote(place.sandbox).settings(held_addresses=0)
    _, told = waiting.communicate(timeout=240)
    assert waiting.returncode == 0, told
    assert "removed google_logging_project_sink oe-test-stray, which was in no state" in told
    kept = {one.name.partition("@")[0] for one in left(place)}
    assert kept == {
        f"{PROJECT}-oe-test-backups",
        f"{PROJECT}-oe-test-build",
        f"{PROJECT}-oe-test-state",
        "oe-test",
        "oe-test-audit",
        "oe-test-build",
        *(f"oe-test-{clinic}-{what}" for clinic in ("main", "north") for what in ("prune", "backup-password")),
        "serviceAccount:oe-test-build",
    }


def kill(place: Place, step: str, seconds: float, sign: signal.Signals = signal.SIGKILL) -> None:
    run = begin(place, *GO)
    wait_for(run, f"→ {step}")
    time.sleep(seconds)
    run.send_signal(sign)
    run.communicate(timeout=120)
    deadline = time.monotonic() + 60
    while terraform_processes(place) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert terraform_processes(place) == []
