"""An upgrade as people run it: rehearsed, done, gone back from, killed; the stand-in has a second line for it.

And a clinic that moves here from elsewhere, where it runs the older line.
"""

from __future__ import annotations

import hashlib
import random
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from gcp_openemr.errors import Unhealthy
from gcp_openemr.redacted import Redacted
from gcp_openemr.sandbox import control
from gcp_openemr.sandbox.standin.sample_backup import SampleBackup
from gcp_openemr.sandbox.visitor import Visitor
from tests.rehearsal.place import (
    PROJECT,
    RESTORE,
    Place,
    begin,
    beside_an_archive,
    environment_file,
    terraform_processes,
    visit,
    wait_for,
)
from tests.rehearsal.shown import commands

PATIENT = 1
Step = tuple[str, int]
"""What people read of a clinic when it begins, and for which time."""
# On the way forth, and at which the way back is killed then.
STEPS: tuple[tuple[Step, Step], ...] = (
    (("plan", 1), ("plan", 1)),
    (("apply", 1), ("apply", 1)),
    (("backup", 1), ("backup", 1)),
    (("upgrade", 1), ("plan", 2)),  # the page
    (("backup", 2), ("nfs-init", 1)),
    (("upgrade", 2), ("apply", 2)),
    (("apply", 2), ("apply", 3)),
    (("traffic", 1), ("traffic", 1)),
    (("nfs-init", 1), ("nfs-init", 2)),
)
# At which a move is killed, one after the other: each run comes as far as the next.
MOVES: tuple[Step, ...] = (
    ("nfs-init", 1),
    ("backup", 1),
    ("apply", 1),
    ("upgrade", 1),
    ("nfs-init", 1),
    ("apply", 1),
    ("traffic", 1),
)
REHEARSAL, FORTH, STATUS, BACK, MOVE = commands("docs/upgrade.md")
SEED = 20261122


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One clinic on 7.0.4."""
    folder = tmp_path_factory.mktemp("old")
    (folder / "openemr.toml").write_text(environment_file())
    place = Place(folder=folder)
    place.must("deploy", "-y")
    yield place
    control.stop(place.sandbox)


def name_version(place: Place, version: str) -> None:
    file = place.folder / "openemr.toml"
    lines = [f'version = "{version}"' if line.startswith("version") else line for line in file.read_text().splitlines()]
    file.write_text("\n".join(lines) + "\n")


def at_once(shown: Sequence[str]) -> tuple[str, ...]:
    """A command of the page, without its questions and its time to drain."""
    verb, *rest = shown
    return (verb, "-y", *rest, "--drain", "0")


def to(clinic: str) -> tuple[str, ...]:
    return ("upgrade", "-y", "--to", "8.4.0", "--clinic", clinic, "--drain", "0")


def back(clinic: str) -> tuple[str, ...]:
    return ("upgrade", "-y", "--back", "--clinic", clinic, "--drain", "0")


def opens(visitor: Visitor, document: int, content: bytes) -> bool:
    try:
        return visitor.document(PATIENT, document) == hashlib.sha256(content).hexdigest()
    except Unhealthy:
        return False


def lines(place: Place, clinic: str) -> dict[str, str]:
    """Which line a clinic's service and each of its jobs is on."""
    cloud = place.cloud()
    parent, own = "projects/rehearsal-1/locations/europe-west1", f"oe-test-{clinic}-"
    service = cloud.services.get_service(name=f"{parent}/services/{own}web")
    found = {"web": service.template.containers[0]}
    for job in cloud.jobs.list_jobs(parent=parent):
        name = job.name.rpartition("/")[2]
        if name.startswith(own):
            found[name.removeprefix(own)] = job.template.template.containers[0]
    told = {name: [v.value for v in container.env if v.name == "OPENEMR_VERSION"] for name, container in found.items()}
    return {name: versions[0] for name, versions in told.items() if versions}


