"""The provider's process: found in the mirror, started, and never left behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gcp_openemr.sandbox.provider.mirror import VERSION, write_mirror

COOKIE = {"TF_PLUGIN_MAGIC_COOKIE": "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2"}
BINARY = f"hashicorp/google/{VERSION}/linux_amd64/terraform-provider-google_v{VERSION}_x6"


@pytest.fixture
def launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    environment = write_mirror(tmp_path, python=sys.executable, url="http://127.0.0.1:1")
    monkeypatch.setenv("GCP_OPENEMR_SANDBOX_PROVIDER", environment["GCP_OPENEMR_SANDBOX_PROVIDER"])
    return tmp_path / "provider-mirror" / "registry.terraform.io" / BINARY


@contextlib.contextmanager
def listening() -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """A command that offers a warm provider, and what a launched one needs to find it."""
    script = "import json, sys; from gcp_openemr.sandbox.provider import warm; "
    script += "print(json.dumps(warm.listen()), flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as command:
        assert command.stdout is not None
        yield command, json.loads(command.stdout.readline())


@pytest.fixture(scope="module")
def offered() -> Iterator[dict[str, str]]:
    with listening() as (_, environment):
        yield environment


@pytest.fixture(params=["cold", "warm"])
def either(request: pytest.FixtureRequest, offered: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A launched provider is what it seems to be, or a fork of a warm one stands behind it."""
    if request.param == "warm":
        for name, value in offered.items():
            monkeypatch.setenv(name, value)


@pytest.fixture
def plugin(launcher: Path, tmp_path: Path, either: None) -> Iterator[subprocess.Popen[str]]:
    """Started from another directory, with a temporary directory of its own."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    environment = {**os.environ, **COOKIE, "TMPDIR": str(folder)}
    process = subprocess.Popen([launcher], stdout=subprocess.PIPE, text=True, env=environment, cwd="/")
    assert process.stdout is not None
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def _handshake(plugin: subprocess.Popen[str]) -> list[str]:
    assert plugin.stdout is not None
    return plugin.stdout.readline().rstrip("\n").split("|")


def test_handshake_names_protocol_socket_and_certificate(plugin: subprocess.Popen[str]) -> None:
    core, version, network, address, protocol, certificate = _handshake(plugin)
    assert (core, version, network, protocol) == ("1", "6", "unix", "grpc")
    assert Path(address).is_socket()
    assert Path(address).parent.stat().st_mode & 0o077 == 0
    assert len(certificate) > 200


def test_interrupt_is_terraforms_business_and_termination_leaves_nothing(plugin: subprocess.Popen[str]) -> None:
    address = Path(_handshake(plugin)[3])
    plugin.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        plugin.wait(timeout=0.5)
    plugin.terminate()
    plugin.wait(timeout=10)
    wait_until(lambda: not address.parent.exists())


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.usefixtures("either")
def test_ends_with_the_process_that_started_it(launcher: Path, tmp_path: Path) -> None:
    script = f"import subprocess, sys; p = subprocess.Popen([{str(launcher)!r}], stdout=subprocess.PIPE); "
    script += "p.stdout.readline(); print(p.pid, flush=True); sys.stdin.read()"
    folder = tmp_path / "temporary"
    folder.mkdir()
    environment = {**os.environ, **COOKIE, "TMPDIR": str(folder)}
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as parent:
        assert parent.stdout is not None
        child = Path("/proc", parent.stdout.readline().strip())
        assert child.exists()
        parent.kill()
    wait_until(lambda: not child.exists() or not (child / "cmdline").read_bytes())
    wait_until(lambda: not any(folder.iterdir()))


def test_a_warm_provider_takes_over_where_it_was_launched(
    launcher: Path, tmp_path: Path, offered: dict[str, str]
) -> None:
    """The environment and the streams are the launched process's; each has a process of its own."""
    environments = [
        {**os.environ, **COOKIE, **offered, "TMPDIR": str(tmp_path / name), "LINE": "one\ntwo"} for name in "ab"
    ]
    for environment in environments:
        Path(environment["TMPDIR"]).mkdir()
    pair = [subprocess.Popen([launcher], stdout=subprocess.PIPE, text=True, env=one) for one in environments]
    try:
        addresses = [Path(_handshake(one)[3]) for one in pair]
        assert [address.parent.parent for address in addresses] == [tmp_path / "a", tmp_path / "b"]
        assert [Path(f"/proc/{one.pid}/cmdline").read_bytes().split(b"\0")[2] for one in pair] == [b"-S", b"-S"]
    finally:
        for one in pair:
            one.kill()
            one.communicate()
    wait_until(lambda: not any(address.parent.exists() for address in addresses))


