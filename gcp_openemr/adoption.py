"""What a lost answer left behind: whether a resource that exists already is this environment's, and how it is imported.

A create whose answer was lost made something that is in no state, and the next create is told that it exists already.
It is adopted where its name is one that only this environment makes, it lies in the environment's project, and, where
its type takes labels, it carries the environment's.
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from google.api_core.exceptions import Forbidden, NotFound

from gcp_openemr import interruption
from gcp_openemr.clients import Cloud
from gcp_openemr.environment import Environment
from gcp_openemr.errors import TerraformFailed

__all__ = ["KINDS", "NEVER_THERE", "Found", "Kind", "find", "finish"]

_CREATING_SECONDS = 3600.0  # three times what Cloud SQL takes
_APPEARING_SECONDS = 20.0  # a list may be behind what a create sees
_LONGEST_PAUSE = 10.0
_UNDER_WAY = frozenset({"PENDING_CREATE", "CREATING", "RESERVING"})
_ENDED = frozenset({"FAILED", "PENDING_DELETE", "DELETING", "SUSPENDED"})
_PART = re.compile(r"{(\w+)}")
_PLACES = frozenset({"project", "region", "location", "zone"})

_ZONE = "projects/{project}/zones/{zone}/"
_REGION = "projects/{project}/regions/{region}/"
_POOLS = "projects/{project}/locations/global/workloadIdentityPools/"
_LOCATION = "projects/{project}/locations/{location}/"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    """A type's import id, made of planned values, and where Google shows the resource (or the one that holds it).

    The first name in the id that is no place has to be this environment's: its own, or that of what holds it. `labels`
    is where Google shows labels, if the type takes any. `late` where the provider sets them by a call after the create.
    """

    id: str
    api: str
    path: str
    labels: tuple[str, ...] = ()
    late: bool = False

    @property
    def owner(self) -> str:
        """The planned value that has to be a name of this environment's."""
        return next(name for name in self.parts if name not in _PLACES)

    @property
    def parts(self) -> list[str]:
        """The planned values in the id, in order."""
        return _PART.findall(self.id)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """An existing resource that is this environment's."""

    address: str
    type: str
    id: str


def _kind(api: str, root: str, id_: str, *, of: str = "", labels: str = "", late: bool = False) -> Kind:
    """`of`: where Google shows it, when that is not below the API's `root` under its id."""
    return Kind(id=id_, api=api, path=root + (of or id_), labels=tuple(labels.split()), late=late)


def _compute(id_: str, **fields: Any) -> Kind:
    return _kind("compute", "compute/v1/", id_, **fields)


KINDS: Mapping[str, Kind] = {
    "google_artifact_registry_repository": _kind(
        "artifactregistry", "v1/", _LOCATION + "repositories/{repository_id}", labels="labels"
    ),
    "google_cloud_run_v2_job": _kind("run", "v2/", _LOCATION + "jobs/{name}", labels="labels"),
    "google_cloud_run_v2_service": _kind("run", "v2/", _LOCATION + "services/{name}", labels="labels"),
    "google_cloud_scheduler_job": _kind("cloudscheduler", "v1/", "projects/{project}/locations/{region}/jobs/{name}"),
    "google_compute_address": _compute(_REGION + "addresses/{name}", labels="labels", late=True),
    "google_compute_disk": _compute(_ZONE + "disks/{name}", labels="labels"),
    "google_compute_disk_resource_policy_attachment": _compute(
        "{project}/{zone}/{disk}/{name}", of=_ZONE + "disks/{disk}", labels="labels"
    ),
    "google_compute_firewall": _compute("projects/{project}/global/firewalls/{name}"),
    "google_compute_forwarding_rule": _compute(_REGION + "forwardingRules/{name}", labels="labels", late=True),
    "google_compute_health_check": _compute("projects/{project}/global/healthChecks/{name}"),
    "google_compute_instance_group_manager": _compute(_ZONE + "instanceGroupManagers/{name}"),
    "google_compute_network": _compute("projects/{project}/global/networks/{name}"),
    "google_compute_resource_policy": _compute(_REGION + "resourcePolicies/{name}"),
    "google_compute_router": _compute(_REGION + "routers/{name}"),
    "google_compute_router_nat": _compute("{project}/{region}/{router}/{name}", of=_REGION + "routers/{router}"),
    "google_compute_subnetwork": _compute(_REGION + "subnetworks/{name}"),
    "google_dns_managed_zone": _kind("dns", "dns/v1/", "projects/{project}/managedZones/{name}", labels="labels"),
    "google_dns_record_set": _kind(
        "dns", "dns/v1/", "projects/{project}/managedZones/{managed_zone}/rrsets/{name}/{type}"
    ),
    "google_iam_workload_identity_pool": _kind("iam", "v1/", _POOLS + "{workload_identity_pool_id}"),
    "google_iam_workload_identity_pool_provider": _kind(
        "iam", "v1/", _POOLS + "{workload_identity_pool_id}/providers/{workload_identity_pool_provider_id}"
    ),
    "google_logging_project_sink": _kind("logging", "v2/", "projects/{project}/sinks/{name}"),
    "google_project_iam_custom_role": _kind("iam", "v1/", "projects/{project}/roles/{role_id}"),
    "google_secret_manager_secret": _kind(
        "secretmanager", "v1/", "projects/{project}/secrets/{secret_id}", labels="labels"
    ),
    "google_service_account": _kind(
        "iam", "v1/", "projects/{project}/serviceAccounts/{account_id}@{project}.iam.gserviceaccount.com"
    ),
    "google_sql_database_instance": _kind(
        "sqladmin", "v1/", "projects/{project}/instances/{name}", labels="settings userLabels"
    ),
    "google_storage_bucket": _kind("storage", "storage/v1/", "{project}/{name}", of="b/{name}", labels="labels"),
    "google_storage_managed_folder": _kind(
        "storage", "storage/v1/", "{bucket}/{name}", of="b/{bucket}", labels="labels"
    ),
}
"""Type → how it is imported: https://registry.terraform.io/providers/hashicorp/google/latest/docs, "Import" of each."""