@pytest.mark.torture
@pytest.mark.timeout(900)
def test_a_clinic_goes_to_the_new_line_and_back(place: Place, deployed: dict[str, Any]) -> None:
    """Killed once on the way, at a step that the seed chooses; the other clinic stays on its line."""
    kept = visit(place, "north").upload(PATIENT, "kept.txt", b"before the upgrade")
    refused = place.run(*to("north"))
    told = refused.json["error"]["what"]
    assert (refused.status, told) == (64, "The environment file names OpenEMR 7.0.4, not 8.4.0.")
    name_version(place, "8.4.0")
    try:
        assert "Run: gcp-openemr upgrade --to 8.4.0" in refusal(place)
        kill(place, to("north"), "north", random.Random(SEED).choice(STEPS[2:])[0])  # noqa: S311 - a sample
        assert "finish it: gcp-openemr upgrade --to 8.4.0 --clinic north" in refusal(place)
        told = place.run("status", "--clinic", "north").json["unfinished"]
        assert any("upgrade --to 8.4.0 --clinic north" in one["command"] for one in told)
        done = place.must(*to("north"))["clinics"]["north"]
        assert done["from"] == "7.0.4"
        assert set(lines(place, "north").values()) == {"8.4.0"}
        assert set(lines(place, "main").values()) == {"7.0.4"}
        later = visit(place, "north").upload(PATIENT, "later.txt", b"after the upgrade")
        assert opens(visit(place, "north"), kept, b"before the upgrade")
        assert place.must(*back("north"))["version"] == "7.0.4"
        assert set(lines(place, "north").values()) == {"7.0.4"}
        browser = visit(place, "north")
        assert opens(browser, kept, b"before the upgrade")
        assert not opens(browser, later, b"after the upgrade")
    finally:
        name_version(place, "7.0.4")


def refusal(place: Place) -> str:
    """What a deploy says to do instead."""
    told = place.run("deploy", "-y")
    assert told.status == 65, told.stderr
    return str(told.json["error"]["do"])


@pytest.mark.torture
@pytest.mark.timeout(900)
def test_a_rehearsal_leaves_the_clinic_as_it_is_and_the_upgrade_can_be_called_off(old: Place) -> None:
    name_version(old, "8.4.0")
    rehearsed = old.must(*at_once(REHEARSAL))["rehearsed"]["main"]
    assert rehearsed["to"] == "8.4.0"
    assert set(lines(old, "main").values()) == {"7.0.4"}
    kill(old, at_once(REHEARSAL), "main", ("upgrade", 1))
    again = "gcp-openemr upgrade --to 8.4.0 --rehearse --clinic main"
    assert again in refusal(old)
    assert again in {one["command"] for one in old.run("status").json["unfinished"]}
    old.must(*at_once(REHEARSAL))
    kill(old, at_once(REHEARSAL), "main", ("upgrade", 1))
    assert old.must(*at_once(BACK))["set"] == ""
    assert "upgrade" not in lines(old, "main")
    kill(old, at_once(FORTH), "main", ("backup", 1))
    kept = visit(old, "main").upload(PATIENT, "kept.txt", b"while the upgrade is prepared")
    kill(old, at_once(FORTH), "main", ("backup", 2))
    with pytest.raises(Unhealthy):  # the page stands
        visit(old, "main")
    assert old.must(*at_once(BACK))["set"] == ""
    name_version(old, "7.0.4")
    assert old.run("plan").status == 0
    assert opens(visit(old, "main"), kept, b"while the upgrade is prepared")


