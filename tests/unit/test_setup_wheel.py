"""The wheel holds everything that a checkout holds and the program needs."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
ASSETS = ("container", "jobs", "terraform")


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    return [name for name in listed.stdout.split("\0") if name and (CHECKOUT / name).is_file()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the tracked files, as a clone would have them, beside the rubbish of working."""
    copy = tmp_path_factory.mktemp("clone")
    for name in tracked():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(CHECKOUT / name, copy / name)
    for rubbish in ("gcp_openemr/__pycache__/x.pyc", "terraform/platform/.terraform/x", "jobs/__pycache__/x.pyc"):
        (copy / rubbish).parent.mkdir(parents=True, exist_ok=True)
        (copy / rubbish).touch()
    made = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-index", "--no-build-isolation", "--quiet"]
    subprocess.run([*command, "--wheel-dir", str(made), str(copy)], check=True, capture_output=True)
    return next(made.glob("*.whl"))


def test_the_wheel_holds_every_tracked_file_of_the_package_and_its_assets_and_nothing_else(wheel: Path) -> None:
    folders = {"gcp_openemr": "", **dict.fromkeys(ASSETS, "gcp_openemr/_assets/")}
    wanted = {folders[name.split("/")[0]] + name for name in tracked() if name.split("/")[0] in folders}
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == wanted


def test_programs_stay_executable(wheel: Path) -> None:
    modes = {entry.filename: entry.external_attr >> 16 for entry in zipfile.ZipFile(wheel).infolist()}
    programs = [
        name for name in tracked() if name.split("/")[0] == "gcp_openemr" and os.access(CHECKOUT / name, os.X_OK)
    ]
    assert programs
    assert all(modes[name] & stat.S_IXUSR for name in programs)


def test_an_installed_copy_finds_its_assets_and_answers(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    script = f"from gcp_openemr.assets import asset; print(*[asset(name) for name in {ASSETS}])"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    for argv in (["-c", script], ["-m", "gcp_openemr.cli", "--help"]):
        done = subprocess.run(
            [sys.executable, "-P", *argv], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        if argv[0] == "-c":
            assert done.stdout.split() == [str(tmp_path / "gcp_openemr" / "_assets" / name) for name in ASSETS]
        else:
            assert "deploy" in done.stdout
