"""How each API says no. The sentences are Google's own, as its clients and users meet them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from gcp_openemr.sandbox.api.errors import ApiError
from gcp_openemr.sandbox.api.names import id_of, path_of, project_number, project_of, segment

__all__ = ["WORDINGS", "Wording", "wording_of"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wording:
    """Sentences with {name} {id} {kind} {region} {project} {number} {numbered} {permission}, and reasons."""

    not_found: str = "Requested entity was not found."
    not_found_reason: str = "notFound"
    exists: str = "Requested entity already exists"
    exists_reason: str = "alreadyExists"
    denied: str = "Permission '{permission}' denied on resource '{name}' (or it may not exist)."
    denied_reason: str = "forbidden"

    def missing(self, name: str, kind: str = "") -> ApiError:
        """404 for a full name."""
        return ApiError(404, _fill(self.not_found, name, kind), reason=self.not_found_reason)

    def duplicate(self, name: str, kind: str = "") -> ApiError:
        return ApiError(409, _fill(self.exists, name, kind), reason=self.exists_reason)

    def refused(self, name: str, permission: str) -> ApiError:
        """403 with the ErrorInfo that one-platform APIs attach."""
        info = {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "IAM_PERMISSION_DENIED",
            "domain": name.split("/", 1)[0],
            "metadata": {"permission": permission, "resource": path_of(name)},
        }
        return ApiError(403, _fill(self.denied, name, "", permission), reason=self.denied_reason, details=[info])


def _fill(sentence: str, name: str, kind: str, permission: str = "") -> str:
    path = path_of(name)
    project = project_of(name)
    number = project_number(project)
    return sentence.format(
        name=path,
        id=id_of(name),
        kind=kind,
        region=segment(name, "locations"),
        project=project,
        number=number,
        numbered=path.replace(f"projects/{project}/", f"projects/{number}/", 1),
        permission=permission,
    )


WORDINGS: Mapping[str, Wording] = {
    "run": Wording(
        not_found="Resource '{id}' of kind '{kind}' in region '{region}' in project '{project}' does not exist.",
        exists="Resource '{id}' already exists.",
        denied="Permission '{permission}' denied on resource '{name}' (or resource may not exist).",
    ),
    "secretmanager": Wording(
        not_found="{kind} [{numbered}] not found.",
        exists="{kind} [{numbered}] already exists.",
        denied="Permission '{permission}' denied for resource '{name}' (or it may not exist).",
    ),
    "compute": Wording(
        not_found="The resource '{name}' was not found",
        exists="The resource '{name}' already exists",
        denied="Required '{permission}' permission for '{name}'",
    ),
    "sqladmin": Wording(
        not_found="The Cloud SQL {kind} does not exist.",
        not_found_reason="instanceDoesNotExist",
        exists="The Cloud SQL {kind} already exists.",
        exists_reason="instanceAlreadyExists",
        denied="The client is not authorized to make this request.",
        denied_reason="notAuthorized",
    ),
    "dns": Wording(
        not_found="The 'parameters.{kind}' resource named '{id}' does not exist.",
        exists="The resource 'entity.{kind}' named '{id}' already exists",
        denied="Forbidden",
    ),
    "artifactregistry": Wording(exists="the repository already exists"),
    "iam": Wording(
        not_found="Unknown {kind}: {name}",
        exists="{kind} {id} already exists within project projects/{project}.",
        denied="Permission '{permission}' denied on resource (or it may not exist).",
    ),
    "cloudresourcemanager": Wording(
        not_found="Permission 'resourcemanager.projects.get' denied on resource '{name}' (or it may not exist).",
        denied="The caller does not have permission",
    ),
    "serviceusage": Wording(
        not_found="Not found or permission denied for service(s): {id}.",
        denied="Permission denied to {permission} for consumer projects/{project}.",
    ),
    "cloudbuild": Wording(denied="The caller does not have permission"),
}


def wording_of(api: str) -> Wording:
    """The sentences of `run`, `compute`, …"""
    return WORDINGS.get(api, Wording())
