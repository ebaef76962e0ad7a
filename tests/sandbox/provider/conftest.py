"""The sandbox's API server with nothing running behind it, and the real Terraform in front of the provider."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import http.client
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gcp_openemr.sandbox.api.app import App
from gcp_openemr.sandbox.api.nothing_runs import NothingRuns
from gcp_openemr.sandbox.api.server import serve
from gcp_openemr.sandbox.api.serviceusage import enable_apis
from gcp_openemr.sandbox.interfaces import Json
from gcp_openemr.sandbox.provider.mirror import write_mirror
from gcp_openemr.setup.terraform import locate_terraform
from tests.attached import attached_provider

CONFIGURATIONS = Path(__file__).parent / "configurations"

HEAD = """
terraform {
  required_providers {
    google = {
      source = "hashicorp/google"
    }
  }
}
provider "google" {
  project = "demo-project"
  region  = "europe-west1"
  zone    = "europe-west1-b"
}
"""


class Certified(NothingRuns):
    """Databases have a certificate, so that it can be seen in Terraform."""

    def database_certificate(self, _instance: Json) -> str:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Google Cloud SQL Server CA")])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(now + datetime.timedelta(days=1))
            .sign(key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM).decode()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cloud:
    """A running API server; `call` is what somebody else does to it."""

    port: int
    token: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def call(self, method: str, path: str, body: Any = None) -> Json:
        """`path` begins with the API's host; returns the JSON, also that of an error."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        connection.request(method, "/" + path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse().read()
        connection.close()
        loaded: Json = json.loads(answer or b"{}")
        return loaded


@functools.cache
def _terraform() -> Path:
    return Path(locate_terraform().path)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Workspace:
    """A directory with a configuration and Terraform's environment."""

    directory: Path
    environment: Mapping[str, str]

    def write(self, text: str) -> None:
        (self.directory / "main.tf").write_text(text)

    def terraform(self, *arguments: str, status: int = 0) -> str:
        """Run Terraform; its output, after checking its exit status."""
        done = subprocess.run(
            [_terraform(), *arguments],
            cwd=self.directory,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        output = done.stdout + done.stderr
        assert done.returncode == status, output
        return output

    def init(self) -> None:
        self.terraform("init", "-no-color")

    def apply(self, *arguments: str, status: int = 0) -> str:
        return self.terraform("apply", "-auto-approve", "-no-color", *arguments, status=status)

    def assert_no_changes(self, *arguments: str) -> None:
        self.terraform("plan", "-detailed-exitcode", "-no-color", *arguments)

    def plan(self, *arguments: str) -> dict[str, Any]:
        """The plan's changes by address."""
        self.terraform("plan", "-out=saved", "-no-color", *arguments)
        shown = json.loads(self.terraform("show", "-json", "saved"))
        return {one["address"]: one["change"] for one in shown.get("resource_changes", [])}

    def outputs(self) -> dict[str, Any]:
        return {name: one["value"] for name, one in json.loads(self.terraform("output", "-json")).items()}

    def state(self, address: str) -> dict[str, Any]:
        """The attributes of a resource."""
        shown = json.loads(self.terraform("show", "-json"))
        for resource in shown["values"]["root_module"]["resources"]:
            if resource["address"] == address:
                values: dict[str, Any] = resource["values"]
                return values
        raise AssertionError(f"{address} is not in the state")


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    app = App(tmp_path / "cloud")
    enable_apis(app.store, "demo-project")
    app.start(Certified())
    server = serve(socket.create_server(("127.0.0.1", 0)), app)
    yield Cloud(port=server.port, token=app.operator_token)
    server.close()
    app.close()


@pytest.fixture
def installed(cloud: Cloud, tmp_path: Path) -> Workspace:
    """Terraform starts the provider itself, from its mirror."""
    directory = tmp_path / "workspace"
    directory.mkdir()
    environment = write_mirror(tmp_path / "sandbox", python=sys.executable, url=cloud.url)
    return Workspace(directory=directory, environment={**environment, "GOOGLE_OAUTH_ACCESS_TOKEN": cloud.token})


@pytest.fixture
def workspace(installed: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """Terraform finds the provider running, in this process: half the time."""
    for name, value in installed.environment.items():
        monkeypatch.setenv(name, value)
    with attached_provider() as attached:
        yield Workspace(directory=installed.directory, environment={**installed.environment, **attached})
