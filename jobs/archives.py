"""Backup archives: .zip, .tar, .tar.gz and .tar.zst, known by their content, read as a stream of plain files.

Nothing but directories and plain files with safe relative names comes out of here; anything else is a reason to stop,
since a backup of OpenEMR has no links, devices or paths that leave their folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import io
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO, Any, BinaryIO, cast

import zstandard

from jobs.errors import BackupInvalid

__all__ = ["Content", "Entry", "Limits", "entries"]

_TAR_MAGIC_AT = 257
_HEAD = 512
_BUFFER = 1 << 20
_DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    zstandard.ZstdError,
    lzma.LZMAError,
    EOFError,
    gzip.BadGzipFile,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """Where unpacking stops: total bytes, number of files, and how many times larger than packed it may get."""

    total_bytes: int
    files: int = 5_000_000
    ratio: int = 500
    ratio_applies_after: int = 1 << 30


class Content:
    """The bytes of one entry. Damage shows while they are read, and is told as such."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def read(self, size: int = -1, /) -> bytes:
        with _damage_told():
            return self._stream.read(size)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """One plain file of an archive; `content` is to be read before the next entry is asked for."""

    path: PurePosixPath
    size: int
    content: Content


def entries(file: BinaryIO, *, packed_bytes: int, limits: Limits) -> Iterator[Entry]:
    """The plain files of an archive in its order. `file` is read forward only, except for a .zip.

    Raises:
        BackupInvalid: not an archive, damaged, encrypted, unsafe, or larger than the limits.
    """
    watched = _Watch(packed_bytes, limits)
    with _damage_told():
        head = file.read(_HEAD)
        file.seek(0)
        for entry in _open(file, head):
            watched.see(entry)
            yield entry


@contextlib.contextmanager
def _damage_told() -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise BackupInvalid(f"The archive is damaged: {error}.", do="Upload the backup again.") from error
    except UnicodeDecodeError as error:
        raise BackupInvalid("The archive holds a name that is not UTF-8.") from error


def _open(file: BinaryIO, head: bytes) -> Iterator[Entry]:
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return _zip_entries(file)
    if head[:2] == b"\x1f\x8b":
        return _tar_entries(cast("IO[bytes]", gzip.GzipFile(fileobj=file)))
    if head[:4] == b"\x28\xb5\x2f\xfd":
        return _tar_entries(io.BufferedReader(_ZstdFile(file), _BUFFER))
    if head[_TAR_MAGIC_AT : _TAR_MAGIC_AT + 5] == b"ustar":
        return _tar_entries(file)
    raise BackupInvalid(
        "The backup is none of .zip, .tar, .tar.gz, .tar.zst.", do="Name an archive with openemr.sql and sites/default."
    )


class _ZstdFile(io.RawIOBase):
    """The plain bytes of zstd frames. zstandard's own reader takes a cut stream for a whole one."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._begun = False
        self._plain = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._plain:
            packed = (self._frame.unused_data if self._frame.eof else b"") or self._file.read(_BUFFER)
            if not packed:
                if self._begun and not self._frame.eof:
                    raise EOFError("it ends within a frame")
                return 0
            if self._frame.eof:
                self._frame = zstandard.ZstdDecompressor().decompressobj()
            self._begun = True
            self._plain = memoryview(self._frame.decompress(packed))
        size = min(len(buffer), len(self._plain))
        buffer[:size], self._plain = self._plain[:size], self._plain[size:]
        return size


def _tar_entries(stream: IO[bytes]) -> Iterator[Entry]:
    with tarfile.open(fileobj=stream, mode="r|", encoding="utf-8", errors="strict", bufsize=_BUFFER) as archive:
        for member in archive:
            if member.isdir():
                _safe(member.name)
                continue
            if not member.isreg():
                raise BackupInvalid(f"The archive holds {_kind(member)}: {_shown(member.name)}.")
            content = archive.extractfile(member)
            if content is None:
                raise BackupInvalid(f"The archive's {_shown(member.name)} has no content.")
            yield Entry(path=_safe(member.name), size=member.size, content=Content(content))
    # a gzip or zstd stream proves itself by its end, which tarfile does not read
    while stream.read(_BUFFER):
        pass


def _zip_entries(file: BinaryIO) -> Iterator[Entry]:
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            if info.is_dir():
                _safe(info.filename)
                continue
            if kind not in (0, stat.S_IFREG):
                raise BackupInvalid(f"The archive holds something else than a file: {_shown(info.filename)}.")
            if info.flag_bits & 0x1:
                raise BackupInvalid("The archive is encrypted with a password.")
            path = _safe(info.filename)
            with archive.open(info) as content:
                yield Entry(path=path, size=info.file_size, content=Content(content))


def _kind(member: tarfile.TarInfo) -> str:
    return "a link" if member.issym() or member.islnk() else "a device or pipe"


def _safe(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    leaves = path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name
    try:
        name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise BackupInvalid(f"The archive holds a name that is not UTF-8: {_shown(name)}.") from error
    if leaves or any(ord(letter) < 0x20 for letter in name):
        raise BackupInvalid(f"The archive holds a path that leaves its folder or hides in the log: {_shown(name)}.")
    return path


def _shown(name: str) -> str:
    return ascii(name[:120])


class _Watch:
    """Adds up what comes out and stops a bomb by what its entries claim; `Entry.content` never gives more than that."""

    def __init__(self, packed_bytes: int, limits: Limits) -> None:
        self._limits = limits
        self._ratio_bytes = max(packed_bytes * limits.ratio, limits.ratio_applies_after)
        self._files = 0
        self._bytes = 0

    def see(self, entry: Entry) -> None:
        self._files += 1
        self._bytes += entry.size
        if self._files > self._limits.files:
            raise BackupInvalid(f"The archive holds more than {self._limits.files} files.")
        if self._bytes > self._limits.total_bytes:
            raise BackupInvalid(
                f"The archive unpacks to more than the {self._limits.total_bytes} bytes that are free on the share.",
                do="Make the files disk larger, then run the same command again.",
            )
        if self._bytes > self._ratio_bytes:
            raise BackupInvalid(f"The archive unpacks to more than {self._limits.ratio} times its size.")
