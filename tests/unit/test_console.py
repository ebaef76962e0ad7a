"""What people and machines are shown."""

from __future__ import annotations

import io
import json
import re

import pytest

from gcp_openemr.console import Console, spoken


def console(*, as_json: bool = False) -> tuple[Console, io.StringIO, io.StringIO]:
    people, results = io.StringIO(), io.StringIO()
    return Console(as_json=as_json, people=people, results=results), people, results


def test_a_step_shows_its_start_and_its_end_with_its_duration() -> None:
    shown, people, results = console()
    with shown.step("platform: apply"):
        pass
    start, end = people.getvalue().splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d → platform: apply", start)
    assert re.match(r"\d\d:\d\d:\d\d ✓ platform: apply  0\.", end)
    assert [t.title for t in shown.timings] == ["platform: apply"]
    assert results.getvalue() == ""


def test_a_failing_step_is_marked_and_the_error_goes_on() -> None:
    shown, people, _ = console()
    with pytest.raises(RuntimeError), shown.step("image: build"):
        raise RuntimeError
    assert " ✗ image: build" in people.getvalue().splitlines()[-1]


def test_with_json_stdout_is_one_object_and_people_read_stderr() -> None:
    shown, people, results = console(as_json=True)
    shown.say("hello")
    shown.result({"a": 1}, "text for people")
    assert json.loads(results.getvalue()) == {"a": 1}
    assert people.getvalue() == "hello\n"


def test_without_json_the_text_is_the_result() -> None:
    shown, _, results = console()
    shown.result({"a": 1}, "text for people")
    assert results.getvalue() == "text for people\n"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (9.96, "10.0 s"), (12.4, "12 s"), (185.2, "3 min 05 s")]
)
def test_durations_are_said_as_people_say_them(seconds: float, text: str) -> None:
    assert spoken(seconds) == text


def test_nobody_is_asked_without_a_terminal() -> None:
    assert console()[0].asks is False
