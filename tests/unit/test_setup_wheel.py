"""The wheel holds everything that a checkout holds and the program needs, and is the same whoever builds it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from gcp_openemr import image
from tests import distribution

ASSETS = ("container", "jobs", "terraform")
RUBBISH = ("gcp_openemr/__pycache__/x.pyc", "terraform/platform/.terraform/x", "jobs/__pycache__/x.pyc")


@pytest.fixture(scope="module")
def cloned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A clone and its commit, beside the rubbish of working."""
    folder = tmp_path_factory.mktemp("clone")
    commit = distribution.clone(folder)
    for rubbish in RUBBISH:
        (folder / rubbish).parent.mkdir(parents=True, exist_ok=True)
        (folder / rubbish).touch()
    return folder, commit


@pytest.fixture(scope="module")
def wheel(cloned: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return distribution.build(cloned[0], tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of an environment with the wheel."""
    return distribution.install(wheel, tmp_path_factory.mktemp("installed"))


def run(program: Path, *arguments: str, cwd: Path) -> str:
    """What an installed program prints; it finds nothing of the checkout."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(program), *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_every_tracked_file_of_the_package_and_its_assets_and_its_commit(wheel: Path) -> None:
    folders = {"gcp_openemr": "", **dict.fromkeys(ASSETS, "gcp_openemr/_assets/")}
    tracked = distribution.tracked()
    wanted = {folders[name.split("/")[0]] + name for name in tracked if name.split("/")[0] in folders}
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == wanted | {"gcp_openemr/_assets/commit"}


def test_programs_stay_executable(wheel: Path) -> None:
    modes = {entry.filename: entry.external_attr >> 16 for entry in zipfile.ZipFile(wheel).infolist()}
    tracked = distribution.tracked()
    programs = [
        name
        for name in tracked
        if name.split("/")[0] == "gcp_openemr" and os.access(distribution.CHECKOUT / name, os.X_OK)
    ]
    assert programs
    assert all(modes[name] & stat.S_IXUSR for name in programs)


def test_the_licence_travels_along(wheel: Path) -> None:
    (name,) = [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith("/LICENSE")]
    assert zipfile.ZipFile(wheel).read(name) == (distribution.CHECKOUT / "LICENSE").read_bytes()


def test_another_checkout_at_another_time_by_someone_else_makes_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    distribution.clone(tmp_path / "other", umask=0o077)
    (tmp_path / "made").mkdir()
    other = distribution.build(tmp_path / "other", tmp_path / "made", umask=0o077)
    assert other.read_bytes() == wheel.read_bytes()


def test_an_installed_copy_tells_its_commit(cloned: tuple[Path, str], programs: Path, tmp_path: Path) -> None:
    assert run(programs / "gcp-openemr", "--version", cwd=tmp_path) == f"gcp-openemr 0.1.0 (commit {cloned[1]})\n"


def test_an_installed_copy_works_in_an_empty_folder(programs: Path, tmp_path: Path) -> None:
    where = ("--name", "demo", "--project", "demo-clinic-1", "--region", "europe-west1")
    run(programs / "gcp-openemr", "init", *where, cwd=tmp_path)
    run(programs / "gcp-openemr", "render", "-o", "out", cwd=tmp_path)
    assert (tmp_path / "out" / "clinics" / "main" / "terraform.tfvars.json").is_file()


@pytest.mark.torture
@pytest.mark.timeout(1200)
def test_the_demonstration_runs_from_an_installed_copy_in_another_folder(wheel: Path, tmp_path: Path) -> None:
    """Normally `init` and `render` are shown, above."""
    programs = distribution.install(wheel, tmp_path / "installed", whole=True)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [str(programs / "python"), "-m", "gcp_openemr.sandbox.demo"]
    try:
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "restored documents were opened; each is what the backup held." in done.stderr
    finally:
        run(programs / "gcp-openemr", "-e", "demo/openemr.toml", "sandbox", "stop", cwd=tmp_path)


def test_the_image_that_it_would_build_is_the_one_of_the_checkout(programs: Path, tmp_path: Path) -> None:
    code = "from gcp_openemr import image; print(image.source(version='7.0.4', arguments={}).tag)"
    assert run(programs / "python", "-c", code, cwd=tmp_path).strip() == image.source(version="7.0.4", arguments={}).tag


def test_a_checkout_tells_its_commit_and_whether_files_differ(cloned: tuple[Path, str], tmp_path: Path) -> None:
    folder, commit = cloned
    command = [sys.executable, "-m", "gcp_openemr.cli", "--version"]
    environment = {**os.environ, "PYTHONPATH": str(folder)}

    def told() -> str:
        return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    assert told() == f"gcp-openemr 0.1.0 (commit {commit})\n"
    (folder / "jobs" / "more.py").touch()
    assert told() == f"gcp-openemr 0.1.0 (commit {commit}-changed)\n"
    (folder / "jobs" / "more.py").unlink()
