"""Tar streams, read front to back: ustar with pax or GNU extensions.

tarfile's own stream mode copies every byte three times and takes half of a restore's time (benchmarks/restore.py);
it still reads the headers here.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator

from jobs.archives.entries import IN_MEMORY, PIECE, Damaged, Entry, Kind, Readable, exactly, safe

__all__ = ["tar_entries"]

_BLOCK = 512
_LONGEST_HEADER = 1 << 20
_KINDS: dict[bytes, Kind] = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.CONTTYPE: "file",
    tarfile.DIRTYPE: "directory",
    tarfile.SYMTYPE: "link",
    tarfile.LNKTYPE: "link",
}


def tar_entries(stream: Readable) -> Iterator[Entry]:
    """Every entry in order.

    Raises:
        Damaged: a header is not one, or the stream ends before the archive does.
    """
    common: dict[str, str] = {}
    told: dict[str, str] = {}
    while True:
        header = exactly(stream, _BLOCK)
        if not any(header):
            break
        info = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
        if info.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
            told |= _pax(_long(stream, info.size))
        elif info.type == tarfile.XGLTYPE:
            common |= _pax(_long(stream, info.size))
        elif info.type in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK):
            name = _long(stream, info.size).rstrip(b"\0").decode()
            told |= {"path": name} if info.type == tarfile.GNUTYPE_LONGNAME else {}
        else:
            yield from _entry(stream, info, common | told)
            told = {}
    # a packed stream proves itself by its end
    while stream.read(PIECE):
        pass


def _entry(stream: Readable, info: tarfile.TarInfo, told: dict[str, str]) -> Iterator[Entry]:
    path = safe(told.get("path", info.name))
    size = _number(told["size"]) if "size" in told else info.size
    sparse = info.type == tarfile.GNUTYPE_SPARSE or any(key.startswith("GNU.sparse.") for key in told)
    kind: Kind = "sparse file" if sparse else _KINDS.get(info.type, "device")
    if kind != "file":
        size = 0 if kind in ("directory", "link") else size
        yield Entry(path=path, kind=kind, size=size)
        _skip(stream, _padded(size))
    elif size <= IN_MEMORY:
        content = exactly(stream, _padded(size))[:size]
        yield Entry(path=path, kind="file", size=size, pieces=lambda: iter((content,)))
    else:
        large = _Large(stream, size)
        yield Entry(path=path, kind="file", size=size, pieces=large.pieces, in_memory=False)
        _skip(stream, large.left + _padded(size) - size)


class _Large:
    """The content of a file that is too large to take along; `left` bytes of it are still in the stream."""

    def __init__(self, stream: Readable, size: int) -> None:
        self._stream = stream
        self.left = size

    def pieces(self) -> Iterator[bytes]:
        while self.left:
            piece = exactly(self._stream, min(self.left, PIECE))
            self.left -= len(piece)
            yield piece


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _skip(stream: Readable, size: int) -> None:
    while size:
        size -= len(exactly(stream, min(size, PIECE)))


def _long(stream: Readable, size: int) -> bytes:
    if size > _LONGEST_HEADER:
        raise Damaged("a name is longer than 1 MiB")
    return exactly(stream, _padded(size))[:size]


def _pax(records: bytes) -> dict[str, str]:
    """Records of the form `LENGTH KEY=VALUE\\n`, each as long as it says."""
    found = {}
    while records:
        length = _number(records.partition(b" ")[0].decode())
        record, records = records[:length], records[length:]
        key, equals, value = record[record.find(b" ") + 1 : -1].partition(b"=")
        if not equals or len(record) < length or record[-1:] != b"\n":
            raise Damaged("an extended header is not one")
        # of other keys, such as comments of a foreign tool, nothing is read
        if key in (b"path", b"size") or key.startswith(b"GNU.sparse."):
            found[key.decode()] = value.decode()
    return found


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise Damaged("a size is not a number")
    return int(text)
