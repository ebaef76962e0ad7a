"""The plain bytes of gzip and zstd streams.

isal and backports.zstd read about twice as fast as Python's zlib and the zstandard package (benchmarks/restore.py), and
both bound what one call may give, so that a bomb takes no memory.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, Protocol

from backports import zstd
from isal import igzip_lib

from jobs.archives.entries import PIECE, Damaged, Readable

__all__ = ["Decompressor", "IsalError", "deflated", "gunzipped", "unzstd"]

# isal's stubs take the class for an instance
IsalError: type[Exception] = igzip_lib.IsalError  # type: ignore[assignment]


class Decompressor(Protocol):
    """As bz2.BZ2Decompressor: at most `max_length` bytes a call; `unused_data` is what follows the end."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


def gunzipped(packed: Readable) -> io.BufferedReader:
    """Members one after the other; zeros may follow the last."""
    return io.BufferedReader(_Plain(packed, lambda: igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)), PIECE)


def unzstd(packed: Readable) -> io.BufferedReader:
    """Frames one after the other."""
    return io.BufferedReader(_Plain(packed, zstd.ZstdDecompressor), PIECE)


def deflated() -> Decompressor:
    """For one raw deflate stream, as a .zip holds them."""
    return igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_DEFLATE)


class _Plain(io.RawIOBase):
    def __init__(self, packed: Readable, make: Callable[[], Decompressor]) -> None:
        self._packed = packed
        self._make = make
        self._one = make()
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._one.eof or self._another():
            try:
                plain = self._one.decompress(self._more() if self._one.needs_input else b"", len(buffer))
            except IsalError as error:
                raise Damaged(str(error)) from error
            if plain:
                buffer[: len(plain)] = plain
                return len(plain)
        return 0

    def _more(self) -> bytes:
        packed, self._rest = self._rest or self._packed.read(PIECE), b""
        if not packed:
            raise Damaged("it ends too early")
        return packed

    def _another(self) -> bool:
        """Whether another member or frame follows; begins it."""
        rest = self._one.unused_data or self._packed.read(PIECE)
        while rest and not rest.strip(b"\0"):
            rest = self._packed.read(PIECE)
        self._rest = rest
        if rest:
            self._one = self._make()
        return bool(rest)
