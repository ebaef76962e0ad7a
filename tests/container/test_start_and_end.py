"""How an instance starts, what it refuses to serve, and how it ends."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gcp_openemr.environment.service import php_workers
from tests.container.conftest import (
    DATABASE_PASSWORD,
    REDIS_PASSWORD,
    ROOT,
    TREE,
    Answer,
    Clinic,
    Instance,
    children,
)
from tests.jobs.servers import Mysql, Redis, make_authority, redis_server

ENTRYPOINT = ROOT / "container" / "entrypoint.sh"


def _remove(name: str) -> Callable[[Path], None]:
    def change(sites: Path) -> None:
        path = sites / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return change


def _write(name: str, text: str) -> Callable[[Path], None]:
    def change(sites: Path) -> None:
        (sites / name).write_text(text)

    return change


def _copied(clinic: Clinic, tmp_path: Path) -> Path:
    """The clinic's sites once more, for a test that spoils them."""
    sites = tmp_path / "sites"
    shutil.copytree(clinic.sites, sites)
    for path in (sites, *sites.rglob("*")):
        os.chown(path, 1000, 1000)
    return sites


def _function(call: str) -> str:
    """What one of the entrypoint's functions prints, in Alpine's shell."""
    script = f'. "{ENTRYPOINT}" && {call}'
    return subprocess.run(["busybox", "ash", "-c", script], capture_output=True, text=True, check=True).stdout.strip()


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except FileNotFoundError:
        return ""


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
    sites = _copied(clinic, tmp_path)
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
    ],
)
def test_lives_but_is_not_ready_without_its_database(
    clinic: Clinic, tmp_path: Path, environment: dict[str, Any], part: str
) -> None:
    """The last: another name than the certificate's. OpenEMR's own connection does not take it either."""
    alone = Instance(clinic, tmp_path / "output", **environment)
    try:
        alone.await_serving()
        answer = alone.ask("/health/ready")
        assert answer.status == 503
        assert answer.json()["checks"][part] == "failed"
        assert answer.json()["checks"]["sites"] == "ok"
        alone.await_output(f"/health/ready: {part}: ")
        assert alone.ask("/interface/login/login.php").status == 500
    finally:
        alone.kill()


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"REDIS_SERVER": ""}, "sessions would have no place that all instances share"),
        ({"REDIS_PORT": "1"}, "does not answer: Connection refused"),
        ({"REDIS_PASSWORD": "wrong"}, "cannot be kept in Redis: WRONGPASS"),
        ({"REDIS_PREFIX": "another:"}, "cannot be kept in Redis: NOPERM"),
        ({"REDIS_TLS": "1"}, "does not answer: "),
        ({"OPENEMR_SESSIONS": "files"}, "is for one instance, but there may be 3 instances"),
        ({"OPENEMR_SESSIONS": "memory"}, "is neither redis nor files"),
    ],
)
def test_refuses_to_serve_where_sessions_have_no_place(
    clinic: Clinic, tmp_path: Path, environment: dict[str, Any], sentence: str
) -> None:
    refused = Instance(clinic, tmp_path / "output", **environment)
    assert refused.wait() == 78
    (line,) = refused.lines()
    assert sentence in line["message"]
    assert not [secret for secret in (DATABASE_PASSWORD, REDIS_PASSWORD) if secret in line["message"]]


def session_files(instance: Instance) -> set[Path]:
    """Sessions that PHP keeps in files there."""
    return set(Path(f"/proc/{instance.pid}/root/tmp").glob("sess_*"))


def test_one_instance_may_keep_sessions_in_files_when_told(clinic: Clinic, tmp_path: Path) -> None:
    told: dict[str, Any] = {"REDIS_SERVER": "", "OPENEMR_SESSIONS": "files", "OPENEMR_MAX_INSTANCES": "1"}
    alone = Instance(clinic, tmp_path / "output", **told)
    try:
        before = session_files(alone.await_serving())
        _, session = alone.login()
        assert alone.ask("/interface/main/main_screen.php", headers=session).status == 200
        assert alone.ask("/health/ready").status == 200
        made = session_files(alone) - before
        assert made
        for file in made:  # where the sources lie below /tmp, that folder is everybody's
            file.unlink()
    finally:
        alone.kill()


def test_never_falls_back_to_sessions_in_files(clinic: Clinic, tmp_path: Path) -> None:
    """Redis goes while the instance serves: no login works, and no session lands in a file."""
    with redis_server(tmp_path / "redis") as redis:
        password: dict[str, Any] = {"REDIS_USERNAME": "admin", "REDIS_PASSWORD": redis.admin_password}
        alone = Instance(clinic, tmp_path / "output", REDIS_PORT=str(redis.port), **password)
        before = session_files(alone.await_serving())
        _, session = alone.login()
        assert alone.ask("/interface/main/main_screen.php", headers=session).status == 200
    try:
        answer, _ = alone.login()
        assert answer.status == 500
        assert alone.ask("/interface/main/main_screen.php", headers=session).status == 500
        assert session_files(alone) == before
        assert alone.ask("/health/ready").json()["checks"] == {
            "database": "ok",
            "sessions": "failed",
            "sites": "ok",
            "keys": "ok",
        }
        assert redis.admin_password not in alone.output()
    finally:
        alone.kill()


