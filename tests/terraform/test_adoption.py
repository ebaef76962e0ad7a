"""What exists and is in no state is taken into it by the next apply: the real Terraform, and nothing is made anew."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import io
import json
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.oauth2.credentials import Credentials

from gcp_openemr import leftovers, secret_store
from gcp_openemr import terraform as door
from gcp_openemr.adoption import KINDS
from gcp_openemr.clients import Cloud
from gcp_openemr.commands import leaving, removal, roots, state, taking_down
from gcp_openemr.commands.context import Context
from gcp_openemr.commands.leaving import Wish
from gcp_openemr.commands.roots import Prepared, Root
from gcp_openemr.commands.taking_down import Going, Patience
from gcp_openemr.console import Console
from gcp_openemr.environment import Environment
from gcp_openemr.errors import DataLossRefused, TerraformFailed
from gcp_openemr.image import Images
from gcp_openemr.passwords import new_password
from gcp_openemr.sandbox.api.app import App
from gcp_openemr.sandbox.api.nothing_runs import NothingRuns
from gcp_openemr.sandbox.api.server import serve
from gcp_openemr.sandbox.interfaces import Json
from gcp_openemr.sandbox.provider.mirror import write_mirror
from gcp_openemr.setup.terraform import locate_terraform
from gcp_openemr.terraform import Terraform
from gcp_openemr.variables import (
    Foundation,
    Platform,
    SecretVersions,
    clinic_variables,
    foundation_variables,
    platform_variables,
)
from tests.attached import SETTINGS, attached_provider
from tests.terraform.samples import IMAGE
from tests.unit.environment_file import load

ALONE = Root(kind="alone", path="alone")
HEAD = """
terraform {{
  required_providers {{
    google = {{ source = "hashicorp/google" }}
  }}
}}
provider "google" {{
  project = "{project}"
  region  = "europe-west1"
}}
"""
DATABASE = """
resource "google_sql_database_instance" "default" {
  name                = "oe-test-sql"
  database_version    = "MYSQL_8_0"
  deletion_protection = false
  settings {
    tier        = "db-f1-micro"
    user_labels = { managed-by = "gcp-openemr", environment = "test" }
    ip_configuration {
      ipv4_enabled   = false
      server_ca_mode = "GOOGLE_MANAGED_CAS_CA"
      ssl_mode       = "ENCRYPTED_ONLY"
      psc_config {
        psc_enabled               = true
        allowed_consumer_projects = ["my-clinic-test"]
      }
    }
  }
}
"""
DISK = """
resource "google_compute_disk" "default" {
  name   = "oe-test-data"
  zone   = "europe-west1-b"
  type   = "pd-balanced"
  labels = { managed-by = "gcp-openemr", environment = "test" }
}
"""


# ruff: noqa: ARG002 -- the arguments are those of the protocol


class Machines(NothingRuns):
    """A database comes up when it is let, and has the account then that Cloud SQL gives a new one."""

    def __init__(self) -> None:
        self.users: list[dict[str, str]] = []
        self.starting = threading.Event()
        self.may_start = threading.Event()
        self.may_start.set()

    def start_database(self, instance: Json) -> None:
        self.starting.set()
        self.may_start.wait(60)
        self.users = [{"name": "root", "host": "%"}]

    def list_database_users(self, instance: str) -> list[dict[str, str]]:
        return self.users

    def delete_database_user(self, instance: str, user: str, host: str) -> None:
        self.users.remove({"name": user, "host": host})


@dataclasses.dataclass(frozen=True, kw_only=True)
class World:
    """An environment in a cloud of its own; `told` is what people read."""

    app: App
    machines: Machines
    context: Context
    told: io.StringIO
    folder: Path

    @property
    def environment(self) -> Environment:
        return self.context.environment

    def alone(self, configuration: str) -> Prepared:
        """A root of one resource, planned."""
        folder = self.folder / "alone"
        folder.mkdir(exist_ok=True)
        (folder / "main.tf").write_text(HEAD.format(project=self.environment.project) + configuration)
        environment = self.context.cloud.terraform_environment
        terraform = Terraform(folder, binary=self.context.terraform, environment=environment, unlock=print)
        terraform.init()
        return Prepared(root=ALONE, terraform=terraform, plan=terraform.plan(), allowed=["google_compute_disk.default"])

    def apply(self, root: Root, variables: dict[str, Any]) -> dict[str, Any]:
        return roots.apply(self.context, roots.prepare(self.context, root, variables))

    def adopt_again(self, root: Root, variables: dict[str, Any]) -> list[str]:
        """Forget the state of a root, apply it again; the types adopted, after seeing that nothing was made anew."""
        before = self._made_once(root)
        bucket = self.context.cloud.storage.bucket(self.environment.names.state_bucket)
        bucket.blob(f"{self.environment.name}/{root.path}/default.tfstate").delete()
        self.apply(root, variables)
        assert self._made_once(root) == before
        again = roots.prepare(self.context, root, variables)
        assert again.plan.empty
        assert not list(again.plan.file.parent.glob("adopted*"))
        return [type_ for type_ in KINDS if any(f".{type_}." in address for address in before)]

    def _made_once(self, root: Root) -> dict[str, tuple[Any, ...]]:
        """What could be adopted: address → id and what only its making can have given it."""
        return {
            address: tuple(values.get(name) for name in ("id", "create_time", "time_created", "unique_id", "self_link"))
            for address, values in state.deployed(self.context)
            if address.startswith(f"{root.path}.") and any(f".{type_}." in address for type_ in KINDS)
        }


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder for what a killed provider leaves: pytest's own is too long for the name of a socket."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture
def world(tmp_path: Path, short: Path) -> Iterator[World]:
    environment = load(tmp_path, {"files": "snapshot_days = 7", "alerts": 'emails = ["it@clinic.example"]'})
    app, machines = App(tmp_path / "cloud"), Machines()
    app.start(machines)
    server = serve(socket.create_server(("127.0.0.1", 0)), app)
    url, told = f"http://127.0.0.1:{server.port}", io.StringIO()
    cloud = Cloud(
        project=environment.project,
        credentials=Credentials(token=app.operator_token),
        base=url,
        terraform_environment={
            **write_mirror(tmp_path / "mirror", python=sys.executable, url=url),
            "GOOGLE_BACKEND_STORAGE_CUSTOM_ENDPOINT": f"{url}/storage/v1/",
            "GOOGLE_OAUTH_ACCESS_TOKEN": app.operator_token,
            "TMPDIR": str(short),
        },
    )
    context = Context(
        environment=environment,
        cloud=cloud,
        console=Console(people=told),
        workspace=tmp_path / "work",
        terraform=locate_terraform().path,
        yes=True,
    )
    state.ensure_apis(context)
    yield World(app=app, machines=machines, context=context, told=told, folder=tmp_path)
    machines.may_start.set()
    server.close()
    app.close()


@pytest.fixture
def attached(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The same with the provider in this process, for what does not kill it."""
    cloud = world.context.cloud
    for name in SETTINGS:
        monkeypatch.setenv(name, cloud.terraform_environment[name])
    with attached_provider() as found:
        cloud = dataclasses.replace(cloud, terraform_environment={**cloud.terraform_environment, **found})
        yield dataclasses.replace(world, context=dataclasses.replace(world.context, cloud=cloud))


