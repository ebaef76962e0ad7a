"""A temporary administrator of a Cloud SQL instance, through the Admin API.

Users made through the Admin API are near-root and the API cannot GRANT, so a clinic's own user is made by SQL; this
account exists only while that happens. Its name holds the clinic and the time, so that what a killed run left behind
is found and removed by the next one.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from collections.abc import Iterator
from typing import Any

import google.auth
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import AuthorizedSession
from requests.exceptions import RequestException

from jobs import log
from jobs.errors import CloudRefused, Unreachable
from jobs.redacted import Redacted

__all__ = ["Administrator", "temporary_administrator"]

Administrator = tuple[str, Redacted]
"""Name and password."""

_ADDRESS = "https://sqladmin.googleapis.com/v1"
_SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]
_PREFIX = "oe_prov_"
_OPERATION_SECONDS = 600.0
# longer than the longest run of provision: what is older belongs to no living run
_LEFTOVER_SECONDS = 3600
_PASSING = frozenset({409, 429, 500, 502, 503})
_FIRST_DELAY_SECONDS = 0.5


@contextlib.contextmanager
def temporary_administrator(project: str, instance: str, clinic: str) -> Iterator[Administrator]:
    """Make an administrator for the block and remove it after it, however it ends."""
    users = _Users(project, instance)
    for leftover in _leftovers(users.names(), clinic, now=time.time()):
        log.warning("Removing the administrator that an interrupted run left behind", user=leftover)
        users.delete(leftover)
    name = f"{_PREFIX}{clinic}_{int(time.time()):x}"
    password = Redacted(secrets.token_urlsafe(32) + "aA1!")
    try:
        users.insert(name, password)
        yield name, password
    finally:
        users.delete(name)


def _leftovers(names: list[str], clinic: str, *, now: float) -> list[str]:
    """Administrators of interrupted runs: all of this clinic (the environment's lock is held), old ones of others."""
    found = []
    for name in names:
        if not name.startswith(_PREFIX):
            continue
        owner, _, made = name.removeprefix(_PREFIX).rpartition("_")
        with contextlib.suppress(ValueError):
            if owner == clinic or int(made, 16) < now - _LEFTOVER_SECONDS:
                found.append(name)
    return found


class _Absent(CloudRefused):
    """There is no such user, or no such instance."""


class _Users:
    """The users of one instance."""

    def __init__(self, project: str, instance: str) -> None:
        self._project = f"{_ADDRESS}/projects/{project}"
        self._users = f"{self._project}/instances/{instance}/users"
        try:
            credentials, _ = google.auth.default(scopes=_SCOPES)
        except GoogleAuthError as error:
            raise CloudRefused(f"The job has no identity: {error}") from error
        self._session = AuthorizedSession(credentials)

    def names(self) -> list[str]:
        return [user["name"] for user in self._call("GET", self._users).get("items", [])]

    def insert(self, name: str, password: Redacted) -> None:
        body = {"name": name, "host": "%", "password": password.reveal(), "type": "BUILT_IN"}
        self._finish(self._call("POST", self._users, json=body))

    def delete(self, name: str) -> None:
        """Remove a user; that another run has done so already is fine."""
        with contextlib.suppress(_Absent):
            self._finish(self._call("DELETE", self._users, params={"name": name, "host": "%"}))

    def _finish(self, operation: dict[str, Any]) -> None:
        deadline = time.monotonic() + _OPERATION_SECONDS
        delay = 0.2
        while operation.get("status") != "DONE":
            if time.monotonic() > deadline:
                raise Unreachable("Cloud SQL did not finish its operation.", do="Run the same command again.")
            time.sleep(delay)
            delay = min(delay * 1.5, 3.0)
            operation = self._call("GET", f"{self._project}/operations/{operation['name']}")
        errors = operation.get("error", {}).get("errors", [])
        if errors:
            raise CloudRefused("Cloud SQL: " + "; ".join(error.get("message") or error["code"] for error in errors))

    def _call(self, method: str, address: str, **arguments: Any) -> dict[str, Any]:
        """One call; waits while the instance is busy with another operation or the API with others.

        Where an answer is lost it asks again, but for a user that may have been made: the next run removes it.
        """
        deadline = time.monotonic() + _OPERATION_SECONDS
        delay = _FIRST_DELAY_SECONDS
        while True:
            try:
                answer = self._session.request(method, address, timeout=60, **arguments)
            except (GoogleAuthError, RequestException) as error:
                undone = method != "POST" or isinstance(error, GoogleAuthError)
                if not undone or time.monotonic() + delay > deadline:
                    raise Unreachable(
                        f"The Cloud SQL Admin API does not answer: {error}", do="Run the same command again."
                    ) from error
                reason = str(error)
            else:
                if answer.status_code < 300:
                    body = answer.json()
                    return body if isinstance(body, dict) else {}
                reason = _reason(answer.text, answer.status_code)
                if answer.status_code == 404:
                    raise _Absent(f"The Cloud SQL Admin API refused {method}: {reason}")
                if answer.status_code not in _PASSING or time.monotonic() + delay > deadline:
                    raise CloudRefused(f"The Cloud SQL Admin API refused {method}: {reason}")
            log.info("Cloud SQL is busy", reason=reason)
            time.sleep(delay)
            delay = min(delay * 2, 15.0)


def _reason(text: str, status: int) -> str:
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return f"{json.loads(text)['error']['message']} ({status})"
    return f"status {status}"
