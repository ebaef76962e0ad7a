"""Artifact Registry."""

from __future__ import annotations

from typing import Any

from gcp_openemr.sandbox.provider.types.model import Hooks, Json, Settings

__all__ = ["HOOKS"]


def _settle(state: dict[str, Any], _body: Json, _settings: Settings) -> None:
    if not state.get("registry_uri"):
        kind = str(state["format"]).lower()
        state["registry_uri"] = f"{state['location']}-{kind}.pkg.dev/{state['project']}/{state['repository_id']}"


HOOKS = {"google_artifact_registry_repository": Hooks(settle=_settle)}
