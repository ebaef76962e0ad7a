"""Network, machine, database and DNS: what a clinic's platform is made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import google_auth_httplib2  # type: ignore[import-untyped]
import httplib2
import pytest
from google.api_core.client_options import ClientOptions
from google.oauth2.credentials import Credentials
from googleapiclient import discovery
from googleapiclient.errors import HttpError

from gcp_openemr.sandbox.interfaces import Refused
from tests.sandbox.api.support import PROJECT, REGION, ZONE, Cloud

COMPUTE = f"compute/v1/projects/{PROJECT}"
ROOT = f"https://www.googleapis.com/compute/v1/projects/{PROJECT}"
INSTANCE = f"sqladmin.googleapis.com/projects/{PROJECT}/instances/oe-prod-sql"


def insert(cloud: Cloud, place: str, body: dict[str, Any]) -> dict[str, Any]:
    done = cloud.wait(cloud.call("POST", "compute", f"{COMPUTE}/{place}", body))
    assert done["error"] is None, done["error"]
    found: dict[str, Any] = cloud.call("GET", "compute", f"{COMPUTE}/{place}/{body['name']}").body
    return found


@pytest.fixture
def sqladmin(cloud: Cloud, credentials: Credentials) -> Iterator[Any]:
    options = ClientOptions(api_endpoint=f"{cloud.url}/sqladmin.googleapis.com/")
    direct = google_auth_httplib2.AuthorizedHttp(credentials, http=httplib2.Http(proxy_info=None))
    service = discovery.build(
        "sqladmin", "v1", http=direct, client_options=options, static_discovery=True, cache_discovery=False
    )
    yield service
    service.close()


def database(**settings: Any) -> dict[str, Any]:
    return {
        "name": "oe-prod-sql",
        "region": REGION,
        "databaseVersion": "MYSQL_8_0",
        "settings": {
            "tier": "db-f1-micro",
            "ipConfiguration": {
                "ipv4Enabled": False,
                "sslMode": "ENCRYPTED_ONLY",
                "serverCaMode": "GOOGLE_MANAGED_CAS_CA",
                "pscConfig": {"pscEnabled": True, "allowedConsumerProjects": [PROJECT]},
            },
            **settings,
        },
    }


@pytest.fixture
def instance(cloud: Cloud, sqladmin: Any) -> dict[str, Any]:
    operation = sqladmin.instances().insert(project=PROJECT, body=database()).execute()
    done = sqladmin.operations().get(project=PROJECT, operation=operation["name"]).execute()
    assert (done["status"], done["operationType"], done["targetId"]) == ("DONE", "CREATE", "oe-prod-sql")
    found: dict[str, Any] = sqladmin.instances().get(project=PROJECT, instance="oe-prod-sql").execute()
    return found


def test_a_database_instance_has_what_google_computes(cloud: Cloud, instance: dict[str, Any]) -> None:
    assert instance["state"] == "RUNNABLE"
    assert instance["connectionName"] == f"{PROJECT}:{REGION}:oe-prod-sql"
    assert instance["dnsNames"][0]["name"].endswith(f".{REGION}.sql.goog.")
    assert instance["dnsNames"][0]["connectionType"] == "PRIVATE_SERVICE_CONNECT"
    assert instance["pscServiceAttachmentLink"].split("/")[2:4] == ["regions", REGION]
    assert instance["serviceAccountEmailAddress"].endswith("@gcp-sa-cloud-sql.iam.gserviceaccount.com")
    assert instance["settings"]["settingsVersion"] == "1"
    assert "ipAddresses" not in instance
    assert cloud.runtime.names() == ["resume", "start_database"]


def test_users_go_to_the_server_and_their_passwords_nowhere_else(
    cloud: Cloud, sqladmin: Any, instance: dict[str, Any]
) -> None:
    users = sqladmin.users()
    place = {"project": PROJECT, "instance": "oe-prod-sql"}
    users.insert(**place, body={"name": "oe-admin-1", "password": "long secret", "host": "%"}).execute()
    assert [user["name"] for user in users.list(**place).execute()["items"]] == ["oe-admin-1"]
    assert cloud.runtime.users[INSTANCE] == {("oe-admin-1", "%"): "long secret"}
    assert "long secret" not in str(cloud.app.store.query("SELECT * FROM resources"))
    assert "long secret" not in str(cloud.app.store.query("SELECT * FROM operations"))
    users.update(**place, name="oe-admin-1", host="%", body={"password": "longer secret"}).execute()
    assert cloud.runtime.users[INSTANCE] == {("oe-admin-1", "%"): "longer secret"}
    users.delete(**place, name="oe-admin-1", host="%").execute()
    with pytest.raises(HttpError) as error:
        users.delete(**place, name="oe-admin-1", host="%").execute()
    assert error.value.status_code == 404


def test_a_stopped_instance_takes_no_users(cloud: Cloud, sqladmin: Any, instance: dict[str, Any]) -> None:
    place = {"project": PROJECT, "instance": "oe-prod-sql"}
    sqladmin.instances().patch(**place, body={"settings": {"activationPolicy": "NEVER"}}).execute()
    assert cloud.runtime.calls[-1] == ("stop_database", INSTANCE)
    with pytest.raises(HttpError, match="instance is not running"):
        sqladmin.users().insert(**place, body={"name": "x", "password": "y"}).execute()


def test_a_protected_instance_stays_until_it_is_freed(cloud: Cloud, sqladmin: Any) -> None:
    place = {"project": PROJECT, "instance": "oe-prod-sql"}
    sqladmin.instances().insert(project=PROJECT, body=database(deletionProtectionEnabled=True)).execute()
    with pytest.raises(HttpError, match="The instance is protected"):
        sqladmin.instances().delete(**place).execute()
    sqladmin.instances().patch(**place, body={"settings": {"deletionProtectionEnabled": False}}).execute()
    sqladmin.instances().delete(**place).execute()
    assert cloud.runtime.calls[-1] == ("delete_database", INSTANCE)
    with pytest.raises(HttpError, match="The Cloud SQL instance does not exist"):
        sqladmin.instances().get(**place).execute()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"settings": {"ipConfiguration": {"ipv4Enabled": False}}}, "Missing parameter: tier"),
        ({"databaseVersion": "MYSQL_9_9"}, "Invalid value at"),
        ({"databaseVersion": "POSTGRES_15"}, "is not a valid value"),
        ({"settings": {"tier": "x", "ipConfiguration": {"ipv4Enabled": False}}}, "At least one of Public IP"),
        ({"settings": {"tier": "x", "noSuchField": 1}}, "Unknown name .*noSuchField"),
        ({"name": "Not-Valid"}, "instance name"),
    ],
)
def test_refuses_instances_without_what_they_need(sqladmin: Any, change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(HttpError, match=sentence):
        sqladmin.instances().insert(project=PROJECT, body={**database(), **change}).execute()


def test_a_failing_server_fails_the_operation(cloud: Cloud, sqladmin: Any) -> None:
    cloud.runtime.refuse["start_database"] = Refused("The disk is full.", code=9)
    operation = sqladmin.instances().insert(project=PROJECT, body=database()).execute()
    done = sqladmin.operations().get(project=PROJECT, operation=operation["name"]).execute()
    assert done["error"]["errors"][0] == {
        "kind": "sql#operationError",
        "code": "OPERATION_FAILED",
        "message": "The disk is full.",
    }
    found = sqladmin.instances().get(project=PROJECT, instance="oe-prod-sql").execute()
    assert found["state"] == "FAILED"


def test_an_endpoint_answers_for_the_database(cloud: Cloud, network: str, instance: dict[str, Any]) -> None:
    address = {
        "name": "oe-prod-sql",
        "addressType": "INTERNAL",
        "subnetwork": f"regions/{REGION}/subnetworks/oe-prod-run",
    }
    reserved = insert(cloud, f"regions/{REGION}/addresses", address)
    assert (reserved["address"], reserved["status"]) == ("10.10.0.2", "RESERVED")
    rule = {
        "name": "oe-prod-sql",
        "network": network,
        "IPAddress": reserved["selfLink"],
        "target": instance["pscServiceAttachmentLink"],
        "loadBalancingScheme": "",
    }
    rules = f"{COMPUTE}/regions/{REGION}/forwardingRules"
    cloud.app.faults.add({"effect": "operation", "method": "compute.forwardingRules.insert", "times": 1})
    assert cloud.wait(cloud.call("POST", "compute", rules, rule))["error"] is not None
    assert cloud.call("GET", "compute", f"{rules}/oe-prod-sql").status == 404
    made = insert(cloud, f"regions/{REGION}/forwardingRules", rule)
    assert (made["IPAddress"], made["pscConnectionStatus"]) == ("10.10.0.2", "ACCEPTED")
    assert cloud.runtime.calls[-1] == ("connect_endpoint", "10.10.0.2", INSTANCE)
    used = cloud.call("GET", "compute", f"{COMPUTE}/regions/{REGION}/addresses/oe-prod-sql").body
    assert (used["status"], used["users"]) == ("IN_USE", [made["selfLink"]])
    refused = cloud.call("DELETE", "compute", f"{COMPUTE}/regions/{REGION}/addresses/oe-prod-sql")
    assert (refused.status, refused.body["error"]["errors"][0]["reason"]) == (400, "resourceInUseByAnotherResource")
    twice = cloud.call("POST", "compute", f"{COMPUTE}/regions/{REGION}/forwardingRules", {**rule, "name": "other"})
    assert twice.status == 400
    assert "already being used" in twice.message


def test_an_endpoint_of_a_stranger_stays_pending(cloud: Cloud, network: str, sqladmin: Any) -> None:
    body = database()
    body["settings"]["ipConfiguration"]["pscConfig"]["allowedConsumerProjects"] = ["other-project"]
    sqladmin.instances().insert(project=PROJECT, body=body).execute()
    found = sqladmin.instances().get(project=PROJECT, instance="oe-prod-sql").execute()
    rule = {"name": "x", "network": network, "target": found["pscServiceAttachmentLink"]}
    made = insert(cloud, f"regions/{REGION}/forwardingRules", rule)
    assert made["pscConnectionStatus"] == "PENDING"
    assert "connect_endpoint" not in cloud.runtime.names()


def test_networks_and_subnetworks_hold_each_other(cloud: Cloud, network: str) -> None:
    found = cloud.call("GET", "compute", f"{COMPUTE}/global/networks/net").body
    assert found["kind"] == "compute#network"
    assert found["subnetworks"] == [f"{ROOT}/regions/{REGION}/subnetworks/oe-prod-run"]
    assert found["id"].isdigit()
    subnetwork = cloud.call("GET", "compute", f"{COMPUTE}/regions/{REGION}/subnetworks/oe-prod-run").body
    assert (subnetwork["network"], subnetwork["gatewayAddress"]) == (network, "10.10.0.1")
    refused = cloud.call("DELETE", "compute", f"{COMPUTE}/global/networks/net")
    assert refused.message == (
        f"The network resource 'projects/{PROJECT}/global/networks/net' is already being used by "
        f"'projects/{PROJECT}/regions/{REGION}/subnetworks/oe-prod-run'"
    )
    cloud.wait(cloud.call("DELETE", "compute", f"{COMPUTE}/regions/{REGION}/subnetworks/oe-prod-run"))
    cloud.wait(cloud.call("DELETE", "compute", f"{COMPUTE}/global/networks/net"))
    gone = cloud.call("GET", "compute", f"{COMPUTE}/global/networks/net")
    assert (gone.status, gone.message) == (404, f"The resource 'projects/{PROJECT}/global/networks/net' was not found")


@pytest.mark.parametrize(
    ("place", "body", "status"),
    [
        ("global/networks", {"name": "Net", "autoCreateSubnetworks": False}, 400),
        ("global/networks", {"name": "net", "autoCreateSubnetworks": False}, 409),
        ("global/networks", {"name": "x", "nosuch": 1}, 400),
        (
            f"regions/{REGION}/subnetworks",
            {"name": "s", "network": "global/networks/no", "ipCidrRange": "10.0.0.0/24"},
            404,
        ),
        (
            f"regions/{REGION}/subnetworks",
            {"name": "s", "network": "global/networks/net", "ipCidrRange": "10.0.0.1/24"},
            400,
        ),
        (
            f"regions/{REGION}/subnetworks",
            {"name": "s", "network": "global/networks/net", "ipCidrRange": "10.0.0.0/30"},
            400,
        ),
        (
            f"regions/{REGION}/subnetworks",
            {"name": "s", "network": "global/networks/net", "ipCidrRange": "10.10.3.0/24"},
            400,
        ),
        ("global/firewalls", {"name": "f", "network": "global/networks/net"}, 400),
        (f"zones/{ZONE}/disks", {"name": "d", "sizeGb": "5"}, 400),
        (f"zones/{ZONE}/disks", {"name": "d", "sizeGb": "much"}, 400),
        (f"zones/{ZONE}/instances", {"name": "vm", "machineType": "e2-small"}, 400),
    ],
)
def test_refuses_what_compute_engine_refuses(
    cloud: Cloud, network: str, place: str, body: dict[str, Any], status: int
) -> None:
    assert cloud.call("POST", "compute", f"{COMPUTE}/{place}", body).status == status


@pytest.fixture
def machine(cloud: Cloud, network: str, account: str) -> dict[str, Any]:
    insert(
        cloud, f"zones/{ZONE}/disks", {"name": "oe-prod-data", "sizeGb": "20", "type": f"zones/{ZONE}/diskTypes/pd-ssd"}
    )
    body = {
        "name": "oe-prod-files",
        "machineType": f"zones/{ZONE}/machineTypes/e2-small",
        "disks": [
            {
                "boot": True,
                "autoDelete": True,
                "initializeParams": {"sourceImage": "projects/debian-cloud/global/images/family/debian-12"},
            },
            {"source": f"projects/{PROJECT}/zones/{ZONE}/disks/oe-prod-data", "deviceName": "data"},
        ],
        "networkInterfaces": [{"subnetwork": f"regions/{REGION}/subnetworks/oe-prod-run", "networkIP": "10.10.0.9"}],
        "serviceAccounts": [{"email": account, "scopes": ["https://www.googleapis.com/auth/cloud-platform"]}],
        "metadata": {"items": [{"key": "redis-admin-secret", "value": "x"}]},
        "deletionProtection": True,
    }
    return insert(cloud, f"zones/{ZONE}/instances", body)


def test_a_machine_runs_with_its_disks_and_address(cloud: Cloud, machine: dict[str, Any], network: str) -> None:
    assert machine["status"] == "RUNNING"
    assert [disk["source"].rpartition("/")[2] for disk in machine["disks"]] == ["oe-prod-files", "oe-prod-data"]
    assert machine["networkInterfaces"][0]["network"] == network
    assert machine["networkInterfaces"][0]["networkIP"] == "10.10.0.9"
    started = cloud.runtime.calls[-1]
    assert started[0] == "start_machine"
    assert started[1]["metadata"]["items"] == [{"key": "redis-admin-secret", "value": "x"}]
    disk = cloud.call("GET", "compute", f"{COMPUTE}/zones/{ZONE}/disks/oe-prod-data").body
    assert disk["users"] == [machine["selfLink"]]
    assert cloud.call("DELETE", "compute", f"{COMPUTE}/zones/{ZONE}/disks/oe-prod-data").status == 400
    taken = {
        "name": "a",
        "addressType": "INTERNAL",
        "subnetwork": f"regions/{REGION}/subnetworks/oe-prod-run",
        "address": "10.10.0.9",
    }
    assert cloud.call("POST", "compute", f"{COMPUTE}/regions/{REGION}/addresses", taken).status == 200
    again = {**taken, "name": "b"}
    assert cloud.call("POST", "compute", f"{COMPUTE}/regions/{REGION}/addresses", again).status == 400


def test_a_machine_goes_with_its_boot_disk_and_leaves_the_data(cloud: Cloud, machine: dict[str, Any]) -> None:
    place = f"{COMPUTE}/zones/{ZONE}/instances/oe-prod-files"
    refused = cloud.call("DELETE", "compute", place)
    assert (refused.status, "protected against deletion" in refused.message) == (400, True)
    cloud.wait(cloud.call("POST", "compute", f"{place}/setDeletionProtection?deletionProtection=false"))
    cloud.wait(cloud.call("DELETE", "compute", place))
    disks = cloud.call("GET", "compute", f"{COMPUTE}/zones/{ZONE}/disks").body["items"]
    assert [disk["name"] for disk in disks] == ["oe-prod-data"]
    cloud.wait(cloud.call("DELETE", "compute", f"{COMPUTE}/zones/{ZONE}/disks/oe-prod-data"))
    assert cloud.runtime.calls[-1] == (
        "delete_disk",
        f"compute.googleapis.com/projects/{PROJECT}/zones/{ZONE}/disks/oe-prod-data",
    )


def test_labels_metadata_and_size_change_in_place(cloud: Cloud, machine: dict[str, Any]) -> None:
    place = f"{COMPUTE}/zones/{ZONE}/instances/oe-prod-files"
    labels = {"labels": {"a": "b"}, "labelFingerprint": machine["labelFingerprint"]}
    cloud.wait(cloud.call("POST", "compute", f"{place}/setLabels", labels))
    assert cloud.call("POST", "compute", f"{place}/setLabels", labels).status == 412
    cloud.wait(cloud.call("POST", "compute", f"{place}/setMetadata", {"items": [{"key": "k", "value": "v"}]}))
    assert cloud.runtime.names()[-1] == "start_machine"
    disk = f"{COMPUTE}/zones/{ZONE}/disks/oe-prod-data"
    cloud.wait(cloud.call("POST", "compute", f"{disk}/resize", {"sizeGb": "30"}))
    assert cloud.call("GET", "compute", disk).body["sizeGb"] == "30"
    assert cloud.call("POST", "compute", f"{disk}/resize", {"sizeGb": "10"}).status == 400


def test_a_machine_gets_no_type_that_there_is_not(cloud: Cloud, machine: dict[str, Any]) -> None:
    place = f"{COMPUTE}/zones/{ZONE}/instances/oe-prod-files"
    cloud.wait(cloud.call("POST", "compute", f"{place}/stop"))
    given = f"zones/{ZONE}/machineTypes/e2-standard-3"
    refused = cloud.call("POST", "compute", f"{place}/setMachineType", {"machineType": given})
    assert refused.status == 400
    assert f"Machine type with name 'e2-standard-3' does not exist in zone '{ZONE}'." in refused.message


def test_compute_operations_can_be_waited_for(cloud: Cloud, network: str) -> None:
    cloud.runtime.hold.clear()
    begun = cloud.call("POST", "compute", f"{COMPUTE}/zones/{ZONE}/disks", {"name": "d", "sizeGb": "10"})
    assert (begun.body["status"], begun.body["operationType"]) == ("DONE", "insert")
    deleting = cloud.call("DELETE", "compute", f"{COMPUTE}/zones/{ZONE}/disks/d").body
    assert (deleting["status"], deleting["zone"]) == ("RUNNING", f"{ROOT}/zones/{ZONE}")
    cloud.runtime.hold.set()
    path = deleting["selfLink"].removeprefix("https://www.googleapis.com/")
    assert cloud.call("POST", "compute", f"{path}/wait").body["status"] == "DONE"
    assert cloud.call("GET", "compute", path).body["progress"] == 100


def test_a_private_zone_and_its_records(cloud: Cloud, network: str) -> None:
    zones = f"dns/v1/projects/{PROJECT}/managedZones"
    zone = {
        "name": "oe-prod-sql",
        "dnsName": f"abc.{REGION}.sql.goog.",
        "visibility": "private",
        "privateVisibilityConfig": {"networks": [{"networkUrl": network}]},
    }
    made = cloud.call("POST", "dns", zones, zone)
    assert (made.status, made.body["nameServers"]) == (200, ["ns-gcp-private.googledomains.com."])
    assert cloud.call("POST", "dns", zones, zone).status == 409
    record = {"name": zone["dnsName"], "type": "A", "ttl": 300, "rrdatas": ["10.10.0.2"]}
    assert cloud.call("POST", "dns", f"{zones}/oe-prod-sql/changes", {"additions": [record]}).body["status"] == "done"
    assert cloud.call("POST", "dns", f"{zones}/oe-prod-sql/rrsets", record).status == 409
    outside = {**record, "name": "www.example.org."}
    assert cloud.call("POST", "dns", f"{zones}/oe-prod-sql/rrsets", outside).status == 400
    listed = cloud.call("GET", "dns", f"{zones}/oe-prod-sql/rrsets?name={zone['dnsName']}&type=A").body["rrsets"]
    assert [item["rrdatas"] for item in listed] == [["10.10.0.2"]]
    refused = cloud.call("DELETE", "dns", f"{zones}/oe-prod-sql")
    assert (refused.status, refused.body["error"]["errors"][0]["reason"]) == (400, "containerNotEmpty")
    stale = {"deletions": [{**record, "ttl": 60}]}
    assert cloud.call("POST", "dns", f"{zones}/oe-prod-sql/changes", stale).status == 412
    assert cloud.call("DELETE", "dns", f"{zones}/oe-prod-sql/rrsets/{zone['dnsName']}/A").status == 200
    assert cloud.call("DELETE", "dns", f"{zones}/oe-prod-sql").status == 204


def test_a_zone_needs_a_dot_and_a_network_that_is_there(cloud: Cloud) -> None:
    zones = f"dns/v1/projects/{PROJECT}/managedZones"
    assert cloud.call("POST", "dns", zones, {"name": "z", "dnsName": "no-dot.example"}).status == 400
    private = {
        "visibility": "private",
        "privateVisibilityConfig": {"networks": [{"networkUrl": f"{ROOT}/global/networks/no"}]},
    }
    assert cloud.call("POST", "dns", zones, {"name": "z", "dnsName": "a.b.", **private}).status == 400
