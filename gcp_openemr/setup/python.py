"""Python packages from the lock files: the checkout's virtual environment, and folders of packages beside it.

Every file is checked against the hash in its lock, and nothing is resolved here. pip finds its registry as the machine
is set up to.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from gcp_openemr import process
from gcp_openemr.errors import ToolMissing, Unreachable
from gcp_openemr.setup.cache import Log, cache_directory, locked

__all__ = ["LOCKS", "ensure_environment", "ensure_tree", "tree_path"]

LOCKS = Path(__file__).parent / "requirements"
ATTEMPTS = 3
TIMEOUT = 1800.0
_NO_NETWORK = re.compile(
    r"NewConnectionError|Connect(Timeout)?Error|ProxyError|NameResolutionError|from versions: none"
)


def ensure_environment(checkout: Path, locks: Sequence[str], *, log: Log) -> bool:
    """Make `.venv` of a checkout hold what the named locks say, and the checkout itself. True when it had to change.

    A stamp tells that it is whole. With a new lock, or in a checkout that moved, pip goes over it; one in which an
    earlier run was killed half-way, or whose Python is gone, is made anew.
    """
    folder = checkout / ".venv"
    with locked(checkout / ".venv.lock", log=log):
        stamp = folder / f"locked-{'-'.join(locks)}"
        unfinished = folder / "unfinished"
        wanted = _fingerprint(locks, extra=f"{checkout} {(checkout / 'pyproject.toml').read_text()}")
        sound = not unfinished.exists() and _pip_works(folder)
        if sound and stamp.is_file() and stamp.read_text() == wanted:
            return False
        if not sound:
            log(f"Making {folder} with Python {sys.version.split()[0]}.")
            # by its full name (python3.11): containers of the sandbox cover /usr/bin/python3 with Alpine's
            interpreter = Path(sys.executable).resolve()
            process.run([str(interpreter), "-m", "venv", "--clear", str(folder)], timeout=TIMEOUT)
        unfinished.touch()
        python = folder / "bin" / "python"
        # setuptools comes first: what has no wheel is built with it, not with one that pip would fetch unlocked
        for lock in dict.fromkeys(["build", *locks]):
            log(f"Installing locked Python packages: {lock}.")
            _pip_install(python, "--no-build-isolation", *_from_lock(lock))
        _pip_install(python, "--no-build-isolation", "--no-deps", "--editable", str(checkout))
        stamp.write_text(wanted)
        unfinished.unlink()
        return True


def tree_path(lock: str, *, cache: Path | None = None) -> Path:
    """Where `ensure_tree` puts a lock's packages for this Python; the name changes with the lock."""
    return (cache or cache_directory()) / f"{lock}-{_fingerprint([lock])[:12]}"


def ensure_tree(lock: str, *, log: Log, cache: Path | None = None) -> Path:
    """Install a lock's packages into a folder of their own, for PYTHONPATH. It appears whole or not at all."""
    tree = tree_path(lock, cache=cache)
    if tree.is_dir():
        return tree
    with locked(tree.parent / f"{lock}.lock", log=log):
        if tree.is_dir():
            return tree
        partial = tree.with_name(f"{lock}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        log(f"Installing locked Python packages beside the environment: {lock}.")
        # most of such a tree is never imported, so compiling all of it ahead would double the time
        _pip_install(Path(sys.executable), *_from_lock(lock), "--no-compile", "--target", str(partial))
        partial.rename(tree)
    return tree


def _from_lock(lock: str) -> list[str]:
    return ["--require-hashes", "--no-deps", "--requirement", str(LOCKS / f"{lock}.txt")]


def _fingerprint(locks: Sequence[str], *, extra: str = "") -> str:
    text = "".join((LOCKS / f"{lock}.txt").read_text() for lock in locks)
    return hashlib.sha256(f"{sys.implementation.cache_tag} {sys.platform} {text}{extra}".encode()).hexdigest()


def _pip_works(folder: Path) -> bool:
    python = folder / "bin" / "python"
    return python.exists() and process.run([str(python), "-m", "pip", "--version"], check=False).status == 0


def _pip_install(python: Path, *arguments: str) -> None:
    """Run pip quietly; its words are shown only when it fails."""
    command = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--quiet", *arguments]
    words = ""
    for _ in range(ATTEMPTS):
        done = process.run(command, check=False, timeout=TIMEOUT)
        if done.status == 0:
            return
        words = done.stderr or done.stdout
        if not _NO_NETWORK.search(words):
            break
    complaints = [line for line in words.splitlines() if line.startswith("ERROR:")] or words.strip().splitlines()[-1:]
    said = " ".join(complaints)[-1500:]
    if _NO_NETWORK.search(words):
        raise Unreachable(f"pip got nothing from its package index: {said}", do="Check the network, then run again.")
    raise ToolMissing(f"pip could not install the locked packages: {said}", do="Mend what it names, then run again.")
