"""Who calls Google, and with what kind of credentials."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from typing import Any

from google.api_core.exceptions import GoogleAPICallError
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import Request

from gcp_openemr.clients import Cloud
from gcp_openemr.credentials import kind_of, name_of
from gcp_openemr.doctor.model import Finding, Subject, failed, not_visible, ok, warning
from gcp_openemr.errors import GcpOpenemrError

__all__ = ["credentials", "identity", "who"]

_LOGIN = "Run: gcloud auth application-default login"
_KEY_FILE = "google.oauth2.service_account"


def credentials(subject: Subject) -> Iterator[Finding]:
    """Their kind, and whether Google takes them."""
    if isinstance(subject.cloud_or, GcpOpenemrError):
        yield failed(subject.cloud_or.what, do=subject.cloud_or.do)
        return
    given = subject.cloud_or.credentials
    kind = kind_of(given)
    try:
        if not given.valid:
            given.refresh(Request())
    except GoogleAuthError as error:
        yield failed(f"{kind}: Google does not take it: {error}", do=_LOGIN)
        return
    if type(given).__module__ == _KEY_FILE:
        yield warning(
            f"{kind}: whoever copies the file is this account until somebody deletes the key",
            do="Use federation in CI, and at a desk: gcloud auth application-default login "
            "--impersonate-service-account=ACCOUNT",
        )
    else:
        yield ok(kind)


def identity(subject: Subject) -> Iterator[Finding]:
    found = who(subject.cloud)
    if found:
        yield ok(found)
    else:
        yield not_visible("Google does not say whose credentials these are", do="Look: gcloud auth list")


def who(cloud: Cloud) -> str:
    """The caller's address: as the credentials know it, as their identity token says, as Google says; '' if unknown."""
    given = cloud.credentials
    if told := name_of(given):
        return told
    try:
        return _of_identity_token(getattr(given, "id_token", None)) or str(
            cloud.ask("www", "oauth2/v2/userinfo").get("email", "")
        )
    except GoogleAPICallError:
        return ""


def _of_identity_token(token: Any) -> str:
    """The address in a token that Google gave to us; nobody else is to believe it, so it is only read."""
    parts = str(token or "").split(".")
    if len(parts) != 3:
        return ""
    try:
        payload = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return ""
    return str(payload.get("email", "")) if isinstance(payload, dict) else ""
