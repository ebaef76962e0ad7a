"""The real Terraform drives the provider against the sandbox's API server."""

from __future__ import annotations

import io
import json

from gcp_openemr.commands import roots
from gcp_openemr.console import Console
from gcp_openemr.sandbox.api.settings import seconds_of
from gcp_openemr.sandbox.provider.types import served
from gcp_openemr.setup.terraform import locate_terraform
from gcp_openemr.terraform import Terraform
from gcp_openemr.timeline import described
from tests.sandbox.provider.conftest import HEAD, Cloud, Workspace

SECRET = """
resource "google_secret_manager_secret" "this" {
  secret_id = "one"
  labels    = { clinic = "main" }
  replication {
    auto {}
  }
}
"""
NETWORK = """
resource "google_compute_network" "this" {
  name                    = "net"
  auto_create_subnetworks = false
}
"""
SERVICE = """
resource "google_cloud_run_v2_service" "this" {
  name                = "web"
  location            = "europe-west1"
  deletion_protection = %s
  template {
    containers {
      image = "docker.io/library/hello"
    }
  }
  lifecycle {
    ignore_changes = [traffic, client]
  }
}
"""
_SERVICE = "run.googleapis.com/v2/projects/demo-project/locations/europe-west1/services/web"


def test_schema_names_every_served_type(installed: Workspace) -> None:
    installed.write(HEAD)
    installed.init()
    shown = json.loads(installed.terraform("providers", "schema", "-json"))
    (schema,) = shown["provider_schemas"].values()
    assert sorted(schema["resource_schemas"]) == served()
    client = schema["data_source_schemas"]["google_client_config"]["block"]["attributes"]
    assert client["access_token"]["sensitive"] is True


def test_values_have_googles_form(cloud: Cloud, workspace: Workspace) -> None:
    account = 'resource "google_service_account" "this" {\n  account_id = "oe-test"\n}\n'
    workspace.write(HEAD + SECRET + NETWORK + SERVICE % "false" + account)
    workspace.init()
    planned = workspace.plan()
    unknown = planned["google_compute_network.this"]["after_unknown"]
    assert unknown["self_link"] is True
    assert "name" not in unknown
    email = "oe-test@demo-project.iam.gserviceaccount.com"
    assert planned["google_service_account.this"]["after"]["member"] == f"serviceAccount:{email}"
    workspace.apply()
    network = workspace.state("google_compute_network.this")
    assert network["id"] == "projects/demo-project/global/networks/net"
    assert network["self_link"] == f"https://www.googleapis.com/compute/v1/{network['id']}"
    assert network["numeric_id"].isdigit()
    this = workspace.state("google_service_account.this")
    assert this["id"] == this["name"] == f"projects/demo-project/serviceAccounts/{email}"
    assert this["unique_id"].isdigit()
    secret = workspace.state("google_secret_manager_secret.this")
    assert secret["id"] == "projects/demo-project/secrets/one"
    assert secret["name"].startswith("projects/")
    marked = {"clinic": "main", "goog-terraform-provisioned": "true"}
    assert secret["labels"] == {"clinic": "main"}
    assert secret["terraform_labels"] == secret["effective_labels"] == marked
    service = workspace.state("google_cloud_run_v2_service.this")
    assert service["uri"] == service["urls"][0]
    assert service["latest_ready_revision"].startswith(f"{service['id']}/revisions/web-00001-")
    assert service["generation"] == "1"
    assert cloud.call("GET", _SERVICE)["etag"] == service["etag"]


