"""Startup and liveness probes, as Cloud Run makes them.

https://cloud.google.com/run/docs/configuring/healthchecks: a probe passes with a status from 200 to 399, or an open
port; without a startup probe Cloud Run waits 240 s for the port.
"""

from __future__ import annotations

import dataclasses
import http.client
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["Probe", "read_probe"]

# While a container starts, asking more often than the period shortens a rehearsal and changes no verdict.
_EAGER_SECONDS = 0.1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probe:
    """One probe. `path` empty means that an open TCP port is enough. Times in seconds."""

    port: int
    path: str = ""
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    delay: float = 0
    period: float = 10
    timeout: float = 1
    threshold: int = 3

    @property
    def window(self) -> float:
        """How long a container may take until the last failure that counts."""
        return self.delay + self.period * self.threshold

    def passes(self, address: str) -> bool:
        """Ask once."""
        try:
            if not self.path:
                with socket.create_connection((address, self.port), timeout=self.timeout):
                    return True
            return self._get(address)
        except (OSError, http.client.HTTPException):
            return False

    def _get(self, address: str) -> bool:
        connection = http.client.HTTPConnection(address, self.port, timeout=self.timeout)
        try:
            connection.request("GET", self.path, headers={"User-Agent": "GoogleHC/1.0", **self.headers})
            answer = connection.getresponse()
            answer.read()
            return 200 <= answer.status < 400
        finally:
            connection.close()

    def wait(self, address: str, alive: Callable[[], bool]) -> bool:
        """Ask until it passes; False when the window closes or the container ends."""
        deadline = time.monotonic() + self.window
        while alive() and time.monotonic() < deadline:
            if self.passes(address):
                return True
            time.sleep(min(_EAGER_SECONDS, self.period))
        return False


def read_probe(described: Mapping[str, Any] | None, port: int) -> Probe | None:
    """A probe of Run v2's JSON (`httpGet`, `tcpSocket`, periods); None when there is none."""
    if not described:
        return None
    http_get = described.get("httpGet") or {}
    place = http_get or described.get("tcpSocket") or {}
    return Probe(
        port=int(place.get("port") or port),
        path=str(http_get.get("path") or "/") if "httpGet" in described else "",
        headers={str(entry["name"]): str(entry.get("value", "")) for entry in http_get.get("httpHeaders", [])},
        delay=float(described.get("initialDelaySeconds", 0)),
        period=float(described.get("periodSeconds", 10)),
        timeout=float(described.get("timeoutSeconds", 1)),
        threshold=int(described.get("failureThreshold", 3)),
    )
