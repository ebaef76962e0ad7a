"""A managed group of one machine: its disk and address survive everything that happens to the machine."""

from __future__ import annotations

import time
from typing import Any

import pytest

from gcp_openemr.sandbox.api.compute.groups import heal
from gcp_openemr.sandbox.interfaces import Refused
from tests.sandbox.api.support import PROJECT, REGION, ZONE, Cloud

COMPUTE = f"compute/v1/projects/{PROJECT}"
GROUP = f"{COMPUTE}/zones/{ZONE}/instanceGroupManagers/oe-prod-files"
DISK = f"https://www.googleapis.com/compute/v1/projects/{PROJECT}/zones/{ZONE}/disks/oe-prod-data"
STATEFUL = {"preservedState": {"disks": {"data": {"autoDelete": "NEVER"}}, "internalIPs": {"nic0": {}}}}
RECREATE = {
    "type": "PROACTIVE",
    "minimalAction": "REPLACE",
    "replacementMethod": "RECREATE",
    "maxSurge": {"fixed": 0},
    "maxUnavailable": {"fixed": 1},
}


def insert(cloud: Cloud, place: str, body: dict[str, Any]) -> dict[str, Any]:
    done = cloud.wait(cloud.call("POST", "compute", f"{COMPUTE}/{place}", body))
    assert done["error"] is None, done["error"]
    found: dict[str, Any] = cloud.call("GET", "compute", f"{COMPUTE}/{place}/{body['name']}").body
    return found


def template(name: str, account: str, machine_type: str = "e2-small") -> dict[str, Any]:
    return {
        "name": name,
        "properties": {
            "machineType": machine_type,
            "disks": [
                {
                    "boot": True,
                    "autoDelete": True,
                    "initializeParams": {"sourceImage": "projects/debian-cloud/global/images/family/debian-12"},
                },
                {"source": "oe-prod-data", "deviceName": "data"},
            ],
            "networkInterfaces": [{"subnetwork": f"regions/{REGION}/subnetworks/oe-prod-run"}],
            "serviceAccounts": [{"email": account, "scopes": ["https://www.googleapis.com/auth/cloud-platform"]}],
            "metadata": {"items": [{"key": "startup-script", "value": "#!/bin/sh"}]},
        },
    }


def group(**changes: Any) -> dict[str, Any]:
    return {
        "name": "oe-prod-files",
        "baseInstanceName": "oe-prod-files",
        "versions": [{"instanceTemplate": f"projects/{PROJECT}/global/instanceTemplates/one"}],
        "targetSize": 1,
        "statefulPolicy": STATEFUL,
        "updatePolicy": RECREATE,
        "autoHealingPolicies": [{"healthCheck": "global/healthChecks/files", "initialDelaySec": 300}],
        **changes,
    }


@pytest.fixture
def parts(cloud: Cloud, network: str, account: str) -> str:
    """What a group is made of: disk, template `one`, health check; the machine's account."""
    insert(cloud, f"zones/{ZONE}/disks", {"name": "oe-prod-data", "sizeGb": "20"})
    insert(cloud, "global/instanceTemplates", template("one", account))
    check = {"name": "files", "type": "TCP", "tcpHealthCheck": {"port": 2049}, "checkIntervalSec": 10}
    insert(cloud, "global/healthChecks", check)
    return account


