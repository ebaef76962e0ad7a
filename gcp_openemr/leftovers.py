"""What Google still has of an environment: asked of each API that the stack uses, not of Terraform's state.

A thing is the environment's by its labels, by its name, or by that of what it is a copy of: names of ours begin with
`oe-ENVIRONMENT`, and the names of environments and clinics hold no hyphen, so nothing of another environment begins
so. What cannot be asked (an API that is not enabled) holds nothing; what may not be asked is a failure, since an empty
answer would be a claim.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from google.api_core.exceptions import Forbidden, NotFound

from gcp_openemr.clients import Cloud
from gcp_openemr.environment import Environment
from gcp_openemr.errors import CloudRefused

__all__ = ["KINDS", "Kind", "Leftover", "find", "remove", "unbind"]

_AT_ONCE = 8
_GONE = frozenset({"DELETED", "DELETE_REQUESTED"})  # kept for some days, so that it can be brought back
_BINDING = "google_project_iam_member"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    """A type of thing: where Google lists it, and the words of `gcloud` that remove one.

    `items` is the list's field in the answer, `title` the field of an item by which people know it, `labels` where it
    has its labels. `holds` tells what would be lost with one: such a thing is only ever removed through Terraform,
    whose state knows it.
    """

    type: str
    api: str
    path: str
    items: str
    gcloud: str
    labels: str = ""
    holds: str = ""
    title: str = "name"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Leftover:
    """A thing that is there. `path` is where the API has it; `by_hand` is the command that removes it."""

    type: str
    name: str
    api: str
    path: str
    by_hand: str
    holds: str = ""

    @property
    def is_binding(self) -> bool:
        return self.type == _BINDING


_GLOBAL = "compute/v1/projects/{project}/global/"
_REGION = "compute/v1/projects/{project}/regions/{region}/"
_ZONE = "compute/v1/projects/{project}/zones/{zone}/"
_PROJECT = "projects/{project}/"
_LOCATION = "projects/{project}/locations/{region}/"
_ROWS = (
    # type, API, list, its field, labels, what is lost with one, gcloud
    ("cloud_scheduler_job", "cloudscheduler", "v1/" + _LOCATION + "jobs", "jobs", "", "",
     "scheduler jobs delete {name} --location={region}"),
    ("cloud_run_v2_service", "run", "v2/" + _LOCATION + "services", "services", "labels", "",
     "run services delete {name} --region={region}"),
    ("cloud_run_v2_job", "run", "v2/" + _LOCATION + "jobs", "jobs", "labels", "",
     "run jobs delete {name} --region={region}"),
    ("monitoring_alert_policy", "monitoring", "v3/" + _PROJECT + "alertPolicies", "alertPolicies", "userLabels", "",
     "monitoring policies delete {id}"),
    ("monitoring_uptime_check_config", "monitoring", "v3/" + _PROJECT + "uptimeCheckConfigs", "uptimeCheckConfigs",
     "userLabels", "", "monitoring uptime delete {id}"),
    ("monitoring_notification_channel", "monitoring", "v3/" + _PROJECT + "notificationChannels",
     "notificationChannels", "userLabels", "", "beta monitoring channels delete {id}"),
    ("logging_metric", "logging", "v2/" + _PROJECT + "metrics", "metrics", "", "", "logging metrics delete {name}"),
    ("logging_project_sink", "logging", "v2/" + _PROJECT + "sinks", "sinks", "", "", "logging sinks delete {name}"),
    ("compute_forwarding_rule", "compute", _REGION + "forwardingRules", "items", "labels", "",
     "compute forwarding-rules delete {name} --region={region}"),
    ("compute_instance_group_manager", "compute", _ZONE + "instanceGroupManagers", "items", "", "",
     "compute instance-groups managed delete {name} --zone={zone}"),
    ("compute_instance", "compute", _ZONE + "instances", "items", "labels", "",
     "compute instances delete {name} --zone={zone}"),
    ("compute_instance_template", "compute", _GLOBAL + "instanceTemplates", "items", "properties labels", "",
     "compute instance-templates delete {name}"),
    ("compute_health_check", "compute", _GLOBAL + "healthChecks", "items", "", "",
     "compute health-checks delete {name} --global"),
    ("compute_disk", "compute", _ZONE + "disks", "items", "labels", "patients' documents and encryption keys",
     "compute disks delete {name} --zone={zone}"),
    ("compute_snapshot", "compute", _GLOBAL + "snapshots", "items", "labels", "", "compute snapshots delete {name}"),
    ("compute_resource_policy", "compute", _REGION + "resourcePolicies", "items", "", "",
     "compute resource-policies delete {name} --region={region}"),
    ("compute_address", "compute", _REGION + "addresses", "items", "labels", "",
     "compute addresses delete {name} --region={region}"),
    ("compute_firewall", "compute", _GLOBAL + "firewalls", "items", "", "", "compute firewall-rules delete {name}"),
    ("compute_router", "compute", _REGION + "routers", "items", "", "",
     "compute routers delete {name} --region={region}"),
    ("sql_database_instance", "sqladmin", "v1/" + _PROJECT + "instances", "items", "settings userLabels",
     "patients' records", "sql instances patch {name} --no-deletion-protection; gcloud sql instances delete {name}"),
    ("sql_backup", "sqladmin", "v1/" + _PROJECT + "backups", "backups", "", "", "sql backups delete {id}"),
    ("dns_managed_zone", "dns", "dns/v1/" + _PROJECT + "managedZones", "managedZones", "labels", "",
     "dns managed-zones delete {name}"),
    ("compute_subnetwork", "compute", _REGION + "subnetworks", "items", "", "",
     "compute networks subnets delete {name} --region={region}"),
    ("compute_network", "compute", _GLOBAL + "networks", "items", "", "", "compute networks delete {name}"),
    ("secret_manager_secret", "secretmanager", "v1/" + _PROJECT + "secrets", "secrets", "labels",
     "passwords, with every version", "secrets delete {name}"),
    ("service_account", "iam", "v1/" + _PROJECT + "serviceAccounts", "accounts", "", "",
     "iam service-accounts delete {id}"),
    ("iam_workload_identity_pool", "iam", "v1/" + _PROJECT + "locations/global/workloadIdentityPools",
     "workloadIdentityPools", "", "", "iam workload-identity-pools delete {name} --location=global"),
    ("artifact_registry_repository", "artifactregistry", "v1/" + _LOCATION + "repositories", "repositories", "labels",
     "the images that services start from", "artifacts repositories delete {name} --location={region}"),
    ("logging_project_bucket_config", "logging", "v2/" + _LOCATION + "buckets", "buckets", "",
     "the record of who read and wrote patients' data", "logging buckets delete {name} --location={region}"),
    ("storage_bucket", "storage", "storage/v1/b?project={project}", "items", "labels",
     "backups or Terraform's state", "storage rm --recursive gs://{name}"),
)  # fmt: skip
_TITLES = {
    "monitoring_alert_policy": "displayName",
    "monitoring_notification_channel": "displayName",
    "monitoring_uptime_check_config": "displayName",
    "sql_backup": "instance",
}
_COPY_OF = {"google_compute_snapshot": "sourceDisk"}
"""Type → where it says of what it is a copy. A person gives a copy any name."""
_BY_HAND: Mapping[str, Callable[[Mapping[str, Any]], bool]] = {
    "google_compute_snapshot": lambda item: not item.get("autoCreated"),
    "google_sql_backup": lambda item: item.get("type") == "ON_DEMAND",
}
"""Type → whether somebody made this copy, and no schedule or deletion did: it may be all that they have."""
KINDS: tuple[Kind, ...] = tuple(
    Kind(
        type=f"google_{type_}",
        api=api,
        path=path,
        items=items,
        labels=labels,
        holds=holds,
        title=_TITLES.get(type_, "name"),
        gcloud=gcloud,
    )
    for type_, api, path, items, labels, holds, gcloud in _ROWS
)
"""In the order in which they can go: what uses another comes before it. Copies that Google makes by itself of the
disk and of the instance (snapshots, Cloud SQL's backups) go with them."""


def find(environment: Environment, cloud: Cloud, *, clinic: str = "") -> list[Leftover]:
    """Everything of the environment, or of one clinic, that Google lists, in the order in which it can go.

    Raises:
        CloudRefused: this caller may not list a type.
    """
    own = _Own.of(environment, clinic)
    with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as pool:
        listed = list(pool.map(lambda kind: list(_of_kind(environment, cloud, kind, own)), KINDS))
        bound = pool.submit(lambda: list(_bindings(cloud, own)))
    return [*bound.result(), *(one for found in listed for one in found)]


def remove(cloud: Cloud, one: Leftover) -> None:
    """Delete a thing that holds nothing, by its API. Raises what Google answers; what is gone already is fine."""
    assert not one.holds  # noqa: S101 -- that is Terraform's to destroy
    try:
        cloud.ask(one.api, one.path, method="DELETE")
    except NotFound:
        return


def unbind(cloud: Cloud, members: Collection[str]) -> None:
    """Take members out of the project's policy, in one conditional write."""
    path = f"v3/projects/{cloud.project}"
    body = {"options": {"requestedPolicyVersion": 3}}
    policy = cloud.ask("cloudresourcemanager", f"{path}:getIamPolicy", body=body)
    for binding in policy.get("bindings", []):
        binding["members"] = [member for member in binding["members"] if member not in members]
    policy["bindings"] = [binding for binding in policy.get("bindings", []) if binding["members"]]
    cloud.ask("cloudresourcemanager", f"{path}:setIamPolicy", body={"policy": policy})


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Own:
    """What makes a thing the environment's, or one clinic's: beginnings of its name, and labels."""

    beginnings: tuple[str, ...]
    labels: Mapping[str, str]

    @classmethod
    def of(cls, environment: Environment, clinic: str) -> _Own:
        own = environment.names.registry + (f"-{clinic}" if clinic else "")
        titles = () if clinic else (f"OpenEMR {environment.name}:",)
        labels = {key: environment.labels[key] for key in ("managed-by", "environment")}
        return cls(
            beginnings=(own, own.replace("-", "_"), f"{environment.project}-{own}", *titles),
            labels={**labels, **({"clinic": clinic} if clinic else {})},
        )

    def has_name(self, name: str) -> bool:
        """Equal to a beginning, or going on behind it with what no name of another environment has there."""
        starts = (one for one in self.beginnings if name.startswith(one))
        return any(name == one or one.endswith(":") or name[len(one)] in "-_@:" for one in starts)

    def has_labels(self, labels: Mapping[str, str]) -> bool:
        return all(labels.get(key) == value for key, value in self.labels.items())


def _of_kind(environment: Environment, cloud: Cloud, kind: Kind, own: _Own) -> Iterator[Leftover]:
    place = {"project": environment.project, "region": environment.region, "zone": environment.zone}
    for item in _items(cloud, kind, kind.path.format(**place)):
        labels: Any = item
        for part in kind.labels.split():
            labels = labels.get(part) or {}
        if item.get("lifecycleState") in _GONE or item.get("state") in _GONE:
            continue
        full, title = str(item["name"]), str(item.get(kind.title, "")).rpartition("/")[2]
        name = full.rpartition("/")[2]
        original = str(item.get(_COPY_OF.get(kind.type, ""), "")).rpartition("/")[2]
        if own.has_name(title) or own.has_name(original) or (kind.labels and own.has_labels(labels)):
            path = full if full.startswith("projects/") else f"{kind.path.format(**place)}/{name}"
            words = kind.gcloud.format(name=name.partition("@")[0], id=name, **place)
            yield Leftover(
                type=kind.type,
                name=title,
                api=kind.api,
                path=_versioned(kind, path),
                by_hand=f"gcloud {words} --project={environment.project}",
                holds=kind.holds or _held_by_hand(kind, item),
            )


def _held_by_hand(kind: Kind, item: Mapping[str, Any]) -> str:
    made = _BY_HAND.get(kind.type)
    return "a copy that somebody made by hand" if made and made(item) else ""


def _versioned(kind: Kind, path: str) -> str:
    version = kind.path.partition("/")[0]
    return path if path.startswith(f"{version}/") else f"{version}/{path}"


def _items(cloud: Cloud, kind: Kind, path: str) -> Iterator[Mapping[str, Any]]:
    path, _, asked = path.partition("?")
    query: dict[str, Any] = dict(part.split("=") for part in filter(None, asked.split("&")))
    while True:
        try:
            answer = cloud.ask(kind.api, path, **query)
        except NotFound:
            return
        except Forbidden as error:
            if _is_disabled(error):
                return
            raise CloudRefused(
                f"Whether a {kind.type} is left cannot be seen: {error.message}",
                do="Run: gcp-openemr doctor --for destroy. It names the permissions that are missing.",
            ) from error
        yield from answer.get(kind.items, ())
        if not answer.get("nextPageToken"):
            return
        query["pageToken"] = answer["nextPageToken"]


def _is_disabled(error: Forbidden) -> bool:
    """An API that is not enabled has nothing."""
    return error.reason == "SERVICE_DISABLED" or "has not been used in project" in error.message


def _bindings(cloud: Cloud, own: _Own) -> Iterator[Leftover]:
    """Members of the project's policy: Google keeps those of accounts that are gone, as `deleted:…?uid=…`."""
    path = f"v3/projects/{cloud.project}"
    body = {"options": {"requestedPolicyVersion": 3}}
    policy = cloud.ask("cloudresourcemanager", f"{path}:getIamPolicy", body=body)
    for binding in policy.get("bindings", ()):
        for member in binding["members"]:
            if own.has_name(member.removeprefix("deleted:").removeprefix("serviceAccount:")):
                words = f"projects remove-iam-policy-binding {cloud.project} --member={member} --role={binding['role']}"
                by_hand = f"gcloud {words} --all"
                yield Leftover(type=_BINDING, name=member, api="cloudresourcemanager", path=path, by_hand=by_hand)
