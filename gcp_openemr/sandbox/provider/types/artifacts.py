"""Artifact Registry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gcp_openemr.sandbox.provider.types.model import Api, Json, ResourceType, Settings, short

__all__ = ["ROWS"]


def _decode(body: Json, _state: Mapping[str, Any], _settings: Settings) -> Json:
    return {**body, "name": short(body.get("name"))}


def _settle(state: dict[str, Any], _body: Json, _settings: Settings) -> None:
    if not state.get("registry_uri"):
        kind = str(state["format"]).lower()
        state["registry_uri"] = f"{state['location']}-{kind}.pkg.dev/{state['project']}/{state['repository_id']}"


ROWS = (
    ResourceType(
        "google_artifact_registry_repository",
        Api("artifactregistry", "v1", "/v1/"),
        "Repository",
        "projects/{project}/locations/{location}/repositories/{repository_id}",
        named_by="repositoryId",
        maps={"cleanup_policies": "id"},
        sameness={
            "cleanup_policies.condition.newer_than": "duration",
            "cleanup_policies.condition.older_than": "duration",
            "format": "case",
        },
        decode=_decode,
        settle=_settle,
    ),
)
