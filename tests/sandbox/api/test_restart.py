"""What a killed or restarted server knows afterwards."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gcp_openemr.sandbox.api.app import App
from gcp_openemr.sandbox.api.artifactregistry import parse_image, push
from gcp_openemr.sandbox.api.operations import Operation
from gcp_openemr.sandbox.api.server import serve
from gcp_openemr.sandbox.api.store import StoreInUse
from gcp_openemr.sandbox.interfaces import Json, Refused
from tests.sandbox.api.support import IMAGES, PROJECT, REGION, Cloud, RecordingRuntime
from tests.sandbox.api.test_sql import INSTANCE

PARENT = f"v2/projects/{PROJECT}/locations/{REGION}"
SECRET = f"v1/projects/{PROJECT}/secrets"


def run_cloud(state: Path, runtime: RecordingRuntime) -> Iterator[Cloud]:
    app = App(state)
    app.start(runtime)
    server = serve(socket.create_server(("127.0.0.1", 0)), app)
    yield Cloud(app=app, runtime=runtime, url=f"http://127.0.0.1:{server.port}")
    server.close()
    app.close()


def frozen(state: Path, copy: Path) -> None:
    """The state as it lies on the disk this moment, as after SIGKILL."""
    copy.mkdir()
    (copy / "objects").mkdir()
    for name in ("state.sqlite3", "state.sqlite3-wal", "operator-token"):
        if (state / name).exists():
            (copy / name).write_bytes((state / name).read_bytes())


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def test_operations_found_running_go_on_or_say_that_they_were_interrupted(cloud: Cloud, tmp_path: Path) -> None:
    reference = parse_image(f"{IMAGES}/job:1")
    assert reference is not None
    cloud.call("POST", "artifactregistry", f"v1/{PARENT[3:]}/repositories?repositoryId=oe-prod", {"format": "DOCKER"})
    push(cloud.app.store, reference, "sha256:" + "b" * 64)
    container = {"containers": [{"image": f"{IMAGES}/job:1"}]}
    service = {"template": container}
    job = {"template": {"template": container}}
    cloud.wait(cloud.call("POST", "run", f"{PARENT}/jobs?jobId=job", job))
    cloud.runtime.hold.clear()
    deploying = cloud.call("POST", "run", f"{PARENT}/services?serviceId=web", service).body["name"]
    running = cloud.call("POST", "run", f"{PARENT}/jobs/job:run", {}).body["name"]
    frozen(cloud.app.state_dir, tmp_path / "killed")
    for again in run_cloud(tmp_path / "killed", RecordingRuntime()):
        assert again.runtime.names()[0] == "resume"
        taken_up = again.app.operations.wait(f"run.googleapis.com/{deploying}", 10)
        assert taken_up is not None
        assert (taken_up.done, taken_up.error) == (True, None)
        assert (
            again.call("GET", "run", f"{PARENT}/services/web").body["terminalCondition"]["state"]
            == "CONDITION_SUCCEEDED"
        )
        lost = again.call("GET", "run", f"v2/{running}").body
        assert (lost["done"], lost["error"]["code"]) == (True, 10)
        assert "interrupted by a restart of the sandbox" in lost["error"]["message"]
        execution = again.call("GET", "run", f"v2/{lost['metadata']['name']}").body
        assert (execution["failedCount"], execution["runningCount"]) == (1, 0)
        assert execution["completionTime"]


class Stopping(RecordingRuntime):
    """A runtime whose servers go away under the work that waits for them, as the real one's do on SIGTERM."""

    def stop(self) -> None:
        super().stop()
        self.refuse["start_database"] = Refused("The instance failed to start: mysqld ended with -15.", code=13)
        self.hold.set()


def test_work_that_a_stop_cuts_short_is_taken_up_again(tmp_path: Path) -> None:
    app, runtime = App(tmp_path), Stopping()
    app.start(runtime)
    name = f"sqladmin.googleapis.com/projects/{PROJECT}/instances/sql"
    with app.store.transaction():
        app.store.put(name, {"name": "sql", "state": "PENDING_CREATE", "settings": {}})
    runtime.hold.clear()
    operation = f"sqladmin.googleapis.com/projects/{PROJECT}/operations/1"
    app.operations.start(Operation(name=operation, target=name, verb="insert", user="u", work="sql.start"))
    app.close()
    for again in run_cloud(tmp_path, RecordingRuntime()):
        taken_up = again.app.operations.wait(operation, 10)
        assert taken_up is not None
        assert (taken_up.done, taken_up.error) == (True, None)
        assert again.runtime.names() == ["resume", "start_database"]
        record = again.app.store.get(name)
        assert record is not None
        assert record.body["state"] == "RUNNABLE"


