"""An archive unpacked in a process of its own, as in a job's container. Prints its peak memory, in MiB."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from jobs import database, sources, unpack
from jobs.redacted import Redacted
from jobs.settings import Backup, Server
from tests.jobs.world import DiskRanges


def main() -> None:
    told = json.load(sys.stdin)
    sources._StorageObject = lambda place: DiskRanges(Path(place))  # type: ignore[assignment,misc,return-value]
    schema = told["schema"]
    with database.connect(Server(**told["server"]), schema, Redacted(told["password"]), schema) as connection:
        done = unpack.unpack(Backup(source="gcs", place=told["archive"]), Path(told["site"]), connection, schema)
    # what getrusage tells begins with the memory of the process that started this one
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert peak is not None
    print(json.dumps({"files": done.files, "statements": done.statements, "peak_mib": int(peak[1]) / 1024}))


if __name__ == "__main__":
    main()
