"""What in the sandbox is real and what stands in for something: for people to read a rehearsal right."""

from __future__ import annotations

import dataclasses
import re
import subprocess
from pathlib import Path

from gcp_openemr.setup.mysql import MysqlInstallation

__all__ = ["Facts", "facts_of"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
    """Two lists of short phrases."""

    real: tuple[str, ...]
    stands_in: tuple[str, ...]


def facts_of(mysql: MysqlInstallation, *, application: Path | None, limits: bool) -> Facts:
    """`application` is the OpenEMR tree in use, None for the stand-in; `limits`: memory and CPU limits are enforced."""
    real = [
        "Terraform",
        "Google's client libraries",
        str(mysql),
        f"Redis {_version('redis-server', '--version')}",
        f"Apache {_version('apache2', '-v')}",
        "PHP-FPM",
        "the image's own entrypoint and configuration",
        "the jobs' code",
        "TLS with verified names",
    ]
    stands_in = [
        "Google's APIs, identities and long-running operations: a process on this machine",
        "the Terraform provider hashicorp/google: a client of those APIs with the real one's schemas",
        "Alpine's packages: Debian's, under busybox",
        "the network: bridges on this machine, nothing leads out",
        "kernel NFS: a directory mounted into the container",
        "apt and systemd of the files machine: programs that write down what its start-up script asks of them",
    ]
    if not limits:
        stands_in.append("memory and CPU limits: shown only, since this machine's control groups cannot be changed")
    if application is None:
        stands_in.insert(0, "OpenEMR: a small application of its shape")
    else:
        real.insert(0, f"OpenEMR from {application}")
    if mysql.flavor != "MySQL":
        stands_in.append("MySQL 8.0: MariaDB, which keeps no second password for an account")
    return Facts(real=tuple(real), stands_in=tuple(stands_in))


def _version(program: str, option: str) -> str:
    done = subprocess.run([program, option], capture_output=True, text=True, check=False)
    found = re.search(r"\d+(\.\d+)+", done.stdout)
    return found[0] if found else ""
