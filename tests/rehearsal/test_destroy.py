"""The README's commands deploy an environment of the production profile, and those of docs/destroy.md take it down:

a clinic alone, then all of it with every trap on, then what outlives a teardown.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
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
from gcp_openemr.sandbox.standin.sample_backup import SampleBackup
from tests.rehearsal.place import (
    RESTORE,
    Place,
    begin,
    beside_an_archive,
    copied,
    empty,
    environment_file,
    terraform_processes,
    visit,
    wait_for,
)
from tests.rehearsal.shown import commands, rehearse

PROJECT = "my-clinic-prod"
ONE_CLINIC, ALL, FOUNDATION = commands("docs/destroy.md")
NOW = ("destroy", "-y", "--environment", "prod", "--wait", "0s")
Step = tuple[str, int]
"""What people read when it begins, and for which time."""
STEPS: tuple[Step, ...] = (
    ("clinics/main: backup", 1),
    ("clinics/main: apply", 1),  # lifts protections
    ("clinics/main: apply", 2),  # service and schedules go
    ("clinics/main: backup", 2),
    ("clinics/main: verify", 1),
    ("clinics/main: plan", 3),
    ("clinics/main: apply", 3),
    ("platform: plan", 1),
    ("platform: apply", 1),
    ("platform: apply", 2),
)
OF_A_CLINIC: tuple[Step, ...] = (
    ("clinics/north: backup", 2),
    ("clinics/north: verify", 1),
    ("clinics/north: remove its data", 1),
    ("clinics/north: apply", 3),
    ("ask Google what is left", 1),
)
OF_THE_FOUNDATION: tuple[Step, ...] = (
    ("foundation: plan", 1),
    ("foundation: apply", 1),
    (f"empty gs://{PROJECT}-oe-prod-backups", 1),
    ("foundation: apply", 2),
    ("ask Google what is left", 1),
    (f"empty gs://{PROJECT}-oe-prod-state", 1),
    (f"delete gs://{PROJECT}-oe-prod-state", 1),
)
CHANGES = ("update", "delete")  # of the instance: its protection is lifted first
SIGNS = (signal.SIGKILL, signal.SIGINT)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    made = Place(folder=tmp_path_factory.mktemp("production"))
    shown = commands("README.md")
    assert [arguments[0] for arguments in shown] == ["init", "--sandbox", "plan", "deploy", "status", "credentials"]
    try:
        for arguments in shown:
            if arguments == ["credentials"]:  # as shown it is for one clinic
                name_clinics(made, "main")
            done = rehearse(made.folder, arguments)
            assert done.returncode == 0, (arguments, done.stdout, done.stderr)
            name_clinics(made, "main", "north")
        yield made
    finally:
        control.stop(made.sandbox)


def name_clinics(place: Place, *clinics: str) -> None:
    file = place.folder / "openemr.toml"
    text = file.read_text().partition("\n[clinics.")[0]
    file.write_text(text + "".join(f"\n[clinics.{clinic}]" for clinic in clinics) + "\n")


def left(place: Place, clinic: str = "") -> list[Leftover]:
    environment = load_environment(place.folder / "openemr.toml")
    cloud = dataclasses.replace(place.cloud(), project=environment.project)
    return leftovers.find(environment, cloud, clinic=clinic)


def sets(place: Place, clinic: str) -> list[str]:
    listed: list[dict[str, Any]] = place.must("backup", "list", "--clinic", clinic)["clinics"][clinic]["sets"]
    return [one["set"] for one in listed]


def test_no_name_no_destroy(place: Place) -> None:
    refused = place.run("destroy", "-y")
    assert (refused.status, refused.json["error"]["do"]) == (64, "Add: --environment prod")
    assert "clinic north: service, jobs" in refused.stderr
    assert "north: no backup set" in refused.stderr
    assert "A last set of each clinic is made first." in refused.stderr
    other = place.run("destroy", "-y", "--environment", "prod", "--foundation", "test")
    assert (other.status, "the file describes 'prod'" in other.json["error"]["what"]) == (64, True)
    nobody = place.run(*NOW, "--clinic", "south")
    assert (nobody.status, nobody.json["error"]["do"]) == (64, "Its clinics: main, north.")


def test_a_clinic_goes_alone_and_leaves_its_sets(place: Place) -> None:
    """A job of it that is still at work is let finish."""
    before = {(one.type, one.name) for one in left(place, "main")}
    with at_work(place, "oe-prod-north-background"):
        going = begin(place, *ONE_CLINIC)
        wait_for(going, "→ clinics/north: wait for Google")
    stdout, told = going.communicate(timeout=240)
    assert going.returncode == 0, told
    gone = json.loads(stdout)
    assert gone["destroyed"] == ["clinics/north"]
    assert sets(place, "north")[0] == gone["last_sets"]["north"]
    assert {one.name for one in left(place, "north")} == {
        "oe-prod-north-backup-password",
        f"oe-prod-north-prune@{PROJECT}.iam.gserviceaccount.com",
    }
    assert {(one.type, one.name) for one in left(place, "main")} == before
    name_clinics(place, "main")
    assert place.run("plan").status == 0
    listed = place.must("backup", "list")["clinics"]
    assert ([*listed], listed["north"]["sets"][0]["set"]) == (["main", "north"], gone["last_sets"]["north"])
    assert sets(place, "north") == [one["set"] for one in listed["north"]["sets"]]


def test_with_every_trap_on_it_ends_with_nothing_left(place: Place) -> None:
    """Killed somewhere, Cloud SQL busy, its addresses held, a thing in no state: one run after the other goes on."""
    sandbox = remote(place.sandbox)
    sandbox.settings(held_addresses=1)
    for change in CHANGES:
        sandbox.add_fault(effect="status", refusal="sqladmin.busy", method=f"sql.instances.{change}", times=2)
    sink = {"name": "oe-prod-stray", "filter": "x", "destination": f"storage.googleapis.com/{PROJECT}-oe-prod-build"}
    place.cloud().ask("logging", f"v2/projects/{PROJECT}/sinks", body=sink)
    chance = random.Random(9)  # noqa: S311 -- a sample
    stop(place, chance.choice(STEPS), chance.choice(SIGNS), chance.uniform(0, 0.5))

    unfinished = place.run(*NOW)
    assert unfinished.status == 10, unfinished.stderr
    error = unfinished.json["error"]
    assert "Cloud Run keeps its addresses in the subnetwork" in error["what"]
    assert error["do"].endswith(" ".join(place.arguments(*NOW)))
    types = {one.type for one in left(place)}
    assert {"google_compute_subnetwork", "google_compute_network"} <= types
    assert not types & {"google_sql_database_instance", "google_compute_disk", "google_cloud_run_v2_job"}
    assert {fault.method: fault.hits for fault in sandbox.faults()} == {f"sql.instances.{one}": 2 for one in CHANGES}

    waiting = begin(place, *ALL)
    wait_for(waiting, "→ platform: wait for Google")
    second = place.run(*NOW)
    assert (second.status, "holds the environment 'prod'" in second.json["error"]["what"]) == (75, True)
    sandbox.settings(held_addresses=0)
    _, told = waiting.communicate(timeout=240)
    assert waiting.returncode == 0, told
    assert "removed google_logging_project_sink oe-prod-stray, which was in no state" in told
    assert {one.name.partition("@")[0] for one in left(place)} == kept("main", "north")
    assert len(sets(place, "main")) >= 2


def test_the_foundation_goes_when_its_name_is_typed_again(place: Place) -> None:
    gone = place.must(*FOUNDATION)
    assert (gone["destroyed"], gone["kept"]) == (["foundation"], [])
    assert left(place) == []
    api = f"projects/{PROJECT}/services/run.googleapis.com"
    assert place.cloud().ask("serviceusage", f"v1/{api}")["state"] == "ENABLED", "others may use it"
    assert place.must(*FOUNDATION)["destroyed"] == []


@pytest.fixture(scope="module")
def shelved_production(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an environment of one clinic, its sandbox stopped: to be copied."""
    folder = tmp_path_factory.mktemp("shelf")
    with production(folder) as made:
        made.must("deploy", "-y")
    return folder


