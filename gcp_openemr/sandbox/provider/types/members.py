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
from urllib.parse import quote

from gcp_openemr.sandbox.provider.rest import ApiError
from gcp_openemr.sandbox.provider.types.model import Change, Json, ResourceType, Settings, expand, short

__all__ = ["ROWS"]

_VERSION_WITH_CONDITIONS = 3
_TRIES = 12

# hashicorp/google serialises its own writers the same way, so that only others' writes cause conflicts.
_locks: dict[str, threading.Lock] = defaultdict(threading.Lock)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Target:
    """A kind of resource with a policy; `parts` are the arguments that name it, `resource` its name in ids."""

    type: str
    title: str
    api: tuple[str, str]
    resource: str
    # Argument that may hold a full name where the template wants the last segment.
    named: str = ""
    get: tuple[str, str] = ("GET", ":getIamPolicy")
    put: tuple[str, str] = ("POST", ":setIamPolicy")
    query: Mapping[str, str] = dataclasses.field(
        default_factory=lambda: {"options.requestedPolicyVersion": str(_VERSION_WITH_CONDITIONS)}
    )
    root: str = ""
    # Argument whose slashes are part of one segment of the path.
    encoded: str = ""
    mask: str = ""

    def name(self, state: Mapping[str, Any]) -> str:
        shortened = {**state, self.named: short(state.get(self.named))} if self.named else state
        return expand(self.resource, shortened)

    def path(self, state: Mapping[str, Any], suffix: str) -> str:
        if self.encoded:
            state = {**state, self.encoded: quote(str(state[self.encoded]), safe="")}
        return f"{self.root or '/' + self.api[1]}/{self.name(state)}{suffix}"


def _policy(target: _Target, state: Mapping[str, Any], settings: Settings) -> Json:
    method, suffix = target.get
    host = f"{target.api[0]}.googleapis.com"
    if method == "POST":
        options = {"options": {"requestedPolicyVersion": _VERSION_WITH_CONDITIONS}}
        return settings.client.call(method, host, target.path(state, suffix), options)
    return settings.client.call(method, host, target.path(state, suffix), query=target.query)


def _change(target: _Target, state: Mapping[str, Any], settings: Settings, edit: Callable[[Json], bool]) -> None:
    """Edit the policy until nobody else's edit comes between; `edit` says whether it changed anything."""
    method, suffix = target.put
    host = f"{target.api[0]}.googleapis.com"
    pause = 0.05
    with _locks[target.name(state)]:
        for attempt in range(_TRIES):
            policy = _policy(target, state, settings)
            if not edit(policy):
                return
            mask = {"updateMask": target.mask} if target.mask else {}
            body: Json = policy if method == "PUT" else {"policy": policy, **mask}
            try:
                settings.client.call(method, host, target.path(state, suffix), body)
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
    for binding in policy.get("bindings", []):
        if binding.get("role") == state["role"] and (binding.get("condition") or {}) == condition:
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

    def reading(self, state: Mapping[str, Any], settings: Settings) -> dict[str, Any] | None:
        policy = _policy(self.target, state, settings)
        binding = _binding(policy, state)
        if binding is None or not _has(binding, state["member"]):
            return None
        resource = self.target.name(state)
        named = {self.target.named: resource} if self.target.named else {}
        title = _condition(state).get("title", "")
        identity = "/".join(filter(None, (resource, state["role"], state["member"], title)))
        return {**state, **named, "etag": policy.get("etag", ""), "id": identity}

    def importing(self, given: str, settings: Settings) -> dict[str, Any] | None:
        """`RESOURCE ROLE MEMBER`."""
        words = given.split(" ", 2)
        if len(words) < 3:
            return None
        return {**_resource_parts(self.target, words[0], settings), "role": words[1], "member": words[2]}


def _row(target: _Target) -> ResourceType:
    member = _Member(target)
    return ResourceType(
        type=target.type,
        title=target.title,
        api=target.api,
        schema="Policy",
        collection="",
        item="",
        id="",
        is_immutable=True,
        sameness={target.named: "link"} if target.named else {},
        create=member.create,
        reading=member.reading,
        delete=member.delete,
        importing=member.importing,
    )


def _resource_parts(target: _Target, resource: str, settings: Settings) -> dict[str, Any]:
    """Arguments from a full resource name, or from a short one and the provider's settings."""
    template, given = target.resource.split("/"), resource.split("/")
    state: dict[str, Any] = {"project": settings.project, "location": settings.region}
    places = [step.strip("{}") for step in template if step.startswith("{")]
    if len(template) == len(given):
        values = [value for step, value in zip(template, given, strict=True) if step.startswith("{")]
        state |= dict(zip(places, values, strict=True))
    else:
        state |= dict(zip(places[-len(given) :], given, strict=False))
    if target.named:
        state[target.named] = expand(target.resource, state)
    return state


