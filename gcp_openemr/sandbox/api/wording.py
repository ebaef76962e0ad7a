"""How each API says that something is missing, is there already, or is not allowed: Google's own sentences as rows.

They have {name} {id} {kind} {region} {project} {number} {numbered} {permission}. An API without a row of its own speaks
as `google.…` does.
"""

from __future__ import annotations

import dataclasses

from gcp_openemr.sandbox.api.errors import ApiError
from gcp_openemr.sandbox.api.names import host_of, id_of, path_of, project_number, project_of, segment
from gcp_openemr.sandbox.api.refusals import REFUSALS, Refusal, refusals, refuse

__all__ = ["Wording", "wording_of"]

_EXISTS = "alreadyExists"

refusals(
    Refusal("google.not-found", 404, "Requested entity was not found."),
    Refusal("google.exists", 409, "Requested entity already exists", reason=_EXISTS),
    Refusal("google.denied", 403, "The caller does not have permission"),
    source="https://cloud.google.com/apis/design/errors",
)
refusals(
    Refusal(
        "run.not-found",
        404,
        "Resource '{id}' of kind '{kind}' in region '{region}' in project '{project}' does not exist.",
        "https://github.com/GoogleCloudPlatform/generative-ai/issues/1795",
    ),
    Refusal(
        "run.exists",
        409,
        "Resource '{id}' already exists.",
        "https://github.com/hashicorp/terraform-provider-google/issues/16591",
        reason=_EXISTS,
    ),
    Refusal(
        "run.denied",
        403,
        "Permission '{permission}' denied on resource '{name}' (or resource may not exist).",
        "https://github.com/google-github-actions/deploy-cloudrun/issues/182",
    ),
)
refusals(
    Refusal("secretmanager.not-found", 404, "{kind} [{numbered}] not found."),
    Refusal("secretmanager.exists", 409, "{kind} [{numbered}] already exists.", reason=_EXISTS),
    Refusal(
        "secretmanager.denied",
        403,
        "Permission '{permission}' denied for resource '{name}' (or it may not exist).",
        "https://github.com/googleapis/python-secret-manager/issues/389",
    ),
    source="https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets",
)
refusals(
    Refusal("compute.not-found", 404, "The resource '{name}' was not found"),
    Refusal("compute.exists", 409, "The resource '{name}' already exists", reason=_EXISTS),
    Refusal("compute.denied", 403, "Required '{permission}' permission for '{name}'"),
    source="https://cloud.google.com/compute/docs/troubleshooting/troubleshooting-resource-errors",
)
refusals(
    Refusal("sqladmin.not-found", 404, "The Cloud SQL {kind} does not exist.", reason="instanceDoesNotExist"),
    Refusal("sqladmin.exists", 409, "The Cloud SQL {kind} already exists.", reason="instanceAlreadyExists"),
    Refusal("sqladmin.denied", 403, "The client is not authorized to make this request.", reason="notAuthorized"),
    source="https://cloud.google.com/sql/docs/mysql/admin-api/error-messages",
)
refusals(
    Refusal("dns.not-found", 404, "The 'parameters.{kind}' resource named '{id}' does not exist."),
    Refusal("dns.exists", 409, "The resource 'entity.{kind}' named '{id}' already exists", reason=_EXISTS),
    Refusal("dns.denied", 403, "Forbidden"),
    source="https://cloud.google.com/dns/docs/troubleshooting",
)
refusals(
    Refusal("artifactregistry.exists", 409, "the repository already exists", reason=_EXISTS),
    source="https://cloud.google.com/artifact-registry/docs/reference/rest/v1/projects.locations.repositories/create",
)
refusals(
    Refusal("iam.not-found", 404, "Unknown {kind}: {name}"),
    Refusal(
        "iam.exists",
        409,
        "{kind} {id} already exists within project projects/{project}.",
        "https://github.com/GoogleCloudPlatform/java-docs-samples/issues/3605",
        reason=_EXISTS,
    ),
    Refusal("iam.denied", 403, "Permission '{permission}' denied on resource (or it may not exist)."),
    source="https://cloud.google.com/iam/docs/troubleshoot-permissions",
)
refusals(
    Refusal("serviceusage.not-found", 404, "Not found or permission denied for service(s): {id}."),
    Refusal("serviceusage.denied", 403, "Permission denied to {permission} for consumer projects/{project}."),
    source="https://cloud.google.com/service-usage/docs/reference/rest/v1/services/enable",
)
refusals(
    Refusal(
        "cloudresourcemanager.not-found",
        404,
        "Permission 'resourcemanager.projects.get' denied on resource '{name}' (or it may not exist).",
        "https://cloud.google.com/resource-manager/reference/rest/v3/projects/get",
    )
)


@dataclasses.dataclass(frozen=True)
class Wording:
    """The sentences of one API."""

    api: str

    def missing(self, name: str, kind: str = "") -> ApiError:
        """404 for a full name."""
        return self._error("not-found", name, kind)

    def duplicate(self, name: str, kind: str = "") -> ApiError:
        return self._error("exists", name, kind)

    def refused(self, name: str, permission: str) -> ApiError:
        """403 with the ErrorInfo that one-platform APIs attach."""
        info = {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "IAM_PERMISSION_DENIED",
            "domain": host_of(name),
            "metadata": {"permission": permission, "resource": path_of(name)},
        }
        error = self._error("denied", name, permission=permission)
        error.details = [info]
        return error

    def _error(self, what: str, name: str, kind: str = "", permission: str = "") -> ApiError:
        own = f"{self.api}.{what}"
        path, project = path_of(name), project_of(name)
        number = project_number(project)
        return refuse(
            own if own in REFUSALS else f"google.{what}",
            name=path,
            id=id_of(name),
            kind=kind,
            region=segment(name, "locations"),
            project=project,
            number=number,
            numbered=path.replace(f"projects/{project}/", f"projects/{number}/", 1),
            permission=permission,
        )


def wording_of(api: str) -> Wording:
    """The sentences of `run`, `compute`, …"""
    return Wording(api)
