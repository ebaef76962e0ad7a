"""What status says of alerts and of what interrupted commands left, and the picture it draws."""

from __future__ import annotations

import dataclasses
import datetime
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from google.api_core.exceptions import Forbidden
from google.cloud import secretmanager_v1
from google.cloud.storage import Bucket
from google.oauth2.credentials import Credentials
from google.protobuf.field_mask_pb2 import FieldMask

from gcp_openemr import backups, cloud_monitoring, cloud_run, lock
from gcp_openemr.clients import Cloud
from gcp_openemr.cloud_run import ServiceState
from gcp_openemr.commands import plan, releases, state, status, status_table, unfinished
from gcp_openemr.commands.context import Context
from gcp_openemr.console import Console
from gcp_openemr.variables import Upgrading
from tests.unit import cloud as clouds
from tests.unit.cloud import PROJECT
from tests.unit.environment_file import load

NOW = datetime.datetime.now(datetime.UTC)
PRODUCTION = """name = "prod"
project = "unit-tests-1"
profile = "production"
"""
OLD = "acknowledge_end_of_support = true"


@pytest.fixture
def context(tmp_path: Path, cloud: Cloud) -> Context:
    environment = load(tmp_path, {"environment": PRODUCTION, "openemr": OLD})
    cloud.storage.create_bucket(environment.names.state_bucket, location="europe-west1")
    return Context(environment=environment, cloud=cloud, console=Console(), workspace=tmp_path, terraform=Path())


def bucket(context: Context) -> Bucket:
    return context.cloud.storage.bucket(context.environment.names.state_bucket)


def put(context: Context, name: str, content: Mapping[str, Any]) -> None:
    bucket(context).blob(f"prod/{name}").upload_from_string(json.dumps(content))


def holder(**changes: Any) -> lock.Holder:
    given = {"who": "eve@laptop", "command": "destroy", "acquired": NOW, "renewed": NOW, **changes}
    return lock.Holder(id="1", machine="another machine", process="17 4711", **given)


def root(outputs: Mapping[str, Any], **attributes: Any) -> dict[str, Any]:
    """A state with one resource."""
    resource = {"mode": "managed", "type": "t", "name": "n", "instances": [{"attributes": attributes}]}
    return {"resources": [resource], "outputs": {name: {"value": value} for name, value in outputs.items()}}


def left(context: Context, by: lock.Holder | None = None) -> list[tuple[str, str]]:
    return [(one.what, one.command) for one in unfinished.look(context, by)]


def test_nothing_is_left_where_nothing_is(context: Context) -> None:
    assert left(context) == []


def a_terraform_lock(context: Context) -> None:
    put(context, "platform/default.tflock", {"Who": "eve@laptop"})


def lifted_protections(context: Context) -> None:
    put(context, "platform/default.tfstate", root({"provision": {"job": "j"}}, deletion_protection=False))


def half_a_platform(context: Context) -> None:
    put(context, "platform/default.tfstate", root({"provision": None}, deletion_protection=True))


def a_clinic_of_before(context: Context) -> None:
    put(context, "platform/default.tfstate", root({"provision": {"job": "j"}}, deletion_protection=True))
    put(context, "clinics/south/default.tfstate", root({}))


def a_clinic_without_service(context: Context) -> None:
    put(context, "clinics/main/default.tfstate", root({}))


def a_rotation(context: Context) -> None:
    cloud, root_ = context.cloud, f"v1/projects/{PROJECT}/secrets"
    made = cloud.ask(
        "secretmanager", root_, body={"replication": {"automatic": {}}}, secretId="oe-prod-main-db-password"
    )
    for _ in range(2):
        cloud.ask("secretmanager", f"v1/{made['name']}:addVersion", body={"payload": {"data": "eA=="}})
    changed = secretmanager_v1.Secret(name=made["name"], version_aliases={"current": 1, "next": 2})
    cloud.secrets.update_secret(secret=changed, update_mask=FieldMask(paths=["version_aliases"]))


DESTROY = "gcp-openemr destroy"


