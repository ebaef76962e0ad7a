"""What of an archive reaches a site, and what stops it. Files go to a folder, the SQL is not looked at."""

from __future__ import annotations

import gzip
import io
import itertools
import random
import stat
import tarfile
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from backports import zstd

from jobs import archives, sources, sql_import, unpack
from jobs.errors import BackupInvalid, ShareUnusable
from jobs.settings import Backup
from jobs.workers import Workers
from tests.jobs.world import DiskRanges

SITE = "sites/default/"
LARGE = bytes(range(256)) * 8192


LIMITS = archives.Limits(total_bytes=1 << 30, files=1000, ratio=10, ratio_applies_after=1000)


@pytest.fixture(autouse=True)
def _no_database(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """SQL is read to its end and counts as one statement."""
    monkeypatch.setattr(sql_import, "import_dump", lambda dump, *_: bool(dump.read()))
    monkeypatch.setattr(sources, "open_backup", lambda backup: sources.RangeFile(DiskRanges(Path(backup.place))))
    (tmp_path / "site").mkdir()


def unpacked(tmp_path: Path, archive: bytes) -> unpack.Unpacked:
    path = tmp_path / "archive"
    path.write_bytes(archive)
    backup = Backup(source="gcs", place=str(path))
    return unpack.unpack(backup, tmp_path / "site", None, "schema")  # type: ignore[arg-type]


def found(tmp_path: Path) -> dict[str, bytes]:
    site = tmp_path / "site"
    return {str(path.relative_to(site)): path.read_bytes() for path in site.rglob("*") if path.is_file()}


def plain(files: dict[str, bytes], *others: tarfile.TarInfo, form: int = tarfile.PAX_FORMAT) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=form) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o6777
            archive.addfile(info, io.BytesIO(content))
        for info in others:
            archive.addfile(info)
    return packed.getvalue()


def tar(files: dict[str, bytes], *others: tarfile.TarInfo, form: int = tarfile.PAX_FORMAT) -> bytes:
    """A backup: these files and a dump."""
    return plain({"openemr.sql": b"SELECT 1;", **files}, *others, form=form)


