"""The sandbox: plans and applies of many resources, calls per second, start-up, and its size beside the product's."""

from __future__ import annotations

import concurrent.futures
import contextlib
import http.client
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import gcp_openemr
from benchmarks.deploy import median, quiet, seconds
from gcp_openemr.sandbox import control
from gcp_openemr.sandbox.api.app import App
from gcp_openemr.sandbox.api.messages import Request, Response, json_response
from gcp_openemr.sandbox.api.nothing_runs import NothingRuns
from gcp_openemr.sandbox.api.server import Application, serve
from gcp_openemr.sandbox.api.serviceusage import enable_apis
from gcp_openemr.sandbox.provider.mirror import write_mirror
from gcp_openemr.setup.terraform import locate_terraform

PROJECT = "bench-1"
CALLS = 2000
PROVIDER = """
terraform {
  required_providers {
    google = { source = "hashicorp/google" }
  }
}
provider "google" {
  project = "%s"
}
resource "google_secret_manager_secret" "many" {
  count     = %d
  secret_id = "many-${count.index}"
  replication {
    auto {}
  }
}
"""
BARE = 'resource "terraform_data" "many" {\n  count = %d\n  input = "many-${count.index}"\n}\n'


class Echo:
    """The bare server that the API is measured against: it answers and does nothing."""

    def handle(self, request: Request) -> Response:
        request.content()
        return json_response({"name": "echo"})


@contextlib.contextmanager
def served(app: Application) -> Iterator[tuple[str, int]]:
    server = serve(socket.create_server(("127.0.0.1", 0)), app)
    try:
        yield "127.0.0.1", server.port
    finally:
        server.close()


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        start_up(folder / "started")
        app = App(folder / "state")
        app.start(NothingRuns())
        calls(app)
        resources(app, folder)
        app.close()
    size()


def start_up(folder: Path) -> None:
    def cycle() -> None:
        control.start(folder)
        control.stop(folder)

    first = seconds(lambda: control.start(folder))
    control.stop(folder)
    print(f"\nSandbox: first start {first:.2f} s; start and stop {median(cycle):.2f} s")


def calls(app: App) -> None:
    """Reads of one secret, over kept connections, against the same server that only echoes."""
    headers = {"Authorization": f"Bearer {app.operator_token}", "Content-Type": "application/json"}
    base = f"/secretmanager.googleapis.com/v1/projects/{PROJECT}/secrets"
    enable_apis(app.store, PROJECT)
    print("\nCalls per second")
    for clients in (1, 8):
        with served(app) as real, served(Echo()) as echo:
            once(real, "POST", f"{base}?secretId=read", headers, b'{"replication": {"automatic": {}}}')
            spoken = rate(real, f"{base}/read", headers, clients)
            bare = rate(echo, f"{base}/read", headers, clients)
        print(f"  {spoken:7.0f} /s  {clients} clients: {spoken / bare:.2f} of the bare server's {bare:.0f} /s")


def rate(address: tuple[str, int], path: str, headers: dict[str, str], clients: int) -> float:
    """Clients are processes of their own, so that the server has its own for itself."""
    spawned = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(clients, mp_context=spawned) as pool:
        runs = [pool.submit(client, address, path, headers, CALLS // clients) for _ in range(clients)]
        return CALLS / max(run.result() for run in runs)


def client(address: tuple[str, int], path: str, headers: dict[str, str], count: int) -> float:
    connection = http.client.HTTPConnection(*address)

    def ask() -> None:
        for _ in range(count):
            connection.request("GET", path, headers=headers)
            connection.getresponse().read()

    spent = seconds(ask)
    connection.close()
    return spent


def once(address: tuple[str, int], method: str, path: str, headers: dict[str, str], body: bytes) -> None:
    connection = http.client.HTTPConnection(*address)
    connection.request(method, path, body=body, headers=headers)
    connection.getresponse().read()
    connection.close()


def resources(app: App, folder: Path) -> None:
    """A plan, an apply and a plan without changes, beside Terraform's built-in resource in the same number."""
    with served(app) as (host, port):
        url = f"http://{host}:{port}"
        environment = {
            **os.environ,
            **write_mirror(folder / "mirror", python=sys.executable, url=url),
            "GOOGLE_OAUTH_ACCESS_TOKEN": app.operator_token,
        }
        for count in (100, 1000):
            project = f"{PROJECT}-{count}"
            enable_apis(app.store, project)
            real = life(folder / f"real-{count}", PROVIDER % (project, count), environment)
            bare = life(folder / f"bare-{count}", BARE % count, {**os.environ, "TF_CLI_CONFIG_FILE": os.devnull})
            print(f"\n{count} resources")
            for name, spent in real.items():
                print(f"  {spent:8.2f} s  {name}, {spent / bare[name]:.1f} × terraform_data ({bare[name]:.2f} s)")


def life(root: Path, text: str, environment: dict[str, str]) -> dict[str, float]:
    root.mkdir()
    (root / "main.tf").write_text(text)
    terraform = str(locate_terraform().path)

    def run(*arguments: str) -> float:
        return seconds(quiet(terraform, *arguments, cwd=root, env=environment))

    run("init", "-input=false")
    return {
        "plan": run("plan", "-input=false"),
        "apply": run("apply", "-auto-approve", "-input=false"),
        "plan without changes": run("plan", "-input=false"),
    }


def size() -> None:
    """Lines that git knows, tests aside."""
    package = Path(gcp_openemr.__file__).parent
    listed = subprocess.run(["git", "ls-files"], cwd=package.parent, capture_output=True, text=True, check=True).stdout

    def lines(inside: str, *kinds: str) -> int:
        names = [name for name in listed.split() if name.startswith(inside) and name.endswith(kinds)]
        return sum(len((package.parent / name).read_bytes().splitlines()) for name in names)

    sandbox = lines("gcp_openemr/sandbox/", ".py")
    tables = lines("gcp_openemr/sandbox/", ".json", ".toml", ".proto", ".php", ".sql", ".sh")
    product = lines("gcp_openemr/", ".py") - sandbox
    around = lines("jobs/", ".py") + lines("terraform/", ".tf", ".j2")
    print(f"\nLines: sandbox {sandbox + tables} ({sandbox} Python, {tables} tables and stand-ins)")
    print(f"       product {product + around} ({product} Python, {around} Terraform and jobs)")