@pytest.mark.parametrize(
    ("make", "what", "command"),
    [
        (a_terraform_lock, "Terraform's state of platform is locked by eve@laptop", "gcloud storage rm gs://"),
        (lifted_protections, "are lifted, as a destroy does first; to keep it: gcp-openemr deploy", DESTROY),
        (half_a_platform, "the platform is there without its provision job", "gcp-openemr deploy"),
        (a_clinic_of_before, "clinic south stands there", "gcp-openemr destroy --clinic south"),
        (a_clinic_without_service, "clinic main was made without its service", "gcp-openemr deploy"),
        (a_rotation, "oe-prod-main-db-password is half way: current 1, next 2", "gcp-openemr rotate"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_what_a_command_left_is_told_with_the_one_that_goes_on(
    context: Context, make: Callable[[Context], None], what: str, command: str
) -> None:
    make(context)
    found = left(context)
    assert len(found) == 1, found
    assert what in found[0][0]
    assert found[0][1].startswith(command)
    assert not {"-y", "--environment"} & {*found[0][1].split()}, "who pastes it is asked"
    assert left(context, holder()) == [], "a living run is at work on it"


SET = {"BACKUP_SOURCE": "set"}
OVER = {**SET, "BACKUP_FILEID": "x", "RESTORE_OVER": "yes"}


@pytest.mark.parametrize(
    ("kind", "told", "command"),
    [
        ("nfs-init", {}, "deploy"),
        ("nfs-init", {"UPGRADE": "yes"}, "deploy --upgrade"),
        ("nfs-init", SET, "recover --from-bucket BUCKET --clinic main"),
        ("nfs-init", {**SET, "UPGRADE": "yes"}, "recover --from-bucket BUCKET --clinic main --upgrade"),
        ("nfs-init", OVER, "restore --from x --clinic main"),
        ("nfs-init", {**OVER, "KEEP_PAGE": "yes"}, "upgrade --back --clinic main"),
        ("provision", {"ACTION": "ensure", "CLINIC": "north"}, "deploy"),
        ("provision", {"ACTION": "remove", "CLINIC": "north"}, "destroy --clinic north"),
        ("upgrade", {"OPENEMR_VERSION": "8.4.0"}, "upgrade --to 8.4.0 --clinic main"),
        ("upgrade", {"OPENEMR_VERSION": "8.4.0", "REHEARSE": "yes"}, "upgrade --to 8.4.0 --rehearse --clinic main"),
        ("redis-passwords", {}, "rotate"),
        ("background", {}, ""),
        ("prune", {}, ""),
    ],
)
def test_the_command_that_ran_a_job_is_known_by_what_it_told(
    context: Context, monkeypatch: pytest.MonkeyPatch, kind: str, told: dict[str, str], command: str
) -> None:
    executions: Any = SimpleNamespace(get_execution=lambda name: name)
    cloud: Any = SimpleNamespace(executions=executions)
    monkeypatch.setattr(unfinished, "_told", lambda _: told)
    monkeypatch.setattr(releases, "moving", lambda *_: None)
    assert unfinished._command(dataclasses.replace(context, cloud=cloud), kind, "main", "e") == command


def test_a_clinic_whose_data_was_being_removed_is_not_deployed_by_advice(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_clinic_without_service(context)
    monkeypatch.setattr(cloud_run, "last_told", lambda *_: {"ACTION": "remove"})
    ((what, command),) = left(context)
    assert "its data was being removed" in what
    assert command == "gcp-openemr destroy --clinic main"


@pytest.mark.parametrize(
    ("way", "what", "command"),
    [
        ({}, "is on its way to OpenEMR 8.4.0", "upgrade --to 8.4.0 --clinic main"),
        ({"back": "restore"}, "is on its way to OpenEMR 7.0.4", "upgrade --back --clinic main"),
        ({"rehearsal": True}, "was being rehearsed; to call that off: ", "upgrade --to 8.4.0 --rehearse --clinic main"),
    ],
)
def test_an_upgrade_is_told_from_its_rehearsal(way: dict[str, Any], what: str, command: str) -> None:
    told = unfinished._upgrade("main", Upgrading(from_version="7.0.4", to_version="8.4.0", image="i", **way))
    assert what in told.what
    assert told.command == f"gcp-openemr {command}"


def test_a_dead_run_is_told(context: Context) -> None:
    long_ago = NOW - datetime.timedelta(hours=2)
    died = holder(acquired=long_ago, silent=NOW - long_ago, command="destroy --clinic north")
    what = "`destroy --clinic north` of eve@laptop died; it began 2 h ago"
    assert left(context, died) == [(what, "gcp-openemr destroy --clinic north")]


def test_a_revision_without_traffic_is_told(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = ServiceState(uri="", ready_revision="web-2", created_revision="web-2", traffic={"web-1": 100})
    monkeypatch.setattr(cloud_run, "service_state", lambda *_: seen)
    assert left(context) == [("clinic main: revision web-2 does not have the traffic", "gcp-openemr deploy")]


@pytest.mark.parametrize(("silent", "told"), [(None, True), (0, False), (60, True)])
def test_a_plan_tells_of_it_too_unless_a_run_is_at_work(
    context: Context, monkeypatch: pytest.MonkeyPatch, silent: int | None, told: bool
) -> None:
    """Else a pipeline's next run would find nothing to do. `silent`: so many minutes nobody renewed the lock."""
    seen = ServiceState(uri="", ready_revision="web-2", created_revision="web-2", traffic={"web-1": 100})
    monkeypatch.setattr(cloud_run, "service_state", lambda *_: seen)
    if silent is not None:
        minutes = datetime.timedelta(minutes=silent)
        monkeypatch.setattr(lock, "read_holder", lambda *_: holder(silent=minutes))
    found = list(plan.without_traffic(context, ["main"]))
    assert found == (["Clinic 'main': revision web-2 would get the traffic, which it does not have."] if told else [])


class Monitoring:
    """Answers as Cloud Monitoring does, a page at a time."""

    project = PROJECT

    def __init__(self, **collections: list[dict[str, Any]]) -> None:
        self._collections = collections

    def ask(self, _api: str, path: str, **query: Any) -> dict[str, Any]:
        name, at = path.rpartition("/")[2], int(query.get("pageToken", 0))
        items = self._collections[name]
        more = {"nextPageToken": str(at + 1)} if at + 1 < len(items) else {}
        return {name: items[at : at + 1], **more} if items else {}


def policy(number: int, environment: str, **changes: Any) -> dict[str, Any]:
    labels = {"environment": environment}
    name = f"projects/{PROJECT}/alertPolicies/{number}"
    return {"name": name, "displayName": f"alert {number}", "userLabels": labels, **changes}


def alert(number: int, state_: str) -> dict[str, Any]:
    return {
        "state": state_,
        "openTime": "2026-11-22T02:00:00Z",
        "policy": {"name": f"projects/1234567/alertPolicies/{number}", "severity": "CRITICAL"},
    }


def test_open_alerts_are_those_of_the_environment_s_policies() -> None:
    policies = [policy(1, "prod"), policy(2, "prod", enabled=False), policy(3, "staging")]
    cloud: Any = Monitoring(alertPolicies=policies, alerts=[alert(3, "OPEN"), alert(2, "CLOSED"), alert(1, "OPEN")])
    known = cloud_monitoring.policies(cloud, "prod")
    assert [(one.title, one.enabled) for one in known] == [("alert 1", True), ("alert 2", False)]
    (raised,) = cloud_monitoring.open_alerts(cloud, known)
    assert (raised.title, raised.severity) == ("alert 1", "CRITICAL")


CLINIC = {
    "healthy": False,
    "asked": True,
    "url": "https://main",
    "problem": "",
    "health": {"checks": {"database": "ok", "sessions": "failed"}},
    "openemr": "7.0.4",
    "traffic": {"web-1": 90, "web-2": 10},
    "secrets": {"database": {"version": 3, "made": NOW}, "redis": None, "admin": {"problem": "version 2 is disabled"}},
    "backup": {"set": "20261122T020000Z-abcd", "state": "failed", "begun": NOW},
    "drill": {"ok": False, "at": NOW, "error": "a table is missing"},
    "rotation": ["database: version 2 is made and not in force yet"],
}
VALUES = {
    "environment": "prod",
    "project": "p",
    "region": "europe-west1",
    "healthy": False,
    "lock": {"who": "eve@laptop", "command": "deploy", "acquired": NOW, "dead": False},
    "versions": {"gcp_openemr": "1.0", "openemr": "7.0.4", "terraform": "1.9.8", "provider": None},
    "platform": [{"part": "database", "level": "failed", "what": "oe-prod-sql is stopped", "do": "Run: gcloud …"}],
    "redis_root_password": {"version": 1, "made": NOW},
    "cloud_sql": {"backups": 0, "newest": None, "point_in_time_since": None},
    "alerts": {
        "policies": 2,
        "disabled": ["x"],
        "open": [{"title": "requests fail", "severity": "ERROR", "since": NOW, "do": "Look."}],
    },
    "unfinished": [{"what": "the rotation of s is half way", "command": "gcp-openemr rotate"}],
    "clinics": {"main": CLINIC, "north": {"healthy": False, "problem": "not deployed"}},
}


def test_people_read_all_that_is_wrong_and_what_to_do() -> None:
    drawn = status_table.drawn(VALUES)
    for words in (
        "prod in p, europe-west1: NOT healthy",
        "eve@laptop is changing it with `deploy`",
        "90 % web-1",
        "Redis's root password: 1, ",
        "sessions: failed",
        "version 2 is disabled",
        "the last drill failed: a table is missing",
        "oe-prod-sql is stopped\n  → Run: gcloud …",
        "alert: requests fail, since",
        "unfinished: the rotation of s is half way\n  → gcp-openemr rotate",
        "north    not deployed",
    ):
        assert words in drawn
    assert "\x1b" not in drawn


def test_what_may_not_be_seen_is_said_not_to_be_visible() -> None:
    hidden = {"not_visible": "Permission 'x' denied"}
    drawn = status_table.drawn({**VALUES, "alerts": hidden, "cloud_sql": hidden, "unfinished": hidden})
    assert drawn.count("not visible: Permission 'x' denied") == 3


def test_whatever_part_may_not_be_seen_the_rest_is_drawn() -> None:
    hidden = {"not_visible": "Permission 'x' denied"}
    for name in ("lock", "versions", "platform", "redis_root_password", "cloud_sql", "alerts", "unfinished"):
        assert "not visible: Permission 'x' denied" in status_table.drawn({**VALUES, name: hidden}), name
    for name in ("backup", "drill", "rotation"):
        drawn = status_table.drawn({**VALUES, "clinics": {"main": {**CLINIC, name: hidden}}})
        assert "not visible: Permission 'x' denied" in drawn, name
        assert "sessions: failed" in drawn
    drawn = status_table.drawn({**VALUES, "clinics": {"main": CLINIC, "north": {"healthy": False, **hidden}}})
    assert "north    not visible" in drawn
    assert "north: not visible: Permission 'x' denied" in drawn


def looked(cloud: Cloud, tmp_path: Path) -> tuple[status.Verdict, dict[str, Any]]:
    results = io.StringIO()
    console = Console(people=io.StringIO(), results=results, as_json=True)
    verdict = status.status(clouds.context(cloud, tmp_path, console=console), clinic=None)
    return verdict, json.loads(results.getvalue())


def test_who_may_see_nothing_is_told_so_of_every_part(tmp_path: Path) -> None:
    with clouds.app_and_cloud(tmp_path / "cloud", caller="someone") as (app, cloud):
        owner = dataclasses.replace(cloud, credentials=Credentials(token=app.operator_token))
        owner.storage.create_bucket(f"{PROJECT}-oe-test-state", location="europe-west1")
        verdict, seen = looked(cloud, tmp_path)
    assert verdict == status.Verdict(healthy=False, drifted=False)
    hidden = {name for name, part in seen.items() if isinstance(part, dict) and "not_visible" in part}
    assert {"lock", "unfinished", "versions", "alerts", "redis_root_password"} <= hidden
    assert seen["clinics"]["main"].keys() == {"healthy", "not_visible"}


def test_a_refusal_of_the_backup_bucket_hides_the_backups_alone(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise Forbidden("Permission 'storage.objects.list' denied")

    cloud.storage.create_bucket(f"{PROJECT}-oe-test-state", location="europe-west1")
    seen = ServiceState(uri="http://127.0.0.1:9", ready_revision="w", created_revision="w", traffic={"w": 100})
    monkeypatch.setattr(cloud_run, "service_state", lambda *_: seen)
    monkeypatch.setattr(backups, "newest", refuse)
    monkeypatch.setattr(backups, "latest_run", refuse)
    _, told = looked(cloud, tmp_path)
    main = told["clinics"]["main"]
    assert main["backup"] == main["drill"] == {"not_visible": "Permission 'storage.objects.list' denied"}
    assert (main["traffic"], told["lock"]) == ({"w": 100}, None)


def test_the_state_tells_which_terraform_wrote_it(context: Context) -> None:
    assert state.terraform_version(context) is None
    put(context, "foundation/default.tfstate", {"terraform_version": "1.11.4"})
    assert state.terraform_version(context) == "1.11.4"
