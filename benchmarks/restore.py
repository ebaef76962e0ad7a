"""Restoring files and database, and putting owners right, beside the programs people would use instead.

20,000 files, 1.5 GB, half of which is compressible as OpenEMR's encrypted documents are (base64), as .zip, .tar.gz and
.tar.zst; OpenEMR's own number of tables and statements; 100,000 entries. Every figure of the jobs is of a process of
its own, with its peak memory. `GCP_OPENEMR_BENCH_FILES` takes another number of files.
"""

from __future__ import annotations

import base64
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.deploy import seconds
from gcp_openemr.setup import mysql as mysql_setup
from jobs import database, ownership, sources, sql_import, unpack
from jobs.redacted import Redacted
from jobs.settings import Backup, Server
from tests.jobs.servers import ADDRESS, Mysql, make_authority, mysql_server

FILES = int(os.environ.get("GCP_OPENEMR_BENCH_FILES", "20000"))
BYTES_PER_FILE = 75_000
TABLES, STATEMENTS = 283, 6_401
ENTRIES = 100_000
EVERYTHING = "chown -R 1000:1000 .; find . -type f -exec chmod 640 {} +; find . -type d -exec chmod 750 {} +"
SCHEMA = "bench"
PASSWORD = "bench"  # noqa: S105  # of a server that lives for this run
BASELINES = {
    ".zip": "unzip -qq {archive}",
    ".tar.gz": "tar xzf {archive}",
    ".tar.zst": "zstd -qdc {archive} | tar xf -",
}


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with mysql_server(folder / "mysql", make_authority()) as server:
            _prepare(server)
            _archives(folder, server)
            _schema(folder, server)
        _ownership(folder)


def _archives(folder: Path, server: Mysql) -> None:
    print(f"\nUnpacking {FILES} files of {FILES * BYTES_PER_FILE / 1e9:.1f} GB")
    tree = folder / "tree"
    _make_tree(tree)
    for suffix, baseline in BASELINES.items():
        archive = folder / f"backup{suffix}"
        _pack(tree, archive)
        _archive(folder, archive, baseline, server)
        archive.unlink()
    shutil.rmtree(tree)


def _archive(folder: Path, archive: Path, baseline: str, server: Mysql) -> None:
    told: dict[str, Any] = {}
    theirs = _fresh(folder / "theirs", lambda place: _shell(baseline, archive, place))
    spent = _fresh(folder / "ours", lambda place: told.update(_child("unpack", archive, place, server)))
    print(
        f"  {spent:7.2f} s  {archive.name:15}  {theirs / spent:.2f} × as fast as `{baseline.format(archive='…')}`"
        f" ({theirs:.2f} s), {told['peak_mib']:.0f} MiB"
    )


def _schema(folder: Path, server: Mysql) -> None:
    dump = folder / "openemr.sql"
    dump.write_bytes(b"".join(_statements()))
    client = mysql_setup.locate().client
    root = [*client, f"--socket={server.socket}", "--user=root", SCHEMA]

    def theirs() -> None:
        with dump.open("rb") as given:
            subprocess.run(root, stdin=given, check=True)

    spent = seconds(lambda: _child("import", dump, folder, server))
    _prepare(server)
    bare = seconds(theirs)
    print(f"\nImporting {STATEMENTS} statements, {TABLES} tables")
    print(f"  {spent:7.2f} s  {bare / spent:.2f} × as fast as mysql's own client ({bare:.2f} s)")


