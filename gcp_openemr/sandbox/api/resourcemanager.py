"""Cloud Resource Manager: projects in both versions' forms, and their IAM policies."""

from __future__ import annotations

from gcp_openemr.sandbox.api.listing import listed
from gcp_openemr.sandbox.api.names import project_name
from gcp_openemr.sandbox.api.rules import ApiError, Call, Collection, Json, Record, handles


def _shown(call: Call, body: Json) -> Json:
    if call.discovery.version == "v3":
        return body
    return {
        "projectNumber": body["name"].removeprefix("projects/"),
        "projectId": body["projectId"],
        "name": body["displayName"],
        "lifecycleState": body["state"],
        "createTime": body["createTime"],
    }


def _protected(_call: Call, _record: Record) -> None:
    raise ApiError(501, "The sandbox deletes no projects: `sandbox reset` forgets everything.")


PROJECTS = Collection(
    "cloudresourcemanager.projects",
    permission="resourcemanager.projects",
    shown=_shown,
    deletable=_protected,
    verbs=("get", "delete"),
)


@handles("cloudresourcemanager.projects.list", "cloudresourcemanager.projects.search")
def list_(call: Call) -> Json:
    """Every project that the caller may see."""
    found = [
        (record.name, _shown(call, record.body))
        for record in call.store.list(project_name(""))
        if call.allowed("resourcemanager.projects.get", record.name)
    ]
    return listed(call, found, "projects")
