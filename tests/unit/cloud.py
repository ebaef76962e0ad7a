"""The sandbox's API server in this process, with nothing running behind it, and Google's clients for it."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

from google.oauth2.credentials import Credentials

from gcp_openemr.clients import Cloud
from gcp_openemr.sandbox.api.app import App
from gcp_openemr.sandbox.api.nothing_runs import NothingRuns
from gcp_openemr.sandbox.api.server import serve
from gcp_openemr.sandbox.api.serviceusage import enable_apis

PROJECT = "unit-tests-1"


@contextlib.contextmanager
def cloud(directory: Path, *, caller: str = "") -> Iterator[Cloud]:
    """`caller` is a service account's address, which nobody gave a right; without one it is the project's owner."""
    app = App(directory)
    enable_apis(app.store, PROJECT)
    app.start(NothingRuns())
    server = serve(socket.create_server(("127.0.0.1", 0)), app)
    try:
        token = Credentials(token=app.mint_token(caller) if caller else app.operator_token)
        yield Cloud(project=PROJECT, credentials=token, base=f"http://127.0.0.1:{server.port}")
    finally:
        server.close()
        app.close()
