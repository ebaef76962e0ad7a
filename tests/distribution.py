"""A wheel of this checkout, and environments that have it installed and nothing else of ours."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
COMMITTER = ("-c", "user.name=Tests", "-c", "user.email=tests@example.org")


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    return [name for name in listed.stdout.split("\0") if name and (CHECKOUT / name).is_file()]


def clone(folder: Path, *, umask: int = 0o022) -> str:
    """The tracked files as a clone would have them, committed there. Returns the commit."""
    for name in tracked():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(CHECKOUT / name, target)
        target.chmod((0o777 if os.access(CHECKOUT / name, os.X_OK) else 0o666) & ~umask)
    if not (folder / ".git").exists():
        moment = {"GIT_AUTHOR_DATE": "2026-01-02T03:04:05Z", "GIT_COMMITTER_DATE": "2026-01-02T03:04:05Z"}
        for command in (["init", "-q"], ["add", "-A"], [*COMMITTER, "commit", "-q", "-m", "All of it"]):
            subprocess.run(["git", *command], cwd=folder, check=True, env={**os.environ, **moment})
    told = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, check=True, capture_output=True, text=True)
    return told.stdout.strip()


def build(source: Path, into: Path, *, umask: int = 0o022) -> Path:
    """The wheel of the checkout `source`, made as pip makes it, without its own environment to make it in."""
    code = f"from setuptools import build_meta; build_meta.build_wheel({str(into)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=source, check=True, capture_output=True, umask=umask)
    return next(into.glob("*.whl"))


def install(wheel: Path, folder: Path, *, whole: bool = False) -> Path:
    """An environment with this wheel, and the libraries of the one that runs the tests. Returns its `bin` folder.

    A `whole` one holds them itself: containers of the sandbox see nothing else.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    ours = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    libraries = sysconfig.get_path("purelib")
    if whole:
        of_the_checkout = shutil.ignore_patterns("__editable__*", "gcp_openemr-*")
        shutil.copytree(libraries, ours, ignore=of_the_checkout, copy_function=_linked, dirs_exist_ok=True)
    else:
        # after the environment's own, so that what the tests run from is not found
        (ours / "libraries.pth").write_text(f"{libraries}\n")
    command = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--quiet"]
    offline = [
        "--no-deps",
        "--no-index",
        "--force-reinstall",
        "--disable-pip-version-check",
        "--root-user-action=ignore",
    ]
    subprocess.run([*command, *offline, str(wheel)], check=True, capture_output=True)
    return folder / "bin"


def _linked(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)
