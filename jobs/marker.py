"""The note on the share that says what a run has begun, so that the next one can finish it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from jobs import share
from jobs.errors import Refused

__all__ = ["Marker", "clear", "read", "write"]

_NAME = ".nfs-init.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Marker:
    """`doing` is what was begun: install, restore (unpacking beside; the clinic is as it was), swap, undo, upgrade.

    For swap and undo, `staging` is the site that takes the clinic's place and `kept` what its own becomes, both below
    sites/; `views` and `triggers` are statements to run after the tables have moved, `kept_…` those of the tables that
    were there. `moved`: an undo has moved the clinic's tables. For an upgrade `source` is the release it started from,
    and `counts` what was there then.
    """

    doing: Literal["install", "restore", "swap", "undo", "upgrade"]
    staging: str = ""
    kept: str = ""
    source: str = ""
    moved: bool = False
    views: tuple[str, ...] = ()
    triggers: tuple[str, ...] = ()
    kept_views: tuple[str, ...] = ()
    kept_triggers: tuple[str, ...] = ()
    counts: Mapping[str, int] = dataclasses.field(default_factory=dict)


def read(sites: Path) -> Marker | None:
    """Raises Refused when the note cannot be understood: somebody else's, or a newer version's."""
    file = sites / _NAME
    with share.errors_told(f"{file} cannot be read"):
        if not file.is_file():
            return None
        text = file.read_text()
    try:
        found: dict[str, Any] = json.loads(text)
        whole: dict[str, Any] = {name: tuple(part) if isinstance(part, list) else part for name, part in found.items()}
        return Marker(**whole)
    except (ValueError, TypeError) as error:
        raise Refused(f"{file} cannot be understood; a newer version of this job may have written it.") from error


def write(sites: Path, marker: Marker) -> None:
    share.write_atomically(sites / _NAME, json.dumps(dataclasses.asdict(marker)), mode=share.PRIVATE_MODE)


def clear(sites: Path) -> None:
    share.remove_file(sites / _NAME)
