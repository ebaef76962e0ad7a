"""Artifact Registry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gcp_openemr.sandbox.provider.types.model import Change, Json, ResourceType, Settings, short

__all__ = ["ROWS"]


def _encode(body: Json, _state: Mapping[str, Any], _change: Change) -> Json:
    """Cleanup policies are a set here and a map by name there."""
    policies = body.get("cleanupPolicies")
    if isinstance(policies, list):
        body["cleanupPolicies"] = {policy["id"]: policy for policy in policies}
    return body


def _decode(body: Json, _state: Mapping[str, Any], _settings: Settings) -> Json:
    policies = body.get("cleanupPolicies") or {}
    listed = [{**policy, "id": name} for name, policy in sorted(policies.items())]
    return {**body, "name": short(body.get("name")), "cleanupPolicies": listed}


def _settle(state: dict[str, Any], _body: Json, _settings: Settings) -> None:
    if not state.get("registry_uri"):
        kind = str(state["format"]).lower()
        state["registry_uri"] = f"{state['location']}-{kind}.pkg.dev/{state['project']}/{state['repository_id']}"


ROWS = (
    ResourceType(
        type="google_artifact_registry_repository",
        title="Repository",
        api=("artifactregistry", "v1"),
        schema="Repository",
        collection="/v1/projects/{project}/locations/{location}/repositories",
        create_query={"repositoryId": "{repository_id}"},
        item="/v1/projects/{project}/locations/{location}/repositories/{repository_id}",
        id="projects/{project}/locations/{location}/repositories/{repository_id}",
        wait="longrunning",
        update="PATCH mask",
        names={"repository_id": "", "location": ""},
        maps=frozenset({"cleanup_policies"}),
        sameness={
            "cleanup_policies.condition.newer_than": "duration",
            "cleanup_policies.condition.older_than": "duration",
            "format": "case",
        },
        encode=_encode,
        decode=_decode,
        settle=_settle,
    ),
)
