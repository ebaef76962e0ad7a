"""The service as it serves: pages, sessions, documents, health, what is refused, and what is logged."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.container.conftest import (
    ADMIN_PASSWORD,
    APP,
    DATABASE_PASSWORD,
    REDIS_PASSWORD,
    ROOT,
    Clinic,
    Instance,
    balanced,
    children,
)
from tests.jobs.servers import Mysql, Redis


@pytest.fixture(scope="module")
def served(clinic: Clinic, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    started = Instance(clinic, tmp_path_factory.mktemp("served") / "output")
    try:
        yield started.await_serving()
    finally:
        started.kill()


def test_is_ready_with_all_its_parts(served: Instance) -> None:
    answer = served.ask("/health/ready")
    assert answer.status == 200, served.output()
    assert answer.json() == {
        "status": "ok",
        "checks": {"database": "ok", "sessions": "ok", "sites": "ok", "keys": "ok"},
    }


@pytest.mark.parametrize("page", ["live", "ready"])
def test_who_asks_for_health_from_outside_takes_no_process_from_the_probes(instance: Instance, page: str) -> None:
    """The pool for them has no process before the first, whom Google's front end names in a header."""

    def for_outside() -> bool:
        commands = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in _below(instance.pid)]
        return any(command.startswith(b"php-fpm: pool outside") for command in commands)

    assert instance.ask(f"/health/{page}").status == 200
    assert not for_outside()
    assert instance.ask(f"/health/{page}", headers={"X-Forwarded-Proto": "https"}).status == 200
    assert for_outside()


def test_a_login_opens_an_encrypted_document(served: Instance, clinic: Clinic) -> None:
    answer, session = served.login()
    assert (answer.status, answer.headers["Location"]) == (303, "/interface/main/main_screen.php?site=default")
    assert b'<b id="user">admin</b>' in served.ask("/interface/main/main_screen.php?site=default", headers=session).body
    document = clinic.backup.documents[-1]
    path = f"/controller.php?document&retrieve&patient_id={document.patient_id}&document_id={document.id}"
    opened = served.ask(path, headers=session)
    assert hashlib.sha256(opened.body).hexdigest() == document.sha256
    assert served.ask(path).status == 302


def test_openemrs_settings_are_in_its_database(servers: tuple[Mysql, Redis], clinic: Clinic) -> None:
    with servers[0].root() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT gl_name, gl_value FROM oe_main.globals")
        found = dict(cursor.fetchall())
    assert (found["openemr_name"], found["site_addr_oath"]) == ("A clinic", "https://clinic.test")
    assert "unknown_one" not in found


def test_a_wrong_password_gets_no_session(served: Instance) -> None:
    answer, session = served.login("wrong")
    assert answer.headers["Location"].endswith("failed=1")
    assert served.ask("/interface/main/main_screen.php", headers=session).status == 302


def test_two_instances_behind_a_balancer_share_their_sessions(served: Instance, instance: Instance) -> None:
    """A balancer that sends each request to the other instance than the one before."""
    with balanced([served.port, instance.port]) as (balancer, taken):
        _, session = served.at(balancer).login()
        for _ in range(6):
            page = served.at(balancer).ask("/interface/main/main_screen.php?site=default", headers=session)
            assert b'<b id="user">admin</b>' in page.body
        served.at(balancer).ask("/interface/logout.php", headers=session)
        assert served.at(balancer).ask("/interface/main/main_screen.php", headers=session).status == 302
    assert sorted(taken.values()) == [4, 5]


def test_an_upload_of_20_mb_comes_back_whole(served: Instance) -> None:
    _, session = served.login()
    content = hashlib.shake_256(b"upload").digest(20 << 20)
    answer = served.ask(
        "/controller.php?document&upload&patient_id=1", data=_form(content), headers={**session, **_FORM_HEADERS}
    )
    assert answer.status == 303, answer.body[-500:]
    identity = answer.headers["Location"].rpartition("=")[2]
    opened = served.ask(f"/controller.php?document&retrieve&patient_id=1&document_id={identity}", headers=session)
    assert hashlib.sha256(opened.body).digest() == hashlib.sha256(content).digest()


@pytest.mark.parametrize(
    ("mebibytes", "sentence"), [(30.5, b"it may be at most 30M"), (31.5, b"too large"), (33, b"too large")]
)
def test_a_larger_upload_gets_a_sentence(served: Instance, mebibytes: float, sentence: bytes) -> None:
    """From OpenEMR, where the form still arrives, else from Apache; Cloud Run itself ends at 32 MiB."""
    _, session = served.login()
    answer = served.ask(
        "/controller.php?document&upload&patient_id=1",
        data=_form(b"\0" * int(mebibytes * (1 << 20))),
        headers={**session, **_FORM_HEADERS},
    )
    assert answer.status == 413
    assert sentence in answer.body