@pytest.mark.torture
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("step", "step_back"), STEPS)
def test_killed_at_any_step_the_same_command_finishes_an_upgrade_and_a_way_back(
    old: Place, step: Step, step_back: Step
) -> None:
    kept = visit(old, "main").upload(PATIENT, "kept.txt", b"before the killed upgrade")
    name_version(old, "8.4.0")
    kill(old, at_once(FORTH), "main", step)
    old.must(*at_once(FORTH))
    old.must(*STATUS)
    assert opens(visit(old, "main"), kept, b"before the killed upgrade")
    assert old.run("plan").status == 0
    assert old.must(*at_once(FORTH))["clinics"] == {"main": {"already": True}}
    kill(old, at_once(BACK), "main", step_back)
    # until its first apply nothing of it has begun, and a deploy is none the worse for it
    ends = {("backup", 1): {0}, ("plan", 1): {0}, ("apply", 1): {0, 65}}.get(step_back, {65})
    assert old.run("deploy", "-y").status in ends
    old.must(*at_once(BACK))
    name_version(old, "7.0.4")
    old.must("deploy", "-y")
    assert opens(visit(old, "main"), kept, b"before the killed upgrade")
    assert old.run("plan").status == 0


@pytest.mark.torture
@pytest.mark.timeout(900)
def test_an_older_set_begins_an_environment_of_the_new_line(old: Place) -> None:
    kept = visit(old, "main").upload(PATIENT, "kept.txt", b"before the move")
    old.must("backup", "create")
    file = old.folder / "next.toml"
    file.write_text(environment_file().replace('"test"', '"next"').replace("7.0.4", "8.4.0"))
    recover = ("-e", str(file), "recover", "-y", "--from-bucket", f"{PROJECT}-oe-test-backups")
    refused = old.run(*recover)
    assert (refused.status, "older OpenEMR 7.0.4" in refused.json["error"]["what"]) == (5, True)
    assert "gcp-openemr recover --upgrade" in refused.json["error"]["do"]
    clinic = old.must(*recover, "--upgrade")["clinics"]["main"]
    assert clinic["storage"] == "upgrade"
    account = old.must("-e", str(file), "credentials")
    browser = Visitor(clinic["url"])
    browser.login(account["user"], Redacted(account["password"]))
    assert opens(browser, kept, b"before the move")


@pytest.fixture
def moving(tmp_path: Path, backup_file: tuple[Path, SampleBackup]) -> Iterator[Place]:
    """An environment of 8.4.0 that names a backup of 7.0.4."""
    with beside_an_archive(tmp_path, environment_file(RESTORE), backup_file[0]) as place:
        name_version(place, "8.4.0")
        yield place


@pytest.mark.torture
@pytest.mark.timeout(900)
def test_an_older_clinic_moves_here_killed_at_every_step(moving: Place, backup_file: tuple[Path, SampleBackup]) -> None:
    refused = moving.run("deploy", "-y")
    assert (refused.status, "older OpenEMR 7.0.4" in refused.json["error"]["what"]) == (5, True)
    assert "gcp-openemr deploy --upgrade" in refused.json["error"]["do"]
    move = (*MOVE, "-y")
    for step in MOVES:
        kill(moving, move, "main", step)
        if step == ("upgrade", 1):
            assert "finish it: gcp-openemr deploy --upgrade" in refusal(moving)
            told = moving.run("status").json["unfinished"]
            assert {one["command"] for one in told} == {"gcp-openemr deploy --upgrade"}
    moved = moving.must(*move)
    assert set(lines(moving, "main").values()) == {"8.4.0"}
    assert "upgrade" not in lines(moving, "main")
    browser = visit(moving, "main")
    for document in backup_file[1].documents:
        assert browser.document(document.patient_id, document.id) == document.sha256
    assert moving.run("plan").status == 0
    again = moving.must(*move)
    assert again["clinics"]["main"]["revision"] == moved["clinics"]["main"]["revision"]
    assert moving.must(*at_once(BACK))["version"] == "7.0.4"
    browser = visit(moving, "main")
    for document in backup_file[1].documents:
        assert browser.document(document.patient_id, document.id) == document.sha256


def kill(place: Place, command: tuple[str, ...], clinic: str, step: Step) -> None:
    run = begin(place, *command)
    words, times = step
    for _ in range(times):
        wait_for(run, f"→ clinics/{clinic}: {words}")
    run.send_signal(signal.SIGKILL)
    run.communicate(timeout=60)
    while terraform_processes(place):
        time.sleep(0.1)
