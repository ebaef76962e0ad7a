"""The files machine's start-up script and its servers: who may mount, who may log in, and when all is well."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import os
import socket
import struct
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import redis

from jobs import redis_acl
from jobs.redacted import Redacted
from tests.terraform.machine import FILES, Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_exports_to_the_range_alone_with_every_write_as_one_user(machine: Machine) -> None:
    assert machine.run("export_share 10.60.0.0/22 4").returncode == 0
    exports = (machine.root / "etc/exports.d/openemr.exports").read_text()
    assert exports == (
        f"{machine.root}/share 10.60.0.0/22(rw,sync,no_subtree_check,mp,all_squash,anonuid=1000,anongid=1000)\n"
    )


@pytest.mark.parametrize(("versions", "three", "mapper"), [("4", "n", "mask"), ("3 4", "y", "unmask")])
def test_offers_nfs_3_and_its_port_mapper_only_when_asked(
    machine: Machine, versions: str, three: str, mapper: str
) -> None:
    machine.run(f"export_share 10.60.0.0/22 '{versions}'")
    settings = (machine.root / "etc/nfs.conf.d/openemr.conf").read_text()
    assert f"vers3={three}\nvers4=y\n" in settings
    assert "port=20048\n" in settings
    assert any(call.startswith(f"systemctl {mapper} ") and "rpcbind.socket" in call for call in machine.calls)


def test_a_boot_that_changes_nothing_restarts_nothing(machine: Machine) -> None:
    machine.run("export_share 10.60.0.0/22 4")
    assert "systemctl restart nfs-server" in machine.calls
    machine.calls_file.unlink()
    machine.run("export_share 10.60.0.0/22 4")
    assert machine.calls == [
        "systemctl mask --quiet --now rpcbind.socket rpcbind.service",
        "systemctl disable --quiet nfs-server",
        "systemctl start nfs-server",
        "exportfs -ra",
    ]


def test_a_boot_alone_exports_nothing(machine: Machine) -> None:
    """Else the empty directory of the boot disk would be served until the data disk is mounted."""
    machine.run("export_share 10.60.0.0/22 4")
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
    assert (machine.root / "run/state").read_text().startswith("waiting for the password")


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


def test_a_rotated_administrator_is_in_and_the_old_one_out(machine: Machine, redis_port: int) -> None:
    write_acl(machine, "newer")
    assert ask_redis(redis_port, "acl", "load", user="admin", password="right") == "OK"
    assert ask_redis(redis_port, "ping", user="admin", password="newer") == "PONG"
    assert "NOAUTH" in ask_redis(redis_port, "ping", user="admin", password="right")


def test_a_clinic_cannot_touch_anothers_keys(redis_port: int) -> None:
    """Users as the provision job makes them."""
    with redis.Redis(port=redis_port, username="admin", password="right") as admin:
        for clinic in ("main", "north"):
            redis_acl.ensure_user(admin, f"oe_{clinic}", Redacted(clinic), prefix=f"oe_{clinic}:")
    assert ask_redis(redis_port, "set", "oe_main:a", "1", user="oe_main", password="main") == "OK"
    assert "NOPERM" in ask_redis(redis_port, "get", "oe_main:a", user="oe_north", password="north")
    assert "NOPERM" in ask_redis(redis_port, "keys", "*", user="oe_north", password="north")
    assert "NOPERM" in ask_redis(redis_port, "acl", "list", user="oe_north", password="north")


def test_redis_gets_half_of_the_memory_and_evicts_nothing_that_lasts(machine: Machine) -> None:
    assert machine.run("configure_redis 10.0.0.9").returncode == 0
    settings = (machine.root / "etc/redis/redis.conf").read_text()
    assert "bind 127.0.0.1 10.0.0.9\n" in settings
    assert "maxmemory-policy volatile-ttl\n" in settings


@pytest.fixture
def health(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The machine's health program, with a machine that is ready and whose disk is mounted."""
    spec = importlib.util.spec_from_file_location("health", FILES / "health.py")
    assert spec
    assert spec.loader
    program: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    (machine.root / "run").mkdir()
    monkeypatch.setattr(program, "STATE", str(machine.root / "run/state"))
    monkeypatch.setattr(program, "DATA", "/")
    machine.run("doing ready")
    return program


