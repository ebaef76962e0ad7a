"""What methods ask for beside the permission of their own verb: without any one of it the call is refused."""

from __future__ import annotations

import dataclasses
import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gcp_openemr.sandbox.api.app import App
from gcp_openemr.sandbox.api.artifactregistry import parse_image, push
from gcp_openemr.sandbox.api.iam import predefined_roles
from gcp_openemr.sandbox.api.server import serve
from gcp_openemr.sandbox.api.serviceusage import enable_apis
from gcp_openemr.sandbox.api.uses import Use, uses
from tests.sandbox.api.support import IMAGES, PROJECT, REGION, ZONE, Answer, Cloud, RecordingRuntime

ROWS = [row for rows in uses().values() for row in rows]
EVERYTHING = {permission for role in predefined_roles().values() for permission in role["permissions"]}
EVERYTHING |= {row.permission for row in ROWS}
ROOT = f"compute/v1/projects/{PROJECT}"
REGIONAL, ZONAL = f"{ROOT}/regions/{REGION}", f"{ROOT}/zones/{ZONE}"
LOCATION = f"projects/{PROJECT}/locations/{REGION}"
EMAIL = f"oe-prod-web@{PROJECT}.iam.gserviceaccount.com"
CALLER = f"oe-prod-caller@{PROJECT}.iam.gserviceaccount.com"
ROLE = f"v1/projects/{PROJECT}/roles"
IMAGE = f"{IMAGES}/service:1"
NETWORK, SUBNETWORK = f"projects/{PROJECT}/global/networks/net", f"projects/{PROJECT}/regions/{REGION}/subnetworks/run"
SNAPSHOTS = {"snapshotSchedulePolicy": {"schedule": {"dailySchedule": {"daysInCycle": 1, "startTime": "03:00"}}}}
DEBIAN = {"sourceImage": "projects/debian-cloud/global/images/family/debian-12"}
LINK = f"https://www.googleapis.com/compute/v1/{NETWORK}"
PRIVATE = {"visibility": "private", "privateVisibilityConfig": {"networks": [{"networkUrl": LINK}]}}
CONTAINER = {"serviceAccount": EMAIL, "containers": [{"image": IMAGE}]}
TARGET = {"uri": "https://run.googleapis.com/v2/x:run", "httpMethod": "POST"}
PLAIN = {"oauthToken": {"serviceAccountEmail": EMAIL}}
Request = tuple[str, str, str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class World:
    """A cloud with what every request needs, and a caller whose permissions are given anew each time."""

    cloud: Cloud

    def made(self, api: str, path: str, body: Any, name: str = "") -> str:
        """The path of a resource that is there now."""
        place = f"{path.partition('?')[0]}/{name or body['name']}"
        if self.cloud.call("GET", api, place).status == 404:
            answer = self.cloud.call("POST", api, path, body)
            assert answer.status == 200, answer.body
            if "#operation" in answer.body.get("kind", "") or "/operations/" in answer.body["name"]:
                assert not self.cloud.wait(answer)["error"]
        return place

    def ask(self, request: Request, *, without: str = "") -> Answer:
        held = sorted(EVERYTHING - {without})
        self.cloud.call("PATCH", "iam", f"{ROLE}/caller?updateMask=includedPermissions", {"includedPermissions": held})
        return self.cloud.call(*request, token=self.cloud.app.mint_token(CALLER))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    app = App(tmp_path_factory.mktemp("uses"))
    enable_apis(app.store, PROJECT)
    runtime = RecordingRuntime()
    app.start(runtime)
    server = serve(socket.create_server(("127.0.0.1", 0)), app)
    made = World(cloud=Cloud(app=app, runtime=runtime, url=f"http://127.0.0.1:{server.port}"))
    for word in ("web", "caller"):
        made.cloud.call("POST", "iam", f"v1/projects/{PROJECT}/serviceAccounts", {"accountId": f"oe-prod-{word}"})
    made.cloud.call("POST", "iam", ROLE, {"roleId": "caller", "role": {"title": "t"}})
    binding = {"role": f"projects/{PROJECT}/roles/caller", "members": [f"serviceAccount:{CALLER}"]}
    policy = {"policy": {"bindings": [binding]}}
    made.cloud.call("POST", "cloudresourcemanager", f"v1/projects/{PROJECT}:setIamPolicy", policy)
    made.made("compute", f"{ROOT}/global/networks", {"name": "net", "autoCreateSubnetworks": False})
    made.made("compute", f"{REGIONAL}/subnetworks", {"name": "run", "network": NETWORK, "ipCidrRange": "10.10.0.0/22"})
    made.made("compute", f"{ZONAL}/disks", {"name": "data", "sizeGb": "10"})
    made.made("artifactregistry", f"v1/{LOCATION}/repositories?repositoryId=oe-prod", {"format": "DOCKER"}, "oe-prod")
    reference = parse_image(IMAGE)
    assert reference is not None
    push(app.store, reference, "sha256:" + "a" * 64)
    yield made
    server.close()
    app.close()


REQUESTS: dict[str, Callable[[World], Request]] = {}


def request(*methods: str) -> Callable[[Callable[[World], Request]], Callable[[World], Request]]:
    """The function makes a request of this method that asks for everything in the method's rows."""

    def add(function: Callable[[World], Request]) -> Callable[[World], Request]:
        REQUESTS.update(dict.fromkeys(methods, function))
        return function

    return add


def machine(**more: Any) -> dict[str, Any]:
    return {
        "machineType": "e2-small",
        "disks": [{"boot": True, "autoDelete": True, "initializeParams": DEBIAN}],
        "networkInterfaces": [{"network": NETWORK, "subnetwork": SUBNETWORK}],
        "serviceAccounts": [{"email": EMAIL}],
        **more,
    }


@request("compute.instances.insert")
def machine_with_everything(_world: World) -> Request:
    body = machine(
        name="machine",
        machineType=f"zones/{ZONE}/machineTypes/e2-small",
        disks=[{"boot": True, "initializeParams": DEBIAN}, {"source": f"zones/{ZONE}/disks/data"}],
        networkInterfaces=[{"subnetwork": SUBNETWORK, "networkIP": "10.10.0.77"}],
        labels={"a": "b"},
        metadata={"items": [{"key": "a", "value": "b"}]},
        tags={"items": ["a"]},
    )
    return "POST", "compute", f"{ZONAL}/instances", body


@request("compute.instanceTemplates.insert")
def template(_world: World) -> Request:
    return "POST", "compute", f"{ROOT}/global/instanceTemplates", {"name": "new", "properties": machine()}


def group(world: World, name: str) -> dict[str, Any]:
    world.made("compute", f"{ROOT}/global/instanceTemplates", {"name": "template", "properties": machine()})
    return {"name": name, "targetSize": 0, "instanceTemplate": "global/instanceTemplates/template"}


@request("compute.instanceGroupManagers.insert")
def new_group(world: World) -> Request:
    return "POST", "compute", f"{ZONAL}/instanceGroupManagers", group(world, "new")


@request("compute.instanceGroupManagers.patch")
def changed_group(world: World) -> Request:
    path = world.made("compute", f"{ZONAL}/instanceGroupManagers", group(world, "changed"))
    fingerprint = world.cloud.call("GET", "compute", path).body["fingerprint"]
    return "PATCH", "compute", path, {"description": "changed", "fingerprint": fingerprint}


@request("compute.instanceGroupManagers.delete")
def group_taken_away(world: World) -> Request:
    return "DELETE", "compute", world.made("compute", f"{ZONAL}/instanceGroupManagers", group(world, "gone")), None


@request(
    "compute.instanceGroupManagers.patchPerInstanceConfigs", "compute.instanceGroupManagers.updatePerInstanceConfigs"
)
def member_with_a_disk(world: World) -> Request:
    path = world.made("compute", f"{ZONAL}/instanceGroupManagers", group(world, "kept"))
    disks = {"data": {"source": f"projects/{PROJECT}/zones/{ZONE}/disks/data"}}
    answer = world.cloud.call("GET", "compute", path)
    if answer.body["targetSize"] == 0:
        members = {"instances": [{"name": "kept-1"}]}
        world.cloud.wait(world.cloud.call("POST", "compute", f"{path}/createInstances", members))
    return "POST", "compute", path, {"perInstanceConfigs": [{"name": "kept-1", "preservedState": {"disks": disks}}]}


@request("compute.disks.insert")
def disk_of_a_snapshot(world: World) -> Request:
    snapshot = f"{ROOT}/global/snapshots/snapshot"
    if world.cloud.call("GET", "compute", snapshot).status == 404:
        world.cloud.wait(
            world.cloud.call("POST", "compute", f"{ZONAL}/disks/data/createSnapshot", {"name": "snapshot"})
        )
    return "POST", "compute", f"{ZONAL}/disks", {"name": "again", "sourceSnapshot": "global/snapshots/snapshot"}


@request("compute.disks.createSnapshot")
def snapshot(_world: World) -> Request:
    return "POST", "compute", f"{ZONAL}/disks/data/createSnapshot", {"name": "new"}


@request("compute.disks.addResourcePolicies")
def disk_with_a_schedule(world: World) -> Request:
    world.made("compute", f"{REGIONAL}/resourcePolicies", {"name": "daily", **SNAPSHOTS})
    policies = [f"projects/{PROJECT}/regions/{REGION}/resourcePolicies/daily"]
    return "POST", "compute", f"{ZONAL}/disks/data/addResourcePolicies", {"resourcePolicies": policies}


def rule(name: str) -> dict[str, Any]:
    return {"name": name, "network": LINK, "direction": "INGRESS", "allowed": [{"IPProtocol": "tcp"}]}


@request("compute.firewalls.insert")
def new_firewall(_world: World) -> Request:
    return "POST", "compute", f"{ROOT}/global/firewalls", rule("new")


@request("compute.firewalls.patch")
def patched_firewall(world: World) -> Request:
    return "PATCH", "compute", world.made("compute", f"{ROOT}/global/firewalls", rule("kept")), {"priority": 900}


@request("compute.firewalls.update")
def replaced_firewall(world: World) -> Request:
    return "PUT", "compute", world.made("compute", f"{ROOT}/global/firewalls", rule("kept")), rule("kept")


@request("compute.firewalls.delete")
def firewall_taken_away(world: World) -> Request:
    return "DELETE", "compute", world.made("compute", f"{ROOT}/global/firewalls", rule("gone")), None


@request("compute.subnetworks.insert")
def new_subnetwork(_world: World) -> Request:
    body = {"name": "new", "network": NETWORK, "ipCidrRange": "10.20.0.0/24"}
    return "POST", "compute", f"{REGIONAL}/subnetworks", body


def address(name: str) -> dict[str, Any]:
    return {"name": name, "addressType": "INTERNAL", "subnetwork": SUBNETWORK}


@request("compute.addresses.insert")
def new_address(_world: World) -> Request:
    return "POST", "compute", f"{REGIONAL}/addresses", address("new")


@request("compute.addresses.delete")
def address_given_back(world: World) -> Request:
    return "DELETE", "compute", world.made("compute", f"{REGIONAL}/addresses", address("gone")), None


def endpoint(world: World, name: str) -> dict[str, Any]:
    world.made("compute", f"{REGIONAL}/addresses", address(f"{name}-address"))
    attachment = world.cloud.call("GET", "sqladmin", database(world)).body["pscServiceAttachmentLink"]
    link = f"projects/{PROJECT}/regions/{REGION}/addresses/{name}-address"
    return {"name": name, "IPAddress": link, "network": NETWORK, "target": attachment}


def database(world: World) -> str:
    addresses = {"ipv4Enabled": False, "pscConfig": {"pscEnabled": True, "allowedConsumerProjects": [PROJECT]}}
    settings = {"tier": "db-g1-small", "ipConfiguration": addresses}
    body = {"name": "db", "region": REGION, "databaseVersion": "MYSQL_8_0", "settings": settings}
    return world.made("sqladmin", f"v1/projects/{PROJECT}/instances", body)


@request("compute.forwardingRules.insert")
def new_endpoint(world: World) -> Request:
    return "POST", "compute", f"{REGIONAL}/forwardingRules", endpoint(world, "new")


@request("compute.forwardingRules.delete")
def endpoint_taken_away(world: World) -> Request:
    return "DELETE", "compute", world.made("compute", f"{REGIONAL}/forwardingRules", endpoint(world, "gone")), None


@request("compute.forwardingRules.setLabels")
def endpoint_with_labels(world: World) -> Request:
    path = world.made("compute", f"{REGIONAL}/forwardingRules", endpoint(world, "kept"))
    return "POST", "compute", f"{path}/setLabels", {"labels": {"a": "b"}}


@request("compute.forwardingRules.patch")
def changed_endpoint(world: World) -> Request:
    path = world.made("compute", f"{REGIONAL}/forwardingRules", endpoint(world, "kept"))
    return "PATCH", "compute", path, {"allowPscGlobalAccess": True}


def zone(name: str) -> dict[str, Any]:
    return {"name": name, "dnsName": f"{name}.example.", "description": "", **PRIVATE}


ZONES = f"dns/v1/projects/{PROJECT}/managedZones"
RECORD = {"type": "A", "ttl": 300, "rrdatas": ["10.10.0.2"]}


@request("dns.managedZones.create")
def new_zone(_world: World) -> Request:
    return "POST", "dns", ZONES, zone("new")


@request("dns.managedZones.patch")
def patched_zone(world: World) -> Request:
    return "PATCH", "dns", world.made("dns", ZONES, zone("kept")), {"description": "changed"}


@request("dns.managedZones.update")
def replaced_zone(world: World) -> Request:
    return "PUT", "dns", world.made("dns", ZONES, zone("kept")), zone("kept")


def with_record(world: World, name: str) -> str:
    path = f"{world.made('dns', ZONES, zone('kept'))}/rrsets"
    full = f"{name}.kept.example."
    if world.cloud.call("GET", "dns", f"{path}/{full}/A").status == 404:
        assert world.cloud.call("POST", "dns", path, {"name": full, **RECORD}).status == 200
    return f"{path}/{full}/A"


@request("dns.changes.create")
def changed_records(world: World) -> Request:
    for name in ("old", "gone"):
        with_record(world, name)
    old, gone, new = ({"name": f"{word}.kept.example.", **RECORD} for word in ("old", "gone", "new"))
    return "POST", "dns", f"{ZONES}/kept/changes", {"deletions": [old, gone], "additions": [{**old, "ttl": 60}, new]}


@request("dns.resourceRecordSets.create")
def new_record(world: World) -> Request:
    world.made("dns", ZONES, zone("kept"))
    return "POST", "dns", f"{ZONES}/kept/rrsets", {"name": "direct.kept.example.", **RECORD}


@request("dns.resourceRecordSets.patch")
def changed_record(world: World) -> Request:
    return "PATCH", "dns", with_record(world, "changed"), {"ttl": 60}


@request("dns.resourceRecordSets.delete")
def record_taken_away(world: World) -> Request:
    return "DELETE", "dns", with_record(world, "deleted"), None


@request("run.projects.locations.services.create")
def new_service(_world: World) -> Request:
    return "POST", "run", f"v2/{LOCATION}/services?serviceId=new", {"template": CONTAINER}


@request("run.projects.locations.services.patch")
def changed_service(world: World) -> Request:
    path = world.made("run", f"v2/{LOCATION}/services?serviceId=kept", {"template": CONTAINER}, "kept")
    return "PATCH", "run", f"{path}?updateMask=template", {"template": {**CONTAINER, "timeout": "60s"}}


JOB = {"template": {"template": CONTAINER}}


@request("run.projects.locations.jobs.create")
def new_job(_world: World) -> Request:
    return "POST", "run", f"v2/{LOCATION}/jobs?jobId=new", JOB


@request("run.projects.locations.jobs.patch")
def changed_job(world: World) -> Request:
    return "PATCH", "run", world.made("run", f"v2/{LOCATION}/jobs?jobId=kept", JOB, "kept"), JOB


@request("run.projects.locations.jobs.run")
def job_with_other_arguments(world: World) -> Request:
    path = world.made("run", f"v2/{LOCATION}/jobs?jobId=kept", JOB, "kept")
    return "POST", "run", f"{path}:run", {"overrides": {"containerOverrides": [{"args": ["x"]}]}}


def schedule(name: str, token: str) -> dict[str, Any]:
    target = {**TARGET, token: {"serviceAccountEmail": EMAIL}}
    return {"name": f"{LOCATION}/jobs/{name}", "schedule": "0 3 * * *", "httpTarget": target}


@request("cloudscheduler.projects.locations.jobs.create")
def new_schedule(_world: World) -> Request:
    return "POST", "cloudscheduler", f"v1/{LOCATION}/jobs", schedule("new", "oauthToken")


@request("cloudscheduler.projects.locations.jobs.patch")
def changed_schedule(world: World) -> Request:
    body = schedule("kept", "oauthToken")
    path = world.made("cloudscheduler", f"v1/{LOCATION}/jobs", body, "kept")
    return "PATCH", "cloudscheduler", f"{path}?updateMask=httpTarget", body


BUILD = {
    "steps": [{"name": "gcr.io/cloud-builders/docker"}],
    "options": {"logging": "CLOUD_LOGGING_ONLY"},
    "serviceAccount": f"projects/{PROJECT}/serviceAccounts/{EMAIL}",
}


@request("cloudbuild.projects.builds.create")
def new_build(_world: World) -> Request:
    return "POST", "cloudbuild", f"v1/projects/{PROJECT}/builds", BUILD


@request("cloudbuild.projects.locations.builds.create")
def new_build_in_a_region(_world: World) -> Request:
    return "POST", "cloudbuild", f"v1/{LOCATION}/builds", BUILD


@request("sql.instances.clone")
def copied_database(world: World) -> Request:
    return "POST", "sqladmin", f"{database(world)}/clone", {"cloneContext": {"destinationInstanceName": "copy"}}


def asked(world: World, method: str) -> Request:
    verb, api, path, body = REQUESTS[method](world)
    return verb, api, f"{path}/{method.rpartition('.')[2]}" if method.endswith("PerInstanceConfigs") else path, body


def test_every_method_with_rows_has_its_request() -> None:
    assert set(REQUESTS) == set(uses())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.method}-{row.permission}")