_CHOSEN = "Google chooses its name, so a second create makes a second one"
_MERGED = "a create adds to what is there, and finds it done"
NEVER_THERE: Mapping[str, str] = {
    "google_artifact_registry_repository_iam_member": _MERGED,
    "google_cloud_run_v2_job_iam_member": _MERGED,
    "google_cloud_run_v2_service_iam_member": _MERGED,
    "google_compute_instance_template": "every create has a name of its own; one that was lost costs nothing",
    "google_logging_project_bucket_config": "the provider takes over a bucket of that name by itself",
    "google_monitoring_alert_policy": _CHOSEN,
    "google_monitoring_notification_channel": _CHOSEN,
    "google_monitoring_uptime_check_config": _CHOSEN,
    "google_project_iam_audit_config": _MERGED,
    "google_project_iam_member": _MERGED,
    "google_project_service": _MERGED,
    "google_secret_manager_secret_iam_member": _MERGED,
    "google_service_account_iam_member": _MERGED,
    "google_storage_bucket_iam_member": _MERGED,
    "google_storage_managed_folder_iam_member": _MERGED,
}
"""Type → why no create of it is ever told that it exists already."""


def find(
    environment: Environment,
    cloud: Cloud,
    planned: Mapping[str, tuple[str, Mapping[str, Any]]],
    tell: Callable[[str], None],
) -> list[Found]:
    """Those of the planned resources (address → type, values) that exist and are this environment's.

    One that is still being made is waited for. Types that `NEVER_THERE` names, and values not known yet, are left out.

    Raises:
        TerraformFailed: one exists and is not this environment's, or will never serve; nothing was changed.
    """
    found: list[Found] = []
    refused: list[tuple[str, str]] = []
    for address, (type_, values) in planned.items():
        kind = KINDS.get(type_)
        names = _names(environment, values)
        if kind is None or not names.keys() >= {*kind.parts}:
            continue
        one = Found(address=address, type=type_, id=kind.id.format(**names))
        seen = _look(cloud, kind.api, kind.path.format(**names), tell)
        objection = next(_objections(environment, cloud, kind, one, names[kind.owner], seen), None)
        if objection is None:
            found.append(one)
        else:
            refused.append((f"  {address}: {one.id} exists already, {objection[0]}.", objection[1]))
    if refused:
        told = "\n".join(what for what, _ in refused)
        raise TerraformFailed(f"What Terraform wants to make is there already:\n{told}", do=refused[0][1])
    return found


def finish(cloud: Cloud, environment: Environment, found: Collection[Found]) -> list[str]:
    """Do what the provider does after a create and an import leaves out; returns what was done, in words.

    A new Cloud SQL instance has an account root@% without a password, which the provider removes.
    """
    done = []
    for one in found:
        if one.type == "google_sql_database_instance":
            users = cloud.api("sqladmin", "v1").users()
            instance = {"project": environment.project, "instance": one.id.rpartition("/")[2]}
            listed = users.list(**instance).execute(num_retries=5).get("items", [])
            if any((user["name"], user.get("host")) == ("root", "%") for user in listed):
                users.delete(**instance, name="root", host="%").execute(num_retries=5)
                done.append(f"removed the account root@% of {instance['instance']}, which has no password")
    return done


