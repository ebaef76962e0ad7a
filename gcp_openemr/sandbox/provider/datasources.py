"""Data sources: what Terraform asks about without managing it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gcp_openemr.sandbox.provider.engine import Refusal
from gcp_openemr.sandbox.provider.rest import ApiError, OperationFailed, is_not_found
from gcp_openemr.sandbox.provider.types.model import Settings

__all__ = ["READERS"]


def _project(config: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    project = config.get("project_id") or settings.project
    if not project:
        raise Refusal("project: required field is not set")
    try:
        found = settings.client.call("GET", "cloudresourcemanager.googleapis.com", f"/v3/projects/{project}")
    except (ApiError, OperationFailed) as error:
        if is_not_found(error):
            raise Refusal(f"Project {project} not found: {error}") from error
        raise Refusal(f"Error reading Project {project}: {error}") from error
    kind, _, parent = str(found.get("parent", "")).partition("/")
    labels = found.get("labels", {})
    return {
        "id": f"projects/{project}",
        "project_id": project,
        "name": found.get("displayName", ""),
        "number": str(found.get("name", "")).removeprefix("projects/"),
        "org_id": parent if kind == "organizations" else "",
        "folder_id": parent if kind == "folders" else "",
        "billing_account": "",
        "labels": labels,
        "effective_labels": labels,
        "terraform_labels": labels,
        "deletion_policy": "PREVENT",
    }


def _client_config(_config: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    return {
        "id": f'projects/"{settings.project}"/regions/"{settings.region}"/zones/"{settings.zone}"',
        "project": settings.project,
        "region": settings.region,
        "zone": settings.zone,
        "access_token": settings.client.token,
        "default_labels": dict(settings.default_labels),
    }


READERS: Mapping[str, Callable[[Mapping[str, Any], Settings], dict[str, Any]]] = {
    "google_client_config": _client_config,
    "google_project": _project,
}
