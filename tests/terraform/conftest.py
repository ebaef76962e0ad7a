from __future__ import annotations

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
    cloud = Cloud(tmp_path_factory.mktemp("cloud"))
    try:
        cloud.make_state_bucket()
        yield cloud
    finally:
        cloud.close()


@pytest.fixture(scope="module")
def roots(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Root]:
    """An initialised working directory per root, in which nothing was ever applied."""
    base: Path = tmp_path_factory.mktemp("roots")
    return {kind: Root(cloud, kind, base / kind) for kind in ("foundation", "platform", "clinic")}


@pytest.fixture(scope="module")
def plan_of(roots: dict[str, Root]) -> Planner:
    """Plans a root with changes to its sample; every plan is made once."""
    values = {"foundation": samples.foundation, "platform": samples.platform, "clinic": samples.clinic}
    made: dict[str, dict[str, Any]] = {}

    def plan(kind: str, **changes: Any) -> dict[str, Any]:
        wanted = values[kind](**changes)
        key = f"{kind} {wanted!r}"
        if key not in made:
            made[key] = roots[kind].plan(wanted)
        return made[key]

    return plan
