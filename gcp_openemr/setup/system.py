"""Debian packages that the sandbox runs on: which, why, which are missing, and their installation.

Runs on the system's Python alone, since the virtual environment may not exist yet.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from gcp_openemr import process
from gcp_openemr.errors import NotPermitted, ToolMissing, Unreachable
from gcp_openemr.setup.cache import Log

__all__ = ["DEVELOPMENT_PACKAGES", "PACKAGES", "install", "missing", "needed"]

_PHP = "the application: as Alpine's PHP in the image"
PACKAGES: Mapping[str, str] = {
    "apache2": "web server of the service",
    "php8.2-fpm": _PHP,
    "php8.2-cli": _PHP,
    "php8.2-bcmath": _PHP,
    "php8.2-curl": _PHP,
    "php8.2-gd": _PHP,
    "php8.2-imagick": _PHP,
    "php8.2-intl": _PHP,
    "php8.2-ldap": _PHP,
    "php8.2-mbstring": _PHP,
    "php8.2-mysql": _PHP,
    "php8.2-opcache": _PHP,
    "php8.2-redis": "sessions in Redis",
    "php8.2-soap": _PHP,
    "php8.2-xml": _PHP,
    "php8.2-zip": _PHP,
    "redis-server": "Redis of the files machine",
    "nodejs": "the services that OpenEMR starts for C-CDA and quality measures",
    "busybox": "the shell of Alpine images",
    "ca-certificates": "the bundle that jobs trust",
    "curl": "the files machine's start-up script",
    "e2fsprogs": "file systems of the sandbox's disks",
    "restic": "backups, as Alpine's restic in the image",
    "iproute2": "addresses of the sandbox's network",
    "mount": "mounts of the sandbox's containers",
    "util-linux": "namespaces (unshare, setpriv)",
    "tar": "backup archives",
    "unzip": "backup archives",
    "zstd": "backup archives",
}
DEVELOPMENT_PACKAGES: Mapping[str, str] = {"buildah": "the Dockerfile's own test"}
VENV_PACKAGES: Mapping[str, str] = {"python3-venv": "Python's virtual environments"}

_SCRIPT = Path(__file__).with_name("install_packages.sh")
_TIMEOUT = 1800.0
_NO_NETWORK = re.compile(
    r"Temporary failure resolving|Could not resolve|Could not connect|Cannot initiate|Failed to fetch|Unable to fetch"
    r"|Connection (failed|timed out|refused)"
)
_UNKNOWN = re.compile(r"Unable to locate package (\S+)|Package '?([^' ]+)'? has no installation candidate")


def needed() -> dict[str, str]:
    """Package → what for. Debian's Python leaves out what makes virtual environments; others bring it along."""
    venv = {} if importlib.util.find_spec("ensurepip") else VENV_PACKAGES
    return {**venv, **PACKAGES}


def missing(packages: Iterable[str]) -> list[str]:
    """Those of the packages that are not installed, in order.

    Raises:
        ToolMissing: this is no Debian.
    """
    packages = list(packages)
    if shutil.which("dpkg-query") is None or shutil.which("apt-get") is None:
        raise ToolMissing(
            "This system has no apt: the sandbox runs on Debian 12.",
            do="Use Debian 12 (a virtual machine or container will do). Deploying to Google Cloud needs none of this.",
        )
    # a name that dpkg never heard of makes it end with 1 and a line on stderr: that package is missing
    form = "--showformat=${Package} ${db:Status-Status}\\n"
    listed = process.run(["dpkg-query", "--show", form, *packages], check=False)
    rows = [line.split() for line in listed.stdout.splitlines()]
    present = {row[0] for row in rows if row[1:] == ["installed"]}
    return [package for package in packages if package not in present]


def install(packages: Mapping[str, str], *, log: Log) -> list[str]:
    """Install what is missing of package → reason, and return it. Starts no service and removes no package.

    Raises:
        NotPermitted: neither root nor sudo.
        Unreachable: the packages could not be fetched.
        ToolMissing: apt does not know them, or could not install them.
    """
    absent = missing(packages)
    if not absent:
        return []
    prefix = _as_root(absent)
    log(f"Installing {len(absent)} Debian packages with apt-get; no service is started, none is restarted:")
    for reason in dict.fromkeys(packages[package] for package in absent):
        log(f"  {' '.join(package for package in absent if packages[package] == reason)}: {reason}")
    done = process.run([*prefix, "sh", str(_SCRIPT), *absent], timeout=_TIMEOUT, check=False)
    still = missing(absent)
    if done.status == 0 and not still:
        return absent
    words = f"{done.stdout}\n{done.stderr}"
    unknown = _UNKNOWN.search(words)
    if unknown:
        raise ToolMissing(
            f"apt does not know the package {unknown[1] or unknown[2]}.",
            do="The sandbox runs on Debian 12 with its main archive in apt's sources.",
        )
    if _NO_NETWORK.search(words):
        raise Unreachable(
            f"Debian's packages could not be fetched: {_last_complaint(words)}",
            do="Check the network and apt's sources, then run again.",
        )
    raise ToolMissing(
        f"apt-get could not install {' '.join(still or absent)}: {_last_complaint(words)}",
        do=f"Run yourself: apt-get install --no-install-recommends {' '.join(still or absent)}",
    )


def _as_root(absent: Iterable[str]) -> list[str]:
    """Prefix that makes a command run as root. sudo may ask for its password where there is a terminal."""
    if os.geteuid() == 0:
        return []
    by_hand = f"As root: apt-get install --no-install-recommends {' '.join(absent)}"
    if shutil.which("sudo") is None:
        raise NotPermitted("Packages are missing, and there is neither root nor sudo to install them.", do=by_hand)
    if process.run(["sudo", "--non-interactive", "true"], check=False).status == 0:
        return ["sudo", "--non-interactive"]
    if not sys.stdin.isatty():
        raise NotPermitted("Packages are missing, and sudo wants a password with no terminal to ask on.", do=by_hand)
    return ["sudo"]


def _last_complaint(words: str) -> str:
    lines = [line.strip() for line in words.splitlines() if line.startswith(("E:", "dpkg:", "sudo:"))]
    return (lines or words.strip().splitlines() or [""])[-1]
