"""What a project stands in and can only be looked at: who calls, billing, organisation policies, places, quotas.

The project belongs to no organisation, so every constraint has Google's own default. Regions are those that the
environment file knows; each API here is offered in all of them.
"""

from __future__ import annotations

from collections.abc import Mapping

from gcp_openemr.environment.values import REGIONS
from gcp_openemr.sandbox.api.compute.network import NETWORKS_LIMIT
from gcp_openemr.sandbox.api.compute.places import cores_of, zones_of
from gcp_openemr.sandbox.api.envelopes import COMPUTE_ROOT
from gcp_openemr.sandbox.api.names import id_of, path_of, project_name, project_of, segment
from gcp_openemr.sandbox.api.rules import Call, Json, handles, missing, shape

# Google gives each project its own limits, which grow with its history; these are like a young project's.
_PROJECT_LIMITS = {"FIREWALLS": 100, "NETWORKS": NETWORKS_LIMIT, "ROUTERS": 10, "SUBNETWORKS": 100}
_REGION_LIMITS = {"CPUS": 24, "IN_USE_ADDRESSES": 8, "INSTANCES": 72, "SSD_TOTAL_GB": 500}
_TIERS = ("db-f1-micro", "db-g1-small", "db-n1-standard-1", "db-n1-standard-2", "db-perf-optimized-N-2")
# https://cloud.google.com/resource-manager/docs/organization-policy/org-policy-constraints
_SWITCHES = ("iam.disableServiceAccountCreation", "iam.disableServiceAccountKeyCreation")


@handles("oauth2.userinfo.get")
def user_info(call: Call) -> Json:
    return {"id": "1", "email": call.caller.email, "verified_email": True}


@handles("cloudbilling.projects.getBillingInfo")
def billing_info(call: Call) -> Json:
    call.authorize("resourcemanager.projects.get", project_name(call.project))
    return shape("cloudbilling.info", call.name)


@handles("orgpolicy.projects.policies.getEffectivePolicy")
def effective_policy(call: Call) -> Json:
    call.authorize("orgpolicy.policy.get", project_name(call.project))
    name = id_of(call.name)
    rule: Json = {"enforce": False} if name in _SWITCHES or ".managed." in name else {"allowAll": True}
    return {"name": path_of(call.name), "spec": {"rules": [rule]}}


@handles(
    "run.projects.locations.list", "artifactregistry.projects.locations.list", "secretmanager.projects.locations.list"
)
def locations(call: Call) -> Json:
    call.authorize(f"{call.api}.locations.list", f"{call.api}.googleapis.com/projects/{call.project}")
    names = [f"projects/{call.project}/locations/{region}" for region in REGIONS]
    return {"locations": [{"name": name, "locationId": id_of(name)} for name in names]}


@handles("sql.tiers.list")
def tiers(call: Call) -> Json:
    call.authorize("cloudsql.tiers.list", f"sqladmin.googleapis.com/projects/{call.project}")
    return {
        "kind": "sql#tiersList",
        "items": [{"kind": "sql#tier", "tier": tier, "region": list(REGIONS)} for tier in _TIERS],
    }


@handles("compute.projects.get", needs="compute.projects.get")
def project(call: Call) -> Json:
    used = {"FIREWALLS": "firewalls", "NETWORKS": "networks", "ROUTERS": "routers", "SUBNETWORKS": "subnetworks"}
    usage = {metric: len(_existing(call, word)) for metric, word in used.items()}
    return {"kind": "compute#project", "name": call.project, "quotas": _quotas(call, _PROJECT_LIMITS, usage)}


@handles("compute.regions.get", needs="compute.regions.get")
def region(call: Call) -> Json:
    name = _known(call, id_of(call.name))
    zones = [f"{COMPUTE_ROOT}projects/{call.project}/zones/{zone}" for zone in zones_of(name)]
    machines = [body for body in _existing(call, "instances") if _zone(body)[:-2] == name]
    disks = [body for body in _existing(call, "disks") if _zone(body)[:-2] == name]
    usage = {
        "CPUS": sum(cores_of(id_of(str(machine["machineType"]))) or 0 for machine in machines),
        "INSTANCES": len(machines),
        "SSD_TOTAL_GB": sum(int(disk.get("sizeGb", 0)) for disk in disks if "standard" not in str(disk.get("type"))),
    }
    return shape("compute.region", call.name, zones=zones, quotas=_quotas(call, _REGION_LIMITS, usage))


@handles("compute.machineTypes.get", needs="compute.machineTypes.get")
def machine_type(call: Call) -> Json:
    zone = segment(call.name, "zones")
    cores = cores_of(id_of(call.name))
    if cores is None or zone not in zones_of(_known(call, zone[:-2])):
        raise missing(call.name)
    return {"kind": "compute#machineType", "name": id_of(call.name), "zone": zone, "guestCpus": cores}


def _known(call: Call, name: str) -> str:
    if name not in REGIONS:
        raise missing(call.name)
    return name


def _existing(call: Call, word: str) -> list[Json]:
    prefix = f"compute.googleapis.com/projects/{project_of(call.name)}/"
    return [record.body for record in call.store.list(prefix) if record.name.split("/")[-2] == word]


def _zone(body: Json) -> str:
    return id_of(str(body.get("zone", "")))


def _quotas(call: Call, limits: Mapping[str, int], usage: Mapping[str, int]) -> list[Json]:
    """As `settings.quotas` scales them; shown also while it is 0 and nothing is refused."""
    scale = call.app.settings.quotas or 1
    return [
        {"metric": metric, "limit": limit * scale, "usage": usage.get(metric, 0)} for metric, limit in limits.items()
    ]