@pytest.mark.torture
@pytest.mark.timeout(900)
@pytest.mark.parametrize("sign", SIGNS)
@pytest.mark.parametrize("step", STEPS)
def test_a_destroy_stopped_at_any_step_is_ended_by_the_next(
    shelved_production: Path, tmp_path: Path, step: Step, sign: signal.Signals
) -> None:
    with copied(shelved_production, tmp_path) as made:
        visit(made, "main").upload(1, "last.txt", b"written before the end")
        stop(made, step, sign, 0.2)
        made.must(*ALL)
        assert {one.name.partition("@")[0] for one in left(made)} == kept("main")
        (newest, *_) = made.must("backup", "list")["clinics"]["main"]["sets"]
        assert (newest["state"], newest["documents"]) == ("verified", 1)


@pytest.mark.torture
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("sign", SIGNS)
def test_one_clinic_s_destroy_stopped_at_any_step_is_ended_by_the_next(tmp_path: Path, sign: signal.Signals) -> None:
    """And the other clinic does not notice."""
    with production(tmp_path) as made:
        name_clinics(made, "main", "north")
        for step in OF_A_CLINIC:
            made.must("deploy", "-y")
            visit(made, "north").upload(1, "last.txt", b"written before the end")
            before = {(one.type, one.name) for one in left(made, "main")}
            stop(made, step, sign, 0.2, *ONE_CLINIC)
            told = [one["command"] for one in made.run("status").json["unfinished"]]
            assert "gcp-openemr destroy" not in told, "that takes the other clinic, too"
            if sign == signal.SIGKILL and step != OF_A_CLINIC[-1]:  # at which it may come to its end first
                assert told[0] == "gcp-openemr destroy --clinic north"
            made.must(*ONE_CLINIC)
            assert {one.name.partition("@")[0] for one in left(made, "north")} == {
                "oe-prod-north-backup-password",
                "oe-prod-north-prune",
            }
            (newest, *_) = made.must("backup", "list")["clinics"]["north"]["sets"]
            assert (newest["state"], newest["documents"]) == ("verified", 1)
            assert {(one.type, one.name) for one in left(made, "main")} == before
            visit(made, "main")


