"""From a backup set to a folder of the share and a schema, compared with what its manifest says."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from jobs import clinic_state, database, documents, dump, keys, log, manifest, restic, sources, sql_import
from jobs.database import Connection, identifier
from jobs.errors import BackupInvalid, ShareUnusable
from jobs.manifest import Manifest
from jobs.restic import Restic
from jobs.settings import Backup
from jobs.unpack import Unpacked

__all__ = ["OpenedSet", "opened"]

_SPARE_BYTES = 256 << 20
_SHOWN = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class OpenedSet:
    """A set that was found, and its repository; `database` is a dump of another moment that takes its own's place."""

    found: Manifest
    repository: Restic
    database: Backup | None = None

    def lost(self, connection: Connection, site: Path) -> frozenset[str]:
        """Documents that may be missing when it is unpacked: those that the set itself reports as not in its files.

        Of a database of another moment each may: it names what came to the files later, or went before.
        """
        if self.database:
            return frozenset(documents.missing(documents.named(connection), lambda path: (site / path).is_file()))
        return frozenset(self.found.documents.missing + self.found.documents.deleted_meanwhile)

    def unpack(self, site: Path, connection: Connection, schema: str) -> Unpacked:
        """Write its files to `site`, which is there and empty, and run its SQL in `schema`.

        Raises:
            BackupInvalid: what came out is not what the manifest says.
            ShareUnusable: there is no room for it.
        """
        self._check_room(site)
        log.info(
            "Restoring a backup set", set=self.found.set, files=self.found.files.count, bytes=self.found.files.bytes
        )
        self.repository.restore(self.found.files.snapshot, site.parent)
        files, size = _below(site)
        problems = [
            *_differences("files", {"": self.found.files.count}, {"": files}),
            *_differences("bytes of files", {"": self.found.files.bytes}, {"": size}),
        ]
        same_keys = keys.on_share(site) == self.found.keys.share
        if self.database:
            statements = _import_other(self.database, connection, schema)
        else:
            statements = self._import(connection, schema)
            problems += _differences("rows of ", self.found.tables, _rows(connection, schema, self.found.tables))
            same_keys &= keys.in_database(connection) == self.found.keys.database
        if not same_keys:
            problems.append("the encryption keys are not those of the set")
        if problems:
            raise BackupInvalid(
                f"The set {self.found.set} is not what its manifest says: {'; '.join(problems[:_SHOWN])}."
            )
        return Unpacked(files=files, size=size, statements=statements, checksum="verified")

    def _check_room(self, site: Path) -> None:
        free = os.statvfs(site)
        room = free.f_bavail * free.f_frsize - _SPARE_BYTES
        if self.found.files.bytes > room:
            raise ShareUnusable(
                f"The set's files have {self.found.files.bytes} bytes, the share has room for {max(room, 0)}.",
                do="Make the files disk larger, then run the same command again.",
            )

    def _import(self, connection: Connection, schema: str) -> int:
        progress = log.Progress("Importing the database", total=self.found.database.bytes)
        with self.repository.stream(self.found.database.snapshot, dump.NAME) as out:
            summed = _Summed(out)
            whole = io.BufferedReader(summed, 1 << 20)
            count = sql_import.import_dump(
                whole, connection, schema, lambda size: progress.add(size=size, at=summed.at)
            )
        if summed.sum.hexdigest() != self.found.database.sha256:
            raise BackupInvalid(f"The database of the set {self.found.set} is not the one that was dumped.")
        return count


def opened(backup: Backup, *, lock_seconds: int) -> OpenedSet:
    """Find the set that `backup` names, and open its repository.

    Raises:
        BackupMissing, Refused: there is none, or it failed its checks.
        BackupForbidden, SecretUnavailable, Unreachable: it cannot be read.
    """
    assert backup.store is not None  # noqa: S101  # a set has one
    found = manifest.choose(backup.store, backup.place)
    other = Backup(source="gcs", place=backup.database) if backup.database else None
    return OpenedSet(found=found, repository=restic.opened(backup.store, lock_seconds=lock_seconds), database=other)


def _import_other(dump: Backup, connection: Connection, schema: str) -> int:
    with sources.open_backup(dump) as file:
        progress = log.Progress("Importing the database", total=file.size)
        whole = io.BufferedReader(file, 1 << 20)
        count = sql_import.import_dump(whole, connection, schema, lambda size: progress.add(size=size, at=file.tell()))
        file.verify()
    return count


class _Summed(io.RawIOBase):
    """What is read, and the sum of it."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self.sum = hashlib.sha256()
        self.at = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._source.read(len(buffer))
        self.sum.update(piece)
        self.at += len(piece)
        buffer[: len(piece)] = piece
        return len(piece)


def _below(site: Path) -> tuple[int, int]:
    """Number and bytes of the files below."""
    sizes = [
        os.lstat(os.path.join(directory, name)).st_size
        for directory, _, names in os.walk(site)
        for name in names
        if not os.path.islink(os.path.join(directory, name))
    ]
    return len(sizes), sum(sizes)


def _rows(connection: Connection, schema: str, names: Mapping[str, int]) -> dict[str, int]:
    there = clinic_state.look_at_database(connection, schema).tables
    return {
        name: int(database.value(connection, f"SELECT COUNT(*) FROM {identifier(schema)}.{identifier(name)}"))  # noqa: S608
        for name in names
        if name in there
    }


def _differences(what: str, wanted: Mapping[str, int], found: Mapping[str, int]) -> list[str]:
    return [
        f"{count} {what}{name}, but {found.get(name, 0)} came"
        for name, count in wanted.items()
        if found.get(name, 0) != count
    ]
