"""An archive unpacked in a process of its own, as in a job's container. Prints its peak memory, in MiB."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any

from jobs import database, sources, unpack
from jobs.redacted import Redacted
from jobs.settings import Backup, Server


class _OnDisk:
    """A file of the disk in the place of an object."""

    digest = b""

    def __init__(self, place: str) -> None:
        self._path = Path(place)
        self.size = self._path.stat().st_size

    def new_sum(self) -> Any:
        return hashlib.md5(usedforsecurity=False)

    def read(self, start: int, end: int) -> bytes:
        with self._path.open("rb") as file:
            file.seek(start)
            return file.read(end - start)


def main() -> None:
    told = json.load(sys.stdin)
    sources._StorageObject = _OnDisk  # type: ignore[assignment,misc]
    schema = told["schema"]
    with database.connect(Server(**told["server"]), schema, Redacted(told["password"]), schema) as connection:
        done = unpack.unpack(Backup(source="gcs", place=told["archive"]), Path(told["site"]), connection, schema)
    # what getrusage tells begins with the memory of the process that started this one
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert peak is not None
    print(json.dumps({"files": done.files, "statements": done.statements, "peak_mib": int(peak[1]) / 1024}))


if __name__ == "__main__":
    main()
