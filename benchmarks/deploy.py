"""First and no-op deploy by step, Terraform's share, and the time of `--help`; each beside a baseline of the same run.

Run with `make bench`. Everything happens in a sandbox in a temporary folder. Absolute seconds depend on the machine;
the ratios are what to compare.
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gcp_openemr.environment import write_environment_file
from gcp_openemr.sandbox import control
from gcp_openemr.setup.terraform import locate_terraform

RUNS = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bench:
    """A folder with an environment file and a running sandbox."""

    folder: Path

    def gcp_openemr(self, *arguments: str) -> dict[str, Any]:
        file = str(self.folder / "openemr.toml")
        command = [sys.executable, "-m", "gcp_openemr.cli", "-e", file, "--sandbox", "--json", *arguments]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def median(work: Callable[[], object]) -> float:
    work()
    return statistics.median(seconds(work) for _ in range(RUNS))


def quiet(*command: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> Callable[[], object]:
    return lambda: subprocess.run(command, cwd=cwd, env=env, check=True, capture_output=True)


def table(title: str, steps: dict[str, float]) -> None:
    print(f"\n{title}")
    for name, spent in steps.items():
        print(f"  {spent:8.2f} s  {name}")


def terraform_share(steps: dict[str, float]) -> float:
    return sum(spent for name, spent in steps.items() if name.endswith((": plan", ": apply")))


def bare_plans(bench: Bench) -> float:
    """The baseline of a no-op deploy: terraform itself planning the same three working directories."""
    sandbox = bench.folder / ".gcp-openemr" / "sandbox"
    info = control.status(sandbox)
    if info is None:
        raise SystemExit("The sandbox ended while it was measured.")
    env = {
        **os.environ,
        "TF_CLI_CONFIG_FILE": str(sandbox / "terraform.rc"),
        "GCP_OPENEMR_SANDBOX_PROVIDER": str(sandbox / "terraform-provider"),
        "GCP_OPENEMR_SANDBOX_URL": info.url,
        "GOOGLE_OAUTH_ACCESS_TOKEN": info.token.reveal(),
        "GOOGLE_BACKEND_STORAGE_CUSTOM_ENDPOINT": f"{info.url}/storage/v1/",
    }
    binary = str(locate_terraform().path)
    roots = [
        bench.folder / ".gcp-openemr/rehearsal/bench" / path for path in ("foundation", "platform", "clinics/main")
    ]
    return sum(median(quiet(binary, "plan", "-input=false", "-lock=false", cwd=root, env=env)) for root in roots)


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(folder=Path(scratch))
        write_environment_file(
            bench.folder / "openemr.toml", name="bench", project="bench-1", region="europe-west1", profile="developer"
        )
        control.start(bench.folder / ".gcp-openemr" / "sandbox")
        try:
            report(bench)
        finally:
            control.stop(bench.folder / ".gcp-openemr" / "sandbox")


def report(bench: Bench) -> None:
    first: dict[str, Any] = {}
    whole = seconds(lambda: first.update(bench.gcp_openemr("deploy", "-y")))
    table(f"First deploy: {whole:.1f} s", first["seconds"])
    print(f"  Terraform's share: {terraform_share(first['seconds']) / whole:.0%}")

    noop: dict[str, Any] = {}
    whole = median(lambda: noop.update(bench.gcp_openemr("deploy", "-y")))
    bare = bare_plans(bench)
    table(f"No-op deploy: {whole:.1f} s (median of {RUNS})", noop["seconds"])
    print(f"  Terraform's share: {terraform_share(noop['seconds']) / whole:.0%}")
    print(f"  {whole / bare:.2f} × terraform planning the same three directories bare ({bare:.1f} s)")

    shown = median(quiet(sys.executable, "-m", "gcp_openemr.cli", "--help"))
    empty = median(quiet(sys.executable, "-c", "pass"))
    print(f"\n--help: {shown:.3f} s, {shown / empty:.1f} × an empty Python program ({empty:.3f} s)")
