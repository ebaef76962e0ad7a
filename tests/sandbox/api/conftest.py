"""One API server per test, on loopback, with a runtime that records."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.oauth2.credentials import Credentials

from gcp_openemr.sandbox.api.app import App
from gcp_openemr.sandbox.api.server import serve
from gcp_openemr.sandbox.api.serviceusage import enable_apis
from tests.sandbox.api.support import PROJECT, REGION, Cloud, RecordingRuntime


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    app = App(tmp_path / "state")
    enable_apis(app.store, PROJECT)
    runtime = RecordingRuntime()
    app.start(runtime)
    server = serve(socket.create_server(("127.0.0.1", 0)), app)
    yield Cloud(app=app, runtime=runtime, url=f"http://127.0.0.1:{server.port}")
    runtime.hold.set()
    server.close()
    app.close()


@pytest.fixture
def credentials(cloud: Cloud) -> Credentials:
    return Credentials(cloud.app.operator_token)


@pytest.fixture
def account(cloud: Cloud) -> str:
    """Address of a service account that nothing is granted to."""
    body = {"accountId": "oe-prod-web", "serviceAccount": {"displayName": "Web"}}
    answer = cloud.call("POST", "iam", f"v1/projects/{PROJECT}/serviceAccounts", body)
    assert answer.status == 200, answer.body
    return str(answer.body["email"])


@pytest.fixture
def network(cloud: Cloud) -> str:
    """URL of a network with the subnetwork `oe-prod-run`, 10.10.0.0/22."""
    root = f"compute/v1/projects/{PROJECT}"
    cloud.wait(
        cloud.call("POST", "compute", f"{root}/global/networks", {"name": "net", "autoCreateSubnetworks": False})
    )
    subnetwork = {"name": "oe-prod-run", "network": "global/networks/net", "ipCidrRange": "10.10.0.0/22"}
    cloud.wait(cloud.call("POST", "compute", f"{root}/regions/{REGION}/subnetworks", subnetwork))
    return f"https://www.googleapis.com/compute/v1/projects/{PROJECT}/global/networks/net"
