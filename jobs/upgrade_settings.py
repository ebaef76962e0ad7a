"""The variables of upgrade, read as those of the other jobs are (jobs/settings.py)."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path

from jobs import backup_settings
from jobs.backup_settings import Clinic
from jobs.settings import SKELETON, Reader, Store

__all__ = ["Upgrade", "upgrade"]

_RELEASE = re.compile(r"\d+\.\d+\.\d+")
_SET = re.compile(r"latest|\d{8}T\d{6}Z-[0-9a-f]{4}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Upgrade:
    """From which release to which. `set` is the backup set to go back to, or that a rehearsal is made of.

    `drain_seconds` is how long the maintenance page stands before the first change. `page_only` shows it and no more,
    so that a set can be made of all that people wrote.
    """

    clinic: Clinic
    store: Store
    release_before: str
    release: str
    set: str
    rehearse: bool
    page_only: bool
    scratch_schema: str
    skeleton: Path
    drain_seconds: int
    lock_seconds: int
    result_uri: str


def upgrade(environment: Mapping[str, str]) -> Upgrade:
    """Raises SettingsInvalid with every problem."""
    read = Reader(environment)
    return read.finish(
        lambda: Upgrade(
            clinic=backup_settings.clinic(read),
            release_before=read.matching("UPGRADE_FROM", _RELEASE, "a release such as 7.0.4"),
            release=read.matching("OPENEMR_VERSION", _RELEASE, "a release such as 8.4.0"),
            set=read.matching("UPGRADE_SET", _SET, "a set's id or latest", default=""),
            rehearse=read.flag("REHEARSE"),
            page_only=read.flag("PAGE_ONLY"),
            scratch_schema=read.matching("MYSQL_SCRATCH_DATABASE", backup_settings.NAME, "a schema's name"),
            skeleton=Path(read.text("OPENEMR_SKELETON", default=str(SKELETON))),
            drain_seconds=read.number("DRAIN_SECONDS", default=65),
            **backup_settings.common(read, "upgrade"),
        )
    )
