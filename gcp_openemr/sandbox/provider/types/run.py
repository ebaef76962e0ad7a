"""Cloud Run v2: services and jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gcp_openemr.sandbox.provider.types.model import Change, Hooks, Json

__all__ = ["HOOKS"]


def _encode(body: Json, _state: Mapping[str, Any], change: Change) -> Json:
    """The full name goes with an update, as its etag does not: Terraform's word wins."""
    if change.prior is not None:
        body["name"] = change.prior["id"]
    return body


HOOKS = dict.fromkeys(("google_cloud_run_v2_service", "google_cloud_run_v2_job"), Hooks(encode=_encode))
