"""Rotations killed by SIGKILL before each of their effects, then run again.

At the moment of the kill the clinic works with what it has, and the versions in force open what they are for; the next
run leaves one version and one password of each. The points are counted in a run that lived.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.rotation import recipe
from tests.jobs import cheap_key
from tests.jobs.effects import in_a_group, sampled
from tests.jobs.rotation_place import Place
from tests.jobs.test_rotation_alone import logs_in, repository

_SAMPLE = 2
_ALL = pytest.param(True, marks=[pytest.mark.torture, pytest.mark.timeout(1800)])
torn = pytest.mark.parametrize("every", [False, _ALL])


def killed(place: Place, *kinds: str, every: bool, most: int = _SAMPLE, **changes: Any) -> Iterator[int]:
    """Each point at which the run was killed; what is asked of every kill is asked already."""
    wanted = place.wants(*kinds, **changes)
    run: Callable[[], object] = lambda: recipe.run(wanted)  # noqa: E731
    total = in_a_group(run, last=0)
    assert total > 8
    place.at_rest()
    make_cheap(place)
    for point in sampled(total, every=every, most=most):
        assert in_a_group(run, last=point) == -9, f"effect {point} of {total} did not come"
        yield point
        place.rotate(*kinds)
        place.at_rest()
        make_cheap(place)


def make_repository(place: Place) -> None:
    if not Path(place.wanted.store.repository).exists():
        repository(place, place.value("backup"), "init")
    make_cheap(place)


def make_cheap(place: Place) -> None:
    """The repository's key, of which there is one again."""
    repository = Path(place.wanted.store.repository)
    if repository.exists():
        cheap_key.weaken(repository, place.value("backup").reveal())


@torn
def test_of_database_and_redis(place: Place, every: bool) -> None:
    for _ in killed(place, "database", "redis", every=every):
        place.works()


@torn
def test_at_once(place: Place, every: bool) -> None:
    """People are shut out for a while; the versions in force, or next, are never lost."""
    for point in killed(place, "database", "redis", every=every, now=True):
        known = [place.value("database", version) for version in place.aliases("database").values()]
        assert any(place.opens_mysql(password) for password in known), point


@torn
def test_of_the_administrator(place: Place, every: bool) -> None:
    for point in killed(place, "admin", every=every, most=1):
        known = [place.value("admin", version) for version in place.aliases("admin").values()]
        assert any(logs_in(place, password) for password in known), point


@torn
def test_of_the_backups(place: Place, every: bool) -> None:
    """The version in force opens the repository at every moment, so that the next backup can be made."""
    make_repository(place)
    for _ in killed(place, "backup", every=every, most=1):
        repository(place, place.value("backup"), "cat", "config")
