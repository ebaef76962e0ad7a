"""The metadata server at 169.254.169.254, as Cloud Run's containers see it.

Who asks is known by the address the connection comes from: every container has one of its own, which it cannot change.
So Google's libraries find their identity with no setting at all, as on Cloud Run.
https://cloud.google.com/run/docs/container-contract#metadata-server
"""

from __future__ import annotations

import base64
import functools
import http.server
import json
import socket
import threading
import urllib.parse
from collections.abc import Callable
from typing import Any

from gcp_openemr.sandbox.interfaces import Access
from gcp_openemr.sandbox.runtime.network import Identity, Networks

__all__ = ["MetadataServer"]

_PREFIX = "/computeMetadata/v1/"
_TOKEN_SECONDS = 3599
_SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]

Answer = tuple[str, str]  # content type, text


class MetadataServer:
    """Serves on an open socket in a thread until `close()`."""

    def __init__(self, listener: socket.socket, *, access: Access, networks: Networks) -> None:
        handler = functools.partial(_Handler, networks, _Facts(access))
        self._server = http.server.ThreadingHTTPServer(("", 0), handler, bind_and_activate=False)
        self._server.socket.close()
        self._server.socket = listener
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="metadata", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "Metadata Server for Cloud Run", ""
    timeout = 60

    def __init__(self, networks: Networks, facts: _Facts, *connection: Any) -> None:
        self._networks = networks
        self._facts = facts
        super().__init__(*connection)  # answers

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Nothing: tokens are asked for all the time."""

    def do_GET(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        if url.path == "/":  # how libraries find out that they are on Google Cloud
            self._send(200, "application/text", "computeMetadata/\n")
            return
        if self.headers.get("Metadata-Flavor") != "Google":
            self._send(403, "text/html", "Missing required header: Metadata-Flavor\n")
            return
        caller = self._networks.peer(str(self.client_address[0]))
        query = dict(urllib.parse.parse_qsl(url.query))
        path = url.path.removeprefix(_PREFIX) if url.path.startswith(_PREFIX) else ""
        found = self._facts.lookup(caller.identity, path, query) if caller and path else None
        if found is None:
            self._send(404, "text/html", "The requested URL was not found on this server.\n")
        else:
            self._send(200, *found)

    def _send(self, status: int, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Metadata-Flavor", "Google")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Facts:
    def __init__(self, access: Access) -> None:
        self._access = access

    def lookup(self, identity: Identity, path: str, query: dict[str, str]) -> Answer | None:
        simple: dict[str, Callable[[], str]] = {
            "project/project-id": lambda: identity.project,
            "project/numeric-project-id": lambda: self._number(identity.project),
            "instance/region": lambda: f"projects/{self._number(identity.project)}/regions/{identity.region}",
            "instance/zone": lambda: f"projects/{self._number(identity.project)}/zones/{identity.region}-1",
            "instance/id": lambda: base64.b16encode(identity.account.encode()).decode().lower(),
            "universe/universe-domain": lambda: "googleapis.com",
        }
        if path.startswith("instance/") and path.removeprefix("instance/") in identity.attributes:
            return "application/text", identity.attributes[path.removeprefix("instance/")]
        if path in simple:
            return "application/text", simple[path]()
        account, _, item = path.removeprefix("instance/service-accounts/").partition("/")
        if not path.startswith("instance/service-accounts/") or account not in ("default", identity.account):
            return None
        return self._account(identity.account, item, query)

    def _account(self, email: str, item: str, query: dict[str, str]) -> Answer | None:
        if item == "" and query.get("recursive"):
            described = {"aliases": ["default"], "email": email, "scopes": _SCOPES}
            return "application/json", json.dumps(described)
        if item == "token":
            token = self._access.mint_token(email, list(filter(None, query.get("scopes", "").split(","))))
            answer = {"access_token": token, "expires_in": _TOKEN_SECONDS, "token_type": "Bearer"}
            return "application/json", json.dumps(answer)
        if item == "identity" and query.get("audience"):
            return "text/html", self._access.mint_identity(email, query["audience"])
        texts = {"": "aliases\nemail\nidentity\nscopes\ntoken\n", "email": email, "aliases": "default"}
        texts["scopes"] = "\n".join(_SCOPES)
        return ("application/text", texts[item]) if item in texts else None

    def _number(self, project: str) -> str:
        found = self._access.get(f"cloudresourcemanager.googleapis.com/projects/{project}") or {}
        return str(found.get("name", "projects/0")).rpartition("/")[2]
