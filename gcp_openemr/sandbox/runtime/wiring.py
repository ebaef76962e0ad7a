"""The daemon's parts put together: API server, runtime, and the sockets both answer on."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path

import certifi

from gcp_openemr.errors import Unreachable
from gcp_openemr.sandbox.api.app import App
from gcp_openemr.sandbox.api.errors import ApiError
from gcp_openemr.sandbox.api.iam import ANONYMOUS
from gcp_openemr.sandbox.api.server import Server, serve
from gcp_openemr.sandbox.runtime import namespaces
from gcp_openemr.sandbox.runtime.certificates import Authority, write_private
from gcp_openemr.sandbox.runtime.facts import facts_of
from gcp_openemr.sandbox.runtime.local import LocalRuntime
from gcp_openemr.sandbox.runtime.network import APIS_ADDRESS
from gcp_openemr.setup.mysql import locate

__all__ = ["Cloud"]

_API_NAMES = ("googleapis.com", "*.googleapis.com")
_HOST_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
_STANDIN = Path(__file__).parent.parent / "standin" / "app"
_CLOSED = {"INGRESS_TRAFFIC_INTERNAL_ONLY", "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER"}
_REMEMBER_SECONDS = 1.0

Refusal = tuple[int, str] | None


class Cloud:
    """The sandbox from its listening port to its containers. `application` is where an OpenEMR tree is shown, if any.

    Raises:
        Unreachable: the wished port is taken.
        ToolMissing: there is no MySQL.
    """

    def __init__(
        self, *, run: Path, application: Path | None, told_application: Path | None, host_network: int, port: int | None
    ) -> None:
        self._state = run / "state"
        self._host_network = host_network
        self._told_application = told_application
        self._mysql = locate()
        self._listener = self._listen_for_people(port)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._app = App(self._state)
        authority = Authority(self._state / "ca", "googleapis")
        self._runtime = LocalRuntime(
            state=self._state,
            run=run,
            access=self._app.access,
            listen=self._listen,
            mysql=self._mysql,
            application=application or _STANDIN,
            trusted=_host_bundle() + authority.certificate,
            invoker=may_invoke(self._app),
        )
        context = authority.server_context(_API_NAMES, self._state / "ca" / "googleapis-server")
        inside = socket.create_server((APIS_ADDRESS, 443), backlog=128)
        self._servers: list[Server] = [serve(inside, self._app, tls_context=context)]

    def _listen(self, address: str, port: int) -> socket.socket:
        return namespaces.listen_in(self._host_network, address, port)

    def _listen_for_people(self, port: int | None) -> socket.socket:
        """The wished port, else the last one, else any."""
        remembered = self._state / "run/port"
        if port is None and remembered.is_file():
            with contextlib.suppress(OSError, ValueError):
                return self._listen("127.0.0.1", int(remembered.read_text(encoding="utf-8")))
        try:
            listener = self._listen("127.0.0.1", port or 0)
        except OSError as error:
            raise Unreachable(
                f"The sandbox cannot listen on port {port}: {error.strerror}.", do="Choose another port: --port"
            ) from error
        remembered.write_text(str(listener.getsockname()[1]), encoding="utf-8")
        return listener

    def start(self, *, holder: tuple[int, int]) -> None:
        """Bring back what should run, answer, and say so in endpoint.json. `holder`: process 1 and when it began."""
        self._app.start(self._runtime)
        self._servers.append(serve(self._listener, self._app))
        facts = facts_of(self._mysql, application=self._told_application, limits=self._runtime.limits)
        described = {
            "url": self.url,
            "pid": holder[0],
            "began": holder[1],
            "mysql": str(self._mysql),
            "real": facts.real,
            "stands_in": facts.stands_in,
            "openemr_tree": str(self._told_application) if self._told_application else None,
        }
        write_private(self._state / "endpoint.json", json.dumps(described, indent=1).encode(), mode=0o644)

    def stop(self) -> None:
        """Everything down: what answers, then what runs."""
        (self._state / "endpoint.json").unlink(missing_ok=True)
        self._app.close()
        for server in self._servers:
            server.close()
        self._listener.close()


def _host_bundle() -> str:
    """What this machine trusts."""
    bundle = _HOST_BUNDLE if _HOST_BUNDLE.is_file() else Path(certifi.where())
    return bundle.read_text(encoding="utf-8") + "\n"


def may_invoke(app: App) -> Callable[[str, str], Refusal]:
    """Cloud Run's front end: ingress first, then the right to invoke, which everybody has when `allUsers` has it.

    An answer is kept for a second: policies take longer to spread on Google Cloud.
    """
    known: dict[tuple[str, str], tuple[float, Refusal]] = {}

    def refusal(service: str, authorization: str) -> Refusal:
        asked = known.get((service, authorization))
        if asked and time.monotonic() - asked[0] < _REMEMBER_SECONDS:
            return asked[1]
        found = _refusal(app, service, authorization)
        if len(known) > 1000:
            known.clear()
        known[service, authorization] = (time.monotonic(), found)
        return found

    return refusal


def _refusal(app: App, service: str, authorization: str) -> Refusal:
    name = f"run.googleapis.com/{service}"
    body = app.access.get(name) or {}
    if body.get("ingress") in _CLOSED:
        return 404, "Page not found"
    if body.get("invokerIamDisabled") or app.iam.allows(ANONYMOUS, "run.routes.invoke", name):
        return None
    try:
        caller = app.invoker(authorization, str(body.get("uri", "")))
    except ApiError:
        return 401, "Unauthorized: your client does not have permission to the requested URL."
    if app.iam.allows(caller, "run.routes.invoke", name):
        return None
    return 403, "Forbidden: your client does not have permission to get this URL from this server."
