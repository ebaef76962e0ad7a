"""Secret Manager: containers of secrets. Their versions are nobody's business but the orchestrator's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gcp_openemr.sandbox.provider.types.model import Api, Json, ResourceType, Settings

__all__ = ["ROWS"]


def _decode(body: Json, _state: Mapping[str, Any], _settings: Settings) -> Json:
    """The API answers with the project's number in the name only; Terraform has no other name for `automatic: {}`."""
    replication = body.get("replication") or {}
    return {**body, "replication": {name: value or {} for name, value in replication.items()}}


ROWS = (
    ResourceType(
        "google_secret_manager_secret",
        Api("secretmanager", "v1", "/v1/"),
        "Secret",
        "projects/{project}/secrets/{secret_id}",
        named_by="secretId",
        names={
            "replication.auto": "automatic",
            "replication.auto.customer_managed_encryption.kms_key_name": "kmsKeyName",
        },
        input_only=frozenset({"ttl"}),
        sameness={"ttl": "duration", "version_destroy_ttl": "duration"},
        decode=_decode,
        protected=(
            "cannot destroy secretmanager secret without setting deletion_protection=false "
            "and running `terraform apply`"
        ),
    ),
)
