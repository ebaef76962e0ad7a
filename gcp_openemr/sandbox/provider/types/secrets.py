"""Secret Manager: containers of secrets. Their versions are nobody's business but the orchestrator's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gcp_openemr.sandbox.provider.types.model import Json, ResourceType, Settings

__all__ = ["ROWS"]


def _decode(body: Json, _state: Mapping[str, Any], _settings: Settings) -> Json:
    """The API answers with the project's number in the name only; Terraform has no other name for `automatic: {}`."""
    replication = body.get("replication") or {}
    return {**body, "replication": {name: value or {} for name, value in replication.items()}}


ROWS = (
    ResourceType(
        type="google_secret_manager_secret",
        title="Secret",
        api=("secretmanager", "v1"),
        schema="Secret",
        collection="/v1/projects/{project}/secrets",
        create_query={"secretId": "{secret_id}"},
        item="/v1/projects/{project}/secrets/{secret_id}",
        id="projects/{project}/secrets/{secret_id}",
        update="PATCH mask",
        names={
            "replication.auto": "automatic",
            "replication.auto.customer_managed_encryption.kms_key_name": "kmsKeyName",
        },
        input_only=frozenset({"ttl"}),
        sameness={"ttl": "duration", "version_destroy_ttl": "duration"},
        local=frozenset({"deletion_protection"}),
        decode=_decode,
        protected=(
            "cannot destroy secretmanager secret without setting deletion_protection=false "
            "and running `terraform apply`"
        ),
    ),
)
