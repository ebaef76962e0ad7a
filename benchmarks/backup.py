"""Backup sets beside `mysqldump` and `tar cz`: first set, a night's set with 1 % changed, verify and restore.

20,000 files, 1.5 GB, half of which is compressible as OpenEMR's encrypted documents are, and a database whose dump has
250 MB. The repository lies on the same disk. `GCP_OPENEMR_BENCH_FILES` takes another number of files, and the database
grows with it. Peak memory is the larger of the job's and restic's.
"""

from __future__ import annotations

import base64
import os
import random
import resource
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

from benchmarks.deploy import seconds
from gcp_openemr.sandbox.standin.sample_backup import make_backup
from gcp_openemr.setup.mysql import locate
from jobs import backup, manifest, nfs_init, restic, secrets, sources
from tests.jobs.servers import make_authority, mysql_server
from tests.jobs.shelf import Shelf, on_disk
from tests.jobs.world import DiskRanges, World, made_world, secret_named

FILES = int(os.environ.get("GCP_OPENEMR_BENCH_FILES", "20000"))
BYTES_PER_FILE = 75_000
ROWS = FILES * 32  # of 400 bytes
_SEED = 20261122


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch, pytest.MonkeyPatch.context() as patched:
        folder = Path(scratch)
        patched.setattr(secrets, "access", secret_named)
        with mysql_server(folder / "mysql", make_authority()) as server, made_world(server, folder) as world:
            _fill(world, folder, patched)
            _measure(world, on_disk(folder / "shelf", patched), folder)


def _fill(world: World, folder: Path, patched: pytest.MonkeyPatch) -> None:
    made = make_backup(
        folder / "clinic.tar",
        documents=100,
        bytes_per_document=1000,
        seed=1,
        admin_user="admin",
        admin_password="x",  # noqa: S106
    )
    patched.setattr(sources, "open_backup", lambda _: sources.RangeFile(DiskRanges(made.path)))
    nfs_init.run(world.with_backup(made.path))
    generator = random.Random(_SEED)  # noqa: S311
    for number in range(FILES):
        file = world.site / f"documents/{1000 + number // 100}/{number}"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(_content(generator, number))
    world.query("CREATE TABLE bench (id INT PRIMARY KEY, words VARCHAR(400))")
    for start in range(0, ROWS, 2000):
        rows = ",".join(f"({start + row},'{generator.randbytes(190).hex()}')" for row in range(2000))
        world.query(f"INSERT INTO bench VALUES {rows}")  # noqa: S608


def _content(generator: random.Random, number: int) -> bytes:
    plain = generator.randbytes(BYTES_PER_FILE)
    return plain if number % 2 else base64.b64encode(plain)[:BYTES_PER_FILE]


def _night(world: World) -> None:
    """1 % of the files and of the rows are new or changed."""
    generator = random.Random(_SEED + 1)  # noqa: S311
    for number in range(0, FILES, 100):
        (world.site / f"documents/{1000 + number // 100}/{number}").write_bytes(_content(generator, number))
    world.query(f"UPDATE bench SET words = SHA2(id, 512) WHERE id >= {ROWS - ROWS // 100}")  # noqa: S608


def _measure(world: World, shelf: Shelf, folder: Path) -> None:
    print(f"\nBacking up {FILES} files of {FILES * BYTES_PER_FILE / 1e9:.1f} GB and {ROWS} rows")
    archive, sql = folder / "clinic.tar.gz", folder / "clinic.sql"
    packed = _spent(["tar", "czf", str(archive), "-C", str(world.sites), "default"])
    dumped = _mysqldump(world, sql)
    theirs = packed + dumped
    size = archive.stat().st_size + sql.stat().st_size
    print(f"  {theirs:7.2f} s  tar cz and mysqldump, {size / 1e6:.0f} MB")
    first = _set("first set", world, shelf, theirs)
    _night(world)
    night = _set("a night's set", world, shelf, theirs)
    print(f"           that is {night / first:.2f} of the first")
    print(f"  {seconds(lambda: shelf.verify(5)):7.2f} s  verify, 5 % of the data")
    print(f"  {seconds(lambda: shelf.verify(100)):7.2f} s  verify, all data")
    place = folder / "theirs"
    place.mkdir()
    bare = _spent(["tar", "xzf", str(archive), "-C", str(place)])
    shutil.rmtree(place)
    restored = seconds(lambda: nfs_init.run(shelf.named(world, restore_over=True)))
    _only_files(shelf, folder, bare)
    print(f"  {restored:7.2f} s  restore over the clinic, database and all checks included")


def _only_files(shelf: Shelf, folder: Path, bare: float) -> None:
    found = manifest.choose(shelf.store, "latest")
    repository = restic.opened(shelf.store, lock_seconds=5)
    spent = seconds(lambda: repository.restore(found.files.snapshot, folder / "ours"))
    print(f"  {spent:7.2f} s  the files alone: {bare / spent:.2f} × as fast as `tar xzf` ({bare:.2f} s)")
    shutil.rmtree(folder / "ours")


def _set(what: str, world: World, shelf: Shelf, theirs: float) -> float:
    record: dict[str, Any] = {}
    spent = seconds(lambda: record.update(backup.run(shelf.wanted(world))))
    stored = sum(path.stat().st_size for path in shelf.repository.rglob("*") if path.is_file())
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024
    print(
        f"  {spent:7.2f} s  {what}: {theirs / spent:.2f} × as fast, {stored / 1e6:.0f} MB in the repository,"
        f" {peak:.0f} MiB"
    )
    return spent


def _mysqldump(world: World, target: Path) -> float:
    command = [
        *locate().dump,
        f"--socket={world.mysql.socket}",
        "--user=root",
        "--single-transaction",
        world.wanted.schema,
    ]

    def run() -> None:
        with target.open("wb") as out:
            subprocess.run(command, stdout=out, check=True)

    return seconds(run)


def _spent(command: list[str]) -> float:
    return seconds(lambda: subprocess.run(command, check=True))


if __name__ == "__main__":
    main()