def _ownership(folder: Path) -> None:
    root = folder / "owned"
    for number in range(ENTRIES // 100):
        (root / f"documents/{number}").mkdir(parents=True)
        for name in range(99):
            (root / f"documents/{number}/{name}").touch()
    print(f"\nOwners and modes of {ENTRIES} entries")
    for what, command in (("all wrong", f"chown -R 0:0 {root}; chmod -R a+rwX {root}"), ("all right", "true")):
        subprocess.run(command, shell=True, check=True)  # noqa: S602  # our own words
        spent = seconds(lambda: ownership.put_right(root))
        bare = seconds(lambda: subprocess.run(EVERYTHING, shell=True, cwd=root, check=True))  # noqa: S602
        print(f"  {spent:7.2f} s  {what}; chown -R and chmod of everything: {bare:.2f} s")


def _fresh(place: Path, work: Any) -> float:
    """Seconds of `work` in an empty folder, which is gone afterwards; what others wrote is on the disk before."""
    place.mkdir()
    os.sync()
    spent = seconds(lambda: work(place))
    shutil.rmtree(place)
    return spent


def _shell(command: str, archive: Path, place: Path) -> None:
    subprocess.run(command.format(archive=archive), shell=True, cwd=place, check=True)  # noqa: S602


def _child(what: str, archive: Path, place: Path, server: Mysql) -> dict[str, Any]:
    arguments = [what, str(archive), str(place), str(server.port)]
    given = server.authority.pem
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.restore", *arguments],
        input=given,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _be_child(what: str, archive: Path, place: Path, port: int) -> None:
    """What `_child` runs in a process of its own: the jobs' code on a file of the disk."""
    server = Server(host=ADDRESS, port=port, authority=sys.stdin.read())
    with database.connect(server, SCHEMA, Redacted(PASSWORD), SCHEMA) as connection:
        if what == "unpack":
            sources._StorageObject = _File  # type: ignore[assignment,misc]
            unpack.unpack(Backup(source="gcs", place=str(archive)), place, connection, SCHEMA)
        else:
            with archive.open("rb") as dump:
                sql_import.import_dump(dump, connection, SCHEMA)
    print(json.dumps({"peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


class _File:
    """A file of the disk in the place of an object."""

    digest = b""

    def __init__(self, place: str) -> None:
        self._file = open(place, "rb")  # noqa: SIM115
        self.size = os.fstat(self._file.fileno()).st_size

    def new_sum(self) -> Any:
        import hashlib

        return hashlib.md5(usedforsecurity=False)

    def read(self, start: int, end: int) -> bytes:
        return os.pread(self._file.fileno(), end - start, start)


def _prepare(server: Mysql) -> None:
    with server.root() as connection, connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS {SCHEMA}")
        cursor.execute(f"CREATE DATABASE {SCHEMA}")
        cursor.execute(f"CREATE USER IF NOT EXISTS {SCHEMA} IDENTIFIED BY %s", [PASSWORD])
        cursor.execute(f"GRANT ALL ON {SCHEMA}.* TO {SCHEMA}")


def _make_tree(tree: Path) -> None:
    generator = random.Random(7)  # noqa: S311
    for number in range(FILES):
        folder = tree / f"sites/default/documents/{number // 40}"
        if number % 40 == 0:
            folder.mkdir(parents=True)
        size = min(int(generator.expovariate(1 / BYTES_PER_FILE)), 5_000_000)
        (folder / str(number)).write_bytes(base64.b64encode(generator.randbytes(size * 3 // 4)))
    (tree / "openemr.sql").write_text("CREATE TABLE IF NOT EXISTS a (b int);\n")


def _pack(tree: Path, archive: Path) -> None:
    command = {
        ".zip": f"zip -qr1 {archive} openemr.sql sites",
        ".gz": f"tar cf - openemr.sql sites | gzip -1 >{archive}",
        ".zst": f"tar cf - openemr.sql sites | zstd -q -o {archive}",
    }[archive.suffix]
    subprocess.run(command, shell=True, cwd=tree, check=True)  # noqa: S602


def _statements() -> Iterator[bytes]:
    """As many tables as OpenEMR has, twelve columns each, and its rows one by one, as its own database.sql has them."""
    columns = ", ".join(f"`c{n}` varchar(255) NOT NULL DEFAULT ''" for n in range(10))
    for table in range(TABLES):
        keys = "`n` int, PRIMARY KEY (`id`), KEY (`n`)"
        yield f"CREATE TABLE `t{table}` (`id` bigint NOT NULL AUTO_INCREMENT, {columns}, {keys});\n".encode()
    for row in range(STATEMENTS - TABLES):
        values = f"('a;b', 'row {row}', {row})"
        yield f"INSERT INTO `t{row % TABLES}` (`c1`, `c2`, `n`) VALUES {values};\n".encode()  # noqa: S608


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _be_child(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
    else:
        main()
