"""Trying again what a cloud refuses for a moment: one policy for all of Google's clients.

What may be done twice (GET, PUT, PATCH, DELETE) is tried again after a lost connection and after 408, 429, 500, 502,
503 and 504, for about a minute. A POST is tried again by itself only where it certainly was not done: the connection
was refused, or the answer was 429. Whoever makes something by a POST says by `once` how to see whether it was made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import requests
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from gcp_openemr import interruption

__all__ = ["is_passing", "once", "patient", "widen"]

_CONNECTIONS = 64  # kept open by one session: doctor asks some thirty questions at once

_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"})
_PAUSES = (0.0, 1.0, 4.0)  # seconds

T = TypeVar("T")
S = TypeVar("S", bound=requests.Session)


class _Policy(Retry):
    def is_retry(self, method: str, status_code: int, has_retry_after: bool = False) -> bool:
        return status_code == 429 or super().is_retry(method, status_code, has_retry_after)


def patient(session: S, *, posts: bool = False) -> S:
    """Let a session try again, also its POSTs where all of them may be done twice. The last answer is the answer."""
    policy = _Policy(
        total=8,
        allowed_methods=_REPEATABLE | {"POST"} if posts else _REPEATABLE,
        status_forcelist=_STATUSES,
        backoff_factor=0.5,
        backoff_max=20,
        backoff_jitter=0.3,
        raise_on_status=False,
    )
    widen(session, policy)
    return session


def widen(session: requests.Session, policy: Retry | None = None) -> None:
    """Let a session keep as many connections as are asked for at once; a narrow one drops them with a warning each."""
    for scheme in ("https://", "http://"):
        adapter: Any = session.get_adapter(scheme)
        if type(adapter) is HTTPAdapter:
            session.mount(scheme, HTTPAdapter(max_retries=policy or 0, pool_maxsize=_CONNECTIONS))
        elif policy is not None:  # it holds the client's certificate
            adapter.max_retries = policy


def is_passing(error: Exception) -> bool:
    """Whether an error may be gone the next time, and leaves open whether the call was done."""
    from google.api_core.exceptions import GoogleAPICallError, RetryError
    from google.auth.exceptions import TransportError
    from googleapiclient.errors import HttpError

    if isinstance(error, GoogleAPICallError):
        return error.code in _STATUSES
    if isinstance(error, HttpError):
        return error.status_code in _STATUSES
    return isinstance(error, requests.RequestException | ConnectionError | TimeoutError | RetryError | TransportError)


def once(make: Callable[[], T], find: Callable[[], T | None]) -> T:
    """Make something exactly once: where no answer tells whether it was made, look, and make it only if it was not."""
    for pause in _PAUSES:
        try:
            return make()
        except Exception as error:
            if not is_passing(error):
                raise
        interruption.pause(pause)
        found = find()
        if found is not None:
            return found
    return make()
