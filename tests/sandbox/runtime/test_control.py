"""The sandbox's process: start, stop, kill, and everything that can be wrong with that."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from gcp_openemr.errors import GcpOpenemrError, InputMissing, Locked, NotPermitted, ToolMissing, Unreachable
from gcp_openemr.sandbox import control
from gcp_openemr.sandbox.control import SandboxInfo
from gcp_openemr.sandbox.remote import remote
from tests.sandbox.api.test_faults import CALLER


@pytest.fixture
def directory() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="gcp-openemr-control-")) / "project" / ".gcp-openemr" / "sandbox"
    yield made
    control.stop(made)
    shutil.rmtree(made.parents[2])


def of_sandbox(directory: Path) -> list[str]:
    """Processes that have anything to do with a sandbox."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes().decode(errors="replace") if entry.name.isdigit() else ""
        except OSError:
            continue
        if str(directory) in command:
            found.append(command.replace("\0", " "))
    return found


def until_gone(directory: Path) -> None:
    end = time.monotonic() + 10
    while of_sandbox(directory):
        assert time.monotonic() < end, of_sandbox(directory)
        time.sleep(0.05)


def no_mounts(directory: Path) -> bool:
    return str(directory) not in Path("/proc/self/mountinfo").read_text()


def test_it_starts_answers_and_stops(directory: Path) -> None:
    info = control.start(directory)
    assert info == control.status(directory)
    assert requests.get(f"{info.url}/storage/v1/b/none", timeout=5).status_code in (401, 404)
    headers = {"Authorization": f"Bearer {info.token.reveal()}"}
    answer = requests.get(
        f"{info.url}/run.googleapis.com/v2/projects/demo-clinic/locations/-", headers=headers, timeout=5
    )
    assert answer.status_code != 401
    assert (directory.stat().st_mode & 0o777, (directory / "operator-token").stat().st_mode & 0o777) == (0o700, 0o600)
    assert info.mysql.startswith(("MySQL ", "MariaDB "))
    assert any(text.startswith("OpenEMR: a small application") for text in info.stands_in)
    assert info.token.reveal() not in " ".join(of_sandbox(directory))
    assert control.stop(directory)
    assert control.status(directory) is None
    assert not control.stop(directory)
    assert (of_sandbox(directory), no_mounts(directory)) == ([], True)
    assert not (directory / "endpoint.json").exists()


def test_it_comes_back_at_the_same_address(directory: Path) -> None:
    first = control.start(directory)
    control.stop(directory)
    second = control.start(directory)
    assert (first.url, first.token) == (second.url, second.token)
    assert first.pid != second.pid


def test_a_kill_leaves_nothing_and_hinders_nothing(directory: Path) -> None:
    for victim in ("first", "outer"):
        info = control.start(directory)
        pid = info.pid
        if victim == "outer":
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(pid, signal.SIGKILL)
        while control.status(directory):  # while it dies it is either there or not, and never an error
            time.sleep(0.001)
        until_gone(directory)
        assert no_mounts(directory)
        assert (directory / "endpoint.json").exists()  # stale now, and taken for what it is
        assert control.status(directory) is None


def test_a_stale_endpoint_with_the_number_of_another_process_is_not_believed(directory: Path) -> None:
    info = control.start(directory)
    control.stop(directory)
    described = {"url": info.url, "pid": os.getpid(), "began": 1, "mysql": "", "real": [], "stands_in": []}
    (directory / "endpoint.json").write_text(json.dumps({**described, "openemr_tree": None}))
    (directory / "run/daemon.lock").write_text(f"{os.getpid()} 1\n")
    assert control.status(directory) is None
    assert not control.stop(directory)  # and above all: this process is not the one that is stopped


def test_a_second_start_is_refused(directory: Path) -> None:
    control.start(directory)
    with pytest.raises(Locked, match="already running"):
        control.start(directory)


def test_of_two_starts_at_once_one_starts(directory: Path) -> None:
    outcomes: list[object] = []

    def start() -> None:
        try:
            outcomes.append(control.start(directory))
        except GcpOpenemrError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=start) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kinds = sorted(type(outcome).__name__ for outcome in outcomes)
    assert kinds == ["Locked", "Locked", "SandboxInfo"]


