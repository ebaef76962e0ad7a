from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.terraform import samples
from tests.terraform.world import Cloud, Root

Planner = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A fresh cloud with a state bucket."""
    with fresh_cloud(tmp_path_factory) as made:
        yield made


@contextlib.contextmanager
def fresh_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    cloud = Cloud(tmp_path_factory.mktemp("cloud"))
    try:
        cloud.make_state_bucket()
        yield cloud
    finally:
        cloud.close()


@pytest.fixture(scope="module")
def roots(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Root]:
    """An initialised working directory per root, in which nothing was ever applied."""
    return roots_in(cloud, tmp_path_factory)


def roots_in(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Root]:
    base: Path = tmp_path_factory.mktemp("roots")
    return {kind: Root(cloud, kind, base / kind) for kind in ("foundation", "platform", "clinic")}


@pytest.fixture(scope="session")
def plan_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planner]:
    """Plans a root with changes to its sample, in a cloud where nothing is; every plan is made once."""
    values = {"foundation": samples.foundation, "platform": samples.platform, "clinic": samples.clinic}
    made: dict[str, dict[str, Any]] = {}
    with fresh_cloud(tmp_path_factory) as cloud:
        roots = roots_in(cloud, tmp_path_factory)

        def plan(kind: str, **changes: Any) -> dict[str, Any]:
            wanted = values[kind](**changes)
            key = f"{kind} {wanted!r}"
            if key not in made:
                made[key] = roots[kind].plan(wanted)
            return made[key]

        yield plan