def test_drift_is_seen_and_mended(cloud: Cloud, workspace: Workspace) -> None:
    workspace.write(HEAD + SECRET + NETWORK)
    workspace.init()
    workspace.apply()
    path = "secretmanager.googleapis.com/v1/projects/demo-project/secrets/one"
    others = {"clinic": "other", "goog-terraform-provisioned": "true", "owner": "somebody"}
    cloud.call("PATCH", f"{path}?updateMask=labels", {"labels": others})
    cloud.call("DELETE", "compute.googleapis.com/compute/v1/projects/demo-project/global/networks/net")
    changes = workspace.plan()
    assert changes["google_secret_manager_secret.this"]["actions"] == ["update"]
    assert changes["google_secret_manager_secret.this"]["before"]["labels"] == {"clinic": "other"}
    assert changes["google_compute_network.this"]["actions"] == ["create"]
    workspace.apply()
    # Labels that Terraform does not speak of stay as somebody else set them.
    assert cloud.call("GET", path)["labels"] == {
        "clinic": "main",
        "goog-terraform-provisioned": "true",
        "owner": "somebody",
    }
    workspace.assert_no_changes()


def test_a_cloud_as_slow_as_google_s_shows_what_an_apply_waited_for(cloud: Cloud, workspace: Workspace) -> None:
    """A fiftieth of Google's time; the account is made beside what the firewall rule waits for."""
    rule = 'name = "this"\n  network = google_compute_network.this.id\n  allow {\n    protocol = "tcp"\n  }\n'
    account = 'resource "google_service_account" "this" {\n  account_id = "oe-test"\n}\n'
    workspace.write(HEAD + NETWORK + f'resource "google_compute_firewall" "this" {{\n  {rule}}}\n' + account)
    workspace.init()
    cloud.call("POST", "sandbox/v1/settings", {"latency": 0.02})
    binary, environment = locate_terraform().path, workspace.environment
    terraform = Terraform(workspace.directory, binary=binary, environment=environment, unlock=print)
    console = Console(people=io.StringIO())
    with console.step("platform: apply") as step:
        terraform.apply(terraform.plan(), report=roots._reporter(step))
    ((one, *others),) = [described(console.timings)]
    assert (one["step"], others) == ("platform: apply", [])
    waited_for = {part["resource"]: part["seconds"] for part in one["resources"]}
    made = {f"google_compute_{kind}.this (create)": f"compute.{kind}s.insert" for kind in ("network", "firewall")}
    assert [name for name in waited_for if name in made] == list(made)  # a slow Terraform makes the account before
    assert all(waited_for[name] >= seconds_of("operations", method) * 0.02 for name, method in made.items())


def test_force_new_replaces(workspace: Workspace) -> None:
    workspace.write(HEAD + SECRET)
    workspace.init()
    workspace.apply()
    workspace.write(HEAD + SECRET.replace('"one"', '"two"').replace('"main"', '"other"'))
    change = workspace.plan()["google_secret_manager_secret.this"]
    assert change["actions"] == ["delete", "create"]
    assert change["replace_paths"] == [["secret_id"]]
    assert change["after_unknown"]["id"] is True


def test_ignored_changes_stay_and_protection_holds(cloud: Cloud, workspace: Workspace) -> None:
    workspace.write(HEAD + SERVICE % "true")
    workspace.init()
    workspace.apply()
    service = cloud.call("GET", _SERVICE)
    revision = service["latestReadyRevision"].rsplit("/", 1)[1]
    kind = "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION"
    service["traffic"] = [{"type": kind, "revision": revision, "percent": 100}]
    service["client"] = "somebody"
    cloud.call("PATCH", _SERVICE, service)
    workspace.assert_no_changes()
    kept = cloud.call("GET", _SERVICE)["traffic"]
    assert kept[0]["revision"] == revision
    workspace.write(HEAD + (SERVICE % "true").replace("hello", "other"))
    workspace.apply()
    changed = cloud.call("GET", _SERVICE)
    assert changed["template"]["containers"][0]["image"] == "docker.io/library/other"
    assert changed["traffic"][0]["revision"] == revision
    output = workspace.terraform("destroy", "-auto-approve", "-no-color", status=1)
    assert "cannot destroy service without setting deletion_protection=false" in output


