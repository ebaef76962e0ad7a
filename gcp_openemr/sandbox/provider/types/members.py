"""IAM: one member of one role of a resource, as a read-modify-write of the resource's policy with its etag.

Also the audit configuration of a project, which lives in the same policy.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from gcp_openemr.sandbox.provider.rest import ApiError
from gcp_openemr.sandbox.provider.types.model import (
    STORAGE,
    Api,
    Change,
    Hooks,
    Json,
    ResourceType,
    Settings,
    expand,
    links,
    named_in,
)

__all__ = ["HOOKS", "ROWS"]

_VERSION_WITH_CONDITIONS = 3
_TRIES = 12

# hashicorp/google serialises its own writers the same way, so that only others' writes cause conflicts.
_locks: dict[str, threading.Lock] = defaultdict(threading.Lock)


@dataclasses.dataclass(frozen=True)
class _Target:
    """A kind of resource with a policy; `resource` is its name in ids, and its path below the API's root."""

    type: str
    api: Api
    title: str
    resource: str
    _: dataclasses.KW_ONLY
    path: str = ""
    # Argument whose state is the resource's full name, however it was given.
    named: str = ""
    reading: str = "GET"

    @property
    def is_storage(self) -> bool:
        """Cloud Storage has `GET` and `PUT …/iam` where the others have methods of the resource."""
        return self.api.name == "storage"

    def url(self, state: Mapping[str, Any], verb: str) -> str:
        path = self.api.root + expand(self.path or self.resource, state)
        return path + ("/iam" if self.is_storage else f":{verb}IamPolicy")


def _policy(target: _Target, state: Mapping[str, Any], settings: Settings) -> Json:
    url = target.url(state, "get")
    if target.reading == "POST":
        options = {"options": {"requestedPolicyVersion": _VERSION_WITH_CONDITIONS}}
        return settings.client.call("POST", target.api.host, url, options)
    option = "optionsRequestedPolicyVersion" if target.is_storage else "options.requestedPolicyVersion"
    return settings.client.call("GET", target.api.host, url, query={option: str(_VERSION_WITH_CONDITIONS)})


def _change(
    target: _Target, state: Mapping[str, Any], settings: Settings, edit: Callable[[Json], bool], mask: str = ""
) -> None:
    """Edit the policy until nobody else's edit comes between; `edit` says whether it changed anything."""
    pause = 0.05
    with _locks[expand(target.resource, state)]:
        for attempt in range(_TRIES):
            policy = _policy(target, state, settings)
            if not edit(policy):
                return
            body: Json = {"policy": policy, **({"updateMask": mask} if mask else {})}
            try:
                if target.is_storage:
                    settings.client.call("PUT", target.api.host, target.url(state, "set"), policy)
                else:
                    settings.client.call("POST", target.api.host, target.url(state, "set"), body)
            except ApiError as error:
                if error.code not in (409, 412) or attempt == _TRIES - 1:
                    raise
                time.sleep(pause)
                pause *= 1.5
            else:
                return


def _condition(state: Mapping[str, Any]) -> Json:
    blocks = state.get("condition") or []
    said = blocks[0] if blocks else {}
    return {name: said[name] for name in ("title", "description", "expression") if said.get(name)}


def _same_member(one: str, other: str) -> bool:
    """Addresses ignore case; the kind before the colon and principal sets do not."""
    kind, _, rest = one.partition(":")
    other_kind, _, other_rest = other.partition(":")
    if kind != other_kind or kind in ("principal", "principalSet"):
        return one == other
    return rest.casefold() == other_rest.casefold()


def _has(binding: Json, member: str) -> bool:
    return any(_same_member(one, member) for one in binding.get("members", []))


def _binding(policy: Json, state: Mapping[str, Any]) -> Json | None:
    condition = _condition(state)
    # An import knows no more of a condition than its title.
    keys = condition if condition.keys() == {"title"} else ("title", "description", "expression")
    for binding in policy.get("bindings", []):
        theirs = binding.get("condition") or {}
        if binding.get("role") == state["role"] and all(theirs.get(key) == condition.get(key) for key in keys):
            return dict(binding)
    return None


def _without(policy: Json, state: Mapping[str, Any]) -> list[Json]:
    condition = _condition(state)
    return [
        binding
        for binding in policy.get("bindings", [])
        if binding.get("role") != state["role"] or (binding.get("condition") or {}) != condition
    ]


@dataclasses.dataclass(frozen=True)
class _Member:
    """The four operations on one member of one role of a target."""

    target: _Target

    def create(self, state: Mapping[str, Any], change: Change) -> None:
        def edit(policy: Json) -> bool:
            binding = _binding(policy, state) or {"role": state["role"], "members": []}
            if _has(binding, state["member"]):
                return False
            binding["members"] = [*binding["members"], state["member"]]
            if _condition(state):
                binding["condition"] = _condition(state)
            policy["bindings"] = [*_without(policy, state), binding]
            policy["version"] = _VERSION_WITH_CONDITIONS if _condition(state) else policy.get("version", 1)
            return True

        _change(self.target, state, change.settings, edit)

    def delete(self, state: Mapping[str, Any], change: Change) -> None:
        def edit(policy: Json) -> bool:
            binding = _binding(policy, state)
            if binding is None or not _has(binding, state["member"]):
                return False
            left = [member for member in binding["members"] if not _same_member(member, state["member"])]
            policy["bindings"] = _without(policy, state) + ([{**binding, "members": left}] if left else [])
            return True

        _change(self.target, state, change.settings, edit)

    def fetch(self, state: Mapping[str, Any], settings: Settings) -> Json | None:
        policy = _policy(self.target, state, settings)
        binding = _binding(policy, state)
        if binding is None or not _has(binding, state["member"]):
            return None
        return {**binding, "etag": policy.get("etag", "")}

    def settle(self, state: dict[str, Any], body: Json, _settings: Settings) -> None:
        resource = expand(self.target.resource, state)
        if self.target.named:
            state[self.target.named] = resource
        if _condition(state):
            found = body["condition"]
            state["condition"] = [{name: found.get(name) for name in ("title", "description", "expression")}]
        title = _condition(state).get("title", "")
        state["etag"] = body["etag"]
        state["id"] = "/".join(filter(None, (resource, state["role"], state["member"], title)))

    def importing(self, given: str, settings: Settings) -> dict[str, Any] | None:
        """`RESOURCE ROLE MEMBER`, or these and the title of a condition."""
        words = given.split(" ", 3)
        if len(words) < 3:
            return None
        condition = [{"title": words[3]}] if len(words) > 3 else []
        parts = _resource_parts(self.target, words[0], settings)
        return {**parts, "role": words[1], "member": words[2], "condition": condition}


