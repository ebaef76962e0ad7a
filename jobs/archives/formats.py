"""Which archive it is, by its first bytes; and archives within, as OpenEMR's own backup has them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import BinaryIO

from jobs.archives.entries import Entry, Limits, Readable, Watch, damage_told
from jobs.archives.packing import gunzipped, unzstd
from jobs.archives.tarring import tar_entries
from jobs.archives.zipping import zip_entries
from jobs.errors import BackupInvalid

__all__ = ["entries"]

_MAGIC_AT = 257
_HEAD = 512
_STREAMS: dict[str, Callable[[Readable], Readable]] = {
    ".tar": lambda plain: plain,
    ".tar.gz": gunzipped,
    ".tgz": gunzipped,
    ".tar.zst": unzstd,
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
            for entry in _inner(outer) or (outer,):
                watch.see(entry)
                yield dataclasses.replace(entry, pieces=functools.partial(_told, entry))


def _told(entry: Entry) -> Iterator[bytes]:
    with damage_told():
        yield from entry.pieces()


def _outer(file: BinaryIO) -> Iterator[Entry]:
    head = file.read(_HEAD)
    file.seek(0)
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return zip_entries(file)
    if head[:2] == b"\x1f\x8b":
        return tar_entries(gunzipped(file))
    if head[:4] == b"\x28\xb5\x2f\xfd":
        return tar_entries(unzstd(file))
    if head[_MAGIC_AT : _MAGIC_AT + 5] == b"ustar":
        return tar_entries(file)
    raise BackupInvalid(
        "The backup is none of .zip, .tar, .tar.gz, .tar.zst.", do="Name an archive with openemr.sql and sites/default."
    )


def _inner(entry: Entry) -> Iterator[Entry] | None:
    if entry.kind != "file" or len(entry.path.parts) > 2:
        return None
    for suffix, plain in _STREAMS.items():
        if entry.path.name.endswith(suffix):
            return tar_entries(plain(entry.open()))
    return None
