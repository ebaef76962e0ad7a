"""One deploy, by an identity that may do what doctor's table says and nothing else; then one thing broken at a time."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.cloud import secretmanager_v1
from google.oauth2.credentials import Credentials
from google.protobuf.field_mask_pb2 import FieldMask

from gcp_openemr import lock
from gcp_openemr.clients import Cloud
from gcp_openemr.commands import backup, deploy, destroy, doctor, logs, plan, restore, status
from gcp_openemr.commands import sandbox as sandbox_commands
from gcp_openemr.commands.context import Context
from gcp_openemr.commands.status import Verdict
from gcp_openemr.console import Console
from gcp_openemr.environment import load_environment
from gcp_openemr.needed import needed
from gcp_openemr.sandbox.api.iam import Tokens
from gcp_openemr.sandbox.api.store import Store
from gcp_openemr.sandbox.provider import launch
from gcp_openemr.setup.terraform import locate_terraform
from tests.rehearsal.place import PROJECT, Place, empty, environment_file
from tests.unit import cloud as clouds

STATE = f"{PROJECT}-oe-test-state"
VERBS = ("plan", "deploy", "backup", "restore", "destroy", "status", "logs")
PASSWORD = f"projects/{PROJECT}/secrets/oe-test-main-db-password"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Deployment:
    """A deployed environment, and a token for each identity, one of `VERBS`."""

    place: Place
    tokens: dict[str, str]

    @property
    def cloud(self) -> Cloud:
        return self.place.cloud()

    def context(self, verb: str) -> Context:
        """Of a run in this process, as the identity that may do just this; no warm provider is to live as long."""
        console = quiet()
        token = self.tokens[verb]
        operator = sandbox_commands.connect(self.place.sandbox, console, project=PROJECT)
        cloud = dataclasses.replace(
            operator,
            credentials=Credentials(token=token, id_token=token),
            terraform_environment={
                **operator.terraform_environment,
                "GOOGLE_OAUTH_ACCESS_TOKEN": token,
                launch.ADDRESS_VARIABLE: "",
            },
        )
        return Context(
            environment=load_environment(self.place.folder / "openemr.toml"),
            cloud=cloud,
            console=console,
            workspace=self.place.folder / ".gcp-openemr" / "rehearsal" / "test",
            terraform=locate_terraform().path,
            yes=True,
        )

    def examine(self, cloud: Cloud | None = None) -> dict[str, list[dict[str, Any]]]:
        """What doctor finds: check → its findings."""
        results = io.StringIO()
        console = Console(as_json=True, people=io.StringIO(), results=results)
        file = self.place.folder / "openemr.toml"
        doctor.doctor(file, lambda _: cloud or self.cloud, console, workspace=file.parent, verbs=("deploy",))
        found: dict[str, list[dict[str, Any]]] = {}
        for one in json.loads(results.getvalue())["checks"]:
            found.setdefault(one["check"], []).append(one)
        return found


def quiet() -> Console:
    return Console(people=io.StringIO(), results=io.StringIO())


pytestmark = pytest.mark.torture  # unit/test_doctor_runs.py asks the same questions of an API without servers behind it


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("doctor")
    tokens = identities(Place(folder=folder).sandbox)
    with empty(folder, environment_file()) as place:
        made = Deployment(place=place, tokens=tokens)
        deploy.deploy(made.context("deploy"))
        yield made


def identities(directory: Path) -> dict[str, str]:
    """Make a service account for each of the table's commands, with a role of exactly its permissions."""
    bindings = []
    with clouds.cloud(directory) as cloud:
        for api in ("iam", "cloudresourcemanager"):
            cloud.ask("serviceusage", f"v1/projects/{PROJECT}/services/{api}.googleapis.com:enable", body={})
        for verb in VERBS:
            email = f"{verb}-only@{PROJECT}.iam.gserviceaccount.com"
            root = f"v1/projects/{PROJECT}"
            cloud.ask("iam", f"{root}/serviceAccounts", body={"accountId": f"{verb}-only"})
            role = {"title": verb, "includedPermissions": sorted(needed()[verb])}
            named = cloud.ask("iam", f"{root}/roles", body={"roleId": f"{verb}_only", "role": role})
            bindings.append({"role": named["name"], "members": [f"serviceAccount:{email}"]})
        path = f"v3/projects/{PROJECT}"
        policy = cloud.ask("cloudresourcemanager", f"{path}:getIamPolicy", body={})
        policy["bindings"] += bindings
        cloud.ask("cloudresourcemanager", f"{path}:setIamPolicy", body={"policy": policy})
    store = Store(directory / "state.sqlite3")
    tokens = Tokens(store, directory / "operator-token")
    found = {verb: tokens.mint(f"{verb}-only@{PROJECT}.iam.gserviceaccount.com") for verb in VERBS}
    store.close()
    return found


