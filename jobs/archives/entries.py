"""What comes out of an archive, and the limits on it."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Any, Literal, Protocol

from backports import zstd

from jobs.errors import BackupInvalid

__all__ = [
    "IN_MEMORY",
    "PIECE",
    "Damaged",
    "Entry",
    "Kind",
    "Limits",
    "Readable",
    "Watch",
    "damage_told",
    "exactly",
    "safe",
]

PIECE = 1 << 20
IN_MEMORY = 1 << 20  # bytes up to which an entry's content is taken along whole

_LONGEST_NAME = 255  # of Linux file systems and NFS
Kind = Literal["file", "directory", "link", "device", "sparse file"]


class Readable(Protocol):
    """A stream that is read forward."""

    def read(self, size: int = -1, /) -> bytes: ...


class Damaged(Exception):
    """The bytes are not those of a whole archive; the text says where it shows."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """Where unpacking stops: total bytes, number of files, and how many times larger than packed it may get."""

    total_bytes: int
    files: int
    ratio: int
    ratio_applies_after: int = 1 << 30

    def unpacked(self, packed_bytes: int) -> int:
        """To how many bytes so many may unpack."""
        return max(packed_bytes * self.ratio, self.ratio_applies_after)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """One entry. `pieces` gives a file's content once, `size` bytes in all.

    When it is `in_memory` that may happen in another thread and at any time, otherwise before the next entry is asked
    for.
    """

    path: PurePosixPath
    kind: Kind
    size: int = 0
    pieces: Callable[[], Iterator[bytes]] = lambda: iter(())
    in_memory: bool = True

    def open(self) -> io.BufferedReader:
        """The content as a file that is read forward."""
        return io.BufferedReader(_Pieces(self.pieces()), PIECE)


class _Pieces(io.RawIOBase):
    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size


def exactly(stream: Readable, size: int) -> bytes:
    """Read `size` bytes. Raises Damaged where the stream ends before."""
    data = stream.read(size)
    while len(data) < size:
        more = stream.read(size - len(data))
        if not more:
            raise Damaged("it ends too early")
        data += more
    return data


@contextlib.contextmanager
def damage_told() -> Iterator[None]:
    """Turn what the formats' libraries raise about bad bytes into BackupInvalid."""
    try:
        yield
    except (Damaged, tarfile.TarError, zlib.error, zstd.ZstdError, lzma.LZMAError, EOFError) as error:
        raise BackupInvalid(f"The archive is damaged: {error}.", do="Upload the backup again.") from error
    except UnicodeDecodeError as error:
        raise BackupInvalid("The archive holds a name that is not UTF-8.") from error


def safe(name: str) -> PurePosixPath:
    """A name as a relative path below the place where it is unpacked.

    Raises:
        BackupInvalid: it is absolute, climbs out, or has characters that would hide it in a log.
    """
    path, shown = PurePosixPath(name), ascii(name[:120])
    leaves = path.is_absolute() or ".." in path.parts or "\\" in name
    if any(len(part.encode()) > _LONGEST_NAME for part in path.parts):
        raise BackupInvalid(f"The archive holds a name of more than {_LONGEST_NAME} bytes: {shown}.")
    if leaves or any(ord(letter) < 0x20 for letter in name):
        raise BackupInvalid(f"The archive holds a path that leaves its folder or hides in the log: {name[:120]!a}.")
    return path


class Watch:
    """Adds up what comes out and stops a bomb by what its entries claim; their content is never more than that."""

    def __init__(self, packed_bytes: int, limits: Limits) -> None:
        self._limits = limits
        self._ratio_bytes = limits.unpacked(packed_bytes)
        self._entries = 0
        self._bytes = 0

    def see(self, entry: Entry) -> None:
        self._entries += 1
        self._bytes += entry.size
        if self._entries > self._limits.files:
            raise BackupInvalid(f"The archive holds more than {self._limits.files} files.")
        if self._bytes > self._limits.total_bytes:
            raise BackupInvalid(
                f"The archive unpacks to more than the {self._limits.total_bytes} bytes that are free on the share or"
                " allowed.",
                do="Make the files disk larger, or allow more with BACKUP_MOST_BYTES; then run the same command again.",
            )
        if self._bytes > self._ratio_bytes:
            raise BackupInvalid(f"The archive unpacks to more than {self._limits.ratio} times its size.")
