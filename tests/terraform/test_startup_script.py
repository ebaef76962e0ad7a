"""The files machine's start-up script: its functions run under bash, over disks that are files, with the real tools.

What only a machine has (mounts, systemd, metadata, block devices) is stood in for by small programs first on PATH,
which note how they were called.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gcp_openemr.assets import asset

SCRIPT = asset("terraform") / "modules" / "files" / "startup.sh"
MIB = 1024 * 1024
STAND_INS = {
    "blockdev": 'stat -c %s "${@: -1}"',
    "systemctl": 'echo "systemctl $*" >> "$CALLS"',
    "exportfs": 'echo "exportfs $*" >> "$CALLS"',
}


class Machine:
    """A directory that stands for the machine, and the script's functions in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.disk = root / "disk"
        self.marker = root / "marker"
        self.bin = root / "bin"
        self.calls_file = root / "calls"
        for folder in ("bin", "etc", "etc/redis", "data"):
            (root / folder).mkdir()
        for name, body in STAND_INS.items():
            self.stand_in(name, body)

    def stand_in(self, name: str, body: str) -> None:
        program = self.bin / name
        program.write_text(f"#!/bin/bash\n{body}\n")
        program.chmod(0o755)

    def run(self, command: str, *, stdin: str = "") -> subprocess.CompletedProcess[str]:
        settings = (
            f"DISK={self.disk} DATA={self.root}/data SHARE={self.root}/share ETC={self.root}/etc MARKER={self.marker}"
        )
        return subprocess.run(
            ["bash", "-c", f"source {SCRIPT}; {settings}; {command}"],
            env={**os.environ, "PATH": f"{self.bin}:/usr/sbin:{os.environ['PATH']}", "CALLS": str(self.calls_file)},
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )

    def ensure_filesystem(self) -> subprocess.CompletedProcess[str]:
        return self.run('ensure_filesystem "$DISK"')

    @property
    def calls(self) -> list[str]:
        return self.calls_file.read_text().splitlines() if self.calls_file.exists() else []


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


def damaged_filesystem(disk: Path) -> None:
    subprocess.run(["/usr/sbin/mkfs.ext4", "-q", "-F", disk], check=True)
    with disk.open("r+b") as stream:
        stream.write(bytes(4096))  # the superblock is gone, the rest is there


