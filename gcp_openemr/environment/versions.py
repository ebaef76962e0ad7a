"""The lines of OpenEMR that can be built, each with the base it was made for, and until when each part is mended."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["LINES", "Base", "OpenEmrLine"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Base:
    """A release of Alpine: its image by digest, and the day after which it gets no fixes.

    `digest` is the index's, which holds amd64 among others; `source` says where it was read. A digest that is not
    Alpine's fails the build; it never builds something else.
    """

    release: str
    digest: str
    source: str
    supported_until: datetime.date

    @property
    def image(self) -> str:
        return f"alpine:{self.release}@{self.digest}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class OpenEmrLine:
    """One version of OpenEMR: the branch it is built from, its base and PHP, and what is known to be wrong with it.

    `behind` says in one sentence which security releases the version lacks; empty where it lacks none that is known.
    `upgrades` are the lines whose data its own scripts bring to it.
    """

    version: str
    ref: str
    base: Base
    php: str
    behind: str = ""
    upgrades: tuple[str, ...] = ()

    @property
    def order(self) -> tuple[int, ...]:
        """Newer lines compare as greater."""
        return tuple(int(part) for part in self.version.split("."))

    @property
    def php_number(self) -> str:
        """PHP's version as Alpine's packages spell it: `83`."""
        return self.php.replace(".", "")

    @property
    def end_of_support(self) -> bool:
        return bool(self.end_of_support_reason)

    @property
    def end_of_support_reason(self) -> str:
        """What is no longer mended, in one sentence without its full stop; empty where everything is."""
        until = self.base.supported_until
        ended = f"Alpine {self.base.release} has had no fixes since {until:%B %Y}" if _today() > until else ""
        return ", and ".join(part for part in (self.behind, ended) if part)

    @property
    def build_arguments(self) -> Mapping[str, str]:
        """What the Dockerfile is told, as `--build-arg`."""
        return {
            "BASE": self.base.image,
            "PHP": self.php_number,
            "OPENEMR_REF": self.ref,
            "OPENEMR_VERSION": self.version,
        }


def _today() -> datetime.date:
    return datetime.datetime.now(datetime.UTC).date()


# Dates: https://alpinelinux.org/releases/
_ALPINE_3_20 = Base(
    release="3.20",
    # Docker's library lists it no more; pinned so in several public repositories. The first build proves it.
    digest="sha256:d9e853e87e55526f6b2917df91a2115c36dd7c696a35be12163d44e6e2a4b6bc",
    source="public Dockerfiles that pin alpine:3.20, read in 2026",
    supported_until=datetime.date(2026, 4, 1),
)
_ALPINE_3_22 = Base(
    release="3.22",
    digest="sha256:365499d9dccb7c8cfaffef995a6c382e71174585e0556f6476ead1c5971c39fb",
    source="https://github.com/docker-library/repo-info/blob/1746b58749182f00f5d2c26a53fff697cfce2c81/repos/alpine/remote/3.22.md",
    supported_until=datetime.date(2027, 5, 1),
)

LINES: Mapping[str, OpenEmrLine] = MappingProxyType(
    {
        line.version: line
        for line in (
            OpenEmrLine(
                version="7.0.4",
                ref="rel-704",
                base=_ALPINE_3_20,
                php="8.3",
                behind="OpenEMR 7.0.4 is older than the security releases of March 2026",
            ),
            # The newest 8.x that deployments of September 2026 name; base and PHP are those of upstream's image of 8.1.
            OpenEmrLine(version="8.4.0", ref="rel-840", base=_ALPINE_3_22, php="8.4", upgrades=("7.0.4",)),
        )
    }
)
