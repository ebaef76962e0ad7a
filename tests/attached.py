"""The provider running in this process, so that Terraform need not start one for each of its commands."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator

from gcp_openemr.sandbox.provider.plugin import new_server
from gcp_openemr.sandbox.provider.servicer import Servicer

__all__ = ["SETTINGS", "attached_provider"]

SETTINGS = ("GOOGLE_OAUTH_ACCESS_TOKEN", "GCP_OPENEMR_SANDBOX_URL")
"""What of Terraform's environment the provider reads from this process's."""


@contextlib.contextmanager
def attached_provider(servicer: Servicer | None = None) -> Iterator[dict[str, str]]:
    """What Terraform's environment needs to find it. `SETTINGS` are to be in this process's."""
    folder = tempfile.mkdtemp(prefix="provider")
    servicer = servicer or Servicer()
    server = new_server(servicer, threading.Event())
    server.add_insecure_port(f"unix:{folder}/socket")
    server.start()
    running = {
        "Protocol": "grpc",
        "ProtocolVersion": 6,
        "Pid": os.getpid(),
        "Test": True,
        "Addr": {"Network": "unix", "String": f"{folder}/socket"},
    }
    try:
        yield {"TF_REATTACH_PROVIDERS": json.dumps({"registry.terraform.io/hashicorp/google": running})}
    finally:
        server.stop(0.2).wait()
        servicer.close()
        shutil.rmtree(folder)