@pytest.mark.parametrize(
    "path",
    [
        "/sites/default/sqlconf.php",
        "/sites/default/config.php",
        "/sites/default/documents/logs_and_misc/methods/sevena",
        "/sites/default/documents/certificates/mysql-ca",
        "/sites/default/documents/1/",
        "/sites/default/images/../documents/certificates/mysql-ca",
        "/sql/database.sql",
        "/.git/config",
        "/.nfs-init.json",
        "/sites/.nfs-init.json",
        "/interface/.htaccess",
        "/vendor/autoload.php",
        "/contrib/util/dupscore.cli.php",
        "/public/assets/made/demo.php",
        "/ccdaservice/node_modules/oe-schematron-service/app.js",
        "/sites/default/images/",
    ],
)
def test_what_is_not_for_the_web_is_refused(served: Instance, clinic: Clinic, path: str) -> None:
    """Whether it is there or not: what the stand-in lacks is made, so that nothing is refused for being missing."""
    file = Path(os.path.normpath(clinic.application / path.lstrip("/")))
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    assert served.ask(path).status == 403


def test_images_of_the_site_are_for_the_web(served: Instance) -> None:
    answer = served.ask("/sites/default/images/login-logo.svg")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "image/svg+xml")


def test_headers_say_little_and_protect(served: Instance) -> None:
    headers = served.ask("/interface/login/login.php").headers
    assert headers["Server"] == "Apache"
    assert headers["X-Powered-By"] is None
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "SAMEORIGIN"
    assert headers["Strict-Transport-Security"] is None


def test_nothing_on_the_share_is_run(served: Instance, clinic: Clinic) -> None:
    """A script that came with an upload or a restored backup, and a link that leads out."""
    images = clinic.sites / "default/images"
    (images / "x.php").write_text("<?php echo 'run';")
    (images / "x.svg").symlink_to("../documents/certificates/mysql-ca")
    try:
        assert served.ask("/sites/default/images/x.php").status == 403
        assert served.ask("/sites/default/images/x.svg").status == 403
    finally:
        (images / "x.php").unlink()
        (images / "x.svg").unlink()


def test_forwarded_headers_are_believed_as_far_as_google_sets_them(served: Instance) -> None:
    forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "198.51.100.1, 203.0.113.9", "Host": "clinic.test"}
    forged = {"X-Forwarded-Host": "evil.test", "Proxy": "http://evil.test"}
    answer = served.ask("/environment.php", headers={**forwarded, **forged})
    assert answer.headers["Strict-Transport-Security"]
    assert answer.headers["Set-Cookie"] == "OpenEMR=1; path=/; SameSite=Strict; Secure"
    assert answer.json() == {
        "HTTPS": "on",
        "HTTP_HOST": "clinic.test",
        "HTTP_PROXY": None,
        "HTTP_X_FORWARDED_FOR": None,
        "HTTP_X_FORWARDED_HOST": None,
        "REMOTE_ADDR": "203.0.113.9",
        "REQUEST_SCHEME": "https",
        "SERVER_PORT": "443",
    }
    login = served.ask("/interface/login/login.php", headers=forwarded)
    assert re.search(r"OpenEMR=\S+;.*secure", login.headers["Set-Cookie"], re.IGNORECASE)


_REWRITTEN = """RewriteEngine On
SetEnvIf Authorization "(.*)" HTTP_AUTHORIZATION=$1
RewriteCond %{REQUEST_FILENAME} !-f
RewriteRule (.*) dispatch.php?_REWRITE_COMMAND=$1 [QSA,L]
"""
_DISPATCH = "<?php echo json_encode([$_SERVER['REQUEST_METHOD'], $_SERVER['HTTP_AUTHORIZATION'], $_GET]);"


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_the_api_gets_its_token_and_the_log_does_not(served: Instance, clinic: Clinic, method: str) -> None:
    """As OpenEMR's own apis/.htaccess sends every request of REST and FHIR to one script."""
    apis = clinic.application / "apis"
    apis.mkdir(exist_ok=True)
    (apis / ".htaccess").write_text(_REWRITTEN)
    (apis / "dispatch.php").write_text(_DISPATCH)
    headers = {"Authorization": "Bearer a-token"}
    answer = served.ask("/apis/default/fhir/Patient?name=Ada", method=method, headers=headers)
    sent = {"_REWRITE_COMMAND": "default/fhir/Patient", "name": "Ada"}
    assert answer.json() == [method, "Bearer a-token", sent]
    served.await_output(f"{method} /apis/default/fhir/Patient 200")
    assert "a-token" not in served.output()