class Server:
    """Answers each connection with the same bytes, and remembers what it was asked."""

    def __init__(self, answer: bytes) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.asked: list[bytes] = []
        self._answer = answer
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                self.asked.append(connection.recv(1024))
                connection.sendall(self._answer)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def serving() -> Iterator[list[Server]]:
    servers: list[Server] = []
    yield servers
    for server in servers:
        server.close()


NFS_WELL = struct.pack(">7I", 0x80000018, 0x6F656D72, 1, 0, 0, 0, 0)
NFS_WITHOUT_4 = struct.pack(">7I", 0x80000020, 0x6F656D72, 1, 0, 0, 0, 2)  # PROG_MISMATCH


@pytest.mark.parametrize(
    ("nfs", "redis_says", "wrong"),
    [
        (NFS_WELL, b"-NOAUTH Authentication required.\r\n", ""),
        (NFS_WELL, b"+PONG\r\n", ""),
        (NFS_WELL, b"-LOADING Redis is loading the dataset\r\n", "redis answers wrongly"),
        (NFS_WITHOUT_4, b"+PONG\r\n", "nfs answers wrongly"),
        (b"", b"+PONG\r\n", "nfs answers wrongly"),
        (None, b"+PONG\r\n", "nfs does not answer"),
        (NFS_WELL, None, "redis does not answer"),
    ],
)
def test_healthy_is_who_serves_both(
    health: Any, serving: list[Server], nfs: bytes | None, redis_says: bytes | None, wrong: str
) -> None:
    for name, answer in (("nfs", nfs), ("redis", redis_says)):
        server = Server(answer or b"")
        health.PORTS[name] = server.port
        if answer is None:
            server.close()
        else:
            serving.append(server)
    said = health.problem()
    assert said.startswith(wrong) if wrong else not said


def test_a_machine_at_work_or_waiting_is_left_alone(health: Any, machine: Machine) -> None:
    health.PORTS |= {"nfs": 1, "redis": 1}
    for doing, seconds, wrong in (
        ("starting", 60, False),
        ("starting", 4000, True),
        ("waiting for the password of the Redis administrator", 9000, False),
        ("ready", 0, True),
    ):
        machine.run(f"doing '{doing}'")
        os.utime(health.STATE, (time.time() - seconds,) * 2)
        assert bool(health.problem()) is wrong, doing


def test_health_is_told_over_http(health: Any, machine: Machine) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), health.Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/"
    try:
        machine.run("doing starting")
        with urllib.request.urlopen(address, timeout=10) as answer:
            assert (answer.status, answer.read()) == (200, b"starting")
        machine.run("doing ready")
        health.PORTS |= {"nfs": 1, "redis": 1}
        with pytest.raises(urllib.error.HTTPError) as unwell:
            urllib.request.urlopen(address, timeout=10)
        assert (unwell.value.code, unwell.value.read().startswith(b"nfs does not")) == (503, True)
        unwell.value.close()
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("used", "line"), [(79, ""), (80, "openemr-files: the disk of oe-prod-files-x1 is 80 % full\n")]
)
def test_says_when_the_disk_fills(
    health: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], used: int, line: str
) -> None:
    monkeypatch.setattr(health, "DISK", "/nowhere")
    monkeypatch.setattr(health.subprocess, "run", lambda *_, **__: None)
    usage = type("Usage", (), {"used": used, "free": 100 - used})
    monkeypatch.setattr(health.shutil, "disk_usage", lambda _: usage)
    health.look_at_disk("oe-prod-files-x1")
    assert capsys.readouterr().out == line


def test_the_health_program_is_installed_and_started(machine: Machine) -> None:
    assert machine.run("MACHINE=oe-prod-files-x1 start_health", stdin="print('hello')\n").returncode == 0
    unit = (machine.root / "etc/systemd/system/openemr-files-health.service").read_text()
    assert f"ExecStart=/usr/bin/python3 -I {machine.root}/lib/health.py oe-prod-files-x1\n" in unit
    assert (machine.root / "lib/health.py").read_text() == "print('hello')\n"
    assert "systemctl restart openemr-files-health" in machine.calls