def machine(cloud: Cloud) -> dict[str, Any]:
    """The group's one machine, once it runs."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        items = cloud.call("GET", "compute", f"{COMPUTE}/zones/{ZONE}/instances").body.get("items", [])
        if len(items) == 1 and items[0]["status"] == "RUNNING":
            found: dict[str, Any] = items[0]
            return found
        time.sleep(0.02)
    raise AssertionError("no machine runs")


def test_a_group_makes_its_machine_from_the_template(cloud: Cloud, parts: str) -> None:
    ports = [{"name": "redis", "port": 6379}]
    made = insert(cloud, f"zones/{ZONE}/instanceGroupManagers", {**group(), "namedPorts": ports})
    found = machine(cloud)
    assert made["namedPorts"] == ports
    assert found["name"].startswith("oe-prod-files-")
    assert [disk["source"] for disk in found["disks"]][1] == DISK
    assert found["machineType"].endswith(f"/zones/{ZONE}/machineTypes/e2-small")
    assert found["serviceAccounts"][0]["email"] == parts
    items = {item["key"]: item["value"] for item in found["metadata"]["items"]}
    assert items["created-by"].endswith("/instanceGroupManagers/oe-prod-files")
    assert made["status"]["isStable"]
    assert made["status"]["stateful"]["hasStatefulConfig"]
    assert made["instanceGroup"].endswith(f"/zones/{ZONE}/instanceGroups/oe-prod-files")
    listed = cloud.call("POST", "compute", f"{GROUP}/listManagedInstances").body["managedInstances"][0]
    assert (listed["currentAction"], listed["instanceHealth"][0]["detailedHealthState"]) == ("NONE", "HEALTHY")
    kept = listed["preservedStateFromPolicy"]["internalIPs"]["nic0"]["ipAddress"]
    address = kept["literal"]
    assert address == found["networkInterfaces"][0]["networkIP"]
    reserved = cloud.call("GET", "compute", f"{COMPUTE}/regions/{REGION}/addresses").body["items"]
    assert [(item["address"], item["selfLink"]) for item in reserved] == [(address, kept["address"])]


def lose(cloud: Cloud, name: str) -> None:
    cloud.wait(cloud.call("DELETE", "compute", f"{COMPUTE}/zones/{ZONE}/instances/{name}"))


def stop(cloud: Cloud, name: str) -> None:
    cloud.wait(cloud.call("POST", "compute", f"{COMPUTE}/zones/{ZONE}/instances/{name}/stop"))
    cloud.wait(cloud.call("POST", "compute", f"{GROUP}/applyUpdatesToInstances", {"allInstances": True}))


def recreate(cloud: Cloud, name: str) -> None:
    body = {"instances": [f"zones/{ZONE}/instances/{name}"]}
    cloud.wait(cloud.call("POST", "compute", f"{GROUP}/recreateInstances", body))


def sicken(cloud: Cloud, name: str) -> None:
    """Unhealthy for longer than it may be, in time that hardly passes."""
    cloud.app.change_settings({"healing": 1e-9})
    full = f"compute.googleapis.com/projects/{PROJECT}/zones/{ZONE}/instances/{name}"
    cloud.runtime.unhealthy.add(full)
    heal(cloud.app)
    heal(cloud.app)
    cloud.runtime.unhealthy.clear()


@pytest.mark.parametrize("happens", [lose, stop, recreate, sicken])
def test_disk_and_address_survive_whatever_happens(cloud: Cloud, parts: str, happens: Any) -> None:
    insert(cloud, f"zones/{ZONE}/instanceGroupManagers", group())
    before = machine(cloud)
    happens(cloud, before["name"])
    after = machine(cloud)
    assert after["name"] == before["name"]
    assert after["networkInterfaces"][0]["networkIP"] == before["networkInterfaces"][0]["networkIP"]
    assert after["disks"][1]["source"] == DISK
    assert ("delete_disk" in cloud.runtime.names()) == (happens is not stop)  # the boot disk is another one
    assert (after["id"] == before["id"]) == (happens is stop)


def test_a_new_template_replaces_the_machine(cloud: Cloud, parts: str) -> None:
    made = insert(cloud, f"zones/{ZONE}/instanceGroupManagers", group())
    before = machine(cloud)
    two = insert(cloud, "global/instanceTemplates", template("two", parts, "e2-medium"))
    version = {"versions": [{"instanceTemplate": f"{two['selfLink']}?uniqueId={two['id']}"}]}
    assert cloud.call("PATCH", "compute", GROUP, version).status == 412
    cloud.wait(cloud.call("PATCH", "compute", GROUP, {**version, "fingerprint": made["fingerprint"]}))
    after = machine(cloud)
    assert after["machineType"].endswith("/e2-medium")
    assert after["networkInterfaces"][0]["networkIP"] == before["networkInterfaces"][0]["networkIP"]
    cloud.wait(cloud.call("DELETE", "compute", f"{COMPUTE}/global/instanceTemplates/one"))
    used = cloud.call("DELETE", "compute", f"{COMPUTE}/global/instanceTemplates/two")
    assert used.message == (
        f"The instance_template resource 'projects/{PROJECT}/global/instanceTemplates/two' is already being used by "
        f"'projects/{PROJECT}/zones/{ZONE}/instanceGroupManagers/oe-prod-files'"
    )


def test_what_a_failed_operation_was_to_make_is_not_there(cloud: Cloud, parts: str) -> None:
    zone = f"{COMPUTE}/zones/{ZONE}"
    cloud.app.faults.add({"effect": "operation", "method": "compute.instanceGroupManagers.insert", "times": 1})
    assert cloud.wait(cloud.call("POST", "compute", f"{zone}/instanceGroupManagers", group()))["error"] is not None
    assert cloud.call("GET", "compute", GROUP).status == 404
    cloud.runtime.refuse["start_machine"] = Refused("The zone has no room.", code=8)
    alone = {**template("alone", parts)["properties"], "name": "alone", "machineType": "e2-small"}
    alone["disks"][1]["source"] = f"zones/{ZONE}/disks/oe-prod-data"
    failed = cloud.wait(cloud.call("POST", "compute", f"{zone}/instances", alone))
    assert failed["error"]["message"] == "The zone has no room."
    assert "items" not in cloud.call("GET", "compute", f"{zone}/instances").body
    disks = cloud.call("GET", "compute", f"{zone}/disks").body["items"]
    assert [disk["name"] for disk in disks] == ["oe-prod-data"]
    addresses = cloud.call("GET", "compute", f"{COMPUTE}/regions/{REGION}/addresses").body
    assert not addresses.get("items")


def test_a_machine_that_does_not_start_is_tried_again(cloud: Cloud, parts: str) -> None:
    cloud.runtime.refuse["start_machine"] = Refused("The zone has no room.", code=8)
    made = insert(cloud, f"zones/{ZONE}/instanceGroupManagers", group())
    assert not made["status"]["isStable"]
    errors = cloud.call("GET", "compute", f"{GROUP}/listErrors").body["items"]
    assert errors[0]["error"]["message"] == "The zone has no room."
    cloud.runtime.refuse.clear()
    cloud.wait(cloud.call("POST", "compute", f"{GROUP}/resize?size=1"))
    machine(cloud)


@pytest.mark.parametrize("bad", [{"effect": "status"}, {"effect": "drop"}, {"effect": "drop", "after": True}])
def test_google_s_agent_is_patient(cloud: Cloud, parts: str, bad: dict[str, object]) -> None:
    for method in ("insert", "delete"):
        cloud.app.faults.add({**bad, "caller": "*@cloudservices.*", "method": f"compute.instances.{method}", "nth": 1})
    insert(cloud, f"zones/{ZONE}/instanceGroupManagers", group())
    machine(cloud)
    assert cloud.wait(cloud.call("DELETE", "compute", GROUP))["error"] is None
    assert "items" not in cloud.call("GET", "compute", f"{COMPUTE}/zones/{ZONE}/instances").body
    assert [fault.hits for fault in cloud.app.faults.all()] == [1, 1]


def test_a_reserved_address_is_given_by_a_configuration(cloud: Cloud, parts: str) -> None:
    address = {
        "name": "oe-prod-files",
        "addressType": "INTERNAL",
        "address": "10.10.0.77",
        "subnetwork": f"regions/{REGION}/subnetworks/oe-prod-run",
    }
    link = insert(cloud, f"regions/{REGION}/addresses", address)["selfLink"]
    insert(cloud, f"zones/{ZONE}/instanceGroupManagers", group(targetSize=0))
    kept = {"internalIPs": {"nic0": {"ipAddress": {"address": link}}}}
    body = {"instances": [{"name": "oe-prod-files-0", "preservedState": kept}]}
    cloud.wait(cloud.call("POST", "compute", f"{GROUP}/createInstances", body))
    assert machine(cloud)["networkInterfaces"][0]["networkIP"] == "10.10.0.77"
    recreate(cloud, "oe-prod-files-0")
    assert machine(cloud)["networkInterfaces"][0]["networkIP"] == "10.10.0.77"
    configs = cloud.call("POST", "compute", f"{GROUP}/listPerInstanceConfigs").body["items"]
    assert [item["name"] for item in configs] == ["oe-prod-files-0"]


def test_a_group_goes_with_its_machine_and_leaves_what_it_kept(cloud: Cloud, parts: str) -> None:
    insert(cloud, f"zones/{ZONE}/instanceGroupManagers", group())
    machine(cloud)
    cloud.wait(cloud.call("DELETE", "compute", GROUP))
    assert "items" not in cloud.call("GET", "compute", f"{COMPUTE}/zones/{ZONE}/instances").body
    disks = cloud.call("GET", "compute", f"{COMPUTE}/zones/{ZONE}/disks").body["items"]
    assert [disk["name"] for disk in disks] == ["oe-prod-data"]
    assert "items" in cloud.call("GET", "compute", f"{COMPUTE}/regions/{REGION}/addresses").body


def test_a_scheduled_snapshot_and_a_disk_of_it(cloud: Cloud, parts: str) -> None:
    daily = {"daysInCycle": 1, "startTime": "03:00"}
    policy = {"name": "daily", "snapshotSchedulePolicy": {"schedule": {"dailySchedule": daily}}}
    made = insert(cloud, f"regions/{REGION}/resourcePolicies", policy)
    disk = f"{COMPUTE}/zones/{ZONE}/disks/oe-prod-data"
    attached = {"resourcePolicies": [f"projects/{PROJECT}/regions/{REGION}/resourcePolicies/daily"]}
    cloud.wait(cloud.call("POST", "compute", f"{disk}/addResourcePolicies", attached))
    assert cloud.call("GET", "compute", disk).body["resourcePolicies"] == [made["selfLink"]]
    place = f"{COMPUTE}/regions/{REGION}/resourcePolicies/daily"
    assert cloud.call("DELETE", "compute", place).message.startswith("The resource_policy resource")
    cloud.wait(cloud.call("POST", "compute", f"{disk}/removeResourcePolicies", attached))
    cloud.wait(cloud.call("DELETE", "compute", place))
    begun = cloud.call("POST", "compute", f"{disk}/createSnapshot", {"name": "before"})
    assert (cloud.wait(begun)["error"], "zone" in begun.body) == (None, True)
    snapshot = cloud.call("GET", "compute", f"{COMPUTE}/global/snapshots/before").body
    assert (snapshot["status"], snapshot["diskSizeGb"]) == ("READY", "20")
    copy = insert(cloud, f"zones/{ZONE}/disks", {"name": "copy", "sourceSnapshot": "global/snapshots/before"})
    assert copy["sizeGb"] == "20"
    host = f"compute.googleapis.com/projects/{PROJECT}"
    assert cloud.runtime.calls[-2:] == [
        ("copy_disk", f"{host}/zones/{ZONE}/disks/oe-prod-data", f"{host}/global/snapshots/before"),
        ("copy_disk", f"{host}/global/snapshots/before", f"{host}/zones/{ZONE}/disks/copy"),
    ]
    cloud.wait(cloud.call("DELETE", "compute", disk))
    assert cloud.call("GET", "compute", f"{COMPUTE}/global/snapshots/before").status == 200


def test_a_tunnel_is_for_whom_the_policy_names(cloud: Cloud, account: str) -> None:
    place = f"v1/projects/{PROJECT}/iap_tunnel/zones/{ZONE}/instances/oe-prod-files"
    member = f"serviceAccount:{account}"
    body = {"policy": {"bindings": [{"role": "roles/iap.tunnelResourceAccessor", "members": [member]}]}}
    assert cloud.call("POST", "iap", f"{place}:setIamPolicy", body).status == 200
    assert cloud.call("POST", "iap", f"{place}:getIamPolicy", {}).body["bindings"] == body["policy"]["bindings"]
    wanted = {"permissions": ["iap.tunnelInstances.accessViaIAP", "iap.tunnelInstances.setIamPolicy"]}
    held = cloud.call("POST", "iap", f"{place}:testIamPermissions", wanted, token=cloud.app.mint_token(account))
    assert held.body == {"permissions": ["iap.tunnelInstances.accessViaIAP"]}