def test_a_client_inside_the_network_cannot_choose_its_address(served: Instance) -> None:
    answer = served.ask("/environment.php", headers={"X-Forwarded-For": "198.51.100.1, 10.0.0.7"}).json()
    assert (answer["REMOTE_ADDR"], answer["HTTP_X_FORWARDED_FOR"]) == ("10.0.0.7", None)


def test_the_client_is_found_behind_a_balancer_that_is_told_of(clinic: Clinic, tmp_path: Path) -> None:
    behind = Instance(clinic, tmp_path / "output", OPENEMR_TRUSTED_PROXIES="203.0.113.0/24")
    try:
        forwarded = {"X-Forwarded-For": "192.0.2.1, 198.51.100.1, 203.0.113.9"}
        answer = behind.await_serving().ask("/environment.php", headers=forwarded).json()
        assert (answer["REMOTE_ADDR"], answer["HTTP_X_FORWARDED_FOR"]) == ("198.51.100.1", None)
    finally:
        behind.kill()


def test_logs_are_json_without_queries_and_secrets(served: Instance) -> None:
    trace = "0123456789abcdef0123456789abcdef"
    headers = {"X-Cloud-Trace-Context": f"{trace}/1;o=1", "X-Forwarded-For": "203.0.113.9"}
    agent = {"User-Agent": 'a "b" \\ é\tc'}
    served.ask("/interface/login/login.php?name=Ada-Lovelace", headers={**headers, **agent})
    served.login()
    served.await_output(trace)
    lines = served.lines()
    line = next(line for line in lines if line.get("logging.googleapis.com/trace", "").endswith(trace))
    assert line["logging.googleapis.com/trace"] == f"projects/my-project/traces/{trace}"
    assert line["severity"] == "INFO"
    assert line["httpRequest"]["requestUrl"] == "/interface/login/login.php"
    assert line["httpRequest"]["remoteIp"] == "203.0.113.9"
    assert line["httpRequest"]["userAgent"].startswith('a "b" \\')
    assert re.fullmatch(r"\d+\.\d{6}s", line["httpRequest"]["latency"])
    assert not [line for line in lines if line.get("httpRequest", {}).get("requestUrl", "").startswith("/health")]
    text = served.output()
    assert "Ada-Lovelace" not in text
    assert not [secret for secret in (ADMIN_PASSWORD, DATABASE_PASSWORD, REDIS_PASSWORD) if secret in text]


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("[22-Nov-2026 06:00:00] WARNING: [pool www] /x.php?name=Ada&dob=1815", "[pool www] /x.php?…"),
        ("a link: https://clinic.test/a?code=5ecret, and more", "a link: https://clinic.test/a?… and more"),
        ("Authorization: Bearer eyJ.a-b_c", "Authorization: Bearer …"),
        ("redis (path: tcp://h:1?prefix=p&auth%5Bpass%5D=5ecret)", "redis (path: tcp://h:1?…)"),
        ("is it well? yes, 1=1", "is it well? yes, 1=1"),
    ],
)
def test_messages_lose_their_queries_and_tokens(said: str, kept: str) -> None:
    command = ["busybox", "awk", "-f", str(ROOT / "container/log.awk")]
    done = subprocess.run(command, input=f"{said}\n", capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["message"] == kept


def test_the_node_services_that_openemr_starts_do_start() -> None:
    command = ["node", str(ROOT / "container/start-node-services.js")]
    done = subprocess.run([*command, str(APP / "ccdaservice")], capture_output=True, text=True, check=True)
    assert sorted(re.findall(r"listens on port (\d+)", done.stdout)) == ["6660", "6661", "6662"]
    done = subprocess.run([*command, str(APP)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "ccdaservice has none of serveccda.js\n")


def test_secrets_stand_in_no_command_line(served: Instance) -> None:
    """The test's own starter puts them into the environment with `env`; the container's processes have none."""
    for pid in _below(served.pid):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        assert not [secret for secret in (DATABASE_PASSWORD, REDIS_PASSWORD) if secret in words]


_FORM_HEADERS = {"Content-Type": "multipart/form-data; boundary=cut"}


def _form(content: bytes) -> bytes:
    head = b'--cut\r\nContent-Disposition: form-data; name="file[]"; filename="scan.bin"\r\n\r\n'
    return head + content + b"\r\n--cut--\r\n"


def _below(pid: int) -> Iterator[int]:
    yield pid
    for child in children(pid):
        yield from _below(child)


def test_the_maintenance_page_stands_while_its_file_is_on_the_share(served: Instance, clinic: Clinic) -> None:
    page = clinic.sites / ".maintenance"
    page.touch()
    try:
        answer = served.ask("/interface/login/login.php?site=default")
        assert answer.status == 503
        assert answer.headers["Retry-After"] == "60"
        assert "being restored" in answer.body.decode()
        assert served.ask("/health/live").status == 200
    finally:
        page.unlink()
    assert served.ask("/interface/login/login.php?site=default").status == 200
