"""The variables of background, read as those of the other jobs are (jobs/settings.py)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from jobs import backup_settings
from jobs.backup_settings import Clinic
from jobs.settings import Reader

__all__ = ["Background", "background"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Background:
    clinic: Clinic
    result_uri: str


def background(environment: Mapping[str, str]) -> Background:
    """Raises SettingsInvalid with every problem."""
    read = Reader(environment)
    return read.finish(lambda: Background(clinic=backup_settings.clinic(read), result_uri=read.result_uri()))
