"""A visitor of a clinic: logs in over HTTP, opens documents and uploads some, as a browser would."""

from __future__ import annotations

import hashlib

import requests

from gcp_openemr.errors import Unhealthy
from gcp_openemr.redacted import Redacted

__all__ = ["Visitor"]

_SECONDS = 30


class Visitor:
    """One browser with its cookies. Every method raises Unhealthy when a page is not what it should be."""

    def __init__(self, url: str, *, token: Redacted | None = None) -> None:
        """`token` opens a service that Cloud Run shows to its invokers only."""
        self._url = url.rstrip("/")
        self._session = requests.Session()
        if token is not None:
            self._session.headers["X-Serverless-Authorization"] = f"Bearer {token.reveal()}"

    def login(self, user: str, password: Redacted) -> str:
        """Log in through the form; returns the main screen's HTML."""
        self._get("/interface/login/login.php?site=default")
        answer = self._session.post(
            f"{self._url}/interface/main/main_screen.php?auth=login&site=default",
            data={"authUser": user, "clearPass": password.reveal()},
            timeout=_SECONDS,
        )
        if answer.status_code != 200 or "Logged in as" not in answer.text:
            raise Unhealthy(f"{self._url}: user '{user}' could not log in (status {answer.status_code}).")
        return answer.text

    def document(self, patient: int, document: int) -> str:
        """SHA-256 of a document as the application gives it out, decrypted."""
        path = f"/controller.php?document&retrieve&patient_id={patient}&document_id={document}"
        return hashlib.sha256(self._get(path).content).hexdigest()

    def upload(self, patient: int, name: str, content: bytes) -> int:
        """Give a patient a new document; returns its id."""
        answer = self._session.post(
            f"{self._url}/controller.php?document&upload&patient_id={patient}",
            files={"file[]": (name, content)},
            timeout=_SECONDS,
        )
        _, _, document = answer.url.rpartition("document_id=")
        if answer.status_code != 200 or not document.isdigit():
            raise Unhealthy(f"{self._url}: {name} could not be uploaded (status {answer.status_code}).")
        return int(document)

    def _get(self, path: str) -> requests.Response:
        answer = self._session.get(f"{self._url}{path}", timeout=_SECONDS)
        if answer.status_code != 200:
            raise Unhealthy(f"{self._url}{path.partition('?')[0]} answered {answer.status_code}.")
        return answer
