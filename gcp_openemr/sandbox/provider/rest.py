"""HTTP to Google's APIs as the sandbox serves them: calls, errors as Google's client words them, operations."""

from __future__ import annotations

import dataclasses
import http.client
import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

__all__ = ["ApiError", "Client", "OperationFailed", "is_not_found"]

Json = dict[str, Any]

# What hashicorp/google's transport tries again (its default retry predicates).
_RETRIED: Final = frozenset({429, 500, 502, 503})
# Cloud SQL does one thing at a time, and says so with this reason.
_BUSY: Final = "operationInProgress"
_BUSY_FOR: Final = 2400.0  # seconds that a new instance may take
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 2.0


class ApiError(Exception):
    """An error answer; prints like `googleapi.Error` of Google's Go client."""

    def __init__(self, code: int, body: Any) -> None:
        self.code = code
        error = body.get("error", {}) if isinstance(body, dict) else {}
        self.message = str(error.get("message") or (body if isinstance(body, str) else "")).strip()
        self.status = str(error.get("status", ""))
        self.reason = str((error.get("errors") or [{}])[0].get("reason", ""))
        super().__init__(_described(code, self.message, error))


class OperationFailed(Exception):
    """A long-running operation ended with an error, or nobody answers."""


def is_not_found(error: Exception) -> bool:
    """Whether the resource is gone."""
    return isinstance(error, ApiError) and error.code == 404


@dataclasses.dataclass(frozen=True, kw_only=True)
class Client:
    """Speaks to `{url}/{host}/…` with a bearer token; retries refusals of the moment for `patience` seconds."""

    url: str
    token: str = dataclasses.field(repr=False)
    user_agent: str = "terraform-provider-google/8.7.0 (sandbox)"
    patience: float = 30.0
    # Set when Terraform is told to stop: nothing is waited for any longer.
    stopping: threading.Event = dataclasses.field(default_factory=threading.Event, repr=False, compare=False)
    # Connections that no thread is using.
    _idle: list[http.client.HTTPConnection] = dataclasses.field(default_factory=list, repr=False, compare=False)

    def call(self, method: str, host: str, path: str, body: Any = None, query: Mapping[str, str] | None = None) -> Json:
        """One call, retried while Google's answer says to try again; the decoded JSON ({} for an empty answer).

        Raises:
            ApiError: any answer of 400 and above.
            OperationFailed: the sandbox does not answer.
        """
        target = f"/{host}{path}" + (f"?{urlencode(query)}" if query else "")
        payload = b"" if body is None else json.dumps(body).encode()
        start = time.monotonic()
        pause = _FIRST_PAUSE
        while True:
            try:
                status, text = self._send(method, target, payload)
            except (OSError, http.client.HTTPException) as error:
                if time.monotonic() + pause > start + self.patience or isinstance(error, ConnectionRefusedError):
                    raise OperationFailed(f"{method} {self.url}{target}: {error}") from error
            else:
                if status < 400:
                    return _decoded(text)
                refused = ApiError(status, _error_body(text))
                is_busy = status == 409 and refused.reason == _BUSY
                end = start + (_BUSY_FOR if is_busy else self.patience)
                if not (is_busy or status in _RETRIED) or time.monotonic() + pause > end:
                    raise refused
            self._pause(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def wait(self, host: str, version: str, operation: Json, timeout: float) -> Json:
        """Poll an operation to its end; what is none is given back.

        Returns the operation's `response` (longrunning) or the operation at last. `timeout` in seconds.

        Raises:
            OperationFailed: it ended with an error, or did not end in time.
        """
        kind = _kind(operation)
        if not kind:
            return operation
        end = time.monotonic() + timeout
        pause = 0.02
        while not _is_done(kind, operation):
            if time.monotonic() > end:
                raise OperationFailed(f"timeout while waiting for operation {operation.get('name', '')} to complete")
            self._pause(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE)
            operation = self.call("GET", host, _operation_path(kind, version, operation))
        failure = _failure(kind, operation)
        if failure:
            raise OperationFailed(failure)
        return dict(operation.get("response") or {}) if kind == "longrunning" else operation

    def poll(self, host: str, path: str, *, until: Callable[[Json], bool], timeout: float = 300) -> Json:
        """GET until the answer satisfies; raises OperationFailed after `timeout` seconds."""
        end = time.monotonic() + timeout
        pause = 0.02
        while not until(found := self.call("GET", host, path)):
            if time.monotonic() > end:
                raise OperationFailed(f"timeout while waiting for {path}")
            self._pause(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE)
        return found

    def _pause(self, seconds: float) -> None:
        if self.stopping.wait(seconds):
            raise OperationFailed("context canceled")

    def _send(self, method: str, target: str, payload: bytes) -> tuple[int, bytes]:
        try:
            connection = self._idle.pop()
        except IndexError:
            address = urlsplit(self.url)
            connection = http.client.HTTPConnection(address.hostname or "127.0.0.1", address.port or 80, timeout=60)
        headers = {"Authorization": f"Bearer {self.token}", "User-Agent": self.user_agent}
        if payload:
            headers["Content-Type"] = "application/json"
        try:
            connection.request(method, target, body=payload or None, headers=headers)
            answer = connection.getresponse()
            text = answer.read()
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)
        return answer.status, text

    def close(self) -> None:
        """Close the connections that nobody is using; the next call opens another."""
        while self._idle:
            self._idle.pop().close()


def _decoded(text: bytes) -> Json:
    loaded = json.loads(text) if text.strip() else {}
    return loaded if isinstance(loaded, dict) else {}


def _error_body(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text.decode(errors="replace")


def _described(code: int, message: str, error: Mapping[str, Any]) -> str:
    shown = f"googleapi: Error {code}: {message}" if message else f"googleapi: got HTTP response code {code}"
    if error.get("details"):
        shown += f"\nDetails:\n{json.dumps(error['details'], indent=2)}\n"
    errors = error.get("errors") or []
    if len(errors) == 1 and errors[0].get("message") == message:
        return f"{shown}, {errors[0].get('reason', '')}"
    if errors:
        shown += "\nMore details:\n"
        shown += "".join(f"Reason: {one.get('reason', '')}, Message: {one.get('message', '')}\n" for one in errors)
    return shown


def _kind(answer: Mapping[str, Any]) -> str:
    """Compute Engine's and Cloud SQL's operations say their kind; elsewhere the name does; "" is none to wait for."""
    kind, _, what = str(answer.get("kind", "")).partition("#")
    if what == "operation":
        return kind if kind in ("compute", "sql") else ""
    return "longrunning" if "/operations/" in f"/{answer.get('name', '')}" else ""


def _is_done(kind: str, operation: Mapping[str, Any]) -> bool:
    return bool(operation.get("done")) if kind == "longrunning" else operation.get("status") == "DONE"


def _operation_path(kind: str, version: str, operation: Mapping[str, Any]) -> str:
    name = operation["name"]
    if kind == "longrunning":
        return f"/{version}/{name}"
    if kind == "sql":
        return f"/{version}/projects/{operation['targetProject']}/operations/{name}"
    # selfLink: https://www.googleapis.com/compute/v1/projects/p/zones/z/operations/o
    return "/compute/v1/" + str(operation["selfLink"]).partition("/compute/v1/")[2]


def _failure(kind: str, operation: Mapping[str, Any]) -> str:
    error = operation.get("error")
    if not error:
        return ""
    if kind == "longrunning":
        return f"Error code {error.get('code')}, message: {error.get('message')}"
    errors = error.get("errors") or [error]
    return "\n".join(str(one.get("message") or one.get("code")) for one in errors)
