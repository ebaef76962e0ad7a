"""Compute Engine and Cloud DNS: one request for each of their refusals."""

from __future__ import annotations

import time
from typing import Any

from tests.sandbox.api.conformance.parts import (
    COMPUTE,
    DISKS,
    GROUPS,
    REGIONAL,
    instance,
    machine,
    made,
    settle,
    subnetwork,
)
from tests.sandbox.api.conformance.target import Answer, Target, case, rest
from tests.sandbox.api.support import REGION, ZONE

NETWORKS, INSTANCES = f"{COMPUTE}/global/networks", f"{COMPUTE}/zones/{ZONE}/instances"
CHECKS, TEMPLATES = f"{COMPUTE}/global/healthChecks", f"{COMPUTE}/global/instanceTemplates"
POLICIES = f"{REGIONAL}/resourcePolicies"
ZONES = "dns/v1/{p}/managedZones"


def daily(start: str = "03:00") -> dict[str, Any]:
    return {"snapshotSchedulePolicy": {"schedule": {"dailySchedule": {"daysInCycle": 1, "startTime": start}}}}


rest("compute.not-found", "GET", "compute", f"{NETWORKS}/conf-none")
rest("compute.disk-size", "POST", "compute", DISKS, {"name": "conf-new", "sizeGb": "5"})
rest("compute.required", "POST", "compute", INSTANCES, {"name": "conf-new"})
rest("compute.firewall-rules", "POST", "compute", f"{COMPUTE}/global/firewalls", {"name": "conf-new"})
rest("compute.health-check", "POST", "compute", CHECKS, {"name": "conf-new", "type": "TCP", "httpHealthCheck": {}})
rest(
    "compute.health-timeout",
    "POST",
    "compute",
    CHECKS,
    {"name": "conf-new", "tcpHealthCheck": {"port": 1}, "timeoutSec": 9},
)
rest("compute.schedule", "POST", "compute", POLICIES, {"name": "conf-new", **daily("03:30")})


def subnet(target: Target, given: str) -> Answer:
    subnetwork(target)
    body = {"name": "conf-new", "network": target.fill("{p}/global/networks/conf-parts"), "ipCidrRange": given}
    return target.call("POST", "compute", f"{REGIONAL}/subnetworks", body)


for refusal, given in (
    ("compute.cidr", "10.77.1.1/24"),
    ("compute.cidr-size", "10.77.1.0/30"),
    ("compute.cidr-overlap", "10.77.0.128/25"),
):
    case(refusal)(lambda target, given=given: subnet(target, given))  # type: ignore[misc]


@case("compute.cidr-grow")
def range_that_shrinks(target: Target) -> Answer:
    subnetwork(target)
    path = f"{REGIONAL}/subnetworks/conf-parts/expandIpCidrRange"
    return target.call("POST", "compute", path, {"ipCidrRange": "10.77.0.0/25"})


@case("compute.exists")
def network_twice(target: Target) -> Answer:
    subnetwork(target)
    return target.call("POST", "compute", NETWORKS, {"name": "conf-parts", "autoCreateSubnetworks": False})


@case("compute.in-use")
def network_with_a_subnetwork(target: Target) -> Answer:
    subnetwork(target)
    return target.call("DELETE", "compute", f"{NETWORKS}/conf-parts")


@case("compute.held")
def subnetwork_that_cloud_run_holds(target: Target) -> Answer:
    """At Google only within two hours of the deletion of a service in it."""
    app = target.here.app
    subnetwork(target)
    network = target.fill("{p}/global/networks/conf-parts")
    body = {"name": "conf-held", "network": network, "ipCidrRange": "10.77.3.0/24"}
    path = made(target, "compute", f"{REGIONAL}/subnetworks", body)
    held = f"run.googleapis.com/held/{target.project}/{REGION}/conf-held/serverless-ipv4-1"
    app.store.put(held, {"id": "serverless-ipv4-1", "since": time.time()})
    app.change_settings({"held_addresses": 1})
    answer = target.call("DELETE", "compute", path)
    app.change_settings({"held_addresses": 0})
    return answer


@case("compute.denied")
def caller_without_rights(target: Target) -> Answer:
    return target.call("GET", "compute", f"{NETWORKS}/conf-parts", token=target.token())


