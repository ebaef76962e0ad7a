"""SIGKILL to the API server at any moment of a busy life: its state is whole at the next start, and life goes on."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import signal
import threading
import time
import urllib.error
from pathlib import Path
from typing import Any

import pytest

from gcp_openemr.sandbox.api.app import App
from gcp_openemr.sandbox.api.nothing_runs import NothingRuns
from tests.sandbox.api.support import PROJECT, REGION
from tests.sandbox.api.test_restart import Server

COMPUTE = f"compute.googleapis.com/compute/v1/projects/{PROJECT}"
SECRETS = f"secretmanager.googleapis.com/v1/projects/{PROJECT}/secrets"
IMAGES = f"artifactregistry.googleapis.com/v1/projects/{PROJECT}/locations/{REGION}/repositories"
APIS = ("compute", "secretmanager", "artifactregistry", "iam")
SETTLED_SECONDS = 10


def steps() -> list[tuple[str, Any]]:
    """(path, body) of POSTs that make something of every kind: records, operations, payloads, objects."""
    enabled = {"serviceIds": [f"{api}.googleapis.com" for api in APIS]}
    made: list[tuple[str, Any]] = [
        (f"serviceusage.googleapis.com/v1/projects/{PROJECT}/services:batchEnable", enabled),
        ("sandbox/v1/settings", {"latency": 0.002}),
        (f"storage/v1/b?project={PROJECT}", {"name": "bucket-of-writes"}),
    ]
    for number in range(8):
        made += [
            (f"{COMPUTE}/global/networks", {"name": f"net-{number}", "autoCreateSubnetworks": False}),
            (f"{SECRETS}?secretId=s{number}", {"replication": {"automatic": {}}}),
            (f"{SECRETS}/s{number}:addVersion", {"payload": {"data": "eA=="}}),
            (f"upload/storage/v1/b/bucket-of-writes/o?uploadType=media&name=o{number}", b"x" * 50_000),
            (f"upload/storage/v1/b/bucket-of-writes/o?uploadType=media&name=o{number}", b"y" * 60_000),
            (f"{IMAGES}?repositoryId=r{number}", {"format": "DOCKER"}),
        ]
    return made


def live(server: Server) -> None:
    """Every step, as far as it was not taken before."""
    for path, body in steps():
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        with contextlib.suppress(urllib.error.HTTPError):
            server.call("POST", path, data)


def live_until(state: Path, calls: int) -> None:
    server = Server(state)

    def work() -> None:
        with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
            live(server)

    worker = threading.Thread(target=work)
    worker.start()
    written = state / "calls" / "calls.jsonl"
    while worker.is_alive() and written.read_bytes().count(b"\n") < calls:
        time.sleep(0.0005)
    server.end(signal.SIGKILL)
    worker.join(timeout=10)


def check_whole(state: Path) -> App:
    app = App(state)
    assert app.store.query("PRAGMA integrity_check") == [("ok",)]
    app.start(NothingRuns())
    end = time.monotonic() + SETTLED_SECONDS
    while app.store.query("SELECT name FROM operations WHERE done = 0") and time.monotonic() < end:
        time.sleep(0.02)
    assert app.store.query("SELECT name FROM operations WHERE done = 0") == []
    rows = {row[0] for row in app.store.query("SELECT file FROM objects")}
    assert {path.name for path in (state / "objects").iterdir() if path.is_file()} == rows
    for bucket, name in app.store.query("SELECT bucket, name FROM objects WHERE live = 1"):
        found = app.objects.live(bucket, name)
        assert found is not None
        assert int(found.body["size"]) == app.objects.path(found).stat().st_size
    payloads = {row[0] for row in app.store.query("SELECT name FROM payloads")}
    versions = {r.name for r in app.store.list("secretmanager.googleapis.com/") if "/versions/" in r.name}
    assert payloads == versions
    return app


def survives(state: Path, calls: int) -> None:
    live_until(state, calls)
    check_whole(state).close()
    server = Server(state)
    live(server)
    server.end(signal.SIGTERM)
    app = check_whole(state)
    assert len(app.store.list(f"compute.googleapis.com/projects/{PROJECT}/global/networks/")) == 8
    app.close()


@pytest.mark.parametrize("calls", random.Random(7).sample(range(2, len(steps())), 3))  # noqa: S311 -- a sample
def test_a_kill_leaves_a_whole_state(tmp_path: Path, calls: int) -> None:
    survives(tmp_path, calls)


@pytest.mark.torture
@pytest.mark.parametrize("calls", range(1, len(steps())))
def test_no_kill_leaves_a_broken_state(tmp_path: Path, calls: int) -> None:
    survives(tmp_path, calls)
