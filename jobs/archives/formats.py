"""Which archive it is, by its first bytes; and archives within, as OpenEMR's own backup has them."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import tarfile
from collections.abc import Callable, Iterator
from typing import BinaryIO

from backports import zstd

from jobs.archives.entries import PIECE, Damaged, Entry, Limits, Readable, Watch, damage_told, exactly
from jobs.archives.packing import gunzipped, unzstd
from jobs.archives.tarring import tar_entries
from jobs.archives.zipping import zip_entries
from jobs.errors import BackupInvalid

__all__ = ["entries"]

_HEAD = 512
_MAGIC_AT = 257
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_PACKED: dict[bytes, Callable[[Readable], io.BufferedReader]] = {
    b"\x1f\x8b": gunzipped,
    b"\x28\xb5\x2f\xfd": unzstd,
}


def entries(file: BinaryIO, *, packed_bytes: int, limits: Limits) -> Iterator[Entry]:
    """The entries of an archive. `file` is read front to back, except for a .zip.

    OpenEMR's own backup (interface/main/backup.php) is a .tar of `openemr.sql.gz` and `openemr.tar.gz`: archives at
    the top of an archive are opened, those further in are files like others.

    Raises:
        BackupInvalid: not an archive, damaged, encrypted, unsafe, or larger than the limits.
    """
    watch = Watch(packed_bytes, limits)
    with damage_told():
        for outer in _outer(file):
            for entry in _inner(outer):
                watch.see(entry)
                yield dataclasses.replace(entry, pieces=functools.partial(_told, entry))


def _told(entry: Entry) -> Iterator[bytes]:
    with damage_told():
        yield from entry.pieces()


def _outer(file: BinaryIO) -> Iterator[Entry]:
    head = file.read(_HEAD)
    file.seek(0)
    if head.startswith(_ZIP):
        return zip_entries(file)
    if plain := _packed(head):
        return tar_entries(plain(file))
    if _begins_a_tar(head):
        return tar_entries(file)
    raise BackupInvalid(
        "The backup is none of .zip, .tar, .tar.gz, .tar.zst.", do="Name an archive with openemr.sql and sites/default."
    )


def _inner(entry: Entry) -> Iterator[Entry]:
    """The entry, or what is in it where it lies at the top and is a tar, packed or not."""
    if entry.kind != "file" or len(entry.path.parts) > 2:
        yield entry
        return
    content = entry.open()
    head = content.peek(_HEAD)
    plain = _packed(head)
    if _begins_a_tar(_begin(plain, head) if plain else head):
        yield from tar_entries(plain(content) if plain else content)
    else:
        yield dataclasses.replace(entry, pieces=lambda: iter(functools.partial(content.read1, PIECE), b""))


def _packed(head: bytes) -> Callable[[Readable], io.BufferedReader] | None:
    return next((plain for magic, plain in _PACKED.items() if head.startswith(magic)), None)


def _begin(plain: Callable[[Readable], io.BufferedReader], head: bytes) -> bytes:
    """The first plain bytes of a packed file of which this is the beginning; none where it only looks like one."""
    with contextlib.suppress(Damaged, zstd.ZstdError):
        return exactly(plain(io.BytesIO(head)).raw, _HEAD)
    return b""


def _begins_a_tar(head: bytes) -> bool:
    """By the sum that a header has of itself; by its magic where it was damaged."""
    if head[_MAGIC_AT:].startswith(b"ustar"):
        return True
    try:
        tarfile.TarInfo.frombuf(head[:_HEAD], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True
