"""The service as it serves: pages, sessions, documents, health, what is refused, and what is logged."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.container.conftest import ADMIN_PASSWORD, DATABASE_PASSWORD, REDIS_PASSWORD, Clinic, Instance


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


def test_a_login_opens_an_encrypted_document(served: Instance, clinic: Clinic) -> None:
    answer, session = served.login()
    assert (answer.status, answer.headers["Location"]) == (303, "/interface/main/main_screen.php?site=default")
    assert b'<b id="user">admin</b>' in served.ask("/interface/main/main_screen.php?site=default", headers=session).body
    document = clinic.backup.documents[-1]
    path = f"/controller.php?document&retrieve&patient_id={document.patient_id}&document_id={document.id}"
    opened = served.ask(path, headers=session)
    assert hashlib.sha256(opened.body).hexdigest() == document.sha256
    assert served.ask(path).status == 302


def test_a_wrong_password_gets_no_session(served: Instance) -> None:
    answer, session = served.login("wrong")
    assert answer.headers["Location"].endswith("failed=1")
    assert served.ask("/interface/main/main_screen.php", headers=session).status == 302


def test_a_session_is_seen_by_another_instance(served: Instance, instance: Instance) -> None:
    _, session = served.login()
    assert instance.ask("/interface/main/main_screen.php", headers=session).status == 200


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


def test_a_larger_upload_gets_a_sentence(served: Instance) -> None:
    _, session = served.login()
    answer = served.ask(
        "/controller.php?document&upload&patient_id=1",
        data=_form(b"\0" * int(31.5 * (1 << 20))),
        headers={**session, **_FORM_HEADERS},
    )
    assert answer.status == 413
    assert b"it may be at most 30M" in answer.body


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
    ],
)
def test_what_is_not_for_the_web_is_refused(served: Instance, path: str) -> None:
    assert served.ask(path).status in (403, 404)


def test_images_of_the_site_are_for_the_web(served: Instance) -> None:
    answer = served.ask("/sites/default/images/login-logo.svg")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "image/svg+xml")


def test_headers_say_little_and_protect(served: Instance) -> None:
    headers = served.ask("/interface/login/login.php").headers
    assert headers["Server"] == "Apache"
    assert headers["X-Powered-By"] is None
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Strict-Transport-Security"] is None


def test_forwarded_https_is_believed(served: Instance) -> None:
    answer = served.ask("/interface/login/login.php", headers={"X-Forwarded-Proto": "https"})
    assert answer.headers["Strict-Transport-Security"]
    assert re.search(r"OpenEMR=\S+;.*secure", answer.headers["Set-Cookie"], re.IGNORECASE)


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
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        yield from _below(int(child))
