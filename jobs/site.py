"""The layout of a site's folder (sites/default): what OpenEMR expects to find, and who may read what."""

from __future__ import annotations

from pathlib import Path

from jobs import share

__all__ = ["ensure_layout", "is_right", "wanted_mode"]

# what OpenEMR expects in documents and neither a source tree nor an archive of files needs to bring
_DIRECTORIES = (
    "documents/certificates",
    "documents/logs_and_misc/methods",
    "documents/temp",
    "documents/era",
    "documents/edi",
    "documents/letter_templates",
    "documents/procedure_results",
    "documents/smarty/gacl",
    "documents/smarty/main",
    "documents/mpdf/pdf_tmp",
    "documents/onsite_portal_documents/templates",
)
_KEYS = "documents/logs_and_misc/methods/"
_CERTIFICATES = "documents/certificates/"
_OTHERS = 0o027  # what nobody but the owner may do: group write, anything for others
_SPECIAL = 0o7000


def ensure_layout(site: Path) -> None:
    """Make the folders that OpenEMR does not make itself."""
    for directory in _DIRECTORIES:
        share.ensure_directory(site / directory)


def wanted_mode(relative: str) -> int:
    """The mode of a file by its path below the site: private for sqlconf.php, encryption keys and private keys."""
    return share.PRIVATE_MODE if _is_private(relative) else share.FILE_MODE


def is_right(relative: str, mode: int, *, directory: bool) -> bool:
    """Whether a mode lets OpenEMR work and nobody else: not more than ours, not less than the owner needs."""
    owner = 0o700 if directory else 0o600
    if mode & (_SPECIAL | _OTHERS) or mode & owner != owner:
        return False
    return directory or not mode & 0o077 or not _is_private(relative)


def _is_private(relative: str) -> bool:
    key = relative.startswith(_CERTIFICATES) and relative.endswith(".key")
    return key or relative == "sqlconf.php" or relative.startswith(_KEYS)