def special(name: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return info


def test_a_restored_file_has_our_mode_whatever_the_archive_says(tmp_path: Path) -> None:
    key = "documents/logs_and_misc/methods/sevena"
    unpacked(tmp_path, tar({f"{SITE}a.php": b"a", f"{SITE}{key}": b"k", f"{SITE}sqlconf.php": b"<?php"}))
    modes = {name: stat.S_IMODE((tmp_path / "site" / name).stat().st_mode) for name in ("a.php", key, "sqlconf.php")}
    assert modes == {"a.php": 0o640, key: 0o600, "sqlconf.php": 0o600}


def test_empty_folders_come_along(tmp_path: Path) -> None:
    unpacked(tmp_path, tar({f"{SITE}x": b""}, special(f"{SITE}documents/smarty/main", tarfile.DIRTYPE)))
    assert (tmp_path / "site/documents/smarty/main").is_dir()


def test_openemrs_own_backup_is_opened_within(tmp_path: Path) -> None:
    """interface/main/backup.php: a .tar of openemr.sql.gz and openemr.tar.gz, the whole web folder with its links."""
    web = {f"{SITE}documents/1/x": LARGE, "interface/login.php": b"code"}
    packed = gzip.compress(plain(web, special("vendor/bin/x", tarfile.SYMTYPE)))
    done = unpacked(tmp_path, plain({"openemr.sql.gz": gzip.compress(b"SELECT 1;"), "openemr.tar.gz": packed}))
    assert (done.files, done.left_out, done.statements) == (1, 1, 1)
    assert found(tmp_path) == {"documents/1/x": LARGE}


@pytest.mark.parametrize("name", ["web.bin", "openemr.tar", "openemr.tgz", "backup/openemr"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd.compress])
def test_an_archive_within_is_known_by_its_content(tmp_path: Path, name: str, pack: Callable[[bytes], bytes]) -> None:
    web = plain({"index.php": b"code", f"{SITE}documents/1/x": LARGE})
    done = unpacked(tmp_path, plain({"openemr.sql.gz": gzip.compress(b"SELECT 1;"), name: pack(web)}))
    assert (done.files, done.left_out, done.statements) == (1, 1, 1)
    assert found(tmp_path) == {"documents/1/x": LARGE}


@pytest.mark.parametrize(
    "content", [b"", b"notes", LARGE, gzip.compress(LARGE), b"\x1f\x8b?", b"\x28\xb5\x2f\xfd" * 300]
)
def test_what_is_only_called_an_archive_is_a_file_like_others(tmp_path: Path, content: bytes) -> None:
    done = unpacked(tmp_path, tar({"old.tar.gz": content, f"{SITE}a": b"a"}))
    assert (done.files, done.left_out) == (1, 1)
    assert found(tmp_path) == {"a": b"a"}


def test_damage_within_an_archive_within_is_told(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(plain({f"{SITE}a": random.Random(1).randbytes(5000)})))  # noqa: S311
    packed[2000] ^= 0xFF
    with pytest.raises(BackupInvalid, match="damaged"):
        unpacked(tmp_path, plain({"openemr.sql": b"SELECT 1;", "openemr.tar.gz": bytes(packed)}))


def test_what_lies_outside_of_the_site_is_counted_and_left(tmp_path: Path) -> None:
    done = unpacked(tmp_path, tar({f"x/{SITE}a": b"a", "x/index.php": b"b"}, special("x/link", tarfile.SYMTYPE)))
    assert (done.files, done.left_out) == (1, 1)
    assert found(tmp_path) == {"a": b"a"}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_a_link_or_device_in_the_site_is_refused(tmp_path: Path, kind: bytes) -> None:
    with pytest.raises(BackupInvalid, match=r"a (link|device): sites/default/documents/x"):
        unpacked(tmp_path, tar({f"{SITE}a": b"a"}, special(f"{SITE}documents/x", kind)))


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({f"{SITE}a": b"", "other/sites/default/a": b""}, "two sites: sites/default and other/sites/default"),
        ({f"{SITE}a": b"", "sites/second/sqlconf.php": b""}, "holds the site sites/second, not only sites/default"),
        ({"sites/second/sqlconf.php": b""}, "holds the site sites/second"),
        ({f"{SITE}a": b"", f"{SITE}a/b": b""}, "twice, or both as file and as directory"),
        ({f"{SITE}a/b": b"", f"{SITE}a": b""}, "twice, or both as file and as directory"),
        ({f"{SITE}{'x' * 256}": b""}, "a name of more than 255 bytes"),
        ({"second.sql": b"", f"{SITE}a": b""}, "two SQL files"),
        ({"index.php": b""}, "no backup of OpenEMR: it has no sites/default"),
        ({f"{SITE}bad\udcff": b""}, "not UTF-8"),
    ],
)
def test_what_is_no_backup_of_one_site_is_refused(tmp_path: Path, files: dict[str, bytes], sentence: str) -> None:
    with pytest.raises(BackupInvalid, match=sentence):
        unpacked(tmp_path, tar(files, form=tarfile.GNU_FORMAT))


def test_names_that_differ_in_case_are_two_files(tmp_path: Path) -> None:
    unpacked(tmp_path, tar({f"{SITE}Ärztin.pdf": b"1", f"{SITE}ärztin.pdf": b"2"}))
    assert found(tmp_path) == {"Ärztin.pdf": b"1", "ärztin.pdf": b"2"}


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_names_and_large_files_come_out_whole(tmp_path: Path, form: int) -> None:
    name = "documents/" + "/".join(["d" * 90] * 4) + "/é" + "x" * 100
    unpacked(tmp_path, tar({f"{SITE}{name}": b"long", f"{SITE}large": LARGE}, form=form))
    assert found(tmp_path) == {name: b"long", "large": LARGE}


def test_members_frames_and_padding_are_one_stream(tmp_path: Path) -> None:
    archive = tar({f"{SITE}large": LARGE})
    cut = len(archive) // 2
    for pack in (gzip.compress, zstd.compress):
        (tmp_path / "site/large").unlink(missing_ok=True)
        unpacked(tmp_path, pack(archive[:cut]) + pack(archive[cut:]) + bytes(1000))
        assert found(tmp_path) == {"large": LARGE}


