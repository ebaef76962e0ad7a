"""What keeps a subnetwork, and what a subnetwork, a firewall and a zone of Cloud DNS keep."""

from __future__ import annotations

import pytest

from tests.sandbox.api.support import PROJECT, REGION, Cloud

COMPUTE = f"compute/v1/projects/{PROJECT}"


def test_a_subnetwork_stays_while_cloud_nat_serves_it(cloud: Cloud, network: str) -> None:
    region = f"regions/{REGION}"
    served = [{"name": f"{region}/subnetworks/oe-prod-run", "sourceIpRangesToNat": ["ALL_IP_RANGES"]}]
    nat = {"name": "out", "sourceSubnetworkIpRangesToNat": "LIST_OF_SUBNETWORKS", "subnetworks": served}
    router = {"name": "out", "network": network, "nats": [nat]}
    cloud.wait(cloud.call("POST", "compute", f"{COMPUTE}/{region}/routers", router))
    refused = cloud.call("DELETE", "compute", f"{COMPUTE}/{region}/subnetworks/oe-prod-run")
    user = f"projects/{PROJECT}/{region}/routers/out"
    assert (refused.status, refused.message.endswith(f"is already being used by '{user}'")) == (400, True)
    cloud.wait(cloud.call("DELETE", "compute", f"{COMPUTE}/{region}/routers/out"))
    cloud.wait(cloud.call("DELETE", "compute", f"{COMPUTE}/{region}/subnetworks/oe-prod-run"))


def test_a_subnetwork_is_changed_with_its_current_fingerprint_only(cloud: Cloud, network: str) -> None:
    path = f"{COMPUTE}/regions/{REGION}/subnetworks/oe-prod-run"
    known = cloud.call("GET", "compute", path).body["fingerprint"]
    for given in ({}, {"fingerprint": "MTIzNDU2Nzg="}):
        refused = cloud.call("PATCH", "compute", path, {"description": "new", **given})
        assert (refused.status, refused.body["error"]["errors"][0]["reason"]) == (412, "conditionNotMet")
    cloud.wait(cloud.call("PATCH", "compute", path, {"description": "new", "fingerprint": known}))
    found = cloud.call("GET", "compute", path).body
    assert found["description"] == "new"
    assert found["fingerprint"] != known


@pytest.mark.parametrize("rules", [("allowed", "denied"), ()])
def test_a_firewall_allows_or_denies(cloud: Cloud, network: str, rules: tuple[str, ...]) -> None:
    body = {"name": "f", "network": network, **{rule: [{"IPProtocol": "tcp"}] for rule in rules}}
    refused = cloud.call("POST", "compute", f"{COMPUTE}/global/firewalls", body)
    assert refused.message == "Exactly one of fields 'allowed' or 'denied' must be specified."


def test_a_zone_keeps_its_own_records_whatever_a_change_says(cloud: Cloud, network: str) -> None:
    zones = f"dns/v1/projects/{PROJECT}/managedZones"
    assert cloud.call("POST", "dns", zones, {"name": "z", "dnsName": "a.example.", "description": ""}).status == 200
    (own,) = cloud.call("GET", "dns", f"{zones}/z/rrsets?name=a.example.&type=NS").body["rrsets"]
    refused = cloud.call("POST", "dns", f"{zones}/z/changes", {"deletions": [own]})
    assert (refused.status, refused.body["error"]["errors"][0]["reason"]) == (400, "invalidZoneApex")
    replaced = {"deletions": [own], "additions": [{**own, "ttl": 300}]}
    assert cloud.call("POST", "dns", f"{zones}/z/changes", replaced).status == 200
    (found,) = cloud.call("GET", "dns", f"{zones}/z/rrsets?name=a.example.&type=NS").body["rrsets"]
    assert found["ttl"] == 300
