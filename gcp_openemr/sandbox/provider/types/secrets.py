"""Secret Manager: containers of secrets. Their versions are nobody's business but the orchestrator's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gcp_openemr.sandbox.provider.types.model import Hooks, Json, Settings

__all__ = ["HOOKS"]


def _decode(body: Json, _state: Mapping[str, Any], _settings: Settings) -> Json:
    """The API answers with the project's number in the name only; Terraform has no other name for `automatic: {}`."""
    replication = body.get("replication") or {}
    return {**body, "replication": {name: value or {} for name, value in replication.items()}}


HOOKS = {"google_secret_manager_secret": Hooks(decode=_decode)}
