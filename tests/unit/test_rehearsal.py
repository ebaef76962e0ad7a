"""What a rehearsal decides and tells, without its sandbox."""

from __future__ import annotations

import signal
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from google.api_core.exceptions import Forbidden

from gcp_openemr import interruption
from gcp_openemr.commands.rehearse import rehearse, why
from gcp_openemr.console import Console
from gcp_openemr.errors import InputMissing, RehearsalFailed, Unhealthy, UsageError
from gcp_openemr.redacted import Redacted
from gcp_openemr.rehearsal import bad_days, commands, report
from gcp_openemr.rehearsal.acts import ACTS
from gcp_openemr.rehearsal.bad_days import QUIET, BadDay, Stop
from gcp_openemr.rehearsal.commands import Answer
from gcp_openemr.rehearsal.play import Account, Play
from gcp_openemr.rehearsal.report import Scene
from gcp_openemr.rehearsal.stage import first_target, second_target
from tests.unit.environment_file import load

SCENES = (
    Scene(name="deploy", proved="6 restored documents open", seconds=45.2),
    Scene(
        name="write",
        failed="Document 3 is lost.",
        day="some connections drop",
        again=2,
        seconds=3,
        said=("→ a\x1b[0m", "b"),
    ),
    Scene(name="destroy"),
)


def test_a_rehearsal_is_told_act_by_act() -> None:
    assert report.as_text(SCENES).splitlines() == [
        "✓ deploy           45 s  6 restored documents open",
        "✗ write           3.0 s  Document 3 is lost.  (some connections drop; 2 times run again)",
        "- destroy         0.0 s  not played",
    ]
    assert [one["ok"] for one in report.as_values(SCENES)] == [True, False, False]


def test_where_no_junit_can_be_written_nothing_is_played(tmp_path: Path) -> None:
    file = tmp_path / "openemr.toml"
    with pytest.raises(UsageError, match="there is no such folder") as caught:
        rehearse(file, Console(), seed=None, junit=tmp_path / "reports" / "rehearsal.xml")
    assert "Make the folder first" in caught.value.do
    with pytest.raises(InputMissing):  # the next thing that it looks for
        rehearse(file, Console(), seed=None, junit=tmp_path / "rehearsal.xml")


def test_junit_has_a_case_for_each_act() -> None:
    suite = ElementTree.fromstring(report.as_junit("gcp-openemr rehearse prod", SCENES))  # noqa: S314 -- our own
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("3", "1", "1")
    deploy, write, destroy = suite.findall("testcase")
    assert (deploy.get("name"), deploy.findtext("system-out")) == ("deploy", "6 restored documents open")
    failure = write.find("failure")
    assert failure is not None
    assert (failure.get("message"), failure.text) == ("Document 3 is lost.", "→ a[0m\nb")
    assert destroy.find("skipped") is not None


def test_a_seed_draws_the_same_days_again_and_another_one_others() -> None:
    def days(seed: int | None) -> list[BadDay]:
        return [bad_days.draw(seed, act.name, act.steps) for act in ACTS]

    assert days(7) == days(7)
    assert len({tuple(day.told for day in days(seed)) for seed in range(20)}) == 20
    assert days(None) == [QUIET] * len(ACTS)
    drawn = [day for seed in range(20) for day in days(seed)]
    assert {day.stop.sign for day in drawn if day.stop} == {signal.SIGKILL, signal.SIGINT}
    assert len({day.fault["effect"] for day in drawn if day.fault}) == 3


