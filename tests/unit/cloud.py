"""The sandbox's API server in this process, with nothing running behind it, and Google's clients for it."""

from __future__ import annotations

import contextlib
import io
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests
from google.oauth2.credentials import Credentials

from gcp_openemr.clients import Cloud
from gcp_openemr.commands.context import Context
from gcp_openemr.console import Console
from gcp_openemr.environment.load import parse_environment
from gcp_openemr.sandbox.api.app import App
from gcp_openemr.sandbox.api.nothing_runs import NothingRuns
from gcp_openemr.sandbox.api.server import serve
from gcp_openemr.sandbox.api.serviceusage import enable_apis
from tests import bad_days
from tests.rehearsal import place

PROJECT = "unit-tests-1"


@contextlib.contextmanager
def cloud(directory: Path, *, caller: str = "") -> Iterator[Cloud]:
    """`caller` is the id of a service account that is made here, without a right; otherwise it is the owner."""
    with app_and_cloud(directory, caller=caller) as (_, made):
        yield made


@contextlib.contextmanager
def app_and_cloud(directory: Path, *, caller: str = "") -> Iterator[tuple[App, Cloud]]:
    """The same, with what only the server itself can be asked to do."""
    app = App(directory)
    enable_apis(app.store, PROJECT)
    bad_days.spoil(app.faults.add, lost=True)
    app.start(NothingRuns())
    server = serve(socket.create_server(("127.0.0.1", 0)), app)
    try:
        base, token = f"http://127.0.0.1:{server.port}", app.operator_token
        if caller:
            accounts, owner = f"projects/{PROJECT}/serviceAccounts", {"Authorization": f"Bearer {token}"}
            address = f"{base}/iam.googleapis.com/v1/{accounts}"
            made = requests.post(address, json={"accountId": caller}, headers=owner, timeout=10)
            token = app.mint_token(made.json()["email"])
        yield app, Cloud(project=PROJECT, credentials=Credentials(token=token), base=base)
    finally:
        server.close()
        app.close()


def context(cloud: Cloud, directory: Path, **more: Any) -> Context:
    """A command's, for the environment `test` in this module's project; `more` of its fields."""
    file = place.environment_file().replace(place.PROJECT, PROJECT)
    return Context(
        environment=parse_environment(file, file="openemr.toml", overrides={}),
        cloud=cloud,
        workspace=directory,
        terraform=directory,
        **{"console": Console(people=io.StringIO()), **more},
    )
