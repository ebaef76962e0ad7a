""".zip archives over a seekable file, read by their central directory without holding it.

zipfile keeps an object for each of a million entries and inflates in the thread that reads. Here an entry's packed
bytes can go to another thread, and memory does not grow with the archive. The format is PKWARE's APPNOTE.TXT 6.3.10,
whose section numbers stand beside the structures.
"""

from __future__ import annotations

import dataclasses
import stat
import struct
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import BinaryIO

from isal import isal_zlib

from jobs.archives.entries import IN_MEMORY, PIECE, Damaged, Entry, exactly, safe
from jobs.archives.packing import IsalError, deflated
from jobs.errors import BackupInvalid

__all__ = ["zip_entries"]

_END = struct.Struct("<4s4H2LH")  # 4.3.16
_END64 = struct.Struct("<4sQ2H2L4Q")  # 4.3.14
_LOCATOR64 = struct.Struct("<4sLQL")  # 4.3.15
_CENTRAL = struct.Struct("<4s6H3L5H2L")  # 4.3.12
_LOCAL = struct.Struct("<4s5H3L2H")  # 4.3.7
_LONGEST_COMMENT = 0xFFFF
_ZIP64 = 0xFFFFFFFF
_ENCRYPTED = 0x1
_STORED, _DEFLATED = 0, 8
_UNIX = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Member:
    raw_name: bytes
    path: PurePosixPath
    mode: int
    method: int
    crc: int
    packed: int
    size: int
    at: int

    @property
    def is_directory(self) -> bool:
        return self.raw_name.endswith(b"/")


def zip_entries(file: BinaryIO) -> Iterator[Entry]:
    """Every entry in the central directory's order.

    Raises:
        Damaged: the archive is not whole.
        BackupInvalid: it is encrypted, or packed by something else than deflate.
    """
    for member in _members(file):
        kind = stat.S_IFMT(member.mode)
        if member.is_directory:
            yield Entry(path=member.path, kind="directory")
        elif kind not in (0, stat.S_IFREG):
            yield Entry(path=member.path, kind="link" if kind == stat.S_IFLNK else "device")
        else:
            yield _file(file, member)


def _file(file: BinaryIO, member: _Member) -> Entry:
    if max(member.packed, member.size) > IN_MEMORY:
        return Entry(
            path=member.path,
            kind="file",
            size=member.size,
            pieces=lambda: _checked(member, _inflated(member, _read(file, member))),
            in_memory=False,
        )
    packed = b"".join(_read(file, member))
    return Entry(
        path=member.path,
        kind="file",
        size=member.size,
        pieces=lambda: _checked(member, _inflated(member, iter((packed,)))),
    )


def _read(file: BinaryIO, member: _Member) -> Iterator[bytes]:
    """The member's packed bytes, after its local header, which must speak of the same name."""
    file.seek(member.at)
    local = _LOCAL.unpack(exactly(file, _LOCAL.size))
    if local[0] != b"PK\x03\x04" or exactly(file, local[9]) != member.raw_name:
        raise Damaged(f"its table of contents does not fit at {str(member.path)!a}")
    exactly(file, local[10])
    left = member.packed
    while left:
        piece = exactly(file, min(left, PIECE))
        left -= len(piece)
        yield piece


def _inflated(member: _Member, packed: Iterator[bytes]) -> Iterator[bytes]:
    if member.method == _STORED:
        yield from packed
        return
    stream = deflated()
    try:
        for piece in packed:
            plain = stream.decompress(piece, PIECE)
            while plain:
                yield plain
                plain = b"" if stream.needs_input or stream.eof else stream.decompress(b"", PIECE)
    except IsalError as error:
        raise Damaged(f"{str(member.path)!a}: {error}") from error
    if not stream.eof:
        raise Damaged(f"{str(member.path)!a} ends too early")


def _checked(member: _Member, plain: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes, never more than the size that was told, and those of the checksum."""
    size = crc = 0
    for piece in plain:
        size += len(piece)
        crc = isal_zlib.crc32(piece, crc)
        if size > member.size:
            break
        yield piece
    if (size, crc) != (member.size, member.crc):
        raise Damaged(f"{str(member.path)!a} is not what its checksum says")


def _members(file: BinaryIO) -> Iterator[_Member]:
    count, at = _directory(file)
    for _ in range(count):
        file.seek(at)
        head = _CENTRAL.unpack(exactly(file, _CENTRAL.size))
        if head[0] != b"PK\x01\x02":
            raise Damaged("its table of contents is not whole")
        name, extra = exactly(file, head[10]), exactly(file, head[11])
        at += _CENTRAL.size + head[10] + head[11] + head[12]
        size, packed, start = _sizes(head[9], head[8], head[16], extra)
        yield _member(head, name, size=size, packed=packed, at=start)


def _member(head: tuple[int, ...], name: bytes, *, size: int, packed: int, at: int) -> _Member:
    flags, method = head[3], head[4]
    # without the flag for UTF-8 a name is of an old code page (4.4.4), which is told apart only by not being UTF-8
    path = safe(name.decode())
    if flags & _ENCRYPTED:
        raise BackupInvalid("The archive is encrypted with a password.", do="Pack it again without one.")
    if method not in (_STORED, _DEFLATED):
        raise BackupInvalid(f"The archive's {str(path)!a} is packed by method {method}.", do="Pack with deflate.")
    mode = head[15] >> 16 if head[1] >> 8 == _UNIX else 0
    return _Member(raw_name=name, path=path, mode=mode, method=method, crc=head[7], packed=packed, size=size, at=at)


def _sizes(size: int, packed: int, at: int, extra: bytes) -> tuple[int, int, int]:
    """Sizes and offset, from the zip64 field (4.5.3) where they do not fit 32 bits."""
    values = [size, packed, at]
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<2H", extra)
        field, extra = extra[4 : 4 + length], extra[4 + length :]
        if kind != 1:
            continue
        for position, value in enumerate(values):
            if value == _ZIP64:
                if len(field) < 8:
                    raise Damaged("a size is missing")
                values[position] = int.from_bytes(field[:8], "little")
                field = field[8:]
    return values[0], values[1], values[2]


def _directory(file: BinaryIO) -> tuple[int, int]:
    """Number of entries and where the central directory begins, from the record at the end."""
    length = file.seek(0, 2)
    tail_at = max(0, length - _END.size - _LONGEST_COMMENT)
    file.seek(tail_at)
    tail = exactly(file, length - tail_at)
    found = tail.rfind(b"PK\x05\x06")
    if found < 0 or len(tail) - found < _END.size:
        raise Damaged("it has no table of contents at its end")
    end = _END.unpack_from(tail, found)
    at64 = tail_at + found - _LOCATOR64.size
    if at64 >= 0:
        file.seek(at64)
        locator = _LOCATOR64.unpack(exactly(file, _LOCATOR64.size))
        if locator[0] == b"PK\x06\x07":
            file.seek(locator[2])
            end64 = _END64.unpack(exactly(file, _END64.size))
            if end64[0] != b"PK\x06\x06":
                raise Damaged("its table of contents is not whole")
            return end64[7], end64[9]
    return end[4], end[6]
