"""How the wheel is built: it carries terraform/, container/ and jobs/ below `gcp_openemr/_assets/`.

Loaded by setuptools on its own, before the package can be imported.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools.command.build_py import build_py

__all__ = ["BuildWithAssets"]

ASSETS = ("terraform", "container", "jobs")
_CHECKOUT = Path(__file__).resolve().parents[2]
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", ".terraform*", "*.tfstate*")


class BuildWithAssets(build_py):
    """Adds the assets, and gives executables back the mode that setuptools takes from them."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        package = Path(self.build_lib) / "gcp_openemr"
        for name in ASSETS:
            target = package / "_assets" / name
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(_CHECKOUT / name, target, ignore=_LEFT_OUT)
        for built in package.rglob("*"):
            source = _CHECKOUT / built.relative_to(self.build_lib)
            if built.is_file() and source.is_file():
                built.chmod(source.stat().st_mode & 0o777)
