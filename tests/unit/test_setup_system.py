"""Debian packages are installed without disturbing what runs. The installer is the real one; apt is a fake."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gcp_openemr.errors import NotPermitted, ToolMissing
from gcp_openemr.setup import system
from tests.unit.setup_programs import Machine

ALL = "\n".join(system.PACKAGES)
NOBODY = 65534


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Everything is installed but Redis and zstd."""
    made = Machine.at(tmp_path / "programs")
    (made.programs / "installed").write_text(ALL.replace("redis-server", "").replace("zstd", ""))
    made.program("systemctl", f'echo "$@" >>{made.programs}/systemctl.log')
    return made


@pytest.fixture
def sbin(tmp_path: Path) -> Path:
    """Lies over /usr/sbin in a mount namespace of the installer's, so that the guard is not the machine's."""
    folder = tmp_path / "sbin"
    folder.mkdir()
    return folder


def start(machine: Machine, sbin: Path) -> subprocess.Popen[str]:
    units = sbin.parent / "units"
    units.mkdir(exist_ok=True)
    inside = f'mount --bind {sbin} /usr/sbin && mount --bind {units} /lib/systemd/system && exec "$@"'
    argv = ["unshare", "--mount", "sh", "-c", inside, "sh", sys.executable, "-m", "gcp_openemr.setup", "packages"]
    environment = machine.environment(sbin.parent / "cache")
    return subprocess.Popen(argv, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def wait_for_apt(machine: Machine) -> None:
    end = time.monotonic() + 20
    while not (machine.programs / "started").exists():
        assert time.monotonic() < end, "apt-get was not started"
        time.sleep(0.02)


def descendants(pid: int) -> list[int]:
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [*children, *(deeper for child in children for deeper in descendants(child))]


def install(machine: Machine, sbin: Path) -> tuple[int, str]:
    process = start(machine, sbin)
    said = process.communicate(timeout=60)[1]
    return process.returncode, said


def test_only_what_is_missing_is_installed_and_its_reason_is_told(machine: Machine, sbin: Path) -> None:
    status, said = install(machine, sbin)
    assert status == 0, said
    [call] = machine.apt_get_calls("install")
    assert call["arguments"][-2:] == ["redis-server", "zstd"]
    assert "redis-server: Redis of the files machine" in said
    assert "2 installed" in said


def test_a_second_run_asks_apt_nothing(machine: Machine, sbin: Path) -> None:
    install(machine, sbin)
    status, said = install(machine, sbin)
    assert (status, "all there" in said) == (0, True)
    assert len(machine.apt_get_calls("install")) == 1


def test_nothing_asks_starts_or_is_removed(machine: Machine, sbin: Path) -> None:
    install(machine, sbin)
    [call] = machine.apt_get_calls("install")
    assert {"--yes", "--no-install-recommends", "--no-remove", "-o", "DPkg::Lock::Timeout=600"} <= set(
        call["arguments"]
    )
    assert (call["frontend"], call["stdin"]) == ("noninteractive", "")
    assert "exit 101" in call["policy"]
    assert not list(sbin.iterdir())


def test_a_service_that_came_with_a_package_does_not_start_at_the_next_boot_either(
    machine: Machine, sbin: Path, tmp_path: Path
) -> None:
    (tmp_path / "units").mkdir()
    (tmp_path / "units" / "apache2.service").touch()  # was there before: its owner's, not ours
    machine.plans(units=["apache2.service", "redis-server.service"])
    install(machine, sbin)
    assert (machine.programs / "systemctl.log").read_text() == "disable --quiet redis-server.service\n"


def test_a_policy_of_the_machines_owner_stays(machine: Machine, sbin: Path) -> None:
    (sbin / "policy-rc.d").write_text("#!/bin/sh\nexit 104\n")
    install(machine, sbin)
    assert machine.apt_get_calls("install")[0]["policy"] == "#!/bin/sh\nexit 104\n"
    assert (sbin / "policy-rc.d").read_text() == "#!/bin/sh\nexit 104\n"


def test_an_interrupted_installation_takes_its_guard_along_and_the_next_goes_on(machine: Machine, sbin: Path) -> None:
    machine.plans(seconds=1.5)
    process = start(machine, sbin)
    wait_for_apt(machine)
    script = descendants(process.pid)[0]
    os.kill(script, signal.SIGTERM)
    process.communicate(timeout=60)
    assert not list(sbin.iterdir())
    machine.plans()
    assert install(machine, sbin)[0] == 0


def test_a_guard_left_by_a_killed_installation_is_ours_to_remove(machine: Machine, sbin: Path) -> None:
    machine.plans(seconds=60)
    process = start(machine, sbin)
    wait_for_apt(machine)
    for pid in reversed([process.pid, *descendants(process.pid)]):
        os.kill(pid, signal.SIGKILL)
    process.communicate(timeout=60)
    assert (sbin / "policy-rc.d").exists()
    machine.plans()
    assert install(machine, sbin)[0] == 0
    assert not list(sbin.iterdir())


@pytest.mark.parametrize(
    ("complaint", "status", "sentence"),
    [
        ("E: Failed to fetch pool/r.deb  Temporary failure resolving 'mirror'", 69, "Check the network"),
        ("E: Unable to locate package redis-server", 71, "The sandbox runs on Debian 12"),
        ("E: Package 'zstd' has no installation candidate", 71, "does not know the package zstd"),
        ("E: Sub-process /usr/bin/dpkg returned an error code (1)", 71, "returned an error code (1)"),
    ],
)
def test_what_apt_complains_of_becomes_one_sentence_and_an_exit_code(
    machine: Machine, sbin: Path, complaint: str, status: int, sentence: str
) -> None:
    machine.plans(install=complaint)
    ended, said = install(machine, sbin)
    assert ended == status
    assert sentence in said
    assert "Traceback" not in said


def test_an_update_that_fails_does_not_stop_an_installation_from_the_lists_at_hand(
    machine: Machine, sbin: Path
) -> None:
    machine.plans(update="E: The repository 'x' is not signed.")
    assert install(machine, sbin)[0] == 0


def test_a_system_without_apt_is_told_where_the_sandbox_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing, match="no apt") as refused:
        system.missing(["apache2"])
    assert "Debian 12" in refused.value.do


@pytest.mark.parametrize("sudo", ["", "exit 1"])
def test_without_root_it_says_what_root_should_run(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, sudo: str
) -> None:
    if sudo:
        machine.program("sudo", sudo)
    monkeypatch.setenv("PATH", str(machine.programs))
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
    with pytest.raises(NotPermitted) as refused:
        system.install({"zstd": "backup archives"}, log=lambda _: None)
    assert refused.value.exit_code == 77
    assert refused.value.do == "As root: apt-get install --no-install-recommends zstd"


def test_with_sudo_the_installer_runs_as_root(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    here = machine.programs
    machine.program("sudo", f'echo "$@" >>{here}/sudo.log; [ "$2" = true ] || echo zstd >>{here}/installed')
    monkeypatch.setenv("PATH", str(here))
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
    assert system.install({"zstd": "backup archives"}, log=lambda _: None) == ["zstd"]
    asked, ran = (machine.programs / "sudo.log").read_text().splitlines()
    assert asked == "--non-interactive true"
    assert ran.startswith("--non-interactive sh ")
    assert ran.endswith("install_packages.sh zstd")
