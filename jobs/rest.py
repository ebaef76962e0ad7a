"""Google's REST APIs under the job's own identity, for what has no library in the image.

What may be done twice is tried again for about a minute after a passing refusal or a lost answer. A POST that may not
is tried again only where it certainly was not done; otherwise `Unclear` tells its caller to look.
"""

from __future__ import annotations

import email.utils
import functools
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import google.auth
import requests
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import AuthorizedSession

from jobs import log
from jobs.errors import CloudRefused, Unreachable

__all__ = ["Conflict", "Forbidden", "NotFound", "Unclear", "call", "dated", "listed", "moment"]

_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
_REPEATABLE = frozenset({"GET", "PUT", "PATCH", "DELETE"})
_PASSING = frozenset({408, 429, 500, 502, 503, 504})
_CONFLICTS = frozenset({409, 412})
_PATIENCE_SECONDS = 90.0
_ASK_SECONDS = 60


class Forbidden(CloudRefused):
    """The job's identity may not, or it may not know that there is no such thing."""


class NotFound(CloudRefused):
    """There is no such thing."""


class Conflict(CloudRefused):
    """It was changed by another, or by an earlier try of the same call."""


class Unclear(Unreachable):
    """No answer tells whether it was done."""


def call(
    method: str,
    api: str,
    path: str,
    *,
    body: Any = None,
    repeatable: bool | None = None,
    query: Mapping[str, str | int] | None = None,
) -> dict[str, Any]:
    """One call: `api` is `run`, `path` is below its host (`v2/projects/p`). Returns the JSON object of the answer.

    Raises:
        NotFound, Forbidden, Conflict, CloudRefused: Google's reason.
        Unreachable: Google does not answer for long; Unclear where that leaves open whether it was done.
    """
    return _object(_answer(method, api, path, body=body, repeatable=repeatable, query=query))


def dated(api: str, path: str) -> tuple[dict[str, Any], datetime]:
    """What a GET answers, and when, by Google's clock. Raises what `call` does."""
    answer = _answer("GET", api, path, body=None, repeatable=None, query=None)
    return _object(answer), email.utils.parsedate_to_datetime(answer.headers["Date"])


def _answer(
    method: str, api: str, path: str, *, body: Any, repeatable: bool | None, query: Mapping[str, str | int] | None
) -> requests.Response:
    repeatable = method in _REPEATABLE if repeatable is None else repeatable
    deadline = time.monotonic() + _PATIENCE_SECONDS
    delay = 0.25
    while True:
        try:
            answer: requests.Response = _session().request(
                method,
                f"{_root(api)}/{path}",
                params=dict(query or {}),
                json=body,
                timeout=_ASK_SECONDS,
                allow_redirects=False,
            )
        except (requests.RequestException, GoogleAuthError) as error:
            # the words of requests' errors have the address in them, and no body
            problem, undone = f"{api} does not answer: {type(error).__name__}", isinstance(error, GoogleAuthError)
        else:
            if answer.ok:
                return answer
            problem, undone = _reason(answer), answer.status_code == 429
            if answer.status_code not in _PASSING:
                raise _refusal(method, api, path, answer, problem)
        if not (repeatable or undone):
            raise Unclear(f"Google's {problem}", do="Run the same command again; it looks first.")
        if time.monotonic() + delay > deadline:
            raise Unreachable(f"Google's {problem}", do="Run the same command again; it continues.")
        log.info("Google does not answer yet", reason=problem)
        time.sleep(delay)
        delay = min(delay * 2, 10.0)


def listed(api: str, path: str, field: str) -> Iterator[dict[str, Any]]:
    """Every element of a list, page after page."""
    token = ""
    while True:
        page = call("GET", api, path, query={"pageToken": token} if token else None)
        yield from page.get(field, [])
        token = page.get("nextPageToken", "")
        if not token:
            return


def moment(told: object) -> datetime:
    """A time as Google's answers tell it, to the second; they differ in the digits behind it."""
    return datetime.fromisoformat(str(told)[:19]).replace(tzinfo=UTC)


@functools.cache
def _session() -> AuthorizedSession:
    credentials, _ = google.auth.default(scopes=_SCOPES)
    return AuthorizedSession(credentials)


def _root(api: str) -> str:
    return f"https://{api}.googleapis.com"


def _object(answer: requests.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _error(answer: requests.Response) -> dict[str, Any]:
    found = _object(answer).get("error")
    return found if isinstance(found, dict) else {}


def _reason(answer: requests.Response) -> str:
    return f"answer {answer.status_code}: {_error(answer).get('message') or answer.reason}"


def _refusal(method: str, api: str, path: str, answer: requests.Response, problem: str) -> CloudRefused:
    what, status = f"Google refused {method} {path}: {problem}", answer.status_code
    if status == 404:
        return NotFound(what)
    # what Secret Manager says of a stale etag: https://cloud.google.com/secret-manager/docs/etags
    stale = (method, api, _error(answer).get("status")) == ("PATCH", "secretmanager", "FAILED_PRECONDITION")
    if status in _CONFLICTS or stale:
        return Conflict(what, do="Run the same command again; it looks first.")
    do = "Run gcp-openemr deploy, which grants what the job needs." if status in (401, 403) else ""
    return (Forbidden if status == 403 else CloudRefused)(what, do=do)