_TARGETS = (
    _Target(
        type="google_project_iam_member",
        title="project",
        api=("cloudresourcemanager", "v3"),
        resource="{project}",
        root="/v3/projects",
        get=("POST", ":getIamPolicy"),
    ),
    _Target(
        type="google_secret_manager_secret_iam_member",
        title="secretmanager secret",
        api=("secretmanager", "v1"),
        resource="projects/{project}/secrets/{secret_id}",
        named="secret_id",
    ),
    _Target(
        type="google_storage_bucket_iam_member",
        title="storage bucket",
        api=("storage", "v1"),
        resource="b/{bucket}",
        root="/storage/v1",
        get=("GET", "/iam"),
        put=("PUT", "/iam"),
        query={"optionsRequestedPolicyVersion": str(_VERSION_WITH_CONDITIONS)},
    ),
    _Target(
        type="google_storage_managed_folder_iam_member",
        title="storage managedfolder",
        api=("storage", "v1"),
        resource="b/{bucket}/managedFolders/{managed_folder}",
        root="/storage/v1",
        encoded="managed_folder",
        get=("GET", "/iam"),
        put=("PUT", "/iam"),
        query={"optionsRequestedPolicyVersion": str(_VERSION_WITH_CONDITIONS)},
    ),
    _Target(
        type="google_cloud_run_v2_service_iam_member",
        title="cloudrunv2 service",
        api=("run", "v2"),
        resource="projects/{project}/locations/{location}/services/{name}",
        named="name",
    ),
    _Target(
        type="google_cloud_run_v2_job_iam_member",
        title="cloudrunv2 job",
        api=("run", "v2"),
        resource="projects/{project}/locations/{location}/jobs/{name}",
        named="name",
    ),
    _Target(
        type="google_artifact_registry_repository_iam_member",
        title="artifactregistry repository",
        api=("artifactregistry", "v1"),
        resource="projects/{project}/locations/{location}/repositories/{repository}",
        named="repository",
    ),
    _Target(
        type="google_service_account_iam_member",
        title="service account",
        api=("iam", "v1"),
        resource="{service_account_id}",
        get=("POST", ":getIamPolicy"),
    ),
    _Target(
        type="google_kms_crypto_key_iam_member",
        title="KMS CryptoKey",
        api=("cloudkms", "v1"),
        resource="{crypto_key_id}",
    ),
)


def _audit_row() -> ResourceType:
    target = _TARGETS[0]

    def wanted(state: Mapping[str, Any]) -> list[Json]:
        return [
            {
                "logType": one["log_type"],
                **({"exemptedMembers": sorted(one["exempted_members"])} if one.get("exempted_members") else {}),
            }
            for one in state.get("audit_log_config") or []
        ]

    def edit_with(state: Mapping[str, Any], configs: list[Json]) -> Callable[[Json], bool]:
        def edit(policy: Json) -> bool:
            others = [one for one in policy.get("auditConfigs", []) if one.get("service") != state["service"]]
            ours = [{"service": state["service"], "auditLogConfigs": configs}] if configs else []
            policy["auditConfigs"] = others + ours
            return True

        return edit

    def write(state: Mapping[str, Any], change: Change) -> None:
        _change(_auditing(target), state, change.settings, edit_with(state, wanted(state)))

    def delete(state: Mapping[str, Any], change: Change) -> None:
        _change(_auditing(target), state, change.settings, edit_with(state, []))

    def reading(state: Mapping[str, Any], settings: Settings) -> dict[str, Any] | None:
        policy = _policy(target, state, settings)
        found = [one for one in policy.get("auditConfigs", []) if one.get("service") == state["service"]]
        if not found:
            return None
        logs = [
            {"log_type": one["logType"], "exempted_members": one.get("exemptedMembers", [])}
            for one in found[0].get("auditLogConfigs", [])
        ]
        identity = f"{state['project']}/audit_config/{state['service']}"
        return {**state, "audit_log_config": logs, "etag": policy.get("etag", ""), "id": identity}

    def importing(given: str, _settings: Settings) -> dict[str, Any] | None:
        project, _, service = given.partition(" ")
        return {"project": project, "service": service} if service else None

    return ResourceType(
        type="google_project_iam_audit_config",
        title="IAM audit config",
        api=target.api,
        schema="Policy",
        collection="",
        item="",
        id="",
        forced=frozenset({"project", "service"}),
        create=write,
        updating=write,
        reading=reading,
        delete=delete,
        importing=importing,
    )


def _auditing(target: _Target) -> _Target:
    """Writes of audit configurations name them in the mask: without one, only bindings change."""
    return dataclasses.replace(target, mask="bindings,etag,auditConfigs")


ROWS = (*map(_row, _TARGETS), _audit_row())
