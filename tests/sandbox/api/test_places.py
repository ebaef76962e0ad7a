"""Which zones and machine types Compute Engine has."""

from __future__ import annotations

import pytest

from tests.sandbox.api.support import PROJECT, REGION, ZONE, Cloud

COMPUTE = f"compute/v1/projects/{PROJECT}"


@pytest.mark.parametrize(
    ("machine_type", "cores"),
    [
        ("e2-small", 2),
        ("e2-standard-4", 4),
        ("e2-standard-3", None),
        ("e2-standard-64", None),
        ("n2-highmem-128", 128),
        ("n1-standard-1", 1),
        ("e2-custom-2-4096", 2),
        ("e2-custom-3-4096", None),
        ("e2-custom-2-4000", None),
        ("e2-custom-64-131072", None),
        ("custom-1-3840", 1),
        ("n9-standard-6", 6),  # a series that is not known here
        ("e2", None),
    ],
)
def test_machine_types_are_those_of_their_series(cloud: Cloud, machine_type: str, cores: int | None) -> None:
    found = cloud.call("GET", "compute", f"{COMPUTE}/zones/{ZONE}/machineTypes/{machine_type}")
    assert (found.status, found.body.get("guestCpus")) == ((200, cores) if cores else (404, None))


@pytest.mark.parametrize("zone", [REGION, f"{REGION}-a", f"{REGION}-bb", "nowhere"])
def test_what_is_asked_of_a_zone_that_there_is_not_is_refused(cloud: Cloud, zone: str) -> None:
    disk = {"name": "d", "sizeGb": "10"}
    refused = cloud.call("POST", "compute", f"{COMPUTE}/zones/{zone}/disks", disk)
    assert (refused.status, refused.message) == (400, f"Invalid value for field 'zone': '{zone}'. Unknown zone.")
    assert cloud.call("POST", "compute", f"{COMPUTE}/zones/europe-west99-a/disks", disk).status == 200
