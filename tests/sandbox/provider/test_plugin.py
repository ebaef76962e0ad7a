"""The provider's process: found in the mirror, started, and never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
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


@pytest.fixture
def plugin(launcher: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
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
    assert plugin.wait(timeout=10) == 0
    assert not address.parent.exists()


def test_ends_with_the_process_that_started_it(launcher: Path, tmp_path: Path) -> None:
    script = f"import subprocess, sys; p = subprocess.Popen([{str(launcher)!r}], stdout=subprocess.PIPE); "
    script += "p.stdout.readline(); print(p.pid, flush=True); sys.stdin.read()"
    environment = {**os.environ, **COOKIE, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as parent:
        assert parent.stdout is not None
        child = Path("/proc", parent.stdout.readline().strip())
        assert child.exists()
        parent.kill()
    end = time.monotonic() + 10
    while child.exists() and (child / "cmdline").read_bytes() and time.monotonic() < end:
        time.sleep(0.1)
    assert not child.exists() or not (child / "cmdline").read_bytes()


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
    assert text.startswith("#!/bin/sh\nexec '/path with spaces/python' -I -c ")