def _names(environment: Environment, values: Mapping[str, Any]) -> dict[str, str]:
    """The planned values that an id may be made of; a link stands for the name at its end."""
    places = {"region": environment.region, "location": environment.region, "zone": environment.zone}
    said = {name: value for name, value in values.items() if isinstance(value, str) and value}
    linked = {
        name: value.rpartition("/")[2] for name, value in said.items() if value.startswith(("projects/", "https:"))
    }
    return {**places, **said, **linked, "project": environment.project}


def _look(cloud: Cloud, api: str, path: str, tell: Callable[[str], None]) -> Mapping[str, Any] | None:
    """What Google shows, once it is made; None where it shows nothing. {} for what may not be seen."""
    start = time.monotonic()
    for pause in _pauses():
        waited = time.monotonic() - start
        try:
            seen = cloud.ask(api, path)
        except NotFound:
            if waited > _APPEARING_SECONDS:
                return None
            tell(f"{path} is not to be seen yet")
        except Forbidden:
            return {}
        else:
            if _state(seen) not in _UNDER_WAY or waited > _CREATING_SECONDS:
                return seen
            tell(f"{path} is still being made ({_state(seen)})")
        interruption.pause(pause)
    return None


def _pauses() -> Iterator[float]:
    pause = 0.2
    while True:
        yield pause
        pause = min(pause * 1.5, _LONGEST_PAUSE)


def _state(seen: Mapping[str, Any]) -> str:
    return str(seen.get("state") or seen.get("status") or "")


def _objections(
    environment: Environment, cloud: Cloud, kind: Kind, one: Found, owner: str, seen: Mapping[str, Any] | None
) -> Iterator[tuple[str, str]]:
    """What speaks against adopting it, and what to do about that; the weightiest first."""
    foreign = "Rename or delete what is there if it is nobody's, or choose another name in [environment]."
    if not _is_own(environment, owner):
        yield f"and {owner} is no name that only this environment makes", foreign
    if seen is None:
        kept = "Google keeps the name of a deleted Cloud SQL instance for a week, of other things for some minutes"
        yield "but Google shows nothing of that name", f"{kept}. Run this later, or choose another [environment] name."
    elif not seen:
        yield "and may not be seen: it is somebody else's, or your identity lacks a right to read it", foreign
    else:
        if kind.api == "storage" and not _is_in_project(environment, cloud, seen):
            yield "in another project", foreign
        if kind.labels and not _is_labelled(environment, kind, seen):
            wanted = ", ".join(f"{key}={value}" for key, value in _marks(environment).items())
            yield f"without this environment's labels ({wanted})", foreign
        if _state(seen) in _ENDED | _UNDER_WAY:
            yield f"in the state {_state(seen)}", _way_out(environment, one)


def _way_out(environment: Environment, one: Found) -> str:
    name = one.id.rpartition("/")[2]
    if one.type != "google_sql_database_instance":
        return "If it is under way, run this again. If it failed, delete it and run this again."
    where = f"{name} --project={environment.project}"
    return (
        f"See why: gcloud sql operations list --instance={where}. If it is under way, run this again when it ended. "
        f"If it never held a record, delete it: gcloud sql instances delete {where}; Google keeps the name for a week, "
        "until when another name in [environment] deploys. If it held records, ask Google's support and delete nothing."
    )


def _is_own(environment: Environment, name: str) -> bool:
    """Whether the name is one of the environment's, or begins with one: parts of names hold no hyphen."""
    own = environment.names.as_tfvars().values()
    return any(name == one or name.startswith((f"{one}-", f"{one.replace('-', '_')}_")) for one in own)


def _is_in_project(environment: Environment, cloud: Cloud, seen: Mapping[str, Any]) -> bool:
    """Whether a bucket, whose name is the whole world's, is the project's."""
    project = cloud.ask("cloudresourcemanager", f"v3/projects/{environment.project}")
    return str(project["name"]) == f"projects/{seen.get('projectNumber')}"


def _is_labelled(environment: Environment, kind: Kind, seen: Mapping[str, Any]) -> bool:
    labels: Any = seen
    for part in kind.labels:
        labels = labels.get(part) or {}
    return (kind.late and not labels) or all(labels.get(key) == value for key, value in _marks(environment).items())


def _marks(environment: Environment) -> dict[str, str]:
    return {key: environment.labels[key] for key in ("managed-by", "environment")}