def test_a_killed_delete_of_an_instance_keeps_what_it_must_once(cloud: Cloud, tmp_path: Path) -> None:
    instances, backups = f"v1/projects/{PROJECT}/instances", f"v1/projects/{PROJECT}/backups"
    final = {"finalBackupConfig": {"enabled": True, "retentionDays": 30}, "retainBackupsOnDelete": True}
    kept = INSTANCE | {"settings": INSTANCE["settings"] | final}
    cloud.wait(cloud.call("POST", "sqladmin", instances, kept))
    cloud.wait(cloud.call("POST", "sqladmin", f"{instances}/oe-prod-sql/backupRuns", {}))
    hold, delete = threading.Event(), cloud.runtime.delete_database

    def deleted(name: str) -> None:
        delete(name)
        hold.wait(20)

    cloud.runtime.delete_database = deleted  # type: ignore[method-assign]
    deleting = cloud.call("DELETE", "sqladmin", f"{instances}/oe-prod-sql").body["name"]
    wait_until(lambda: "delete_database" in cloud.runtime.names())
    assert cloud.call("GET", "sqladmin", f"{instances}/oe-prod-sql").body["state"] == "PENDING_DELETE"
    frozen(cloud.app.state_dir, tmp_path / "killed")
    hold.set()
    for again in run_cloud(tmp_path / "killed", RecordingRuntime()):
        operation = again.app.operations.wait(f"sqladmin.googleapis.com/projects/{PROJECT}/operations/{deleting}", 10)
        assert operation is not None
        assert (operation.done, operation.error) == (True, None)
        assert again.runtime.names() == ["resume", "delete_database"]
        left = again.call("GET", "sqladmin", backups).body["backups"]
        assert sorted(backup["type"] for backup in left) == ["FINAL", "ON_DEMAND"]
        assert again.call("GET", "sqladmin", f"{instances}/oe-prod-sql").status == 404


def test_an_instance_that_could_not_be_deleted_is_as_before(cloud: Cloud) -> None:
    instances = f"v1/projects/{PROJECT}/instances"
    cloud.wait(cloud.call("POST", "sqladmin", instances, INSTANCE))
    cloud.runtime.refuse["delete_database"] = Refused("The disk is busy.")
    assert cloud.wait(cloud.call("DELETE", "sqladmin", f"{instances}/oe-prod-sql"))["error"] is not None
    assert cloud.call("GET", "sqladmin", f"{instances}/oe-prod-sql").body["state"] == "RUNNABLE"


def test_one_state_has_one_owner(cloud: Cloud) -> None:
    with pytest.raises(StoreInUse):
        App(cloud.app.state_dir)


def test_tokens_outlive_a_restart(tmp_path: Path) -> None:
    first = App(tmp_path)
    token = first.operator_token
    first.close()
    assert (tmp_path / "operator-token").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "state.sqlite3").stat().st_mode & 0o777 == 0o600
    second = App(tmp_path)
    assert second.operator_token == token
    second.close()