def test_a_deployed_environment_has_nothing_to_mend(deployment: Deployment) -> None:
    answer = deployment.place.run("doctor")
    assert answer.status == 0, answer.stdout
    looked_at = {one["check"]: one["level"] for one in answer.json["checks"]}
    assert {looked_at[check] for check in ("database", "files machine", "secrets", "pinned versions", "clinics")} == {
        "ok"
    }


@pytest.mark.torture
def test_a_plan_needs_no_other_permission_than_the_table_s(deployment: Deployment) -> None:
    assert not plan.plan(deployment.context("plan"))


@pytest.mark.torture
def test_backups_and_restores_need_no_other_permissions_than_the_table_s(deployment: Deployment) -> None:
    backup.create(deployment.context("backup"), clinic="main")
    backup.listing(deployment.context("backup"), clinic=None)
    backup.verify(deployment.context("backup"), clinic="main", wanted="latest", data="0")
    backup.drill(deployment.context("backup"), clinic="main")
    restore.restore(deployment.context("restore"), clinic="main", wanted="latest", drain=0, set_first=True)
    restore.undo(deployment.context("restore"), clinic="main", drain=0, set_first=False)


def test_looking_needs_no_other_permissions_than_the_table_s(deployment: Deployment) -> None:
    """And what this identity may not see is said not to be visible: there is nothing of that."""
    context, results = deployment.context("status"), io.StringIO()
    seen = dataclasses.replace(context, console=Console(as_json=True, people=io.StringIO(), results=results))
    assert status.status(seen, clinic=None) == Verdict(healthy=True, drifted=False)
    assert "not_visible" not in results.getvalue()
    assert json.loads(results.getvalue())["unfinished"] == []
    logs.logs(deployment.context("logs"), clinic="main", job="nfs-init", since="1h", follow=False)


def test_an_identity_hears_what_it_may_not_do(deployment: Deployment) -> None:
    """The planner may not deploy; and what it may not look at is said to be not visible, not fine."""
    found = deployment.examine(deployment.context("plan").cloud)
    by_verb = {one["what"].partition(":")[0]: one for one in found["permissions"]}
    assert (by_verb["plan"]["level"], by_verb["deploy"]["level"]) == ("ok", "failed")
    assert sorted(needed()["deploy"] - needed()["plan"]) == by_verb["deploy"]["items"]
    assert found["organisation"][0]["level"] == "not visible"
    assert found["identity"][0]["what"] == f"plan-only@{PROJECT}.iam.gserviceaccount.com"


@contextlib.contextmanager
def an_api_is_disabled(made: Deployment) -> Iterator[None]:
    service = f"v1/projects/{PROJECT}/services/run.googleapis.com"
    made.cloud.ask("serviceusage", f"{service}:disable", body={})
    yield
    made.cloud.ask("serviceusage", f"{service}:enable", body={})


@contextlib.contextmanager
def a_secret_s_version_is_disabled(made: Deployment) -> Iterator[None]:
    made.cloud.secrets.disable_secret_version(name=f"{PASSWORD}/versions/1")
    yield
    made.cloud.secrets.enable_secret_version(name=f"{PASSWORD}/versions/1")


@contextlib.contextmanager
def the_pinned_version_is_gone(made: Deployment) -> Iterator[None]:
    """Version 2 is in force; version 1, to which the service is pinned, was destroyed by a careless hand."""
    secrets = made.cloud.secrets
    payload = secrets.access_secret_version(name=f"{PASSWORD}/versions/1").payload
    secrets.add_secret_version(parent=PASSWORD, payload=payload)
    put_in_force(made.cloud, 2)
    secrets.destroy_secret_version(name=f"{PASSWORD}/versions/1")
    yield
    secrets.enable_secret_version(name=f"{PASSWORD}/versions/1")
    put_in_force(made.cloud, 1)


def put_in_force(cloud: Cloud, version: int) -> None:
    secret = secretmanager_v1.Secret(name=PASSWORD, version_aliases={"current": version})
    cloud.secrets.update_secret(secret=secret, update_mask=FieldMask(paths=["version_aliases"]))


@contextlib.contextmanager
def the_database_is_stopped(made: Deployment) -> Iterator[None]:
    set_activation(made.cloud, "NEVER")
    yield
    set_activation(made.cloud, "ALWAYS")


def set_activation(cloud: Cloud, policy: str) -> None:
    instances = cloud.api("sqladmin", "v1").instances()
    operation = instances.patch(
        project=PROJECT, instance="oe-test-sql", body={"settings": {"activationPolicy": policy}}
    ).execute()
    while operation["status"] != "DONE":
        operation = cloud.ask("sqladmin", f"v1/projects/{PROJECT}/operations/{operation['name']}")


