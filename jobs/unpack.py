"""From an archive to a folder of the share and a schema: the site's files by several threads, the SQL as it comes."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from jobs import archives, log, share, sources, sql_import
from jobs import site as layout
from jobs.archives import Entry
from jobs.database import Connection
from jobs.errors import BackupInvalid
from jobs.settings import Backup
from jobs.workers import Workers

__all__ = ["Unpacked", "unpack"]

_SPARE_BYTES = 256 << 20
_SPARE_FILES = 1000
_MOST_REMEMBERED = 10_000
_SITES, _SITE = "sites", "default"
_DUMP_SUFFIXES = (".sql", ".sql.gz")


@dataclasses.dataclass(kw_only=True)
class Unpacked:
    """What came out of an archive. `left_out` counts files that are neither of the site nor its dump."""

    files: int = 0
    size: int = 0
    statements: int = 0
    left_out: int = 0
    checksum: str = ""


def unpack(backup: Backup, site: Path, connection: Connection, schema: str) -> Unpacked:
    """Unpack a backup's `sites/default` into `site`, which is there and empty, and run its SQL in `schema`.

    Raises:
        BackupInvalid: no backup of one OpenEMR site, damaged, unsafe, or too large for the share.
        BackupMissing, BackupForbidden, CloudRefused, Unreachable: it cannot be read.
        ShareUnusable: the site cannot be written.
    """
    with sources.open_backup(backup) as file:
        progress = log.Progress("Unpacking the backup", total=file.size)
        limits = _limits(site, backup)
        with Workers() as workers:
            unpacking = _Unpacking(site, connection, schema, workers, limits, lambda: progress.add(at=file.tell()))
            for entry in archives.entries(file, packed_bytes=file.size, limits=limits):  # type: ignore[arg-type]
                unpacking.take(entry)
                progress.add(files=1, size=entry.size, at=file.tell())
        unpacking.check_complete()
        progress.tell()
        return dataclasses.replace(unpacking.done, checksum=file.verify())


def _limits(site: Path, backup: Backup) -> archives.Limits:
    """What is free on the share and allowed. Servers that do not count files say that none are free."""
    free = os.statvfs(site)
    files = free.f_favail - _SPARE_FILES if free.f_files else backup.most_files
    total = max(free.f_bavail * free.f_frsize - _SPARE_BYTES, 0)
    return archives.Limits(
        total_bytes=min(total, backup.most_bytes or total),
        files=min(max(files, 0), backup.most_files),
        ratio=backup.most_times,
    )


class _Unpacking:
    """Where entries go. Directories are made here, one after the other; files may be written in any order."""

    def __init__(
        self,
        site: Path,
        connection: Connection,
        schema: str,
        workers: Workers,
        limits: archives.Limits,
        told: Callable[[], None],
    ) -> None:
        self.done = Unpacked()
        self._site = site
        self._connection = connection
        self._schema = schema
        self._workers = workers
        self._limits = limits
        self._told = told
        self._root: PurePosixPath | None = None
        self._dump: PurePosixPath | None = None
        self._made: set[PurePosixPath] = {PurePosixPath()}

    def take(self, entry: Entry) -> None:
        root = _site_root(entry.path)
        if root is not None:
            self._take_of_site(entry, root)
        elif entry.kind == "file" and entry.path.name.endswith(_DUMP_SUFFIXES) and len(entry.path.parts) <= 2:
            if self._dump is not None:
                raise BackupInvalid(f"The archive holds two SQL files: {self._dump} and {entry.path}.")
            self._dump = entry.path
            self._import(entry)
        elif entry.kind == "file":
            self.done.left_out += 1

    def _import(self, entry: Entry) -> None:
        left = self._limits.unpacked(entry.size)

        def told(size: int) -> None:
            nonlocal left
            left -= size
            if left < 0:
                raise BackupInvalid(f"The archive's SQL unpacks to more than {self._limits.ratio} times its size.")
            self._told()

        self.done.statements = sql_import.import_dump(entry.open(), self._connection, self._schema, told)

    def check_complete(self) -> None:
        parts = {"sites/default": self._root, ".sql file": self._dump}
        missing = " and no ".join(name for name, found in parts.items() if found is None)
        if missing:
            raise BackupInvalid(f"The archive is no backup of OpenEMR: it has no {missing}.")

    def _take_of_site(self, entry: Entry, root: PurePosixPath) -> None:
        if root.name != _SITE:
            # other folders of `sites` may be anything; one with a database of its own is another clinic
            if entry.path == root / "sqlconf.php":
                raise BackupInvalid(
                    f"The archive holds the site {root}, not only sites/default.",
                    do="Pack one site as sites/default, with its own database.",
                )
            self.done.left_out += 1
            return
        if self._root not in (None, root):
            raise BackupInvalid(f"The archive holds two sites: {self._root} and {root}.")
        self._root = root
        relative = entry.path.relative_to(root)
        if entry.kind == "directory":
            self._ensure_directory(relative)
        elif entry.kind == "file":
            self._ensure_directory(relative.parent)
            self._write(relative, entry)
            self.done.files += 1
            self.done.size += entry.size
        else:
            raise BackupInvalid(f"The archive holds a {entry.kind}: {entry.path}.")

    def _write(self, relative: PurePosixPath, entry: Entry) -> None:
        write = functools.partial(_write_file, self._site / relative, relative, entry)
        if entry.in_memory:
            self._workers.do(write, size=entry.size)
        else:
            write()

    def _ensure_directory(self, relative: PurePosixPath) -> None:
        if relative in self._made:
            return
        self._ensure_directory(relative.parent)
        with share.errors_told(f"{relative} cannot be made"):
            try:
                os.mkdir(self._site / relative, share.DIRECTORY_MODE)
            except FileExistsError as error:
                if not (self._site / relative).is_dir():
                    raise _twice(relative) from error
        if len(self._made) > _MOST_REMEMBERED:
            self._made = {PurePosixPath()}
        self._made.add(relative)


def _site_root(path: PurePosixPath) -> PurePosixPath | None:
    """`x/sites/default` for `x/sites/default/config.php`; None for what lies in no site."""
    parts = path.parts
    roots = [at for at in range(len(parts) - 2) if parts[at] == _SITES]
    if not roots:
        return None
    at = next((at for at in roots if parts[at + 1] == _SITE), roots[0])
    return PurePosixPath(*parts[: at + 2])


def _write_file(target: Path, relative: PurePosixPath, entry: Entry) -> None:
    mode = layout.wanted_mode(str(relative))
    with share.errors_told(f"{relative} cannot be written"):
        try:
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
            raise _twice(relative) from error
        try:
            for piece in entry.pieces():
                view = memoryview(piece)
                while view:
                    view = view[os.write(descriptor, view) :]
        finally:
            os.close(descriptor)


def _twice(relative: PurePosixPath) -> BackupInvalid:
    return BackupInvalid(f"The archive holds {relative} twice, or both as file and as directory.")
