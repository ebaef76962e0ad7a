"""A running sandbox from outside of it: its call log, faults, settings and servers."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from gcp_openemr.errors import Unreachable, UsageError
from gcp_openemr.sandbox import control
from gcp_openemr.sandbox.api.call_log import Entry
from gcp_openemr.sandbox.api.faults import Fault
from gcp_openemr.sandbox.control import SandboxInfo

__all__ = ["Remote", "remote"]

_SECONDS = 60.0


class Remote:
    """Every method raises UsageError for what the sandbox refuses, Unreachable when it does not answer."""

    def __init__(self, info: SandboxInfo) -> None:
        self._url = info.url
        self._token = info.token
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open

    def calls(self, since: int = 0) -> list[Entry]:
        """The call log after entry number `since`, oldest first."""
        return [Entry(**entry) for entry in self._call("GET", f"calls?since={since}")["calls"]]

    def grants(self) -> dict[str, Any]:
        """`relied_on`: policy, role, member and permission of each grant that a call needed; `policies`: bindings."""
        return self._call("GET", "grants")

    def faults(self) -> list[Fault]:
        return [Fault(**fault) for fault in self._call("GET", "faults")["faults"]]

    def add_fault(self, effect: str, **fields: Any) -> Fault:
        """Put a fault in force; fields as those of `faults.Fault`."""
        fault = Fault(**self._call("POST", "faults", {"effect": effect, **fields}))
        if effect == "kill":
            self._leave_helper()
        return fault

    def clear_faults(self, fault: str = "") -> int:
        """End one fault, or all; returns how many."""
        return int(self._call("DELETE", f"faults?{urlencode({'id': fault})}")["cleared"])

    def settings(self, **changes: float) -> dict[str, float]:
        """The settings, after these changes."""
        return self._call("POST", "settings", changes) if changes else self._call("GET", "settings")

    def disturb(self, kind: str, name: str, condition: str) -> None:
        """Bring a server into a condition: a database, redis or share; stopped, slow, full or well."""
        self._call("POST", "servers", {"kind": kind, "name": name, "condition": condition})

    def _call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self._token.reveal()}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self._url}/sandbox/v1/{path}", method=method, data=data, headers=headers)
        try:
            with self._open(request, timeout=_SECONDS) as answer:
                answered: dict[str, Any] = json.load(answer)
                return answered
        except urllib.error.HTTPError as error:
            with error:
                raise UsageError(f"The sandbox refused: {json.load(error)['error']['message']}") from error
        except OSError as error:
            raise Unreachable(
                f"The sandbox does not answer at {self._url}.", do="Start it: gcp-openemr sandbox start"
            ) from error

    def _leave_helper(self) -> None:
        """The sandbox cannot see processes of this machine: a helper outside ends them for it, see `api.callers`."""
        subprocess.run(
            [sys.executable, "-m", "gcp_openemr.sandbox.api.callers", self._url],
            input=self._token.reveal().encode() + b"\n",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            check=True,
        )


def remote(directory: Path) -> Remote:
    """The sandbox whose state lies in `directory`. Raises Unreachable when it does not run."""
    info = control.status(directory)
    if info is None:
        raise Unreachable("The sandbox is not running.", do="Start it: gcp-openemr sandbox start")
    return Remote(info)