class Acting(Play):
    """Commands end as they are told to, and the faults they had are noted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *endings: int) -> None:
        stage: Any = types.SimpleNamespace(
            first=None, second=None, folder=Path(), sandbox=lambda: self, variables=lambda _: {}
        )
        super().__init__(stage)
        self.faults: list[Mapping[str, Any]] = []
        self.stops: list[Stop | None] = []
        self._endings = iter(endings)
        monkeypatch.setattr(commands, "run", self._ended)

    def add_fault(self, **fields: Any) -> None:
        self.faults.append(fields)

    def clear_faults(self) -> None:
        pass

    def _ended(self, arguments: Sequence[str], *, stop: Stop | None, **_: Any) -> Answer:
        self.stops.append(stop)
        return Answer(
            next(self._endings), f'{{"did": "{arguments[0]}", "error": {{"what": "It broke."}}}}', stopped=False
        )


BAD = BadDay(told="bad", fault={"effect": "drop"}, stop=Stop(step=1, seconds=0, sign=signal.SIGKILL))


def test_on_a_quiet_day_a_command_has_one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Acting(monkeypatch, 0).must("deploy", "-y")["did"] == "deploy"
    with pytest.raises(RehearsalFailed, match=r"`gcp-openemr deploy -y` ended with 5: It broke\."):
        Acting(monkeypatch, 5, 0).must("deploy", "-y")


def test_on_a_bad_day_a_command_is_run_again_until_the_day_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    play = Acting(monkeypatch, -9, 69, 5, 0)
    play.day = BAD
    assert play.must("deploy")["did"] == "deploy"
    assert play.stops == [BAD.stop, None, None, None]
    assert play.faults == [BAD.fault] * 3
    assert play.again == 3
    hopeless = Acting(monkeypatch, -9, 69, 5, 5)
    hopeless.day = BAD
    with pytest.raises(RehearsalFailed, match="ended with 5"):
        hopeless.must("deploy")


def test_a_command_that_is_told_to_come_back_later_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """The job of a killed rotation goes on, and holds the environment."""
    monkeypatch.setattr(interruption, "pause", lambda _: None)
    play = Acting(monkeypatch, -9, 75, 75, 0)
    play.day = BAD
    assert play.must("rotate")["did"] == "rotate"
    assert play.again == 1


class Rotated(Play):
    """A clinic after its rotation: the versions that `status` tells, and whether the old password opens it."""

    def __init__(self, versions: Mapping[str, int], *, open_to_old: bool) -> None:
        stage: Any = types.SimpleNamespace(first=None, second=None)
        super().__init__(stage)
        self.rotated = {("main", "redis"): 2, ("main", "database"): 3}
        self.former = {"main": Account(user="admin", password=Redacted("old"))}
        self._versions, self._open_to_old = versions, open_to_old

    def must(self, *_: str, **__: Any) -> dict[str, Any]:
        return {"clinics": {"main": {"secrets": {kind: {"version": one} for kind, one in self._versions.items()}}}}

    def lets_in(self, *_: Any) -> bool:
        return self._open_to_old


@pytest.mark.parametrize(
    ("versions", "open_to_old", "lost"),
    [
        ({"redis": 2, "database": 3}, False, ""),
        ({"redis": 2, "database": 1}, False, "database of main"),
        ({"redis": 2}, False, "database of main"),
        ({"redis": 2, "database": 3}, True, "with the old password"),
    ],
)
@pytest.mark.parametrize("act", ["restore", "undo"])
def test_a_password_of_before_the_rotation_fails_the_acts_after_it(
    act: str, versions: Mapping[str, int], open_to_old: bool, lost: str
) -> None:
    play = Rotated(versions, open_to_old=open_to_old)
    played = {one.name: one.play for one in ACTS}[act]
    if not lost:
        assert "0 documents" in played(play)
        return
    with pytest.raises(RehearsalFailed, match=lost):
        played(play)


@pytest.mark.parametrize("code", [1, 64, 65])
def test_no_day_is_so_bad_that_it_excuses_a_defect(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    play = Acting(monkeypatch, code, 0)
    play.day = BAD
    with pytest.raises(RehearsalFailed, match=f"ended with {code}"):
        play.must("deploy")


def test_a_command_s_answer_is_its_object_or_its_silence() -> None:
    assert Answer(5, '{"error": {"what": "No.", "do": "Yes."}}', stopped=False).error == "No. Yes."
    assert Answer(-9, "", stopped=True).error == "it ended with -9 and said nothing"


def test_the_user_s_file_is_played_with_what_is_not_here_exchanged(tmp_path: Path) -> None:
    channel = "projects/my-clinic-test/notificationChannels/17"
    environment = load(
        tmp_path,
        {
            "service": 'ingress_settings = "internal"',
            "alerts": f'channels = ["{channel}"]',
            "clinics.main.restore": 'uri = "gs://real/backup.zip"',
            "clinics.north": "",
        },
    )
    first, changes = first_target(tmp_path / "openemr.toml", environment)
    assert {one.restore.uri for one in first.environment.clinics.values() if one.restore} == {
        "gs://my-clinic-test-oe-rehearsal/backup.zip"
    }
    assert all(one.is_reachable for one in first.environment.clinics.values())
    assert first.environment.alerts.channels == ()
    assert len(changes) == 4
    second = second_target(tmp_path / "openemr.toml", first).environment
    assert (second.name, second.project) == ("testr", "my-clinic-test-rec")
    assert second.clinics.keys() == environment.clinics.keys()


def test_errors_of_google_s_libraries_fail_an_act_and_defects_do_not_hide() -> None:
    assert why(Unhealthy("It is ill.", do="Heal it.")) == "It is ill. Heal it."
    assert "no" in why(Forbidden("no"))
    with pytest.raises(ZeroDivisionError):
        why(ZeroDivisionError())