def test_a_port_that_is_taken_is_named(directory: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Unreachable, match=f"Port {port} cannot be used: Address already in use"):
            control.start(directory, port=port)
    assert control.start(directory, port=port).url == f"http://127.0.0.1:{port}"


def test_a_remembered_port_that_is_taken_gives_way(directory: Path) -> None:
    first = control.start(directory)
    control.stop(directory)
    with socket.create_server(("127.0.0.1", int(first.url.rpartition(":")[2]))):
        assert control.start(directory).url != first.url


def test_without_root_it_says_so(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(NotPermitted, match="needs root"):
        control.start(directory)


def test_missing_programs_are_named_together(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "_NEEDED", ("unshare", "no-such-program", "nor-this"))
    with pytest.raises(ToolMissing, match=r"no-such-program, nor-this\."):
        control.start(directory)


def test_a_tree_that_is_not_there_is_named(directory: Path) -> None:
    with pytest.raises(InputMissing, match="none is no directory"):
        control.start(directory, openemr_tree=directory / "none")


def test_a_tree_is_told_and_remembered(directory: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    info = control.start(directory, openemr_tree=tree)
    assert info.openemr_tree == tree
    assert f"OpenEMR from {tree}" in info.real
    assert not any(text.startswith("OpenEMR") for text in info.stands_in)


def test_what_it_says_before_it_dies_is_shown(directory: Path) -> None:
    (directory).mkdir(parents=True)
    (directory / "state.sqlite3").write_text("this is no database, and it is long enough to be seen as none" * 20)
    with pytest.raises(Unreachable, match="ended while it started") as died:
        control.start(directory)
    assert "file is not a database" in died.value.what
    assert str(directory / "logs/daemon.log") in died.value.do
    assert control.status(directory) is None


def test_a_starter_that_goes_away_takes_the_sandbox_with_it(directory: Path) -> None:
    imports = "import sys; from pathlib import Path; from gcp_openemr.sandbox import control"
    script = f"{imports}; control.start(Path(sys.argv[1]))"
    starter = subprocess.Popen([sys.executable, "-c", script, str(directory)], start_new_session=True)
    lock = directory / "run/daemon.lock"
    end = time.monotonic() + 10
    while not (lock.is_file() and lock.stat().st_size):
        assert time.monotonic() < end
        time.sleep(0.01)
    starter.kill()
    starter.wait()
    end = time.monotonic() + 15
    while any("sandbox.daemon" in line for line in of_sandbox(directory)):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert control.status(directory) is None


def test_reset_deletes_what_is_its_own(directory: Path) -> None:
    control.start(directory)
    (directory / "mine.txt").write_text("keep")
    control.reset(directory)
    assert [path.name for path in directory.iterdir()] == ["mine.txt"]
    assert of_sandbox(directory) == []
    control.reset(directory)  # nothing there: nothing to do


def test_an_interrupted_process_without_an_answer_is_told(directory: Path) -> None:
    info = control.start(directory)
    stopped = [
        int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _parent(entry) == info.pid
    ]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(control, "_ANSWER_SECONDS", 0.5)
            patch.setattr(control, "_DYING_SECONDS", 0.5)
            with pytest.raises(Unreachable, match="does not answer"):
                control.status(directory)
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)


def _parent(entry: Path) -> int:
    try:
        return int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0  # it ended meanwhile


def test_info_never_shows_the_token(directory: Path) -> None:
    info: SandboxInfo = control.start(directory)
    assert info.token.reveal() not in repr(info)


def test_a_caller_outside_is_killed_and_whoever_asked_for_it_is_left_no_child(directory: Path) -> None:
    info = control.start(directory)
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    before = children.read_text()
    remote(directory).add_fault("kill", method="secretmanager.*")
    assert children.read_text() == before
    call = f"{info.url}/secretmanager.googleapis.com/v1/projects/demo-clinic/secrets"
    deadline = time.monotonic() + 30
    while subprocess.run([sys.executable, "-c", CALLER, call, info.token.reveal()], check=False).returncode != -9:
        assert time.monotonic() < deadline, "no caller was killed"
