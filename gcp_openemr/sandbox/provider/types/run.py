"""Cloud Run v2: services and jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gcp_openemr.sandbox.provider.types.model import Api, Change, Json, ResourceType, Settings, short

__all__ = ["ROWS"]

_RUN = Api("run", "v2", "/v2/", "PATCH full")
_SAMENESS = {
    "service_account": "case",
    "timeout": "duration",
    "vpc_access.network_interfaces.network": "link",
    "vpc_access.network_interfaces.subnetwork": "link",
    "containers.env.value_source.secret_key_ref.secret": "link",
    "volumes.secret.secret": "link",
}


def _encode(body: Json, _state: Mapping[str, Any], change: Change) -> Json:
    """The full name goes with an update, as its etag does not: Terraform's word wins."""
    if change.prior is not None:
        body["name"] = change.prior["id"]
    return body


def _decode(body: Json, _state: Mapping[str, Any], _settings: Settings) -> Json:
    return {**body, "name": short(body.get("name"))}


def _row(kind: str, template: str) -> ResourceType:
    return ResourceType(
        f"google_cloud_run_v2_{kind}",
        _RUN,
        f"GoogleCloudRunV2{kind.capitalize()}",
        f"projects/{{project}}/locations/{{location}}/{kind}s/{{name}}",
        title=kind.capitalize(),
        named_by=f"{kind}Id",
        names={"name": ""},
        sameness={template + path: what for path, what in _SAMENESS.items()},
        taint_failed_create=True,
        encode=_encode,
        decode=_decode,
        protected=f"cannot destroy {kind} without setting deletion_protection=false and running `terraform apply`",
    )


ROWS = (_row("service", "template."), _row("job", "template.template."))