def _row(target: _Target) -> ResourceType:
    member = _Member(target)
    return ResourceType(
        target.type,
        target.api,
        "",
        "",
        title=target.title,
        item=target.resource,
        is_immutable=True,
        names={"location": ""},
        sameness=links(*([target.named] if target.named else [])),
        create=member.create,
        fetch=member.fetch,
        settle=member.settle,
        delete=member.delete,
        importing=member.importing,
    )


def _resource_parts(target: _Target, resource: str, settings: Settings) -> dict[str, Any]:
    """Arguments from a full resource name, or from a short one and the provider's settings."""
    state: dict[str, Any] = {"project": settings.project, "location": settings.region, "zone": settings.zone}
    template = target.resource
    while (found := named_in(resource, (template,))) is None:
        # `europe-west1/name` and `name` are short for projects/…/locations/europe-west1/…/name.
        template = template.partition("}/")[2]
    state |= found
    if target.named:
        state[target.named] = expand(target.resource, state)
    return state


_PROJECT = _Target(
    "google_project_iam_member",
    Api("cloudresourcemanager", "v3", "/v3/"),
    "project",
    "{project}",
    path="projects/{project}",
    reading="POST",
)
_TARGETS = (
    _PROJECT,
    _Target(
        "google_secret_manager_secret_iam_member",
        Api("secretmanager", "v1", "/v1/"),
        "secretmanager secret",
        "projects/{project}/secrets/{secret_id}",
        named="secret_id",
    ),
    _Target("google_storage_bucket_iam_member", STORAGE, "storage bucket", "b/{bucket}"),
    _Target(
        "google_storage_managed_folder_iam_member",
        STORAGE,
        "storage managedfolder",
        "b/{bucket}/managedFolders/{managed_folder}",
        path="b/{bucket}/managedFolders/{%managed_folder}",
    ),
    _Target(
        "google_cloud_run_v2_service_iam_member",
        Api("run", "v2", "/v2/"),
        "cloudrunv2 service",
        "projects/{project}/locations/{location}/services/{name}",
        named="name",
    ),
    _Target(
        "google_cloud_run_v2_job_iam_member",
        Api("run", "v2", "/v2/"),
        "cloudrunv2 job",
        "projects/{project}/locations/{location}/jobs/{name}",
        named="name",
    ),
    _Target(
        "google_artifact_registry_repository_iam_member",
        Api("artifactregistry", "v1", "/v1/"),
        "artifactregistry repository",
        "projects/{project}/locations/{location}/repositories/{repository}",
        named="repository",
    ),
    _Target(
        "google_service_account_iam_member",
        Api("iam", "v1", "/v1/"),
        "service account",
        "{service_account_id}",
        reading="POST",
    ),
    _Target(
        "google_iap_tunnel_instance_iam_member",
        Api("iap", "v1", "/v1/"),
        "iap tunnelinstance",
        "projects/{project}/iap_tunnel/zones/{zone}/instances/{instance}",
        named="instance",
        reading="POST",
    ),
)


def _write_audit(state: Mapping[str, Any], change: Change) -> None:
    """Writes of audit configurations name them in the mask: without one, only bindings change."""

    def edit(policy: Json) -> bool:
        others = [one for one in policy.get("auditConfigs", []) if one.get("service") != state["service"]]
        logs = [
            {"logType": one["log_type"], "exemptedMembers": sorted(one.get("exempted_members") or [])}
            for one in state.get("audit_log_config") or []
        ]
        policy["auditConfigs"] = others + ([{"service": state["service"], "auditLogConfigs": logs}] if logs else [])
        return True

    _change(_PROJECT, state, change.settings, edit, mask="bindings,etag,auditConfigs")


def _delete_audit(state: Mapping[str, Any], change: Change) -> None:
    _write_audit({**state, "audit_log_config": []}, change)


def _read_audit(state: Mapping[str, Any], settings: Settings) -> Json | None:
    policy = _policy(_PROJECT, state, settings)
    found = [one for one in policy.get("auditConfigs", []) if one.get("service") == state["service"]]
    return {**found[0], "etag": policy.get("etag", "")} if found else None


def _settle_audit(state: dict[str, Any], body: Json, _settings: Settings) -> None:
    state["etag"] = body["etag"]


def _import_audit(given: str, _settings: Settings) -> dict[str, Any] | None:
    project, _, service = given.partition(" ")
    return {"project": project, "service": service} if service else None


ROWS = tuple(map(_row, _TARGETS))
HOOKS = {
    "google_project_iam_audit_config": Hooks(
        create=_write_audit,
        updating=_write_audit,
        fetch=_read_audit,
        settle=_settle_audit,
        delete=_delete_audit,
        importing=_import_audit,
    )
}
