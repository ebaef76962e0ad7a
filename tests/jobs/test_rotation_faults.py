"""Rotations on bad days: each call of theirs is refused for a moment, or done while its answer is lost.

The calls are taken from the log of a rotation that met no trouble. Google's are borne by the run itself; a statement of
MySQL's whose answer is lost ends it, and the next run goes on.
"""

from __future__ import annotations

import collections
import random
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from jobs import database
from jobs.errors import Unreachable
from tests.jobs.rotation_place import Place
from tests.jobs.test_rotation_killed import make_cheap, make_repository

BOTH = ("database", "redis")
ALONE = ("admin", "backup")
FAULTS: Mapping[str, Mapping[str, Any]] = {
    "429": {"effect": "status", "status": 429},
    "503": {"effect": "status", "status": 503},
    "not done": {"effect": "drop"},
    "answer lost": {"effect": "drop", "after": True},
}
_SAMPLE = 2
_ALL = pytest.param(True, marks=[pytest.mark.torture, pytest.mark.timeout(1800)])
torn = pytest.mark.parametrize("every", [False, _ALL])


def calls(place: Place, *kinds: str) -> Iterator[tuple[str, int]]:
    """(method, which of its calls) of a rotation; of questions only the first of each kind."""
    log = place.cloud.app.calls
    since = max(entry.number for entry in log.read())
    place.rotate(*kinds)
    entries = log.read(since)
    counted = collections.Counter(entry.api_method for entry in entries)
    questions = {entry.api_method for entry in entries if entry.method == "GET"}
    for method, count in counted.items():
        for which in range(1, 2 if method in questions else count + 1):
            yield method, which


@torn
@pytest.mark.parametrize("kinds", [BOTH, pytest.param(ALONE, marks=pytest.mark.torture)], ids="+".join)
def test_a_call_that_google_refuses_for_a_moment_or_whose_answer_is_lost(
    place: Place, kinds: tuple[str, ...], every: bool
) -> None:
    if "backup" in kinds:
        make_repository(place)
    points = [(method, which, fault) for method, which in calls(place, *kinds) for fault in FAULTS]
    assert len(points) > 60
    for method, which, fault in points if every else random.Random(20261122).sample(points, _SAMPLE):  # noqa: S311
        was = place.aliases(kinds[0])["current"]
        place.cloud.app.faults.add({**FAULTS[fault], "method": method, "nth": which})
        place.rotate(*kinds)
        place.cloud.app.faults.clear()
        place.at_rest()
        make_cheap(place)
        assert place.aliases(kinds[0])["current"] > was, f"{fault}: {method}, call {which}"


@torn
def test_a_statement_whose_answer_is_lost(place: Place, monkeypatch: pytest.MonkeyPatch, every: bool) -> None:
    run, altered = database.run, [0]

    def losing(connection: database.Connection, statement: Any, *values: Any) -> Any:
        done = run(connection, statement, *values)
        if str(statement).startswith("ALTER"):
            altered[0] -= 1
            if altered[0] == 0:
                raise Unreachable("The connection to MySQL was lost.")
        return done

    monkeypatch.setattr(database, "run", losing)
    place.rotate(*BOTH)
    for which in range(1, 1 - altered[0]) if every else (2,):
        altered[0] = which
        with pytest.raises(Unreachable):
            place.rotate(*BOTH)
        place.works()
        place.rotate(*BOTH)
        place.at_rest()