def test_a_database_whose_making_was_killed_is_waited_for_and_adopted(world: World) -> None:
    """SIGKILL to Terraform and its provider in the middle of the operation."""
    world.machines.may_start.clear()
    prepared = world.alone(DATABASE)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        applying = pool.submit(roots.apply, world.context, prepared)
        assert world.machines.starting.wait(30)
        for process in list(door._running):
            os.killpg(process.pid, signal.SIGKILL)
        assert isinstance(applying.exception(30), TerraformFailed)
    (world.folder / "alone" / "terraform.tfstate").unlink()  # as it would be in a bucket: not written yet
    (world.folder / "alone" / "adopted.tf").write_text("import {}")  # of a run that was killed while it planned
    again = world.alone(DATABASE)
    assert [change.action for change in again.plan.changes] == ["create"]
    threading.Timer(1.0, world.machines.may_start.set).start()
    roots.apply(world.context, again)
    assert again.terraform.plan().empty
    assert world.machines.users == []
    told = world.told.getvalue()
    assert "alone: adopts" in told
    assert "google_sql_database_instance.default (projects/my-clinic-test/instances/oe-test-sql), removed" in told


def test_what_would_be_replaced_is_never_adopted_whatever_was_allowed(attached: World) -> None:
    prepared = attached.alone(DISK)
    project, zone = attached.environment.project, "europe-west1-b"
    body = {"name": "oe-test-data", "sizeGb": "10", "labels": {"managed-by": "gcp-openemr", "environment": "test"}}
    body["type"] = f"projects/{project}/zones/{zone}/diskTypes/pd-ssd"
    attached.context.cloud.ask("compute", f"compute/v1/projects/{project}/zones/{zone}/disks", body=body)
    with pytest.raises(DataLossRefused, match=f"google_compute_disk.default: projects/{project}/zones/{zone}/disks/"):
        roots.apply(attached.context, prepared)
    left = attached.context.cloud.ask("compute", f"compute/v1/projects/{project}/zones/{zone}/disks/oe-test-data")
    assert left["type"].endswith("pd-ssd")


