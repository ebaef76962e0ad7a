"""What cases need to be there first: made once, left for the next case."""

from __future__ import annotations

import time
from typing import Any

from tests.sandbox.api.conformance.target import Answer, Target
from tests.sandbox.api.support import REGION, ZONE

__all__ = ["COMPUTE", "DISKS", "GROUPS", "REGIONAL", "SQL", "instance", "machine", "made", "settle", "subnetwork"]

COMPUTE = "compute/v1/{p}"
REGIONAL = f"{COMPUTE}/regions/{REGION}"
DISKS = f"{COMPUTE}/zones/{ZONE}/disks"
GROUPS = f"{COMPUTE}/zones/{ZONE}/instanceGroupManagers"
SQL = "v1/{p}/instances"


def settle(target: Target, api: str, answer: Answer) -> Answer:
    """The answer once its operation is done."""
    while answer.status == 200 and answer.body.get("status") in {"PENDING", "RUNNING"}:
        time.sleep(0.02 if target.sandbox else 2)
        path = answer.body["selfLink"].split("googleapis.com/", 1)[1]
        answer = target.call("GET", api, path)
    return answer


def made(target: Target, api: str, path: str, body: dict[str, Any]) -> str:
    """The path of a resource that is there now."""
    name = body.get("name") or ""
    if target.call("GET", api, f"{path}/{name}").status == 404:
        answer = settle(target, api, target.call("POST", api, path, body))
        assert answer.status == 200, answer.body
        assert "error" not in answer.body, answer.body
    return f"{path}/{name}"


def subnetwork(target: Target) -> str:
    """Short URL of 10.77.0.0/24 in the network `conf-parts`."""
    made(target, "compute", f"{COMPUTE}/global/networks", {"name": "conf-parts", "autoCreateSubnetworks": False})
    body = {
        "name": "conf-parts",
        "network": target.fill("{p}/global/networks/conf-parts"),
        "ipCidrRange": "10.77.0.0/24",
    }
    made(target, "compute", f"{REGIONAL}/subnetworks", body)
    return target.fill(f"{{p}}/regions/{REGION}/subnetworks/conf-parts")


def machine(target: Target, name: str, **changes: Any) -> dict[str, Any]:
    """Body of a machine in `conf-parts`."""
    image = "projects/debian-cloud/global/images/family/debian-12"
    return {
        "name": name,
        "machineType": f"zones/{ZONE}/machineTypes/e2-small",
        "disks": [{"boot": True, "autoDelete": True, "initializeParams": {"sourceImage": image}}],
        "networkInterfaces": [{"subnetwork": subnetwork(target)}],
        **changes,
    }


def instance(name: str, **settings: Any) -> dict[str, Any]:
    """Body of a small Cloud SQL instance."""
    return {
        "name": name,
        "region": REGION,
        "databaseVersion": "MYSQL_8_0",
        "settings": {
            "tier": "db-g1-small",
            "ipConfiguration": {"ipv4Enabled": False, "pscConfig": {"pscEnabled": True}},
            **settings,
        },
    }
