"""How an instance starts, what it refuses to serve, and how it ends."""

from __future__ import annotations

import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.container.conftest import Answer, Clinic, Instance


def _remove(name: str) -> Callable[[Path], None]:
    def change(sites: Path) -> None:
        path = sites / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return change


def _write(name: str, text: str) -> Callable[[Path], None]:
    def change(sites: Path) -> None:
        (sites / name).write_text(text)

    return change


@pytest.mark.parametrize(
    ("change", "sentence", "run"),
    [
        (_remove("default"), "the share is empty or not mounted", "nfs-init job"),
        (_remove("default/sqlconf.php"), "sqlconf.php is missing", "nfs-init job"),
        (_write("default/sqlconf.php", "<?php\n$config = 0;\n"), "does not say that OpenEMR is configured", "nfs-init"),
        (_remove("default/documents/logs_and_misc/methods"), "encryption keys are missing", "gcp-openemr restore"),
        (_write("default/docker-version", "7\n"), "older OpenEMR", "gcp-openemr upgrade"),
        (_write("default/docker-version", "9\n"), "newer OpenEMR", "deploy again"),
        (lambda sites: (sites / "default/documents").chmod(0o555), "uid 1000 may not write", "nfs-init job"),
    ],
)
def test_refuses_with_a_sentence_that_says_what_to_run(
    clinic: Clinic, tmp_path: Path, change: Callable[[Path], None], sentence: str, run: str
) -> None:
    sites = tmp_path / "sites"
    shutil.copytree(clinic.sites, sites)
    for path in (sites, *sites.rglob("*")):
        os.chown(path, 1000, 1000)
    change(sites)
    refused = Instance(clinic, tmp_path / "output", sites=sites)
    assert refused.wait() == 78
    (line,) = refused.lines()
    assert line["severity"] == "ERROR"
    assert sentence in line["message"]
    assert run in line["message"]


def test_names_all_missing_variables(clinic: Clinic, tmp_path: Path) -> None:
    refused = Instance(clinic, tmp_path / "output", MYSQL_HOST="", MYSQL_PASS="")
    assert refused.wait() == 78
    assert "not set: MYSQL_HOST MYSQL_PASS." in refused.output()


@pytest.mark.parametrize(
    ("environment", "part"),
    [
        ({"MYSQL_PORT": "1"}, "database"),
        ({"MYSQL_PASS": "wrong"}, "database"),
        ({"MYSQL_HOST": "another-name.test"}, "database"),
        ({"REDIS_PORT": "1"}, "sessions"),
        ({"REDIS_PASSWORD": "wrong"}, "sessions"),
    ],
)
def test_lives_but_is_not_ready_without_its_servers(
    clinic: Clinic, tmp_path: Path, environment: dict[str, Any], part: str
) -> None:
    alone = Instance(clinic, tmp_path / "output", **environment)
    try:
        alone.await_serving()
        answer = alone.ask("/health/ready")
        assert answer.status == 503
        assert answer.json()["checks"][part] == "failed"
        assert answer.json()["checks"]["sites"] == "ok"
        alone.await_output(f"/health/ready: {part}: ")
    finally:
        alone.kill()


def test_never_falls_back_to_sessions_in_files(clinic: Clinic, tmp_path: Path) -> None:
    alone = Instance(clinic, tmp_path / "output", REDIS_PASSWORD="wrong")
    try:
        answer, session = alone.await_serving().login()
        assert answer.status == 500
        assert alone.ask("/interface/main/main_screen.php", headers=session).status == 500
        assert not list(Path(f"/proc/{alone.pid}/root/tmp").glob("sess_*"))
    finally:
        alone.kill()


def test_a_lost_key_is_noticed_by_ready(clinic: Clinic, tmp_path: Path) -> None:
    sites = tmp_path / "sites"
    shutil.copytree(clinic.sites, sites)
    for path in (sites, *sites.rglob("*")):
        os.chown(path, 1000, 1000)
    (sites / "default/documents/logs_and_misc/methods/sevenb").unlink()
    alone = Instance(clinic, tmp_path / "output", sites=sites)
    try:
        assert alone.await_serving().ask("/health/ready").json()["checks"]["keys"] == "failed"
        alone.await_output("keys without counterpart: sevenb")
    finally:
        alone.kill()


@pytest.mark.parametrize(("words", "name"), [("php-fpm: master", "fpm"), ("httpd -D FOREGROUND", "httpd")])
def test_ends_when_a_server_dies(instance: Instance, words: str, name: str) -> None:
    os.kill(instance.pid_of(words), signal.SIGKILL)
    assert instance.wait() not in (0, None)
    assert re.search(rf"{name} ended with status \d+; the instance ends too", instance.output())


def test_sigterm_cuts_no_request(instance: Instance) -> None:
    """Cloud Run sends an instance no new request once it told it to end; one that comes all the same may be refused."""
    answers: list[Answer] = []
    cut: list[float] = []
    stop = threading.Event()

    def visit() -> None:
        while not stop.is_set():
            begun = time.monotonic()
            try:
                answers.append(instance.ask("/interface/login/login.php"))
            except ConnectionRefusedError:
                return
            except ConnectionResetError:
                cut.append(begun)
                return

    visitors = [threading.Thread(target=visit) for _ in range(4)]
    for visitor in visitors:
        visitor.start()
    while len(answers) < 40:
        time.sleep(0.01)
    began = time.monotonic()
    os.kill(instance.pid, signal.SIGTERM)
    assert instance.wait(10) == 0
    assert time.monotonic() - began < 10
    stop.set()
    for visitor in visitors:
        visitor.join()
    assert all(begun > began for begun in cut)
    assert {answer.status for answer in answers} == {200}
    assert all(answer.body.rstrip().endswith(b"</html>") for answer in answers)


def test_changes_nothing_on_the_share(clinic: Clinic, instance: Instance) -> None:
    def stamps() -> dict[Path, tuple[int, int, int]]:
        found = ((path, path.stat()) for path in clinic.sites.rglob("*"))
        return {path: (seen.st_mode, seen.st_uid, seen.st_mtime_ns) for path, seen in found}

    before = stamps()
    instance.ask("/health/ready")
    instance.ask("/interface/login/login.php")
    os.kill(instance.pid, signal.SIGTERM)
    instance.wait()
    assert stamps() == before