def test_failed_service_is_tainted(workspace: Workspace) -> None:
    missing = "europe-west1-docker.pkg.dev/demo-project/oe/service@sha256:" + "a" * 64
    workspace.write(HEAD + (SERVICE % "false").replace("docker.io/library/hello", missing))
    workspace.init()
    output = workspace.apply(status=1)
    assert "Error waiting to create Service: Error waiting for Creating Service: Error code" in output
    assert "is not ready and cannot serve traffic" in " ".join(output.split())
    workspace.write(HEAD + SERVICE % "false")
    assert workspace.plan()["google_cloud_run_v2_service.this"]["actions"] == ["delete", "create"]
    workspace.apply()
    workspace.assert_no_changes()


def test_imports_by_command_and_by_block(cloud: Cloud, workspace: Workspace) -> None:
    network = {"name": "net", "autoCreateSubnetworks": False}
    cloud.call("POST", "compute.googleapis.com/compute/v1/projects/demo-project/global/networks", network)
    cloud.call("POST", "storage.googleapis.com/storage/v1/b?project=demo-project", {"name": "demo-b", "location": "EU"})
    bucket = 'resource "google_storage_bucket" "this" {\n  name = "demo-b"\n  location = "eu"\n}\n'
    block = 'import {\n  to = google_storage_bucket.this\n  id = "demo-b"\n}\n'
    workspace.write(HEAD + NETWORK + bucket + block)
    workspace.init()
    workspace.terraform("import", "-no-color", "google_compute_network.this", "net")
    output = workspace.terraform("plan", "-no-color")
    assert "1 to import, 0 to add" in output
    workspace.apply()
    workspace.assert_no_changes()
    output = workspace.terraform("import", "-no-color", "google_storage_bucket.this", "x/y/z", status=1)
    assert "already managed by Terraform" in output


def test_googles_refusals_arrive_as_diagnostics(cloud: Cloud, installed: Workspace) -> None:
    network = {"name": "net", "autoCreateSubnetworks": False}
    cloud.call("POST", "compute.googleapis.com/compute/v1/projects/demo-project/global/networks", network)
    installed.write(HEAD + NETWORK)
    installed.init()
    output = installed.apply(status=1)
    assert "Error: Error creating Network: googleapi: Error 409: The resource" in output
    assert "with google_compute_network.this," in output
    stranger = Workspace(
        directory=installed.directory, environment={**installed.environment, "GOOGLE_OAUTH_ACCESS_TOKEN": "wrong"}
    )
    assert "googleapi: Error 401" in stranger.apply(status=1)


def test_configurations_are_checked_before_anything_is_called(workspace: Workspace) -> None:
    workspace.write(
        HEAD
        + (SERVICE % "false").replace("deletion_protection", 'ingress = "EVERYBODY"\n  deletion_protection')
        + 'resource "google_secret_manager_secret" "none" {\n  secret_id = "x"\n  replication {\n  }\n}\n'
        + 'resource "google_dns_record_set" "routed" {\n  name = "a."\n  managed_zone = "z"\n  type = "A"\n'
        + '  routing_policy {\n    wrr {\n      weight = 1\n      rrdatas = ["10.0.0.1"]\n    }\n  }\n}\n'
    )
    workspace.init()
    output = " ".join(workspace.terraform("validate", "-no-color", status=1).split())
    assert 'expected ingress to be one of ["INGRESS_TRAFFIC_ALL"' in output
    assert "got EVERYBODY" in output
    assert '"replication.auto": one of `replication.auto,replication.user_managed` must be specified' in output
    assert "The sandbox does not carry google_dns_record_set.routing_policy" in output


def test_sandbox_that_is_gone_is_said(installed: Workspace) -> None:
    installed.write(HEAD + NETWORK)
    installed.init()
    gone = Workspace(
        directory=installed.directory,
        environment={**installed.environment, "GCP_OPENEMR_SANDBOX_URL": "http://127.0.0.1:1"},
    )
    assert "Connection refused" in gone.apply(status=1)
