"""Finds the folders that travel with the package: terraform/, container/, jobs/.

A wheel carries them below `gcp_openemr/_assets/`; in a checkout they lie beside the package.
"""

from __future__ import annotations

from pathlib import Path

from gcp_openemr.errors import GcpOpenemrError

__all__ = ["asset", "is_checkout"]

_PACKAGE = Path(__file__).resolve().parent
_CARRIED = _PACKAGE / "_assets"


def is_checkout() -> bool:
    """Whether this copy lies among its sources, and came by no wheel."""
    return not _CARRIED.is_dir()


def asset(name: str) -> Path:
    """The folder `name`.

    Raises:
        GcpOpenemrError: this copy of gcp-openemr came without it.
    """
    # Beside an installed package lie other people's folders.
    for place in (_CARRIED, _PACKAGE.parent):
        folder = place / name
        if folder.is_dir():
            return folder
    raise GcpOpenemrError(f"This copy of gcp-openemr has no {name}/ folder.", do="Install gcp-openemr again.")