@case("compute.quota")
def one_network_too_many(target: Target) -> Answer:
    app = target.here.app
    app.change_settings({"quotas": 1e-9})
    try:
        return target.call("POST", "compute", NETWORKS, {"name": "conf-many", "autoCreateSubnetworks": False})
    finally:
        app.change_settings({"quotas": 0})


def address(target: Target, name: str, given: str) -> Answer:
    body = {"name": name, "addressType": "INTERNAL", "subnetwork": subnetwork(target), "address": given}
    return settle(target, "compute", target.call("POST", "compute", f"{REGIONAL}/addresses", body))


@case("compute.ip-in-use")
def address_twice(target: Target) -> Answer:
    address(target, "conf-taken", "10.77.0.99")
    return address(target, "conf-taken-too", "10.77.0.99")


for refusal, given in (("compute.ip-invalid", "10.77.0"), ("compute.ip-outside", "10.78.0.9")):
    case(refusal)(lambda target, given=given: address(target, "conf-new", given))  # type: ignore[misc]


@case("compute.ip-exhausted")
def subnetwork_of_four_addresses(target: Target) -> Answer:
    subnetwork(target)
    network = target.fill("{p}/global/networks/conf-parts")
    tight = {"name": "conf-tight", "network": network, "ipCidrRange": "10.77.2.0/29"}
    made(target, "compute", f"{REGIONAL}/subnetworks", tight)
    link = target.fill(f"{{p}}/regions/{REGION}/subnetworks/conf-tight")
    for number in range(8):
        body = {"name": f"conf-tight-{number}", "addressType": "INTERNAL", "subnetwork": link}
        answer = settle(target, "compute", target.call("POST", "compute", f"{REGIONAL}/addresses", body))
        if answer.status not in {200, 409}:  # those of a former run are there still
            break
    return answer


@case("compute.endpoint-subnetwork")
def endpoint_in_a_network_without_subnetworks(target: Target) -> Answer:
    made(target, "compute", NETWORKS, {"name": "conf-bare", "autoCreateSubnetworks": False})
    made(target, "sqladmin", "v1/{p}/instances", instance("conf-endpoint"))
    found = target.call("GET", "sqladmin", "v1/{p}/instances/conf-endpoint").body
    body = {
        "name": "conf-endpoint",
        "network": target.fill("{p}/global/networks/conf-bare"),
        "target": found["pscServiceAttachmentLink"],
    }
    return target.call("POST", "compute", f"{REGIONAL}/forwardingRules", body)


def _disk(target: Target) -> str:
    return made(target, "compute", DISKS, {"name": "conf-disk", "sizeGb": "20"})


@case("compute.disk-shrink")
def disk_that_shrinks(target: Target) -> Answer:
    return target.call("POST", "compute", f"{_disk(target)}/resize", {"sizeGb": "10"})


@case("compute.labels-changed")
def labels_of_another_time(target: Target) -> Answer:
    return target.call("POST", "compute", f"{_disk(target)}/setLabels", {"labelFingerprint": "MTIzNDU2Nzg="})


def attach(target: Target, region: str, *names: str) -> Answer:
    path = f"{COMPUTE}/regions/{region}/resourcePolicies"
    for name in names:
        made(target, "compute", path, {"name": name, **daily()})
    links = [target.fill(f"{{p}}/regions/{region}/resourcePolicies/{name}") for name in names]
    return target.call("POST", "compute", f"{_disk(target)}/addResourcePolicies", {"resourcePolicies": links})


@case("compute.schedule-second")
def two_schedules(target: Target) -> Answer:
    return attach(target, REGION, "conf-one", "conf-two")


@case("compute.schedule-region")
def schedule_of_another_region(target: Target) -> Answer:
    return attach(target, "us-east1", "conf-far")


def _machine(target: Target) -> str:
    return made(target, "compute", INSTANCES, machine(target, "conf-vm", deletionProtection=True))


@case("compute.protected")
def protected_machine(target: Target) -> Answer:
    return target.call("DELETE", "compute", _machine(target))


@case("compute.fingerprint")
def metadata_of_another_time(target: Target) -> Answer:
    return target.call("POST", "compute", f"{_machine(target)}/setMetadata", {"fingerprint": "MTIzNDU2Nzg="})


@case("compute.not-stopped")
def type_of_a_running_machine(target: Target) -> Answer:
    body = {"machineType": f"zones/{ZONE}/machineTypes/e2-medium"}
    return target.call("POST", "compute", f"{_machine(target)}/setMachineType", body)