def test_without_it_the_call_is_refused(world: World, row: Use) -> None:
    found = asked(world, row.method)
    if "oidcToken" in row.field:
        found[3]["httpTarget"]["oidcToken"] = found[3]["httpTarget"].pop("oauthToken")
    answer = world.ask(found, without=row.permission)
    assert answer.status == 403, answer.body
    assert row.permission in json.dumps(answer.body)


@pytest.mark.parametrize("method", sorted(REQUESTS))
def test_with_all_of_it_the_call_goes_through(world: World, method: str) -> None:
    answer = world.ask(asked(world, method))
    assert answer.status == 200, answer.body


def test_what_a_request_does_not_use_is_not_asked_for(world: World) -> None:
    """A machine without labels asks for no permission to set them."""
    bare = machine(name="bare", machineType=f"zones/{ZONE}/machineTypes/e2-small", serviceAccounts=[])
    for permission in ("compute.instances.setLabels", "compute.addresses.use", "iam.serviceAccounts.actAs"):
        answer = world.ask(("POST", "compute", f"{ZONAL}/instances", {**bare, "name": "x"}), without=permission)
        assert answer.status == 200, answer.body
        world.cloud.wait(answer)
        world.cloud.wait(world.cloud.call("DELETE", "compute", f"{ZONAL}/instances/x"))


def test_a_right_on_the_resource_itself_is_enough(world: World) -> None:
    """As Shared VPC grants it: the use of one subnetwork."""
    request = ("POST", "compute", f"{REGIONAL}/addresses", address("mine"))
    assert world.ask(request, without="compute.subnetworks.use").status == 403
    name = f"compute.googleapis.com/{SUBNETWORK}"
    binding = {"role": "roles/compute.networkUser", "members": [f"serviceAccount:{CALLER}"]}
    policy = {"policy": {"bindings": [binding]}}
    answer = world.cloud.call("POST", "compute", f"{REGIONAL}/subnetworks/run/setIamPolicy", policy)
    assert answer.status == 200, (name, answer.body)
    assert world.ask(request, without="compute.subnetworks.use").status == 200
