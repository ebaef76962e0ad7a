"""The call log: what it tells, what it never tells, and that it is whole after a kill."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from gcp_openemr.sandbox.api import call_log
from gcp_openemr.sandbox.api.call_log import CallLog, Entry, Trace
from tests.sandbox.api.support import PROJECT, Cloud
from tests.sandbox.api.test_restart import Server

SECRETS = f"v1/projects/{PROJECT}/secrets"


def test_a_call_is_told_with_who_what_and_how_it_ended(cloud: Cloud, account: str) -> None:
    token = cloud.app.mint_token(account)
    cloud.call("GET", "secretmanager", f"{SECRETS}/s?key=of-a-query", token=token)
    cloud.call("GET", "secretmanager", "v1/nothing/here")
    cloud.call("POST", "storage", f"storage/v1/b?project={PROJECT}", {"name": "a-bucket"})
    refused, lost, made = cloud.app.calls.read()[-3:]
    assert (refused.api_method, refused.method, refused.status) == (
        "secretmanager.projects.secrets.get",
        "GET",
        403,
    )
    assert refused.caller == f"serviceAccount:{account}"
    assert refused.resource == f"secretmanager.googleapis.com/projects/{PROJECT}/secrets/s"
    assert refused.path == f"/secretmanager.googleapis.com/{SECRETS}/s"
    assert (lost.api_method, lost.status) == ("", 404)
    assert (made.api_method, made.caller, made.status) == (
        "storage.buckets.insert",
        "user:operator@sandbox.local",
        200,
    )
    assert [entry.number for entry in (refused, lost, made)] == [refused.number + n for n in range(3)]


def test_no_body_no_query_and_no_token_is_written_down(cloud: Cloud) -> None:
    cloud.call("POST", "secretmanager", f"{SECRETS}?secretId=s", {"replication": {"automatic": {}}})
    cloud.call("POST", "secretmanager", f"{SECRETS}/s:addVersion", {"payload": {"data": "c2VjcmV0LXZhbHVl"}})
    cloud.call("GET", "secretmanager", f"{SECRETS}/s/versions/1:access?access_token=of-a-query")
    written = (cloud.app.state_dir / "calls" / "calls.jsonl").read_text()
    assert "versions/1:access" in written
    for hidden in ("c2VjcmV0LXZhbHVl", "secret-value", "of-a-query", cloud.app.operator_token):
        assert hidden not in written


def test_the_log_is_bounded_and_goes_on_counting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_log, "_MOST", 10)

    def write(log: CallLog, count: int) -> list[Entry]:
        for _ in range(count):
            with log.timed(Trace(status=200), "GET", "/x" * 1000):
                pass
        found = log.read()
        log.close()
        return found

    assert [entry.number for entry in write(CallLog(tmp_path), 25)] == list(range(11, 26))
    log = CallLog(tmp_path)
    assert log.read(since=24)[0].number == 25
    assert log.read(since=12)[0].number == 13
    assert [entry.number for entry in write(log, 1)][-1] == 26
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 20_000


def test_a_torn_line_hides_no_other(tmp_path: Path) -> None:
    log = CallLog(tmp_path)
    with log.timed(Trace(), "GET", "/"):
        pass
    log.close()
    with (tmp_path / "calls.jsonl").open("a") as file:
        file.write('{"number": 2, "ti\n')
    again = CallLog(tmp_path)
    with again.timed(Trace(), "GET", "/"):
        pass
    assert [entry.number for entry in again.read()] == [1, 2]
    again.close()


def test_what_was_answered_is_in_the_log_after_sigkill(tmp_path: Path) -> None:
    server = Server(tmp_path)
    for _ in range(20):
        server.call("GET", f"storage/v1/b?project={PROJECT}")
    server.end(signal.SIGKILL)
    log = CallLog(tmp_path / "calls")
    assert [entry.status for entry in log.read()] == [200] * 20
    log.close()