def test_a_launched_provider_serves_itself_when_nobody_listens(launcher: Path, tmp_path: Path) -> None:
    """The command that listened was killed; its warm process went with it."""
    with listening() as (command, offered):
        environment = {**os.environ, **COOKIE, **offered, "TMPDIR": str(tmp_path)}
        first = subprocess.Popen([launcher], stdout=subprocess.PIPE, text=True, env=environment)
        _handshake(first)
        command.kill()
    second = subprocess.Popen([launcher], stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert Path(_handshake(second)[3]).is_socket()
        assert Path(f"/proc/{second.pid}/cmdline").read_bytes().split(b"\0")[2] == b"-c"
        assert first.poll() is None, "what Terraform is at work with goes on"
    finally:
        for one in (first, second):
            one.kill()
            one.communicate()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_nobody_else_is_served(offered: dict[str, str]) -> None:
    """A fork would run as its owner with a stranger's environment."""
    script = (
        "import os, socket, sys; s = socket.socket(socket.AF_UNIX); s.connect('\\0' + sys.argv[1]); "
        "socket.send_fds(s, [(3).to_bytes(4)], [1, 2]); s.sendall(b'A=b'); print(s.recv(1))"
    )
    (address,) = offered.values()
    python = ["/usr/bin/python3", "-I", "-c", script, address]
    mine = subprocess.run(python, capture_output=True, text=True, check=True, timeout=60)
    assert mine.stdout.splitlines()[-1:] == ["b'1'"]
    theirs = subprocess.run(python, capture_output=True, text=True, check=False, timeout=60, user=65534)
    assert theirs.stdout.strip() != "b'1'"


def test_people_are_told_what_it_is(launcher: Path) -> None:
    done = subprocess.run([launcher], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 1
    assert "Terraform starts it" in done.stderr


def test_mirror_serves_both_registries_and_may_be_written_twice_at_once(tmp_path: Path) -> None:
    threads = [
        threading.Thread(target=write_mirror, args=(tmp_path,), kwargs={"python": sys.executable, "url": "http://x"})
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    environment = write_mirror(tmp_path, python=sys.executable, url="http://127.0.0.1:5")
    assert environment["GCP_OPENEMR_SANDBOX_URL"] == "http://127.0.0.1:5"
    settings = Path(environment["TF_CLI_CONFIG_FILE"]).read_text()
    for registry in ("registry.terraform.io", "registry.opentofu.org"):
        folder = (tmp_path / "provider-mirror" / registry / BINARY).parent
        assert [found.name for found in folder.iterdir()] == [Path(BINARY).name]
        assert os.access(folder / Path(BINARY).name, os.X_OK)
        assert f"{registry}/hashicorp/google" in settings


def test_mirror_follows_another_python_and_its_locked_checksum_stays(tmp_path: Path) -> None:
    package = tmp_path / "provider-mirror" / "registry.terraform.io" / BINARY
    write_mirror(tmp_path, python="/old/python", url="http://x")
    locked = package.read_bytes()
    environment = write_mirror(tmp_path, python="/path with spaces/python", url="http://x")
    assert package.read_bytes() == locked
    text = Path(environment["GCP_OPENEMR_SANDBOX_PROVIDER"]).read_text()
    assert text.startswith("#!/bin/sh\nexec '/path with spaces/python' -I -S ")
