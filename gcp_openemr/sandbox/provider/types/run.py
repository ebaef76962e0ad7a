"""Cloud Run v2: services and jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gcp_openemr.sandbox.provider.types.model import Change, Json, ResourceType, Settings, short

__all__ = ["ROWS"]


def _encode(body: Json, _state: Mapping[str, Any], change: Change) -> Json:
    """The full name goes with an update, as its etag does not: Terraform's word wins."""
    if change.prior is not None:
        body["name"] = change.prior["id"]
    return body


def _decode(body: Json, _state: Mapping[str, Any], _settings: Settings) -> Json:
    return {**body, "name": short(body.get("name"))}


_JOB_TASKS = "template.template."

_SAMENESS = {
    "template.service_account": "case",
    "template.timeout": "duration",
    "template.vpc_access.network_interfaces.network": "link",
    "template.vpc_access.network_interfaces.subnetwork": "link",
    "template.containers.env.value_source.secret_key_ref.secret": "link",
    "template.volumes.secret.secret": "link",
}

ROWS = (
    ResourceType(
        type="google_cloud_run_v2_service",
        title="Service",
        api=("run", "v2"),
        schema="GoogleCloudRunV2Service",
        collection="/v2/projects/{project}/locations/{location}/services",
        create_query={"serviceId": "{name}"},
        item="/v2/projects/{project}/locations/{location}/services/{name}",
        id="projects/{project}/locations/{location}/services/{name}",
        wait="longrunning",
        update="PATCH full",
        names={"name": "", "template.max_instance_request_concurrency": "maxInstanceRequestConcurrency"},
        sameness=_SAMENESS,
        local=frozenset({"deletion_protection"}),
        taint_failed_create=True,
        encode=_encode,
        decode=_decode,
        protected="cannot destroy service without setting deletion_protection=false and running `terraform apply`",
    ),
    ResourceType(
        type="google_cloud_run_v2_job",
        title="Job",
        api=("run", "v2"),
        schema="GoogleCloudRunV2Job",
        collection="/v2/projects/{project}/locations/{location}/jobs",
        create_query={"jobId": "{name}"},
        item="/v2/projects/{project}/locations/{location}/jobs/{name}",
        id="projects/{project}/locations/{location}/jobs/{name}",
        wait="longrunning",
        update="PATCH full",
        names={"name": ""},
        sameness={path.replace("template.", _JOB_TASKS, 1): kind for path, kind in _SAMENESS.items()},
        local=frozenset({"deletion_protection"}),
        taint_failed_create=True,
        encode=_encode,
        decode=_decode,
        protected="cannot destroy job without setting deletion_protection=false and running `terraform apply`",
    ),
)
