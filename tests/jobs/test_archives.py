"""What comes out of an archive, and what must not."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import stat
import tarfile
import zipfile
from collections.abc import Callable

import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs import archives
from jobs.errors import BackupInvalid

LIMITS = archives.Limits(total_bytes=1 << 30, files=1000, ratio=500)


def opened(data: bytes, limits: archives.Limits = LIMITS) -> dict[str, bytes]:
    found = archives.entries(io.BytesIO(data), packed_bytes=len(data), limits=limits)
    return {str(entry.path): b"".join(entry.pieces()) for entry in found if entry.kind == "file"}


def kinds(data: bytes) -> dict[str, str]:
    found = archives.entries(io.BytesIO(data), packed_bytes=len(data), limits=LIMITS)
    return {str(entry.path): entry.kind for entry in found}


def tarred(files: dict[str, bytes], change: Callable[[tarfile.TarInfo], None] | None = None) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            if change:
                change(info)
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def zipped(files: dict[str, bytes], mode: int = 0) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = mode << 16
            archive.writestr(info, content)
    return packed.getvalue()


NAMES = st.text(st.characters(min_codepoint=0x20, exclude_characters="/\\\0", codec="utf-8"), min_size=1, max_size=12)
PATHS = st.lists(NAMES.filter(lambda name: name not in (".", "..")), min_size=1, max_size=3).map("/".join)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(PATHS, st.binary(max_size=2000), min_size=1, max_size=6))
def test_plain_files_come_out_as_they_went_in(files: dict[str, bytes]) -> None:
    assert opened(tarred(files)) == files
    assert opened(zstd.compress(tarred(files))) == files
    assert opened(zipped(files)) == files


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../../x", "a\\..\\x", "a\nb", "a/\x1b[2J"])
@pytest.mark.parametrize("pack", [tarred, zipped])
def test_a_path_that_leaves_or_hides_is_refused(name: str, pack: Callable[[dict[str, bytes]], bytes]) -> None:
    with pytest.raises(BackupInvalid, match="leaves its folder"):
        opened(pack({"good": b"", name: b"x"}))


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (tarfile.SYMTYPE, "link"),
        (tarfile.LNKTYPE, "link"),
        (tarfile.CHRTYPE, "device"),
        (tarfile.FIFOTYPE, "device"),
        (tarfile.GNUTYPE_SPARSE, "sparse file"),
        (tarfile.DIRTYPE, "directory"),
    ],
)
def test_what_is_no_plain_file_comes_out_as_such_and_empty(kind: bytes, told: str) -> None:
    def change(info: tarfile.TarInfo) -> None:
        info.type, info.linkname, info.size = kind, "/etc/passwd", 0

    assert kinds(tarred({"x": b""}, change)) == {"x": told}


def test_a_link_in_a_zip_comes_out_as_such() -> None:
    assert kinds(zipped({"x": b"/etc/passwd"}, mode=stat.S_IFLNK | 0o777)) == {"x": "link"}


def test_a_bomb_is_stopped_by_its_ratio() -> None:
    limits = dataclasses.replace(LIMITS, ratio=10, ratio_applies_after=1000)
    with pytest.raises(BackupInvalid, match="more than 10 times its size"):
        opened(zipped({"x": b"\0" * 1_000_000}), limits)


def test_a_full_share_is_foreseen() -> None:
    with pytest.raises(BackupInvalid, match="free on the share"):
        opened(tarred({"x": b"x" * 5000}), dataclasses.replace(LIMITS, total_bytes=4000))


def test_a_million_files_have_a_limit() -> None:
    with pytest.raises(BackupInvalid, match="more than 3 files"):
        opened(zipped({f"f{n}": b"" for n in range(5)}), dataclasses.replace(LIMITS, files=3))


def test_a_changed_byte_is_noticed() -> None:
    whole = bytearray(zipped({"x": bytes(range(256)) * 40}))
    whole[60] ^= 0xFF
    with pytest.raises(BackupInvalid, match="damaged"):
        opened(bytes(whole))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_cut_stream_is_never_taken_for_whole(data: st.DataObject) -> None:
    packed = tarred({"a": hashlib.shake_256(b"").digest(3000), "b": b"b" * 500})
    whole = zstd.compress(packed, options={zstd.CompressionParameter.checksum_flag: 1})
    for stream in (whole, whole + whole, gzip.compress(packed)):
        with pytest.raises(BackupInvalid):
            opened(stream[: data.draw(st.integers(512, len(stream) - 1).filter(lambda cut: cut != len(whole)))])
