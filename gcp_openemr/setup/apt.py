"""Packages of another Debian suite, brought beside the system: own lists, own cache, an empty dpkg status.

The mirror and the way to reach and trust it (proxies, credentials, dates) are the machine's own, so no address stands
here. What comes is signed by Debian's archive keyring, and nothing of the system's changes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from gcp_openemr import process
from gcp_openemr.errors import GcpOpenemrError, ToolMissing, Unreachable
from gcp_openemr.setup.cache import Log

__all__ = ["KEYRING", "codename", "download", "mirrors"]

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
ATTEMPTS = 3
TIMEOUT = 900.0
_TAKEN_OVER = re.compile(r"^Acquire::(?!IndexTargets|Languages|Retries|GzipIndexes)", re.IGNORECASE)


def codename(os_release: Path = Path("/etc/os-release")) -> str:
    """The Debian release in use (`bookworm`), or empty on a system that is not Debian."""
    try:
        lines = os_release.read_text().splitlines()
    except OSError:
        return ""
    values = dict(line.split("=", 1) for line in lines if "=" in line)
    return values.get("VERSION_CODENAME", "").strip('"') if values.get("ID", "").strip('"') == "debian" else ""


def mirrors() -> list[str]:
    """Addresses from which this machine takes its Debian release, in the order of its own apt sources.

    apt itself reads the sources, so both of their formats, and every kind of address it knows, will do.
    """
    listed = process.run(["apt-get", "update", "--print-uris"]).stdout
    found = re.findall(rf"^'(.+)/dists/{re.escape(codename())}/InRelease'", listed, re.MULTILINE)
    if not found:
        raise ToolMissing(
            "apt's sources name no mirror of this machine's Debian release.",
            do="Put Debian's main archive into /etc/apt/sources.list.d/, run `apt-get update`, then run again.",
        )
    return list(dict.fromkeys(found))


def download(packages: Sequence[str], *, suite: str, into: Path, log: Log) -> list[Path]:
    """Bring packages of a suite and all they depend on below `into`; what an earlier try brought is used again.

    Raises:
        Unreachable: no mirror gave them; `what` holds apt's last words.
    """
    words = ""
    for mirror in mirrors():
        config = _write_configuration(into, mirror=mirror, suite=suite)
        for attempt in range(ATTEMPTS):
            try:
                # a suite that moves can drop a file between the two calls, hence both are repeated
                _apt_get(config, "update")
                _apt_get(config, "install", "--yes", "--download-only", *packages)
                return sorted((into / "cache" / "archives").glob("*.deb"))
            except ToolMissing:
                raise
            except GcpOpenemrError as error:
                words = error.what
                log(f"apt did not bring {' '.join(packages)} (try {attempt + 1} of {ATTEMPTS}).")
    raise Unreachable(
        f"Debian's {suite} suite could not be had: {words}", do="Check the network and apt's sources, then run again."
    )


def _apt_get(config: Path, *arguments: str) -> None:
    environment = {"APT_CONFIG": str(config), "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    process.run(["apt-get", "--quiet", *arguments], env=environment, timeout=TIMEOUT)


def _write_configuration(folder: Path, *, mirror: str, suite: str) -> Path:
    """Write apt's configuration and empty state; returns the file for APT_CONFIG, which apt reads before its own."""
    for name in ("lists/partial", "cache/archives/partial", "none.d"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "status").write_text("")
    architecture = process.run(["dpkg", "--print-architecture"]).stdout.strip()
    options = f"arch={architecture} signed-by={KEYRING}"
    (folder / "sources.list").write_text(f"deb [{options}] {mirror} {suite} main\n")
    dumped = process.run(["apt-config", "dump"]).stdout.splitlines()
    settings = {
        "Dir::Etc::main": folder / "none",
        "Dir::Etc::parts": folder / "none.d",
        "Dir::Etc::preferences": folder / "none",
        "Dir::Etc::preferencesparts": folder / "none.d",
        "Dir::Etc::sourcelist": folder / "sources.list",
        "Dir::Etc::sourceparts": folder / "none.d",
        "Dir::State": folder,
        "Dir::State::lists": folder / "lists",
        "Dir::State::status": folder / "status",
        "Dir::Cache": folder / "cache",
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "root",  # apt's own user cannot reach a folder below a private home
        "APT::Update::Error-Mode": "any",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
    }
    lines = [line for line in dumped if _TAKEN_OVER.match(line)]
    lines += [f'{key} "{value}";' for key, value in settings.items()]
    config = folder / "apt.conf"
    config.write_text("\n".join(lines) + "\n")
    return config
