"""The lines of OpenEMR that can be built, each with the base it was made for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["LINES", "OpenEmrLine"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class OpenEmrLine:
    """One version of OpenEMR: the branch it is built from, its Alpine and PHP, and whether all three are supported.

    `end_of_support_reason` says in one sentence what is no longer mended.
    """

    version: str
    ref: str
    alpine: str
    php: str
    end_of_support: bool
    end_of_support_reason: str = ""

    @property
    def build_arguments(self) -> Mapping[str, str]:
        """What the Dockerfile is told, as `--build-arg`."""
        return {"BASE": f"alpine:{self.alpine}", "OPENEMR_REF": self.ref}


LINES: Mapping[str, OpenEmrLine] = MappingProxyType(
    {
        "7.0.4": OpenEmrLine(
            version="7.0.4",
            ref="rel-704",
            alpine="3.20",
            php="8.3",
            end_of_support=True,
            end_of_support_reason=(
                "OpenEMR 7.0.4 is older than the security releases of March 2026, "
                "and Alpine 3.20 has had no fixes since April 2026"
            ),
        )
    }
)
