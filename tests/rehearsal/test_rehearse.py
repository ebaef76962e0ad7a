"""`rehearse`, as people run it: what it proves, what it says when something is lost, and that nothing is left of it."""

from __future__ import annotations

import io
import json
import signal
from pathlib import Path
from xml.etree import ElementTree

import pytest

from gcp_openemr.commands.rehearse import rehearse
from gcp_openemr.console import Console
from gcp_openemr.errors import RehearsalFailed
from gcp_openemr.rehearsal.acts import Act
from gcp_openemr.rehearsal.play import Play
from tests.rehearsal.place import Place, begin, environment_file, wait_for


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "openemr.toml").write_text(environment_file())
    return Place(folder=tmp_path)


def left(place: Place) -> list[str]:
    return [path.name for path in (place.folder / ".gcp-openemr").iterdir()]


def prove(_play: Play) -> str:
    return "the sandbox holds a backup"


def lose(_play: Play) -> str:
    raise RehearsalFailed("Document 3 of clinic main is lost.")


def test_what_is_lost_fails_the_rehearsal_and_nothing_more_is_played(place: Place) -> None:
    results, junit = io.StringIO(), place.folder / "junit.xml"
    console = Console(as_json=True, people=io.StringIO(), results=results)
    acts = [Act(name="prove", play=prove), Act(name="lose", play=lose), Act(name="prove again", play=prove)]
    assert not rehearse(place.folder / "openemr.toml", console, seed=None, junit=junit, acts=acts)
    told = json.loads(results.getvalue())
    assert [(act["act"], act["proved"], act["failed"]) for act in told["acts"]] == [
        ("prove", "the sandbox holds a backup", ""),
        ("lose", "", "Document 3 of clinic main is lost."),
        ("prove again", "", ""),
    ]
    assert told["error"]["exit_code"] == RehearsalFailed.exit_code
    assert ElementTree.parse(junit).getroot().get("failures") == "1"  # noqa: S314 -- our own
    assert left(place) == []


def test_a_killed_rehearsal_is_taken_away_by_the_next_and_an_interrupted_one_by_itself(place: Place) -> None:
    killed = begin(place, "rehearse")
    wait_for(killed, "→ deploy")
    killed.kill()
    killed.communicate(timeout=60)
    (dead,) = left(place)
    interrupted = begin(place, "rehearse")
    wait_for(interrupted, "→ deploy")
    assert dead not in left(place)
    interrupted.send_signal(signal.SIGINT)
    _, stderr = interrupted.communicate(timeout=240)
    assert (interrupted.returncode, "Traceback" in stderr) == (130, False), stderr
    assert left(place) == []


DAYS = [(), ("--to", "8.4.0"), *(("--faults", str(seed)) for seed in range(1, 11))]
CLOSED = """
[clinics.main]
public_url = "https://main.example.org"
ingress_settings = "internal"

[clinics.north]
public_access = false
restore = { source = "drive", uri = "1aBcDeFgHiJkLmNoPqRsTuVwXyZ012345" }

[alerts]
channels = ["projects/rehearsal-1/notificationChannels/17"]
emails = ["it@clinic.example"]
"""


def plays_to_its_end(place: Place, *options: str) -> None:
    played = place.run("rehearse", *options, timeout=1700)
    assert played.status == 0, played.stdout
    assert all(act["ok"] for act in played.json["acts"])
    assert left(place) == []


@pytest.mark.torture
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("options", DAYS, ids=" ".join)
def test_a_whole_life_loses_nothing_whatever_the_day(place: Place, options: tuple[str, ...]) -> None:
    plays_to_its_end(place, *options)


@pytest.mark.torture
@pytest.mark.timeout(1800)
def test_a_production_file_with_clinics_that_are_closed_is_played_too(place: Place) -> None:
    text = environment_file(CLOSED).replace('"developer"', '"production"').replace("public_access = true\n", "", 1)
    (place.folder / "openemr.toml").write_text(text)
    plays_to_its_end(place)
