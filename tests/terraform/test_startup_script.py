"""The files machine's start-up script and its disk: never formatted where it holds anything, complete after any cut."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.terraform.machine import MIB, SCRIPT, Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def blank(machine: Machine, size: int = 32 * MIB) -> None:
    with machine.disk.open("wb") as disk:
        disk.truncate(size)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def kind(path: Path) -> str:
    shown = subprocess.run(
        ["/usr/sbin/blkid", "-p", "-o", "value", "-s", "TYPE", path], capture_output=True, check=False
    )
    return shown.stdout.decode().strip()


def test_is_clean_for_shellcheck() -> None:
    shellcheck = Path(sys.executable).parent / "shellcheck"
    subprocess.run([shellcheck, SCRIPT], check=True)


def test_an_empty_disk_gets_a_filesystem(machine: Machine) -> None:
    blank(machine)
    assert machine.ensure_filesystem().returncode == 0
    assert kind(machine.disk) == "ext4"


def test_a_second_boot_leaves_the_filesystem_alone(machine: Machine) -> None:
    blank(machine)
    machine.ensure_filesystem()
    machine.marker.unlink()
    before = digest(machine.disk)
    assert machine.ensure_filesystem().returncode == 0
    assert digest(machine.disk) == before


def foreign_filesystem(disk: Path) -> None:
    subprocess.run(["/usr/sbin/mkswap", disk], check=True, capture_output=True)


def partition_table(disk: Path) -> None:
    with disk.open("r+b") as stream:
        stream.seek(446)
        stream.write(bytes.fromhex("00200a008389087d0008000000f80000"))
        stream.seek(510)
        stream.write(b"\x55\xaa")


def data_at_the_start(disk: Path) -> None:
    with disk.open("r+b") as stream:
        stream.seek(5 * MIB + 17)
        stream.write(b"x")


def data_at_the_end(disk: Path) -> None:
    with disk.open("r+b") as stream:
        stream.seek(-3, os.SEEK_END)
        stream.write(b"x")


def data_in_the_middle(disk: Path) -> None:
    with disk.open("r+b") as stream:
        stream.seek(19 * MIB)
        stream.write(b"document" * (4 * MIB // 8))


def damaged_filesystem(disk: Path) -> None:
    subprocess.run(["/usr/sbin/mkfs.ext4", "-q", "-F", disk], check=True)
    with disk.open("r+b") as stream:
        stream.write(bytes(4096))  # the superblock is gone, the rest is there


@pytest.mark.parametrize(
    "put",
    [foreign_filesystem, partition_table, data_at_the_start, data_in_the_middle, data_at_the_end, damaged_filesystem],
)
def test_a_disk_that_holds_anything_stays_as_it_is(machine: Machine, put: object) -> None:
    assert callable(put)
    blank(machine)
    put(machine.disk)
    before = digest(machine.disk)
    refused = machine.ensure_filesystem()
    assert refused.returncode == 1
    assert "a person has to look" in refused.stderr
    assert digest(machine.disk) == before
    assert not machine.marker.exists()


def test_a_disk_of_which_the_end_cannot_be_read_stays_as_it_is(machine: Machine) -> None:
    blank(machine)
    machine.stand_in("blockdev", "echo not a size")
    assert machine.ensure_filesystem().returncode == 1
    assert not machine.marker.exists()
    assert digest(machine.disk) == hashlib.sha256(bytes(32 * MIB)).hexdigest()


@pytest.mark.parametrize("status", [4, 8])
def test_a_disk_that_cannot_be_read_stays_as_it_is(machine: Machine, status: int) -> None:
    blank(machine)
    machine.stand_in("blkid", f"exit {status}")
    refused = machine.ensure_filesystem()
    assert refused.returncode == 1
    assert "cannot tell" in refused.stderr
    assert digest(machine.disk) == hashlib.sha256(bytes(32 * MIB)).hexdigest()


def cut_off_formatting(machine: Machine, junk: bytes, at: int) -> None:
    blank(machine)
    payload = machine.root / "junk"
    payload.write_bytes(junk)
    machine.stand_in(
        "mkfs.ext4",
        f"dd if={payload} of={machine.disk} bs=1 seek={at} conv=notrunc status=none; kill -9 $PPID; sleep 1",
    )
    assert machine.ensure_filesystem().returncode == -signal.SIGKILL
    (machine.bin / "mkfs.ext4").unlink()


def test_formatting_that_was_cut_off_is_begun_again(machine: Machine) -> None:
    cut_off_formatting(machine, b"half of something", 3 * MIB)
    assert machine.ensure_filesystem().returncode == 0
    assert kind(machine.disk) == "ext4"


def test_half_a_filesystem_from_formatting_that_was_cut_off_is_made_again(machine: Machine) -> None:
    other = machine.root / "other"
    with other.open("wb") as stream:
        stream.truncate(32 * MIB)
    subprocess.run(["/usr/sbin/mkfs.ext4", "-q", "-F", other], check=True)
    cut_off_formatting(machine, other.read_bytes()[:2048], 0)
    assert kind(machine.disk) == "ext4"
    assert machine.ensure_filesystem().returncode == 0
    subprocess.run(["/usr/sbin/e2fsck", "-fn", machine.disk], check=True, capture_output=True)


def test_a_mark_on_another_disk_permits_nothing(machine: Machine) -> None:
    cut_off_formatting(machine, b"half of something", 3 * MIB)
    blank(machine, 48 * MIB)
    data_at_the_start(machine.disk)
    before = digest(machine.disk)
    assert machine.ensure_filesystem().returncode == 1
    assert digest(machine.disk) == before


def test_the_filesystem_grows_with_the_disk(machine: Machine) -> None:
    blank(machine)
    machine.ensure_filesystem()
    with machine.disk.open("r+b") as disk:
        disk.truncate(64 * MIB)
    assert machine.run('e2fsck -fp "$DISK"; grow "$DISK"').returncode == 0
    shown = subprocess.run(
        ["/usr/sbin/dumpe2fs", "-h", machine.disk], capture_output=True, text=True, check=True
    ).stdout
    values = dict(line.split(":", 1) for line in shown.splitlines() if ":" in line)
    assert int(values["Block count"]) * int(values["Block size"]) == 64 * MIB


@pytest.mark.parametrize("seed", range(5))
def test_any_data_in_the_first_mebibytes_is_found(machine: Machine, seed: int) -> None:
    blank(machine)
    place = random.Random(seed).randrange(16 * MIB)  # noqa: S311
    with machine.disk.open("r+b") as disk:
        disk.seek(place)
        disk.write(b"\x01")
    assert machine.ensure_filesystem().returncode == 1


@pytest.fixture
def loop(machine: Machine) -> Iterator[Machine]:
    """The machine with its disk as a real block device, and real mounts in a namespace of its own for each command."""
    blank(machine, 64 * MIB)
    made = subprocess.run(["losetup", "-f", "--show", machine.disk], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"no loop devices here: {made.stderr.strip()}")
    image, machine.disk = machine.disk, Path(made.stdout.strip())
    (machine.bin / "blockdev").unlink()
    try:
        yield machine
    finally:
        subprocess.run(["losetup", "-d", machine.disk], check=True)
        machine.disk = image


def boot(machine: Machine, command: str = "") -> subprocess.CompletedProcess[str]:
    """A boot as far as the disk: mounts end with the boot, as they do with a machine."""
    return machine.run(f"prepare_data; prepare_share; {command or 'true'}", within=["unshare", "--mount"])


def test_a_real_disk_is_formatted_once_and_keeps_what_is_written(loop: Machine) -> None:
    assert boot(loop, 'echo record > "$SHARE/document"').returncode == 0
    again = boot(loop, 'cat "$SHARE/document"; stat -c "%u %a" "$SHARE"')
    assert (again.returncode, again.stdout.splitlines()[-2:]) == (0, ["record", "1000 750"])
    assert not loop.marker.exists()


def test_a_real_disk_that_grew_gives_more_room(loop: Machine) -> None:
    boot(loop, 'echo record > "$SHARE/document"')
    os.truncate(loop.root / "disk", 128 * MIB)
    subprocess.run(["losetup", "-c", loop.disk], check=True)
    grown = boot(loop, 'echo; stat -f -c "%b %S" "$DATA"; cat "$SHARE/document"')
    blocks, size = map(int, grown.stdout.splitlines()[-2].split())
    if "Permission denied" not in grown.stderr:  # a container without CAP_SYS_RESOURCE may not grow what is mounted
        assert blocks * size > 100 * MIB
    assert grown.stdout.splitlines()[-1] == "record"


def test_a_real_disk_with_anothers_filesystem_is_left_alone(loop: Machine) -> None:
    subprocess.run(["/usr/sbin/mkswap", loop.disk], check=True, capture_output=True)
    before = digest(loop.disk)
    refused = boot(loop)
    assert refused.returncode == 1
    assert "holds swap, not ext4" in refused.stderr
    assert digest(loop.disk) == before


STEPS = ("ensure_filesystem", "format", "mount_data", "grow", "prepare_share")


@pytest.mark.parametrize("step", STEPS)
def test_a_boot_that_died_at_any_step_is_completed_by_the_next(loop: Machine, step: str) -> None:
    """Killed as the step begins; a document written by then is still there."""
    killed = boot_killed_at(loop, step)
    assert killed.returncode == -signal.SIGKILL
    completed = boot(loop, 'echo record > "$SHARE/document"')
    assert completed.returncode == 0, completed.stderr
    if step != "format":  # there is nothing to format any more
        assert boot_killed_at(loop, step).returncode == -signal.SIGKILL
    assert boot(loop, 'cat "$SHARE/document"').stdout.splitlines()[-1] == "record"


def boot_killed_at(machine: Machine, step: str) -> subprocess.CompletedProcess[str]:
    return machine.run(
        f"{step}() {{ kill -9 $$; sleep 9; }}; prepare_data; prepare_share", within=["unshare", "--mount"]
    )
