"""The critical path: the chain of work that the end waited for."""

from __future__ import annotations

import io
import itertools
import json
import types
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcp_openemr.commands import deploy
from gcp_openemr.console import Console
from gcp_openemr.timeline import Piece, critical_path, described, told


def piece(title: str, start: float, end: float, *parts: Piece) -> Piece:
    return Piece(title=title, start=start, end=end, parts=parts)


NETWORK = piece("network", 10, 70)
INSTANCE = piece("instance", 70, 1100)
PLATFORM = piece("platform: apply", 10, 1101, NETWORK, piece("account", 10, 14), INSTANCE, piece("disk", 71, 90))
STEPS = [
    piece("plan", 0, 10),
    PLATFORM,
    piece("image: build", 10, 400),
    piece("main: provision", 1101, 1130),
    piece("north: provision", 1101, 1150),
    piece("main: service", 1130, 1160),
    piece("north: service", 1150, 1170),
]


def test_the_chain_is_what_the_end_waited_for() -> None:
    chain = [found.title for found in critical_path(STEPS)]
    assert chain == ["plan", "platform: apply", "north: provision", "north: service"]
    assert critical_path(PLATFORM.parts) == [NETWORK, INSTANCE]


def test_it_is_told_to_people_and_programs() -> None:
    lines = told(STEPS).splitlines()
    assert lines[0] == "Critical path, 1170 s:"
    assert lines[4] == "   1030.0 s    instance"
    assert described(STEPS)[1]["resources"][0] == {"resource": "network", "seconds": 60}
    assert (told([]), described([])) == ("Nothing took any time.", [])


@pytest.mark.parametrize(("seconds", "said"), [(1170.0, True), (15.0, False)])
def test_a_deploy_that_took_its_time_says_what_it_waited_for(seconds: float, said: bool) -> None:
    people, results = io.StringIO(), io.StringIO()
    console = Console(as_json=True, people=people, results=results)
    console.timings.append(piece("platform: apply", 0, seconds, piece("instance", 0, seconds - 1)))
    environment = types.SimpleNamespace(name="prod", project="my-clinic")
    context: Any = types.SimpleNamespace(environment=environment, console=console)
    deploy._report(context, [])
    assert json.loads(results.getvalue())["critical_path"][0]["step"] == "platform: apply"
    assert ("Critical path, 1170 s:" in people.getvalue(), "    instance" in people.getvalue()) == (said, said)


TIMES = st.tuples(st.floats(0, 100), st.floats(0.01, 50))


@given(st.lists(TIMES, min_size=1))
def test_a_chain_runs_forward_and_ends_with_the_last(times: list[tuple[float, float]]) -> None:
    pieces = [piece(str(number), start, start + length) for number, (start, length) in enumerate(times)]
    chain = critical_path(pieces)
    assert chain[-1].end >= max(found.end for found in pieces) - 0.25
    assert all(first.start < second.start for first, second in itertools.pairwise(chain))
    assert all(first.end <= second.start + 0.25 for first, second in itertools.pairwise(chain))