class Server:
    """`python -m gcp_openemr.sandbox.api` as a process of its own."""

    def __init__(self, state: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gcp_openemr.sandbox.api", "--state", str(state)], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().split()[0]
        self.token = (state / "operator-token").read_text()

    def call(self, method: str, path: str, body: bytes | None = None) -> Json:
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/{path}", method=method, data=body, headers=headers)  # noqa: S310
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 -- http, as the URL says
            found: Json = json.loads(answer.read() or b"{}")
            return found

    def enable(self, *apis: str) -> None:
        body = {"serviceIds": [f"{api}.googleapis.com" for api in apis]}
        path = f"serviceusage.googleapis.com/v1/projects/{PROJECT}/services:batchEnable"
        self.call("POST", path, json.dumps(body).encode())

    def end(self, number: int) -> None:
        self.process.send_signal(number)
        self.process.wait(timeout=20)
        assert self.process.stdout is not None
        self.process.stdout.close()


@dataclasses.dataclass(kw_only=True)
class Answered:
    """What the server said it had written: content and generation by object, the highest version by secret."""

    objects: dict[str, tuple[str, int]] = dataclasses.field(default_factory=dict)
    versions: dict[str, int] = dataclasses.field(default_factory=dict)

    def write_objects(self, server: Server, writer: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            for number in itertools.count():
                name, content = f"{writer}-{number % 20}", f"{writer}/{number}" * 500
                path = f"upload/storage/v1/b/bucket-of-writes/o?uploadType=media&name={name}"
                found = server.call("POST", path, content.encode())
                self.objects[name] = (content, int(found["generation"]))

    def add_versions(self, server: Server, secret: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            while True:
                path = f"secretmanager.googleapis.com/{SECRET}/{secret}:addVersion"
                found = server.call("POST", path, b'{"payload": {"data": "eA=="}}')
                self.versions[secret] = int(found["name"].rpartition("/")[2])


def live_and_die(state: Path, life: int, answered: Answered, writes: int) -> None:
    """Writers write until the server is killed in their midst, after so many more objects at least."""
    server = Server(state)
    if life == 0:
        server.enable("secretmanager")
        server.call("POST", f"storage/v1/b?project={PROJECT}", b'{"name": "bucket-of-writes"}')
        for number in range(3):
            path = f"secretmanager.googleapis.com/{SECRET}?secretId=s{number}"
            server.call("POST", path, b'{"replication": {"automatic": {}}}')
    threads = [threading.Thread(target=answered.write_objects, args=(server, f"{n}-{life}")) for n in range(3)]
    threads += [threading.Thread(target=answered.add_versions, args=(server, f"s{n}")) for n in range(3)]
    enough, end = len(answered.objects) + writes, time.monotonic() + 60
    for thread in threads:
        thread.start()
    while len(answered.objects) < enough and time.monotonic() < end:
        time.sleep(0.01)
    server.end(signal.SIGKILL)
    for thread in threads:
        thread.join(timeout=10)


def test_what_was_answered_survives_sigkill(tmp_path: Path) -> None:
    answered = Answered()
    for life, writes in enumerate((8, 17, 11)):
        live_and_die(tmp_path, life, answered, writes)
    assert len(answered.objects) >= 36
    app = App(tmp_path)
    assert app.store.query("PRAGMA integrity_check") == [("ok",)]
    for name, (content, generation) in answered.objects.items():
        found = app.objects.live("bucket-of-writes", name)
        assert found is not None
        assert found.generation >= generation
        assert int(found.body["size"]) == app.objects.path(found).stat().st_size
        assert found.generation > generation or app.objects.path(found).read_text() == content
    rows = {row[0] for row in app.store.query("SELECT file FROM objects")}
    assert {path.name for path in (tmp_path / "objects").iterdir() if path.is_file()} == rows
    for secret, number in answered.versions.items():
        name = f"secretmanager.googleapis.com/projects/{PROJECT}/secrets/{secret}/versions/{number}"
        assert app.store.payload(name) == b"x"
    app.close()


def test_the_server_alone_starts_stops_and_says_that_nothing_runs(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.enable("artifactregistry", "cloudbuild")
    repository = f"artifactregistry.googleapis.com/v1/{PARENT[3:]}/repositories?repositoryId=oe-prod"
    server.call("POST", repository, b'{"format": "DOCKER"}')
    build = {"steps": [{"name": "x"}], "images": [f"{IMAGES}/service:1"]}
    path = f"cloudbuild.googleapis.com/v1/projects/{PROJECT}/builds"
    operation = server.call("POST", path, json.dumps(build).encode())
    for _ in range(50):
        polled = server.call("GET", f"cloudbuild.googleapis.com/v1/{operation['name']}")
        if polled.get("done"):
            break
        time.sleep(0.05)
    assert polled["error"]["code"] in {7, 9}
    server.end(signal.SIGTERM)
    assert server.process.returncode == 0
    assert (tmp_path / "state.sqlite3").exists()
