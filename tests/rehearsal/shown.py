"""Commands as a page shows them, in its order, and their rehearsal."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def shell_lines(page: str) -> list[str]:
    """The lines of a page's `sh` blocks, without their comments."""
    blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
    return [line.partition("#")[0].strip() for block in blocks for line in block.splitlines()]


def commands(page: str) -> list[list[str]]:
    """The arguments of each `gcp-openemr …` of a page."""
    return [shlex.split(line)[1:] for line in shell_lines(page) if line.startswith("gcp-openemr ")]


def rehearse(folder: Path, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """A command as shown, with --sandbox, and -y where it would ask."""
    sandbox = [] if "--sandbox" in arguments else ["--sandbox"]
    yes = ["-y"] if arguments == ["deploy"] else []
    command = [sys.executable, "-m", "gcp_openemr.cli", *sandbox, *arguments, *yes]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=240)
