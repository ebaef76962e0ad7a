"""What the unit tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gcp_openemr.clients import Cloud
from tests.unit import cloud as clouds


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    with clouds.cloud(tmp_path / "cloud") as made:
        yield made