@contextlib.contextmanager
def the_files_machine_is_stopped(made: Deployment) -> Iterator[None]:
    instances = f"compute/v1/projects/{PROJECT}/zones/europe-west1-b/instances"
    (found,) = made.cloud.ask("compute", instances)["items"]
    machine = f"{instances}/{found['name']}"
    wait_for_state(made.cloud, machine, "stop", "TERMINATED")
    yield
    wait_for_state(made.cloud, machine, "start", "RUNNING")


def wait_for_state(cloud: Cloud, machine: str, verb: str, status: str) -> None:
    cloud.ask("compute", f"{machine}/{verb}", body={})
    deadline = time.monotonic() + 60
    while cloud.ask("compute", machine)["status"] != status and time.monotonic() < deadline:
        time.sleep(0.05)


@contextlib.contextmanager
def somebody_holds_the_lock(made: Deployment) -> Iterator[None]:
    with lock.hold(made.cloud.storage.bucket(STATE), "test", "rotate"):
        yield


@contextlib.contextmanager
def terraform_s_lock_was_left(made: Deployment) -> Iterator[None]:
    blob = made.cloud.storage.bucket(STATE).blob("test/platform/default.tflock")
    blob.upload_from_string(json.dumps({"Who": "anna@laptop", "Created": "2026-01-02T03:04:05Z"}))
    yield
    blob.delete()


@contextlib.contextmanager
def the_file_names_another_region(made: Deployment) -> Iterator[None]:
    with changed_file(made, "europe-west1", "europe-west4"):
        yield


@contextlib.contextmanager
def the_backup_is_missing(made: Deployment) -> Iterator[None]:
    restore = '[clinics.main]\n[clinics.north.restore]\nuri = "gs://nobody-s-backups-1/one.zip"\n'
    with changed_file(made, "[service]", f"{restore}[service]"):
        yield


@contextlib.contextmanager
def changed_file(made: Deployment, old: str, new: str) -> Iterator[None]:
    file = made.place.folder / "openemr.toml"
    before = file.read_text()
    file.write_text(before.replace(old, new))
    yield
    file.write_text(before)


@pytest.mark.parametrize(
    ("broken", "check", "level", "what", "do"),
    [
        (an_api_is_disabled, "APIs", "failed", "are not enabled", "gcloud services enable run.googleapis.com"),
        (a_secret_s_version_is_disabled, "secrets", "failed", "is disabled", "gcloud secrets versions enable 1"),
        (a_secret_s_version_is_disabled, "pinned versions", "failed", "which is disabled", "versions enable 1"),
        (the_database_is_stopped, "database", "failed", "oe-test-sql is stopped", "--activation-policy=ALWAYS"),
        pytest.param(
            the_files_machine_is_stopped,
            "files machine",
            "failed",
            "is TERMINATED",
            "gcloud compute instances start",
            marks=pytest.mark.torture,
        ),
        (somebody_holds_the_lock, "lock", "warning", "holds it with `rotate`", "Wait for that run"),
        (terraform_s_lock_was_left, "lock", "failed", "locked by anna@laptop", f"gcloud storage rm gs://{STATE}/test"),
        (the_file_names_another_region, "one place", "failed", "lie outside europe-west4", "[environment]"),
        (the_backup_is_missing, "backup to restore", "failed", "a bucket that is not there", "[restore]"),
        (the_pinned_version_is_gone, "pinned versions", "failed", "and will be destroyed at", "versions enable 1"),
    ],
    ids=lambda value: value.__name__ if callable(value) else None,
)
def test_what_is_broken_is_found_with_what_mends_it(
    deployment: Deployment, broken: Callable[[Deployment], Any], check: str, level: str, what: str, do: str
) -> None:
    with broken(deployment):
        found = deployment.examine()[check]
    (finding,) = [one for one in found if one["level"] == level]
    assert what in finding["what"]
    assert do in finding["do"]


def test_something_to_mend_has_an_exit_code_of_its_own(deployment: Deployment) -> None:
    with changed_file(deployment, "public_access", "public_acces"):
        answer = deployment.place.run("doctor")
    assert answer.status == 9
    assert [one["check"] for one in answer.json["checks"] if one["level"] == "failed"] == ["environment file"]


@pytest.mark.torture
def test_a_destroy_needs_no_other_permission_than_the_table_s(deployment: Deployment) -> None:
    destroy.destroy(deployment.context("destroy"), destroy.Wish(named="test", keep_foundation=True))
    found = deployment.examine()
    assert found["database"][0]["what"] == "not deployed yet"
    assert {one["level"] for one in found["names"]} == {"ok"}, "custom roles stay, and keep no name from us"
