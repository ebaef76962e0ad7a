"""Seconds per rotation by step, without latencies and with those that Google's calls and operations have.

The drain is left out (`--drain 0`): it is the service's request timeout, 300 s where the file says no other.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from benchmarks.deploy import Bench, seconds, table
from gcp_openemr.environment import write_environment_file
from gcp_openemr.sandbox import control
from gcp_openemr.sandbox.remote import remote

KINDS = ("database", "redis", "admin", "backup", "all")


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(folder=Path(scratch))
        write_environment_file(
            bench.folder / "openemr.toml", name="bench", project="bench-1", region="europe-west1", profile="developer"
        )
        sandbox = bench.folder / ".gcp-openemr" / "sandbox"
        control.start(sandbox)
        try:
            bench.gcp_openemr("deploy", "-y")
            for latency in (0.0, 1.0):
                remote(sandbox).settings(latency=latency)
                report(bench, latency)
        finally:
            control.stop(sandbox)


def report(bench: Bench, latency: float) -> None:
    for kind in KINDS:
        answer: dict[str, Any] = {}

        def rotate(kind: str = kind, answer: dict[str, Any] = answer) -> None:
            answer.update(bench.gcp_openemr("rotate", kind, "-y", "--drain", "0"))

        whole = seconds(rotate)
        record = answer["clinics"]["main"]
        steps = {f"{step['secret']}: {step['step']}": step["seconds"] for step in record["steps"]}
        table(f"rotate {kind}, latency × {latency:g}: {whole:.1f} s, the job {record['total_seconds']:.1f} s", steps)
