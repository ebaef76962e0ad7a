"""A restore takes the same memory however large the archive is, its largest file, and its SQL."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from backports import zstd

from tests.jobs.world import DATABASE_PASSWORD, World

MOST_MIB = 256
LARGEST = 320 << 20
ROWS = 1000


def made(tree: Path, *, files: int, statements: int) -> Path:
    """A site with one file that is larger than the memory and many small ones, and SQL in statements of a megabyte."""
    documents = tree / "sites/default/documents"
    documents.mkdir(parents=True)
    with (documents / "large").open("wb") as large:
        large.truncate(LARGEST)
    for number in range(files):
        folder = documents / str(number // 500)
        folder.mkdir(exist_ok=True)
        (folder / str(number)).write_bytes(b"%d" % number * 500)
    rows = ",".join([f"('{'x' * 1000}')"] * ROWS)
    with (tree / "openemr.sql").open("w") as sql:
        sql.write("CREATE TABLE a (b TEXT);\n")
        for _ in range(statements):
            sql.write(f"INSERT INTO a VALUES {rows};\n")  # noqa: S608
    return tree


def in_zstd(tree: Path, archive: Path) -> None:
    with zstd.open(archive, "wb") as out, tarfile.open(fileobj=out, mode="w|") as plain:
        for entry in tree.iterdir():
            plain.add(entry, entry.name)


def openemrs_own(tree: Path, archive: Path) -> None:
    """A .tar of openemr.sql.gz and openemr.tar.gz."""
    parts = archive.with_name("parts")
    parts.mkdir()
    subprocess.run(["gzip", "-1", tree / "openemr.sql"], check=True)
    (tree / "openemr.sql.gz").rename(parts / "openemr.sql.gz")
    shutil.make_archive(str(parts / "openemr"), "gztar", tree)
    shutil.move(shutil.make_archive(str(archive), "tar", parts), archive)


def as_made(kind: str) -> Callable[[Path, Path], object]:
    return lambda tree, archive: shutil.move(shutil.make_archive(str(archive), kind, tree), archive)


FORMATS: dict[str, Callable[[Path, Path], object]] = {
    "zip": as_made("zip"),
    "tar": as_made("tar"),
    "tar.gz": as_made("gztar"),
    "tar.zst": in_zstd,
    "OpenEMR's own": openemrs_own,
}


def unpacked_alone(world: World, archive: Path) -> dict[str, Any]:
    wanted, site = world.wanted, world.sites / "default"
    site.mkdir()
    told = {
        "archive": str(archive),
        "site": str(site),
        "schema": wanted.schema,
        "server": dataclasses.asdict(wanted.server),
        "password": DATABASE_PASSWORD,
    }
    command = [sys.executable, "-m", "tests.jobs.alone"]
    done = subprocess.run(command, input=json.dumps(told), stdout=subprocess.PIPE, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def test_a_file_larger_than_the_memory_is_restored_in_it(world: World, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    in_zstd(made(tmp_path / "tree", files=100, statements=2), archive)
    done = unpacked_alone(world, archive)
    assert (done["files"], done["statements"]) == (101, 3)
    assert (world.site / "documents/large").stat().st_size == LARGEST
    assert done["peak_mib"] < MOST_MIB


@pytest.mark.torture
@pytest.mark.timeout(900)
@pytest.mark.parametrize("form", FORMATS)
def test_an_archive_of_any_format_is_restored_in_it(world: World, tmp_path: Path, form: str) -> None:
    archive, statements = tmp_path / "archive", 300 if form == "tar.zst" else 10
    FORMATS[form](made(tmp_path / "tree", files=3000, statements=statements), archive)
    done = unpacked_alone(world, archive)
    assert (done["files"], done["statements"]) == (3001, statements + 1)
    assert done["peak_mib"] < MOST_MIB