@pytest.mark.torture
@pytest.mark.timeout(900)
def test_a_destroyed_clinic_comes_back_from_its_last_set(tmp_path: Path) -> None:
    """As docs/backups.md says: named again it begins empty, and its sets are read back and restored over that."""
    with production(tmp_path) as made:
        name_clinics(made, "main", "north")
        made.must("deploy", "-y")
        document = visit(made, "north").upload(1, "last.txt", b"written before the end")
        last = made.must(*ONE_CLINIC)["last_sets"]["north"]
        name_clinics(made, "main")
        made.must("deploy", "-y")
        assert last in sets(made, "north")
        name_clinics(made, "main", "north")
        told = made.run("deploy", "-y")
        assert told.status == 0, told.stderr
        assert f"gcp-openemr restore --clinic north --from {last}" in told.stderr
        assert last in made.must("backup", "verify", "--clinic", "north", "--data", "all")["clinics"]["north"]["sets"]
        made.must("restore", "-y", "--clinic", "north", "--from", last, "--drain", "0")
        assert visit(made, "north").document(1, document) == hashlib.sha256(b"written before the end").hexdigest()
        made.must("backup", "drill", "--clinic", "north")
        visit(made, "main")


@pytest.mark.torture
@pytest.mark.timeout(900)
def test_what_a_clinic_first_began_with_does_not_come_back_for_its_last_set(
    tmp_path: Path, backup_file: tuple[Path, SampleBackup]
) -> None:
    """A file goes on naming the backup that a clinic was moved here with, years ago."""
    file = environment_file(RESTORE).replace("developer", "production")
    with beside_an_archive(tmp_path, file, backup_file[0]) as made:
        made.must("deploy", "-y")
        document = visit(made, "main").upload(1, "last.txt", b"written since")
        last = made.must("destroy", "-y", "--environment", "test", "--clinic", "main")["last_sets"]["main"]
        refused = made.run("deploy", "-y")
        assert refused.status == 5
        assert f"an earlier clinic of this name left set {last}" in refused.json["error"]["what"]
        made.must("restore", "-y", "--clinic", "main", "--from", last, "--without-set", "--drain", "0")
        made.must("deploy", "-y")
        assert visit(made, "main").document(1, document) == hashlib.sha256(b"written since").hexdigest()


@pytest.mark.torture
@pytest.mark.timeout(900)
@pytest.mark.parametrize("sign", SIGNS)
@pytest.mark.parametrize("step", OF_THE_FOUNDATION)
def test_a_foundation_s_destroy_stopped_at_any_step_is_ended_by_the_next(
    tmp_path: Path, step: Step, sign: signal.Signals
) -> None:
    with production(tmp_path) as made:
        made.must("bootstrap", "-y")
        stop(made, step, sign, 0.1, *FOUNDATION)
        made.must(*FOUNDATION)
        assert left(made) == []


def production(folder: Path) -> contextlib.AbstractContextManager[Place]:
    """A sandbox and the file of an environment of the production profile, in which nothing is deployed."""
    file = environment_file().replace("developer", "production").replace("rehearsal-1", PROJECT).replace("test", "prod")
    return empty(folder, file)


def kept(*clinics: str) -> set[str]:
    """What stays, by the parts of its names before an @."""
    own = {f"{PROJECT}-oe-prod-{what}" for what in ("backups", "build", "state")}
    own |= {f"oe-prod-{clinic}-{what}" for clinic in clinics for what in ("prune", "backup-password")}
    return own | {"oe-prod", "oe-prod-audit", "oe-prod-build", "serviceAccount:oe-prod-build"}


@contextlib.contextmanager
def at_work(place: Place, job: str) -> Iterator[None]:
    """An execution of a job, whose processes stand still until the end of this."""
    path = f"v2/projects/{PROJECT}/locations/europe-west1/jobs/{job}:run"
    execution = place.cloud().ask("run", path, body={})["metadata"]["name"].rpartition("/")[2]
    deadline = time.monotonic() + 60
    while not (found := processes(f"CLOUD_RUN_EXECUTION={execution}", job.rpartition("-")[2])):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    for process in found:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in found:
            os.kill(process, signal.SIGCONT)


def processes(variable: str, argument: str) -> list[int]:
    wanted = {"cmdline": argument.encode(), "environ": variable.encode()}
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            if all(words in (folder / name).read_bytes().split(b"\0") for name, words in wanted.items()):
                found.append(int(folder.name))
    return found


def stop(place: Place, step: Step, sign: signal.Signals, seconds: float, *command: str) -> None:
    """Begin a destroy and end it that long after a step began; Terraform has ended too when this returns."""
    run = begin(place, *(command or NOW))
    words, times = step
    for _ in range(times):
        wait_for(run, f"→ {words}")
    time.sleep(seconds)
    run.send_signal(sign)
    run.communicate(timeout=120)
    deadline = time.monotonic() + 60
    while terraform_processes(place) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert terraform_processes(place) == []