def zipped(files: dict[str, bytes], *, method: int = zipfile.ZIP_DEFLATED, zip64: bool = False) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, content in {"openemr.sql": b"SELECT 1;", **files}.items():
            with archive.open(name, "w", force_zip64=zip64) as member:
                member.write(content)
    return packed.getvalue()


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("zip64", [True, False])
def test_zips_come_out_whole(tmp_path: Path, method: int, zip64: bool) -> None:
    files = {f"{SITE}large": LARGE, f"{SITE}é": b"small", f"{SITE}empty": b""}
    unpacked(tmp_path, zipped(files, method=method, zip64=zip64))
    assert found(tmp_path) == {"large": LARGE, "é": b"small", "empty": b""}


@pytest.mark.parametrize("size", [100, len(LARGE)])
def test_a_zip_that_lies_about_its_content_is_damaged(tmp_path: Path, size: int) -> None:
    whole = bytearray(zipped({f"{SITE}a": LARGE[:size]}))
    at = whole.rindex(b"PK\x01\x02")
    whole[at + 16] ^= 1  # the checksum
    with pytest.raises(BackupInvalid, match="not what its checksum says"):
        unpacked(tmp_path, bytes(whole))


def test_a_zip_whose_table_of_contents_names_others_is_damaged(tmp_path: Path) -> None:
    whole = zipped({f"{SITE}a": b"a"})
    at = whole.rindex(b"PK\x01\x02")
    with pytest.raises(BackupInvalid, match="table of contents does not fit"):
        unpacked(tmp_path, whole[:at] + whole[at:].replace(b"default/a", b"default/b"))


def test_a_zip_packed_otherwise_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackupInvalid, match="packed by method 12") as refused:
        unpacked(tmp_path, zipped({f"{SITE}a": b"a"}, method=zipfile.ZIP_BZIP2))
    assert refused.value.do == "Pack with deflate."


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    whole = bytearray(zipped({f"{SITE}a": b"a"}))
    whole[whole.rindex(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(BackupInvalid, match="encrypted with a password"):
        unpacked(tmp_path, bytes(whole))


def test_a_disk_that_fills_up_is_told_and_nothing_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty thousand small files and a share that takes none of them."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "x")

    monkeypatch.setattr("os.write", full)
    with pytest.raises(ShareUnusable, match="No space left") as told:
        unpacked(tmp_path, tar({f"{SITE}{number}": b"x" * 100 for number in range(2000)}))
    assert "disk larger" in told.value.do


def test_tiny_files_are_not_all_in_hand() -> None:
    """A million tasks of no bytes would be gigabytes while the share is slow."""
    handed, slow = itertools.count(), threading.Event()

    def hand_in() -> None:
        with Workers() as workers:
            for _ in range(20_000):
                workers.do(slow.wait)
                next(handed)

    feeding = threading.Thread(target=hand_in)
    feeding.start()
    feeding.join(2.0)
    try:
        assert feeding.is_alive()
        assert next(handed) < 9_000
    finally:
        slow.set()
        feeding.join()


def test_more_folders_than_are_remembered_come_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack, "_MOST_REMEMBERED", 3)
    names = [f"documents/{number % 7}/{number}" for number in range(50)]
    unpacked(tmp_path, tar({f"{SITE}{name}": b"x" for name in names}, special(f"{SITE}documents/3", tarfile.DIRTYPE)))
    assert set(found(tmp_path)) == set(names)


def test_sql_that_is_a_bomb_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack, "_limits", lambda *_: LIMITS)
    monkeypatch.setattr(sql_import, "import_dump", lambda dump, _c, _s, told: told(len(gzip.decompress(dump.read()))))
    with pytest.raises(BackupInvalid, match="SQL unpacks to more than 10 times its size"):
        unpacked(tmp_path, plain({"openemr.sql.gz": gzip.compress(bytes(1_000_000)), f"{SITE}a": b""}))


def test_a_sparse_file_counts_as_what_it_would_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack, "_limits", lambda *_: LIMITS)
    huge = special("elsewhere", tarfile.GNUTYPE_SPARSE)
    huge.size = 1 << 40
    with pytest.raises(BackupInvalid, match="free on the share"):
        unpacked(tmp_path, plain({f"{SITE}a": b""}, huge))


def test_what_is_allowed_bounds_what_is_free(tmp_path: Path) -> None:
    allowed = Backup(source="gcs", place="x", most_bytes=1000, most_files=7, most_times=3)
    assert unpack._limits(tmp_path, allowed) == archives.Limits(total_bytes=1000, files=7, ratio=3)
