"""How the wheel is built: it carries terraform/, container/, jobs/ and its commit below `gcp_openemr/_assets/`.

Two builds of one commit are the same byte by byte: files have one of two modes and, unless SOURCE_DATE_EPOCH says
otherwise, the commit's time. Loaded by setuptools on its own, before the package can be imported.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

__all__ = ["BuildWithAssets", "SameWheel"]

ASSETS = ("terraform", "container", "jobs")
_CHECKOUT = Path(__file__).resolve().parents[2]
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", ".terraform*", "*.tfstate*")
_FIRST_OF_ZIP = "315532800"  # 1980, before which a zip file knows no time


class BuildWithAssets(build_py):
    """Adds the assets and the commit, and gives every file the mode it has in git: 0755 or 0644."""

    def run(self) -> None:
        os.umask(0o022)  # for what setuptools writes after this
        super().run()
        if self.editable_mode:
            return
        package = Path(self.build_lib) / "gcp_openemr"
        for name in ASSETS:
            target = package / "_assets" / name
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(_CHECKOUT / name, target, ignore=_LEFT_OUT)
        (package / "_assets" / "commit").write_text(_commit() + "\n")
        os.environ.setdefault("SOURCE_DATE_EPOCH", _git("log", "-1", "--format=%ct") or _FIRST_OF_ZIP)
        for built in filter(Path.is_file, package.rglob("*")):
            source = _CHECKOUT / built.relative_to(self.build_lib)
            origin = source if source.is_file() else built  # setuptools takes the mode from what it copies
            built.chmod(0o755 if origin.stat().st_mode & 0o100 else 0o644)


class SameWheel(bdist_wheel):
    """Gives the licence, too, a mode that does not come from who checked it out."""

    def egg2dist(self, egginfo_path: str, distinfo_path: str) -> None:
        super().egg2dist(egginfo_path, distinfo_path)
        for told in filter(Path.is_file, Path(distinfo_path).rglob("*")):
            told.chmod(0o644)


def _commit() -> str:
    commit = _git("rev-parse", "HEAD")
    changed = commit and _git("status", "--porcelain", "--", "gcp_openemr", *ASSETS)
    return f"{commit}-changed" if changed else commit


def _git(*arguments: str) -> str:
    """What git tells of this checkout; '' where there is none, also below somebody else's."""
    if not (_CHECKOUT / ".git").exists():
        return ""
    command = ["git", "-C", str(_CHECKOUT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
