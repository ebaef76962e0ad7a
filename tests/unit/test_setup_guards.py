"""The guards of the test run can fail: each is shown to see what it is there for."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import leaks

OUTSIDE = "192.0.2.1"  # kept for documentation: nobody's


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
@pytest.mark.parametrize("method", ["connect", "connect_ex"])
def test_no_socket_connects_to_the_outside(kind: socket.SocketKind, method: str) -> None:
    with socket.socket(socket.AF_INET, kind) as outgoing:
        outgoing.settimeout(0.1)
        with pytest.raises(pytest.fail.Exception, match=OUTSIDE):
            getattr(outgoing, method)((OUTSIDE, 443))


def test_no_packet_is_sent_to_the_outside() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outgoing,
        pytest.raises(pytest.fail.Exception, match=OUTSIDE),
    ):
        outgoing.sendto(b"", (OUTSIDE, 53))


def test_no_name_of_the_outside_is_asked_for() -> None:
    with pytest.raises(pytest.fail.Exception, match=r"cloud\.example"):
        socket.getaddrinfo("cloud.example", 443)


def test_loopback_and_unix_sockets_are_free(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        pass
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(str(tmp_path / "s"))
        server.listen()
        client.connect(str(tmp_path / "s"))


def test_a_child_that_wants_out_is_refused_at_once() -> None:
    script = "import urllib.request; urllib.request.urlopen('http://cloud.example/', timeout=30)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=20)
    assert "Connection refused" in done.stderr


def test_a_process_that_stays_is_found_by_its_marker_and_by_its_folder(tmp_path: Path) -> None:
    run = uuid.uuid4().hex
    sleep = ["sleep", "60"]
    marked = subprocess.Popen(sleep, env={**os.environ, leaks.MARKER: run}, start_new_session=True)
    placed = subprocess.Popen(sleep, env={}, cwd=tmp_path)
    try:
        found = leaks.settled(lambda: leaks.processes(run, tmp_path), seconds=0.2)
        shown = [(marked.pid, Path.cwd()), (placed.pid, tmp_path)]
        assert found == sorted(f"process {pid}: sleep 60 (in {folder})" for pid, folder in shown)
    finally:
        for process in (marked, placed):
            process.kill()
            process.wait()
    assert leaks.settled(lambda: leaks.processes(run, tmp_path), seconds=2) == []


def test_a_container_that_stays_is_found_by_what_it_mounts(tmp_path: Path) -> None:
    inside = f"mount -t tmpfs none {tmp_path} && exec sleep 60"
    contained = subprocess.Popen(["unshare", "--mount", "sh", "-c", inside], env={"PATH": os.environ["PATH"]}, cwd="/")
    try:
        wait_until(lambda: bool(leaks.processes(uuid.uuid4().hex, tmp_path.parent)))
    finally:
        contained.kill()
        contained.wait()


def wait_until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_listening_port_is_found_and_a_closed_one_is_not() -> None:
    before = leaks.listening_ports()
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert f"listening port {server.getsockname()[1]} of the test process" in leaks.listening_ports()
    assert leaks.listening_ports() == before


def test_a_mount_in_the_runs_folder_is_found(tmp_path: Path) -> None:
    script = (
        f"import pathlib, sys; sys.path.insert(0, {str(Path(leaks.__file__).parents[1])!r});"
        f"from tests import leaks; print(leaks.mounts(pathlib.Path({str(tmp_path.parent)!r})))"
    )
    inside = f'mount -t tmpfs none {tmp_path} && exec "$@"'
    argv = ["unshare", "--mount", "sh", "-c", inside, "sh", sys.executable, "-c", script]
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout == f"['mount on {tmp_path}']\n"
    assert leaks.mounts(tmp_path.parent) == []