@pytest.mark.parametrize(
    "put", [foreign_filesystem, partition_table, data_at_the_start, data_at_the_end, damaged_filesystem]
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


def test_exports_to_the_range_alone_with_every_write_as_one_user(machine: Machine) -> None:
    assert machine.run("export_share 10.60.0.0/22").returncode == 0
    exports = (machine.root / "etc/exports.d/openemr.exports").read_text()
    assert exports == (
        f"{machine.root}/share 10.60.0.0/22(rw,sync,no_subtree_check,mp,all_squash,anonuid=1000,anongid=1000)\n"
    )
    assert "port=20048" in (machine.root / "etc/nfs.conf.d/openemr.conf").read_text()


def test_a_boot_that_changes_nothing_restarts_nothing(machine: Machine) -> None:
    machine.run("export_share 10.60.0.0/22")
    assert "systemctl restart nfs-server" in machine.calls
    machine.calls_file.unlink()
    machine.run("export_share 10.60.0.0/22")
    assert machine.calls == ["systemctl disable --quiet nfs-server", "systemctl start nfs-server", "exportfs -ra"]


def test_a_boot_alone_exports_nothing(machine: Machine) -> None:
    """Else the empty directory of the boot disk would be served until the data disk is mounted."""
    machine.run("export_share 10.60.0.0/22")
    assert not any("enable" in call.split() for call in machine.calls)


def test_the_password_is_read_without_showing_the_token(machine: Machine) -> None:
    answers = {
        "token": json.dumps({"access_token": "ya29.TOKEN"}),
        "value": json.dumps({"payload": {"data": base64.b64encode("pässword".encode()).decode()}}),
    }
    for name, text in answers.items():
        (machine.root / name).write_text(text)
    machine.stand_in(
        "curl",
        f"""echo "curl $*" >> "$CALLS"
case "$*" in
  *token*) cat {machine.root}/token ;;
  *) grep -q '^Authorization: Bearer ya29.TOKEN$' || exit 22; cat {machine.root}/value ;;
esac""",
    )
    read = machine.run("secret projects/p/secrets/oe-prod-redisroot")
    assert (read.returncode, read.stdout) == (0, "pässword")
    assert not any("TOKEN" in call for call in machine.calls)
    assert any("projects/p/secrets/oe-prod-redisroot/versions/latest:access" in call for call in machine.calls)


def test_waits_for_the_password_without_touching_redis(machine: Machine) -> None:
    machine.stand_in("sleep", "exit 9")
    machine.stand_in("curl", "exit 22")
    assert machine.run("start_redis 10.0.0.1 projects/p/secrets/s").returncode == 9
    assert machine.calls == []


def write_acl(machine: Machine, password: str) -> str:
    command = 'install -d "$DATA/redis"; write_acl "$DATA/redis/users.acl" < <(admin_line)'
    assert machine.run(command, stdin=password).returncode == 0
    return (machine.root / "data/redis/users.acl").read_text()


def test_a_new_administrator_keeps_the_clinics_users(machine: Machine) -> None:
    write_acl(machine, "old")
    acl = machine.root / "data/redis/users.acl"
    clinics = "user oe_main on #00 ~oe_main:* +@all\nuser oe_administrators on #11 ~x:* +@all\n"
    acl.write_text(acl.read_text() + clinics)
    written = write_acl(machine, "new")
    assert written.endswith(clinics)
    assert hashlib.sha256(b"new").hexdigest() in written
    assert hashlib.sha256(b"old").hexdigest() not in written
    assert written.count("user admin ") == written.count("user default ") == 1
    assert acl.stat().st_mode & 0o777 == 0o600


@pytest.fixture
def redis_port(machine: Machine) -> Iterator[int]:
    """A real Redis with the ACL file that the script wrote for the password "right"."""
    write_acl(machine, "right")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    acl = machine.root / "data/redis/users.acl"
    server = subprocess.Popen(
        [
            "redis-server",
            "--port",
            str(port),
            "--bind",
            "127.0.0.1",
            "--aclfile",
            acl,
            "--save",
            "",
            "--dir",
            machine.root,
        ],
        stdout=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + 10
        while time.monotonic() < end:
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield port
    finally:
        server.terminate()
        server.wait(10)


def ask_redis(port: int, *command: str, user: str = "", password: str = "") -> str:
    login = ["--user", user] if user else []
    return subprocess.run(
        ["redis-cli", "-p", str(port), *login, *command],
        env={**os.environ, **({"REDISCLI_AUTH": password} if user else {})},
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()


def test_redis_lets_in_the_administrator_and_nobody_else(redis_port: int) -> None:
    assert ask_redis(redis_port, "ping", user="admin", password="right") == "PONG"
    assert "NOAUTH" in ask_redis(redis_port, "ping")
    assert "NOAUTH" in ask_redis(redis_port, "ping", user="admin", password="wrong")


def test_redis_gets_half_of_the_memory_and_evicts_nothing_that_lasts(machine: Machine) -> None:
    assert machine.run("configure_redis 10.0.0.9").returncode == 0
    settings = (machine.root / "etc/redis/redis.conf").read_text()
    assert "bind 127.0.0.1 10.0.0.9\n" in settings
    assert "maxmemory-policy volatile-ttl\n" in settings


@pytest.mark.parametrize("seed", range(5))
def test_any_data_in_the_first_mebibytes_is_found(machine: Machine, seed: int) -> None:
    blank(machine)
    place = random.Random(seed).randrange(16 * MIB)  # noqa: S311
    with machine.disk.open("r+b") as disk:
        disk.seek(place)
        disk.write(b"\x01")
    assert machine.ensure_filesystem().returncode == 1
