"""Where things lie: is the region there, is everything offered in it, is it all in one place, does it fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from google.api_core.exceptions import NotFound

from gcp_openemr.commands import state
from gcp_openemr.doctor.model import Absent, Finding, Subject, failed, ok, warning

__all__ = ["colocation", "quotas", "region"]

_QUOTA_PAGE = "https://console.cloud.google.com/iam-admin/quotas?project={project}"
_REGIONS_PAGE = "https://cloud.google.com/about/locations"
# Fewer than this many per cent left are worth a word.
_TIGHT = 10


def region(subject: Subject) -> Iterator[Finding]:
    """Region, zone and machine type in Compute Engine, and the services that the stack takes from the region."""
    if not subject.region:
        raise Absent("needs a region")
    root = f"compute/v1/projects/{subject.cloud.project}"
    try:
        found = subject.cloud.ask("compute", f"{root}/regions/{subject.region}")
    except NotFound:
        yield failed(f"There is no region {subject.region}", do=f"Correct region in [environment]: {_REGIONS_PAGE}")
        return
    yield from _zone(subject, [zone.rpartition("/")[2] for zone in found["zones"]])
    yield from _services(subject)


def _zone(subject: Subject, zones: list[str]) -> Iterator[Finding]:
    zone, machine = subject.environment.zone, subject.environment.files.machine_type
    if zone not in zones:
        yield failed(
            f"{subject.region} has no zone {zone}", do=f"Write zone in [environment], one of: {', '.join(zones)}."
        )
        return
    path = f"compute/v1/projects/{subject.project}/zones/{zone}/machineTypes/{machine}"
    try:
        subject.cloud.ask("compute", path)
    except NotFound:
        do = f"Write another machine_type in [files]: gcloud compute machine-types list --zones={zone}"
        yield failed(f"{zone} has no machine type {machine}", do=do)
    else:
        yield ok(f"{subject.region} is there, with {zone} and {machine} in it")


def _services(subject: Subject) -> Iterator[Finding]:
    project, offered = subject.project, {}
    for title, api in (
        ("Cloud Run", "run"),
        ("Artifact Registry", "artifactregistry"),
        ("Secret Manager", "secretmanager"),
    ):
        answer = subject.cloud.ask(api, f"v1/projects/{project}/locations", pageSize=200)
        offered[title] = {location["locationId"] for location in answer.get("locations", ())}
    tiers = subject.cloud.ask("sqladmin", f"v1/projects/{project}/tiers").get("items", ())
    offered["Cloud SQL"] = {place for tier in tiers for place in tier.get("region", ())}
    missing = [title for title, places in offered.items() if subject.region not in places]
    if missing:
        do = f"Choose another region in [environment]: {_REGIONS_PAGE}"
        yield failed(f"{subject.region} has no {', '.join(missing)}", do=do)
    else:
        yield ok(f"{', '.join(offered)} are offered in {subject.region}")


def colocation(subject: Subject) -> Iterator[Finding]:
    """Everything that was deployed lies in the region of the file: pages take seconds when the database does not."""
    context = subject.context
    if not state.exists(context):
        raise Absent("nothing is deployed yet")
    astray = [
        f"{address} is in {place}"
        for address, attributes in state.deployed(context)
        if (place := _place(attributes)) and place != subject.region
    ]
    if astray:
        yield failed(
            f"{len(astray)} parts lie outside {subject.region}; a deploy would replace them",
            do="Write the region they are in into [environment], or plan a move with backup and restore.",
            items=astray,
        )
    else:
        yield ok(f"every part is in {subject.region}")


def _place(attributes: Mapping[str, Any]) -> str:
    """The region that a resource's attributes name, or ''."""
    for key in ("region", "location", "zone"):
        place = str(attributes.get(key) or "").rpartition("/")[2].lower()
        if place and place != "global":
            return place.rpartition("-")[0] if key == "zone" else place
    return ""


def quotas(subject: Subject) -> Iterator[Finding]:
    """What a first deploy takes against what is left; after it, whether anything is used up."""
    context = subject.context
    is_there = state.exists(context) and state.outputs(context, "platform") is not None
    root = f"compute/v1/projects/{subject.project}"
    found = subject.cloud.ask("compute", root).get("quotas", [])
    found += subject.cloud.ask("compute", f"{root}/regions/{subject.region}").get("quotas", [])
    seen = {quota["metric"]: (quota["usage"], quota["limit"]) for quota in found}
    takes = _takes(subject)
    short: list[str] = []
    tight: list[str] = []
    fine: list[str] = []
    for metric, needed in takes.items():
        if metric not in seen:
            continue
        usage, limit = seen[metric]
        line = f"{metric} {usage:g} of {limit:g}"
        if not is_there and usage + needed > limit:
            short.append(f"{line}, {needed} more needed")
        else:
            (tight if (limit - usage) * 100 < limit * _TIGHT else fine).append(line)
    page = _QUOTA_PAGE.format(project=subject.project)
    if short:
        yield failed("a deploy needs more than is left", do=f"Ask for more: {page}", items=short)
    if tight:
        yield warning("nearly used up", do=f"Ask for more: {page}", items=tight)
    if fine and not short:
        yield ok(f"enough is left: {', '.join(fine)}")


def _takes(subject: Subject) -> Mapping[str, int]:
    """What the platform needs, by Compute Engine's metrics. One address in use is the NAT gateway's."""
    files = subject.environment.files
    path = f"compute/v1/projects/{subject.project}/zones/{subject.environment.zone}/machineTypes/{files.machine_type}"
    boot_gb = 10
    return {
        "NETWORKS": 1,
        "SUBNETWORKS": 1,
        "FIREWALLS": 2,
        "ROUTERS": 1,
        "INSTANCES": 1,
        "CPUS": int(subject.cloud.ask("compute", path).get("guestCpus", 1)),
        "IN_USE_ADDRESSES": 1,
        "SSD_TOTAL_GB": boot_gb + files.disk_size_gb,
    }
