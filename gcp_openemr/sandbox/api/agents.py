"""Google's own agents: they call the APIs as everybody does, with accounts that Google keeps in each project."""

from __future__ import annotations

import io
import json

from gcp_openemr.sandbox.api.messages import Request
from gcp_openemr.sandbox.api.names import project_number
from gcp_openemr.sandbox.api.rules import ApiError, App, Json

__all__ = ["ask", "cloud_services"]


def cloud_services(project: str) -> str:
    """Who acts for managed groups: https://cloud.google.com/iam/docs/service-agents#google-apis-service-agent"""
    return f"{project_number(project)}@cloudservices.gserviceaccount.com"


def ask(app: App, email: str, method: str, target: str, body: Json | None = None) -> Json:
    """The answer to a call of `target` (`/HOST/PATH?QUERY`) as a service account. Raises ApiError."""
    data = json.dumps(body).encode() if body is not None else b""
    headers = {
        "authorization": f"Bearer {app.mint_token(email)}",
        "content-type": "application/json",
        "content-length": str(len(data)),
    }
    try:
        answer = app.handle(Request(method=method, target=target, headers=headers, body=io.BytesIO(data)))
    except ConnectionAbortedError as error:
        raise ApiError(503, "The service is currently unavailable.") from error
    content: Json = json.loads(answer.body) if isinstance(answer.body, bytes) and answer.body else {}
    if answer.status >= 400:
        refusal = content.get("error") or {}
        raise ApiError(answer.status, str(refusal.get("message", "")), status=str(refusal.get("status", "")))
    return content
