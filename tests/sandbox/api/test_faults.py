"""Bad days on request, as clients meet them over the wire."""

from __future__ import annotations

import http.client
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gcp_openemr.sandbox.api.app import App
from gcp_openemr.sandbox.api.callers import kill_caller
from gcp_openemr.sandbox.api.faults import EFFECTS
from gcp_openemr.sandbox.api.server import serve
from tests.sandbox.api.support import PROJECT, REGION, ZONE, Answer, Cloud, RecordingRuntime

SECRETS = f"v1/projects/{PROJECT}/secrets"
SECRET: dict[str, Any] = {"replication": {"automatic": {}}}


def steer(cloud: Cloud, method: str, path: str, body: Any = None, token: str | None = None) -> Answer:
    return cloud.call(method, "storage", f"sandbox/v1/{path}", body, token=token)


def make_secret(cloud: Cloud, name: str) -> Answer:
    return cloud.call("POST", "secretmanager", f"{SECRETS}?secretId={name}", SECRET)


def is_there(cloud: Cloud, name: str) -> bool:
    return cloud.app.store.get(f"secretmanager.googleapis.com/projects/{PROJECT}/secrets/{name}") is not None


@pytest.mark.parametrize("status", [403, 408, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after it took effect"])
def test_an_error_answer_has_googles_body(cloud: Cloud, status: int, after: bool) -> None:
    cloud.app.faults.add({"effect": "status", "status": status, "after": after, "times": 1})
    answer = make_secret(cloud, "s")
    assert (answer.status, answer.body["error"]["code"]) == (status, status)
    assert answer.body["error"]["errors"][0]["reason"]
    assert is_there(cloud, "s") == after
    assert make_secret(cloud, "s").status == (409 if after else 200)


@pytest.mark.parametrize("after", [False, True], ids=["dropped", "response lost"])
def test_a_connection_ends_without_an_answer(cloud: Cloud, after: bool) -> None:
    cloud.app.faults.add({"effect": "drop", "method": "secretmanager.*.create", "after": after})
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        make_secret(cloud, "s")
    assert is_there(cloud, "s") == after


def test_a_download_ends_early(cloud: Cloud) -> None:
    cloud.call("POST", "storage", f"storage/v1/b?project={PROJECT}", {"name": "a-bucket"})
    upload = "upload/storage/v1/b/a-bucket/o?uploadType=media&name=x"
    cloud.call("POST", "storage", upload, b"x" * 3_000_000)
    cloud.app.faults.add({"effect": "truncate", "method": "storage.objects.get", "bytes": 1_500_000})
    headers = {"Authorization": f"Bearer {cloud.app.operator_token}"}
    asked = urllib.request.Request(f"{cloud.url}/storage/v1/b/a-bucket/o/x?alt=media", headers=headers)  # noqa: S310
    with urllib.request.urlopen(asked) as answer, pytest.raises(http.client.IncompleteRead) as cut:  # noqa: S310
        answer.read()
    assert len(cut.value.partial) == 1_500_000
    assert answer.headers["Content-Length"] == "3000000"


def test_calls_are_chosen_by_method_path_caller_and_count(cloud: Cloud, account: str) -> None:
    token = cloud.app.mint_token(account)
    cloud.app.faults.add({"effect": "status", "caller": "serviceAccount:*", "status": 500})
    cloud.app.faults.add({"effect": "status", "path": "*/secrets/b", "nth": 2})
    cloud.app.faults.add({"effect": "status", "method": "dns.*", "every": 2, "status": 429})

    def get(api: str, path: str, **more: Any) -> int:
        return cloud.call("GET", api, path, **more).status

    assert get("secretmanager", f"{SECRETS}/b", token=token) == 500
    assert [get("secretmanager", f"{SECRETS}/{name}") for name in "abab"] == [404, 503, 404, 404]
    assert [get("dns", f"dns/v1/projects/{PROJECT}/managedZones") for _ in range(4)] == [200, 429, 200, 429]


def test_chance_is_repeatable(cloud: Cloud) -> None:
    def struck(seed: int) -> list[int]:
        cloud.app.faults.add({"effect": "status", "probability": 0.5, "seed": seed})
        found = [cloud.call("GET", "secretmanager", SECRETS).status for _ in range(20)]
        cloud.app.faults.clear()
        return found

    first = struck(1)
    assert first == struck(1) != struck(2)
    assert 3 < first.count(503) < 17


def test_faults_and_their_counts_outlive_a_restart(tmp_path: Path) -> None:
    app = App(tmp_path)
    fault = app.faults.add({"effect": "drop", "nth": 3})
    app.close()
    again = App(tmp_path)
    assert again.faults.all() == [fault]
    assert again.faults.clear(fault.id) == 1
    again.close()


@pytest.mark.parametrize(
    "wish",
    [
        {},
        {"effect": "explode"},
        {"effect": "status", "status": 404},
        {"effect": "status", "refusal": "drive.none"},
        {"effect": "status", "refusal": "drive.not-found"},
        {"effect": "drop", "nth": -1},
        {"effect": "drop", "nth": True},
        {"effect": "drop", "nth": 1, "every": 2},
        {"effect": "drop", "probability": 2},
        {"effect": "drop", "hits": 3},
        {"effect": "drop", "method": 5},
    ],
)
def test_a_fault_that_makes_no_sense_is_refused_in_a_sentence(cloud: Cloud, wish: dict[str, Any]) -> None:
    answer = steer(cloud, "POST", "faults", wish)
    assert answer.status == 400
    assert answer.message.endswith(".")
    assert steer(cloud, "GET", "faults").body == {"faults": []}


def test_only_the_operator_steers(cloud: Cloud, account: str) -> None:
    assert steer(cloud, "GET", "faults", token="").status == 403
    assert steer(cloud, "GET", "calls", token=cloud.app.mint_token(account)).status == 403
    assert steer(cloud, "POST", "faults", {"effect": "drop"}).body["id"] == "f1"
    assert steer(cloud, "DELETE", "faults?id=f2").status == 404
    assert steer(cloud, "DELETE", "faults").body == {"cleared": 1}
    assert steer(cloud, "GET", "nothing").status == 404


def test_servers_are_disturbed_through_the_runtime(cloud: Cloud) -> None:
    wish = {"kind": "database", "name": "db", "condition": "slow"}
    assert steer(cloud, "POST", "servers", wish).status == 200
    assert cloud.runtime.calls[-1] == ("disturb", "database", "db", "slow")
    assert steer(cloud, "POST", "servers", {**wish, "condition": "merry"}).status == 400


def insert_network(cloud: Cloud) -> Answer:
    body = {"name": "net", "autoCreateSubnetworks": False}
    return cloud.call("POST", "compute", f"compute/v1/projects/{PROJECT}/global/networks", body)


def insert_database(cloud: Cloud) -> Answer:
    body = {
        "name": "db",
        "region": REGION,
        "databaseVersion": "MYSQL_8_0",
        "settings": {
            "tier": "db-f1-micro",
            "edition": "ENTERPRISE",
            "ipConfiguration": {"ipv4Enabled": False, "pscConfig": {"pscEnabled": True}},
        },
    }
    return cloud.call("POST", "sqladmin", f"v1/projects/{PROJECT}/instances", body)


def insert_disk(cloud: Cloud) -> Answer:
    path = f"compute/v1/projects/{PROJECT}/zones/{ZONE}/disks"
    return cloud.call("POST", "compute", path, {"name": "d", "sizeGb": "10"})


@pytest.mark.parametrize(("insert", "left"), [(insert_network, None), (insert_disk, None), (insert_database, "FAILED")])
def test_a_spoiled_operation_fails_as_google_tells_it(
    cloud: Cloud, insert: Callable[[Cloud], Answer], left: str | None
) -> None:
    cloud.app.faults.add({"effect": "operation", "method": "*.insert", "times": 1})
    done = cloud.wait(insert(cloud))
    assert done["error"]["code"] == 13
    record = cloud.app.store.get(done["target"])
    assert (record and record.body.get("state")) == left
    if record is None:
        assert cloud.wait(insert(cloud))["error"] is None


CALLER = """
import sys, urllib.request
urllib.request.urlopen(urllib.request.Request(sys.argv[1], headers={"Authorization": "Bearer " + sys.argv[2]}))
"""


def test_the_calling_process_is_killed(tmp_path: Path) -> None:
    app = App(tmp_path)
    app.start(RecordingRuntime())
    server = serve(socket.create_server(("127.0.0.1", 0)), app)
    app.faults.add({"effect": "kill", "method": "secretmanager.*"})
    url = f"http://127.0.0.1:{server.port}/secretmanager.googleapis.com/{SECRETS}"
    caller = subprocess.run([sys.executable, "-c", CALLER, url, app.operator_token], check=False, timeout=30)
    assert caller.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 10
    while not app.calls.read() and time.monotonic() < deadline:  # the call is written down when it ends
        time.sleep(0.02)
    assert "killed process" in app.calls.read()[-1].fault
    server.close()
    app.close()


def test_a_caller_that_is_the_sandbox_itself_is_left_alone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        here, there = ("{}:{}".format(*end) for end in (near.getsockname(), near.getpeername()))
        assert kill_caller((here, there)) == ""
        near.close()


def test_counting_is_whole_under_threads(cloud: Cloud) -> None:
    cloud.app.faults.add({"effect": "status", "every": 5})
    statuses: list[int] = []
    work = [
        threading.Thread(
            target=lambda: statuses.extend(cloud.call("GET", "secretmanager", SECRETS).status for _ in range(25))
        )
        for _ in range(4)
    ]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    assert statuses.count(503) == 20


def test_every_effect_is_documented_where_people_look() -> None:
    page = (Path(__file__).parents[3] / "gcp_openemr" / "cli_sandbox.py").read_text()
    assert all(f"    {effect} " in page for effect in EFFECTS)