rest("compute.zone", "GET", "compute", f"{COMPUTE}/zones/{REGION}/disks")


@case("compute.machine-type")
def machine_of_a_size_that_there_is_not(target: Target) -> Answer:
    kind = f"zones/{ZONE}/machineTypes/e2-standard-3"
    return target.call("POST", "compute", INSTANCES, machine(target, "conf-new", machineType=kind))


@case("compute.account")
def machine_of_nobody(target: Target) -> Answer:
    nobody = [{"email": target.fill("nobody@conf-none.iam.gserviceaccount.com"), "scopes": []}]
    return target.call("POST", "compute", INSTANCES, machine(target, "conf-new", serviceAccounts=nobody))


def group(target: Target, name: str, size: int = 0, **changes: Any) -> dict[str, Any]:
    properties = machine(target, "") | {"machineType": "e2-small"}
    del properties["name"]
    made(target, "compute", TEMPLATES, {"name": "conf-template", "properties": properties})
    version = {"instanceTemplate": target.fill("{p}/global/instanceTemplates/conf-template")}
    return {"name": name, "versions": [version], "targetSize": size, **changes}


def recreate(surge: int, room: int) -> dict[str, Any]:
    return {"replacementMethod": "RECREATE", "maxSurge": {"fixed": surge}, "maxUnavailable": {"fixed": room}}


def stateful(device: str) -> dict[str, Any]:
    return {"preservedState": {"disks": {device: {"autoDelete": "NEVER"}}}}


GROUP_CHANGES: dict[str, dict[str, Any]] = {
    "compute.surge": {"updatePolicy": recreate(1, 1)},
    "compute.no-room": {"updatePolicy": recreate(0, 0)},
    "compute.substitute": {"statefulPolicy": stateful("persistent-disk-0")},
    "compute.stateful-disk": {"statefulPolicy": stateful("none"), "updatePolicy": recreate(0, 1)},
}
for refusal, changes in GROUP_CHANGES.items():
    case(refusal)(
        lambda target, changes=changes: target.call(  # type: ignore[misc]
            "POST", "compute", GROUPS, group(target, "conf-new", **changes)
        )
    )


@case("compute.member")
def machine_of_no_group(target: Target) -> Answer:
    path = made(target, "compute", GROUPS, group(target, "conf-group"))
    body = {"instances": [f"zones/{ZONE}/instances/conf-none"]}
    return target.call("POST", "compute", f"{path}/recreateInstances", body)


ZONE_BODY = {"name": "conf-zone", "dnsName": "conf.example.com.", "description": ""}
RECORD: dict[str, Any] = {"name": "a.conf.example.com.", "type": "A", "ttl": 300, "rrdatas": ["10.0.0.1"]}
rest("dns.name", "POST", "dns", ZONES, {**ZONE_BODY, "name": "conf-new", "dnsName": "no-dot"})
rest("dns.not-found", "GET", "dns", f"{ZONES}/conf-none")


def _zone(target: Target, *, record: bool = True) -> str:
    path = made(target, "dns", ZONES, ZONE_BODY)
    if record and target.call("GET", "dns", f"{path}/rrsets/{RECORD['name']}/A").status == 404:
        assert target.call("POST", "dns", f"{path}/rrsets", RECORD).status == 200
    return path


DNS_CALLS: dict[str, tuple[str, str, Any]] = {
    "dns.not-empty": ("DELETE", "", None),
    "dns.record-required": ("POST", "/rrsets", {"name": "b.conf.example.com."}),
    "dns.record-exists": ("POST", "/rrsets", RECORD),
    "dns.record-missing": ("GET", "/rrsets/c.conf.example.com./A", None),
    "dns.record-changed": ("POST", "/changes", {"deletions": [{**RECORD, "ttl": 60}]}),
    "dns.apex": ("DELETE", "/rrsets/conf.example.com./NS", None),
}
for refusal, (method, tail, body) in DNS_CALLS.items():
    case(refusal)(
        lambda target, method=method, tail=tail, body=body: target.call(  # type: ignore[misc]
            method, "dns", _zone(target) + tail, body
        )
    )


@case("dns.exists")
def zone_twice(target: Target) -> Answer:
    _zone(target)
    return target.call("POST", "dns", ZONES, ZONE_BODY)


@case("dns.denied")
def zone_without_rights(target: Target) -> Answer:
    return target.call("GET", "dns", _zone(target), token=target.token())