def test_what_a_lost_answer_kept_from_the_state_goes_with_a_destroy(attached: World) -> None:
    """Protected, holding data, and in no state: database, disk and secret are adopted, unprotected and destroyed."""
    context, environment = attached.context, attached.environment
    state.ensure_bucket(context)
    roles = environment.names.roles
    for role in roles.values():
        context.cloud.ask("iam", f"v1/projects/{environment.project}/roles", body={"roleId": role.rpartition("/")[2]})
    foundation = Foundation(registry="", build_account="", build_bucket="", backup_bucket="backups", roles=roles)
    variables = platform_variables(environment, foundation, images=None, redis_admin_version=None, protect=True)
    platform = Platform(outputs=attached.apply(roots.PLATFORM, variables))
    forget(attached, "google_sql_database_instance", "google_compute_disk", "google_secret_manager_secret")
    there = leftovers.find(environment, context.cloud)
    strays = leaving.strays(context, there)
    names = environment.names
    assert strays - {names.state_bucket} == {names.database_instance, names.files_disk, names.redis_admin_secret}
    patience = Patience(60, "")
    taking_down.take_down_platform(
        Going(context=context, foundation=foundation, platform=platform, patience=patience, strays=strays)
    )
    removal.finish(context, leaving.look(context, Wish(keep_foundation=True)), patience)
    assert [one.name for one in leftovers.find(environment, context.cloud)] == [names.state_bucket]
    assert f"/zones/{environment.zone}/disks/oe-test-data" in attached.told.getvalue()


def forget(world: World, *types: str) -> None:
    """Take every resource of these types out of the platform's state, as if it had never heard of their making."""
    bucket = world.context.cloud.storage.bucket(world.environment.names.state_bucket)
    blob = bucket.blob(f"{world.environment.name}/platform/default.tfstate")
    known = json.loads(blob.download_as_bytes())
    known["resources"] = [one for one in known["resources"] if one["type"] not in types]
    blob.upload_from_string(json.dumps(known))


@pytest.mark.torture
@pytest.mark.timeout(900)
def test_every_type_is_adopted_when_platform_and_clinic_lose_their_states(attached: World) -> None:
    state.ensure_bucket(attached.context)
    foundation = Foundation.of(attached.apply(roots.FOUNDATION, foundation_variables(attached.environment)))
    environment, images = attached.environment, Images(service=IMAGE, job=IMAGE)
    secret_of = functools.partial(secret_store.ensure, attached.context.cloud, make=new_password)
    first = platform_variables(environment, foundation, images=None, redis_admin_version=None, protect=True)
    attached.apply(roots.PLATFORM, first)
    version = secret_of(environment.names.redis_admin_secret).version
    variables = platform_variables(environment, foundation, images=images, redis_admin_version=version, protect=True)
    platform = Platform(outputs=attached.apply(roots.PLATFORM, variables))
    adopted = {*attached.adopt_again(roots.PLATFORM, variables)}

    def clinic(versions: SecretVersions | None) -> dict[str, Any]:
        values = clinic_variables(
            environment,
            environment.clinics["main"],
            foundation,
            platform,
            images,
            versions=versions,
            serve=versions is not None,
            protect=True,
        )
        return {**values, "schedules": {"nfs-init": {"cron": "0 2 * * *", "time_zone": "Etc/UTC"}}}

    root, names = roots.clinic_root("main"), environment.clinic_names("main")
    attached.apply(root, clinic(None))
    versions = SecretVersions(
        database_password=secret_of(names.database_password_secret).version,
        redis_password=secret_of(names.redis_password_secret).version,
        admin_password=secret_of(names.admin_password_secret).version,
    )
    attached.apply(root, clinic(versions))
    adopted |= {*attached.adopt_again(root, clinic(versions))}
    adopted |= {*attached.adopt_again(roots.FOUNDATION, foundation_variables(environment))}
    assert adopted == {*KINDS}
