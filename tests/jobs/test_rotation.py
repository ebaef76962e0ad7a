"""Rotations that go well, and what a run finds half-way or changed by hand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.jobs.rotation_place import Place, made_place
from tests.jobs.servers import Mysql, Redis
from tests.jobs.world import made_world


@pytest.fixture(scope="module")
def place(mysql: Mysql, redis: Redis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    if not mysql.dual_passwords:
        pytest.skip("this server has no dual passwords")
    directory = tmp_path_factory.mktemp("rotation")
    with made_world(mysql, directory) as world, made_place(world, redis, directory) as made:
        yield made


def test_three_rotations_in_a_row_each_leave_one_password(place: Place) -> None:
    for _ in range(3):
        old = {kind: place.value(kind) for kind in ("database", "redis")}
        was = place.aliases("database")["current"]
        record = place.rotate("database", "redis")
        assert record["rotated"]["database"] == {"from": was, "to": was + 1}
        assert record["health"] == "ready"
        place.at_rest("database", "redis")
        assert not place.opens_mysql(old["database"])
        assert not place.opens_redis(old["redis"])
