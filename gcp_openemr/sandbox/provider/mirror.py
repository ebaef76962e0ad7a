"""Installs the provider where `terraform init` finds it: a filesystem mirror with a launcher for a binary."""

from __future__ import annotations

import json
import os
import shlex
import tempfile
from pathlib import Path
from typing import Final

import gcp_openemr
from gcp_openemr.sandbox.provider import launch

__all__ = ["VERSION", "write_mirror"]

VERSION: Final = "8.7.0"

_REGISTRIES: Final = ("registry.terraform.io", "registry.opentofu.org")
_PLATFORM: Final = "linux_amd64"

# Terraform locks a provider by the checksum of its package, so the package is the same text on every machine, for
# every version of this program: what differs lies outside of it.
_PACKAGE = '#!/bin/sh\nexec "$GCP_OPENEMR_SANDBOX_PROVIDER" "$@"\n'


def write_mirror(directory: Path, *, python: str, url: str) -> dict[str, str]:
    """Write `provider-mirror/` and `terraform.rc` below a state directory; returns the environment for Terraform.

    Safe to repeat and to run twice at once: every file is written beside its place and renamed into it. `python` is
    an interpreter that has this package's dependencies, `url` the address of the sandbox's API server.
    """
    directory = directory.resolve()
    mirror = directory / "provider-mirror"
    for registry in _REGISTRIES:
        folder = mirror / registry / "hashicorp" / "google" / VERSION / _PLATFORM
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / f"terraform-provider-google_v{VERSION}_x6", _PACKAGE, mode=0o755)
    program = directory / "terraform-provider"
    _write(program, _launcher(python), mode=0o755)
    settings = directory / "terraform.rc"
    _write(settings, _terraform_rc(mirror), mode=0o644)
    return {
        "TF_CLI_CONFIG_FILE": str(settings),
        "GCP_OPENEMR_SANDBOX_PROVIDER": str(program),
        "GCP_OPENEMR_SANDBOX_URL": url,
        "CHECKPOINT_DISABLE": "1",
        # Terraform spends a third of a plan on collecting garbage at Go's default of 100; this costs it 50 MB.
        "GOGC": "400",
    }


def _launcher(python: str) -> str:
    """Isolated (-I) from the user's site and PYTHON* variables; finds this package wherever it is installed."""
    package = str(Path(gcp_openemr.__file__).resolve().parent.parent)
    start = (
        f"import sys; sys.path.insert(0, {package!r}); import runpy; "
        "runpy.run_module('gcp_openemr.sandbox.provider.plugin', run_name='__main__', alter_sys=True)"
    )
    words = (python, "-I", "-S", launch.__file__)
    return f'#!/bin/sh\nexec {shlex.join(words)} "$PPID" {shlex.join((python, start))}\n'


def _terraform_rc(mirror: Path) -> str:
    served = ", ".join(json.dumps(f"{registry}/hashicorp/google") for registry in _REGISTRIES)
    return (
        "disable_checkpoint = true\n"
        "provider_installation {\n"
        "  filesystem_mirror {\n"
        f"    path    = {json.dumps(str(mirror))}\n"
        f"    include = [{served}]\n"
        "  }\n"
        "  direct {\n"
        f"    exclude = [{served}]\n"
        "  }\n"
        "}\n"
    )


def _write(path: Path, text: str, *, mode: int) -> None:
    if path.exists() and path.read_text() == text:
        return
    descriptor, name = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(descriptor, "w") as stream:
            stream.write(text)
        Path(name).chmod(mode)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