@pytest.mark.parametrize("authority", ["right", "wrong"])
def test_sessions_go_to_a_verified_redis_over_tls(
    clinic: Clinic, servers: tuple[Mysql, Redis], tmp_path: Path, authority: str
) -> None:
    signed = servers[0].authority
    with redis_server(tmp_path / "redis", signed, name="sql.test") as redis:
        trusted = signed if authority == "right" else make_authority()
        environment: dict[str, Any] = {
            "REDIS_SERVER": "sql.test",
            "REDIS_PORT": str(redis.port),
            "REDIS_USERNAME": "admin",
            "REDIS_PASSWORD": redis.admin_password,
            "REDIS_SSL_CA": trusted.pem,
        }
        alone = Instance(clinic, tmp_path / "output", **environment)
        try:
            if authority == "wrong":
                assert alone.wait() == 78
                assert "certificate verify failed" in alone.output()
                return
            _, session = alone.await_serving().login()
            assert alone.ask("/interface/main/main_screen.php", headers=session).status == 200
            assert alone.ask("/health/ready").json()["checks"]["sessions"] == "ok"
        finally:
            alone.kill()


def test_a_share_that_hangs_makes_ready_answer_not_hang(clinic: Clinic, tmp_path: Path) -> None:
    """A pipe that nobody writes to stands in for a file on a dead NFS server: whoever reads it waits."""
    sites = _copied(clinic, tmp_path)
    alone = Instance(clinic, tmp_path / "output", sites=sites)
    try:
        alone.await_serving()
        (sites / "default/sqlconf.php").unlink()
        os.mkfifo(sites / "default/sqlconf.php", 0o644)
        with ThreadPoolExecutor(2) as pool:
            both = list(pool.map(lambda _: alone.ask("/health/ready"), range(2)))
        for answer in both:
            assert answer.status == 503
            assert answer.json()["checks"] == {
                "database": "ok",
                "sessions": "ok",
                "sites": "failed",
                "keys": "failed",
            }
        assert alone.ask("/health/live").status == 200
        alone.await_output("/health/ready: sites: the share does not answer")
    finally:
        alone.kill()


def test_secrets_may_lie_in_mounted_files(clinic: Clinic, tmp_path: Path) -> None:
    mounted = clinic.sites / "secret"
    environment: dict[str, Any] = {}
    try:
        mounted.mkdir()
        for name in ("MYSQL_PASS", "REDIS_PASSWORD"):
            (mounted / name).write_text(clinic.environment[name])
            environment |= {name: "", f"{name}_FILE": f"{TREE}/sites/secret/{name}"}
        alone = Instance(clinic, tmp_path / "output", **environment)
        try:
            assert alone.await_serving().ask("/health/ready").status == 200
        finally:
            alone.kill()
        both = Instance(clinic, tmp_path / "both", MYSQL_PASS_FILE=f"{TREE}/sites/secret/MYSQL_PASS")
        assert both.wait() == 78
        assert "Both MYSQL_PASS and MYSQL_PASS_FILE are set" in both.output()
    finally:
        shutil.rmtree(mounted)


def test_the_root_may_be_read_only(clinic: Clinic, tmp_path: Path) -> None:
    alone = Instance(clinic, tmp_path / "output", READ_ONLY="1")
    try:
        _, session = alone.await_serving().login()
        assert alone.ask("/interface/main/main_screen.php", headers=session).status == 200
        assert alone.ask("/health/ready").status == 200
        for directory in ("/etc", "/usr", "/var"):
            with pytest.raises(OSError, match="Read-only file system"):
                Path(f"/proc/{alone.pid}/root{directory}/x").touch()
    finally:
        alone.kill()


@pytest.mark.parametrize(("mib", "workers"), [(512, 3), (1024, 6), (4096, 30), (65536, 32)])
def test_workers_follow_the_instances_memory(mib: int, workers: int) -> None:
    assert _function(f"fpm_children {mib} {96 if mib < 1024 else 192}") == str(workers)
    assert php_workers(mib) == workers


def test_process_1_reaps_what_others_leave(instance: Instance) -> None:
    """An orphan becomes process 1's child, wherever it was born."""
    inside = ["nsenter", f"--target={instance.pid}", "--pid", "--mount"]
    with subprocess.Popen([*inside, "busybox", "ash", "-c", "sleep 0.5 & exit 0"]):
        for adopted in (True, False):
            until = time.monotonic() + 5
            while ("sleep" in [_name(pid) for pid in children(instance.pid)]) is not adopted:
                assert time.monotonic() < until
                time.sleep(0.01)


def test_a_lost_key_is_noticed_by_ready(clinic: Clinic, tmp_path: Path) -> None:
    """But not the absence of a row for those kinds that never had one."""
    sites = _copied(clinic, tmp_path)
    methods = sites / "default/documents/logs_and_misc/methods"
    (methods / "sevenb").unlink()
    (methods / "foura").touch()
    alone = Instance(clinic, tmp_path / "output", sites=sites)
    try:
        assert alone.await_serving().ask("/health/ready").json()["checks"]["keys"] == "failed"
        alone.await_output("keys without counterpart: sevenb")
    finally:
        alone.kill()


@pytest.mark.parametrize(
    ("words", "name"), [("php-fpm: master", "fpm"), ("httpd -D FOREGROUND", "httpd"), ("busybox awk", "logger")]
)
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


@pytest.mark.torture
def test_sigterm_ends_within_10_s_whatever_a_request_does(instance: Instance) -> None:
    """One that needs a few seconds is finished; one that would go on is not waited for."""
    with ThreadPoolExecutor(2) as pool:
        short, long = (pool.submit(instance.ask, f"/slow.php?seconds={seconds}") for seconds in (4, 60))
        time.sleep(1)
        began = time.monotonic()
        os.kill(instance.pid, signal.SIGTERM)
        assert short.result().body == b"done"
        assert instance.wait(10) == 0
        assert time.monotonic() - began < 10
        assert long.exception() or long.result().status == 503


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
