"""Lets googleapiclient speak through requests, as Google's other clients do.

Its own httplib2 refuses to work wherever a proxy is set and PySocks is not installed, even for addresses that
`no_proxy` names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httplib2
from google.auth.credentials import Credentials
from google.auth.transport.requests import AuthorizedSession

from gcp_openemr.retrying import patient

__all__ = ["RequestsTransport"]

_SECONDS = 60


class RequestsTransport:
    """The part of httplib2.Http that googleapiclient uses."""

    def __init__(self, credentials: Credentials) -> None:
        self._session = patient(AuthorizedSession(credentials))

    def request(
        self, uri: str, method: str = "GET", body: Any = None, headers: Mapping[str, str] | None = None, **_unused: Any
    ) -> tuple[httplib2.Response, bytes]:
        answer = self._session.request(method, uri, data=body, headers=dict(headers or {}), timeout=_SECONDS)
        fields = {name.lower(): value for name, value in answer.headers.items()}
        response = httplib2.Response({**fields, "status": str(answer.status_code)})
        response.reason = answer.reason
        return response, answer.content

    def close(self) -> None:
        self._session.close()
