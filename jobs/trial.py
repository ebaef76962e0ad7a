"""The proof that restored files and a restored database belong together: OpenEMR opens a document of theirs."""

from __future__ import annotations

from pathlib import Path

from jobs import documents, php
from jobs.database import Connection
from jobs.errors import BackupInvalid, InstallFailed

__all__ = ["open_newest"]

_TRIED = 100


def open_newest(application: Path, site: Path, connection: Connection, reached: php.Database) -> str:
    """Of the newest documents, whose keys are those in use, open the first encrypted one; returns what was opened.

    Raises:
        BackupInvalid: the keys do not open it.
    """
    newest = list(documents.named(connection).items())[-_TRIED:]
    files = {identity: site / path for identity, path in reversed(newest) if path and (site / path).is_file()}
    try:
        return php.open_document(application, site, files, reached)
    except InstallFailed as error:
        raise BackupInvalid(f"A document of the restored set cannot be opened. {error.what}") from error
