"""Rotations killed by SIGKILL before each of their effects, then run again.

At the moment of the kill the clinic works with what it has, and the versions in force open what they are for; the next
run leaves one version and one password of each. The points are counted in a run that lived.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from jobs.rotation import recipe
from tests.jobs.effects import in_a_group, sampled
from tests.jobs.rotation_place import Place, made_place
from tests.jobs.servers import Mysql, Redis
from tests.jobs.world import made_world

_SAMPLE = 2
torn = pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.torture)])


@pytest.fixture(scope="module")
def place(mysql: Mysql, redis: Redis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    if not mysql.dual_passwords:
        pytest.skip("this server has no dual passwords")
    directory = tmp_path_factory.mktemp("torn")
    with made_world(mysql, directory) as world, made_place(world, redis, directory) as made:
        yield made


def killed(place: Place, *kinds: str, every: bool, **changes: Any) -> Iterator[int]:
    """Each point at which the run was killed; what is asked of every kill is asked already."""
    wanted = place.wants(*kinds, **changes)
    run: Callable[[], object] = lambda: recipe.run(wanted)  # noqa: E731
    total = in_a_group(run, last=0)
    assert total > 8
    place.at_rest()
    for point in sampled(total, every=every, most=_SAMPLE):
        assert in_a_group(run, last=point) == -9, f"effect {point} of {total} did not come"
        yield point
        place.rotate(*kinds)
        place.at_rest()


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
