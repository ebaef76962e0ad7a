"""Which gcp-openemr this is: its version, and the commit that it was made from.

A wheel carries its commit, written when it was built; in a checkout git knows it.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from gcp_openemr import __version__, process
from gcp_openemr.errors import GcpOpenemrError

__all__ = ["Release", "release"]

_PACKAGE = Path(__file__).resolve().parent
_WRITTEN = _PACKAGE / "_assets" / "commit"
_OURS = ("gcp_openemr", "terraform", "container", "jobs")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Release:
    """`commit` has 40 digits, ends with `-changed` where files differ from it, and is '' where nothing tells it."""

    version: str
    commit: str

    def __str__(self) -> str:
        return f"{self.version} ({f'commit {self.commit}' if self.commit else 'of no known commit'})"


def release() -> Release:
    """The release of this very copy."""
    if _WRITTEN.is_file():
        return Release(version=__version__, commit=_WRITTEN.read_text().strip())
    return Release(version=__version__, commit=_of_checkout(_PACKAGE.parent))


def _of_checkout(folder: Path) -> str:
    if not (folder / ".git").exists():  # a file in a work tree beside the first
        return ""
    try:
        commit = process.run(["git", "rev-parse", "HEAD"], cwd=folder).stdout.strip()
        changes = process.run(["git", "status", "--porcelain", "--", *_OURS], cwd=folder).stdout
    except GcpOpenemrError:
        return ""
    return f"{commit}-changed" if changes else commit
