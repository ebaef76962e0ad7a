"""The three roots applied one after the other against the sandbox's APIs, changed, and taken down again."""

from __future__ import annotations

import dataclasses
import json
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from gcp_openemr import guard
from gcp_openemr.environment.load import parse_environment
from gcp_openemr.needed import needed
from gcp_openemr.sandbox.api.conditions import evaluate
from gcp_openemr.sandbox.api.names import project_number
from gcp_openemr.terraform_messages import Change, Plan
from tests.terraform import rights, samples
from tests.terraform.options import OPTIONS, OTHERWISE, leaves
from tests.terraform.world import Cloud, Root

NOT_TERRAFORMS = {"secret_versions": None, "serve": False}
RUN = "run.googleapis.com/v2"
NIGHTLY = {"cron": "30 2 * * *", "time_zone": "Europe/Berlin"}
INSTANCES = f"compute.googleapis.com/compute/v1/projects/{samples.PROJECT}/zones/{samples.REGION}-b/instances"
GOLDEN = Path(__file__).parent / "golden" / "plans"
ADMINISTRATOR = "it@clinic.example"
POLICY = f"cloudresourcemanager.googleapis.com/v3/projects/{samples.PROJECT}"
IDENTITIES = ("oe-prod-deploy", "oe-prod-destroy")
OF_THE_FOUNDATION = {*IDENTITIES, "oe-prod-build", "oe-prod-plan"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stack:
    """Everything applied: two clinics on a platform on a foundation, with what Terraform said on the way."""

    cloud: Cloud
    roots: dict[str, Root]
    outputs: dict[str, Any]
    leftovers: dict[str, list[str]]

    def clinic(self, name: str = "main", **changes: Any) -> dict[str, Any]:
        always = {"platform": self.outputs["platform"], "schedules": {"nfs-init": NIGHTLY}}
        values = samples.clinic(name, **{**always, "service": {"public_access": True}, **changes})
        return {**values, "backup_bucket": self.outputs["foundation"]["backup_bucket"]}

    @staticmethod
    def platform(**changes: Any) -> dict[str, Any]:
        return samples.platform(**{"files": {"ssh_members": [f"user:{ADMINISTRATOR}"]}, **changes})


@pytest.fixture(scope="module")
def stack(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Stack:
    base: Path = tmp_path_factory.mktemp("stack")
    # Not as owner: as one who may do what `doctor` says that deploy and destroy need.
    cloud.become_deployer(needed()["deploy"] | needed()["destroy"])
    built = Stack(cloud=cloud, roots={}, outputs={}, leftovers={})

    def apply(kind: str, path: str, values: dict[str, Any]) -> None:
        root = built.roots.setdefault(path, Root(cloud, kind, base / path, path=path))
        built.outputs[path] = root.apply(values)
        built.leftovers.setdefault(path, []).extend(root.changes())

    apply("foundation", "foundation", samples.foundation())
    apply("platform", "platform", built.platform(provision=None))
    apply("platform", "platform", built.platform())
    cloud.add_secret_version(f"projects/{samples.PROJECT}/secrets/{samples.NAMES.redis_admin_secret}", "first")
    for name in samples.CLINICS:
        apply("clinic", f"clinics/{name}", built.clinic(name, **NOT_TERRAFORMS))
        for secret in built.outputs[f"clinics/{name}"]["secrets"].values():
            for value in ("first", "second", "third"):
                cloud.add_secret_version(secret, value)
        cloud.add_secret_version(built.outputs["foundation"]["backup_stores"][name]["password"], "first")
        apply("clinic", f"clinics/{name}", built.clinic(name))
    return built


def test_a_plan_after_every_apply_is_empty(stack: Stack) -> None:
    assert stack.leftovers == {path: [] for path in ("foundation", "platform", "clinics/main", "clinics/north")}


def test_foundation_says_where_images_and_backups_go(stack: Stack) -> None:
    assert stack.outputs["foundation"] == {
        "backup_bucket": samples.NAMES.backup_bucket,
        "backup_stores": {
            name: {
                "folder": f"clinics/{name}/backups/",
                "password": f"projects/{samples.PROJECT}/secrets/oe-prod-{name}-backup-password",
                "pruner": f"oe-prod-{name}-prune@{samples.PROJECT}.iam.gserviceaccount.com",
            }
            for name in samples.CLINICS
        },
        "ci": {
            "accounts": {
                name: f"oe-prod-{word}@{samples.PROJECT}.iam.gserviceaccount.com"
                for name, word in (("planner", "plan"), ("deployer", "deploy"), ("destroyer", "destroy"))
            },
            "provider": f"projects/{project_number(samples.PROJECT)}/locations/global/workloadIdentityPools/oe-prod-ci/"
            "providers/github",
            "runs": {
                "planner": "attribute.repository/my-clinic/openemr",
                "deployer": "attribute.place/refs/heads/main:production",
                "destroyer": "attribute.place/refs/heads/main:destroy",
            },
        },
        "build_account": f"oe-prod-build@{samples.PROJECT}.iam.gserviceaccount.com",
        "build_bucket": samples.NAMES.build_bucket,
        "log_bucket": f"projects/{samples.PROJECT}/locations/{samples.REGION}/buckets/oe-prod-audit",
        "registry": f"{samples.REGION}-docker.pkg.dev/{samples.PROJECT}/oe-prod",
        "roles": samples.NAMES.roles,
        "state_bucket": samples.NAMES.state_bucket,
    }


def test_the_state_bucket_was_adopted(stack: Stack) -> None:
    assert "module.state_bucket.google_storage_bucket.default" in stack.roots["foundation"].addresses()
    bucket = stack.cloud.call("GET", f"storage/v1/b/{samples.NAMES.state_bucket}")
    assert bucket["versioning"] == {"enabled": True}
    assert bucket["iamConfiguration"]["publicAccessPrevention"] == "enforced"


def test_platform_says_how_it_is_reached(stack: Stack) -> None:
    platform = stack.outputs["platform"]
    assert platform["database"]["instance"] == samples.NAMES.database_instance
    assert platform["database"]["port"] == 3306
    assert platform["database"]["host"].endswith(f".{samples.REGION}.sql.goog")
    assert platform["files"]["export"] == "/share"
    assert platform["redis"] == {
        "host": platform["files"]["address"],
        "port": 6379,
        "admin_secret": f"projects/{samples.PROJECT}/secrets/{samples.NAMES.redis_admin_secret}",
    }
    prefix = f"projects/{samples.PROJECT}/locations/{samples.REGION}/jobs"
    assert platform["provision"] == {
        "account": f"oe-prod-prov@{samples.PROJECT}.iam.gserviceaccount.com",
        "job": f"{prefix}/oe-prod-provision",
    }


def test_the_databases_name_leads_to_its_endpoint(stack: Stack) -> None:
    zone = f"dns.googleapis.com/dns/v1/projects/{samples.PROJECT}/managedZones/{samples.NAMES.dns_zone}/rrsets"
    records = [r for r in stack.cloud.call("GET", zone)["rrsets"] if r["type"] == "A"]
    address = stack.cloud.call(
        "GET",
        f"compute.googleapis.com/compute/v1/projects/{samples.PROJECT}/regions/{samples.REGION}/addresses/oe-prod-sql",
    )
    assert [(r["name"], r["rrdatas"]) for r in records] == [
        (stack.outputs["platform"]["database"]["host"] + ".", [address["address"]])
    ]


def test_a_clinic_names_its_service_job_and_secrets(stack: Stack) -> None:
    clinic = stack.outputs["clinics/north"]
    place = f"projects/{samples.PROJECT}/locations/{samples.REGION}"
    assert clinic["service"]["name"] == f"{place}/services/oe-prod-north-web"
    assert clinic["service"]["uri"].startswith("http")
    assert clinic["jobs"] == {
        job: f"{place}/jobs/oe-prod-north-{job}"
        for job in ("nfs-init", "background", "backup", "verify", "drill", "prune", "rotate", "redis-passwords")
    }
    assert set(clinic["secrets"]) == {"admin_password", "database_password", "redis_password"}
    assert clinic["secrets"]["redis_password"].endswith("/secrets/oe-prod-north-redis-password")


def test_secrets_are_open_to_their_readers_alone(stack: Stack) -> None:
    readers = {}
    for key, secret in stack.outputs["clinics/main"]["secrets"].items():
        policy = stack.cloud.call("GET", f"secretmanager.googleapis.com/v1/{secret}:getIamPolicy")
        readers[key] = {
            member.removeprefix("serviceAccount:").partition("@")[0]: binding["role"].rpartition("/")[2]
            for binding in policy["bindings"]
            for member in binding["members"]
            if binding["role"] != "roles/secretmanager.viewer"  # which sees no value
        }
    assert {key: set(found) for key, found in readers.items()} == {
        "admin_password": {"oe-prod-main-init", "oe-prod-main-rot"},
        "database_password": {
            "oe-prod-main-back",
            "oe-prod-main-init",
            "oe-prod-main-rot",
            "oe-prod-main-web",
            "oe-prod-prov",
        },
        "redis_password": {"oe-prod-main-rot", "oe-prod-main-web", "oe-prod-prov"},
    }
    assert {role for found in readers.values() for role in found.values()} == {
        "secretmanager.secretAccessor",
        "oe_prod_prov_secrets",
    }


def test_each_account_can_do_its_work_and_nothing_else(stack: Stack) -> None:
    done = {
        who: {name for name, act in rights.acts(who).items() if stack.cloud.may(who, *act)} for who in rights.expected()
    }
    assert done == rights.expected()


def test_a_pipeline_grants_what_platform_and_clinics_bind_on_the_project_and_nothing_else(stack: Stack) -> None:
    policy = stack.cloud.call("POST", f"{POLICY}:getIamPolicy", {})
    bound = {
        binding["role"]
        for binding in policy["bindings"]
        for name in (member.partition(":")[2].partition("@")[0] for member in binding["members"])
        if name == "it" or (name.startswith("oe-prod-") and name not in OF_THE_FOUNDATION)
    }
    listed = {
        binding["members"][0]: set(re.findall(r"'((?:roles|projects)/[^']+)'", binding["condition"]["expression"]))
        for binding in policy["bindings"]
        if binding["role"].endswith("_grants")
    }
    assert listed == {
        f"serviceAccount:{account}@{samples.PROJECT}.iam.gserviceaccount.com": bound for account in IDENTITIES
    }
    assert not {role for role in bound if any(one.endswith(".setIamPolicy") for one in permissions_of(stack, role))}


@pytest.mark.parametrize("account", IDENTITIES)
def test_no_identity_of_a_pipeline_makes_anybody_owner(account: str, stack: Stack) -> None:
    policy = stack.cloud.call("POST", f"{POLICY}:getIamPolicy", {})
    member = f"serviceAccount:{account}@{samples.PROJECT}.iam.gserviceaccount.com"
    for role in ("roles/owner", "roles/editor", f"projects/{samples.PROJECT}/roles/oe_prod_destroy_grants"):
        asked = {"policy": {**policy, "bindings": [*policy["bindings"], {"role": role, "members": [member]}]}}
        with pytest.raises(HTTPError) as refused:
            stack.cloud.call("POST", f"{POLICY}:setIamPolicy", asked, account=account)
        with refused.value as error:
            assert json.load(error)["error"]["message"] == "Policy update access denied."


def permissions_of(stack: Stack, role: str) -> list[str]:
    return list(stack.cloud.call("GET", f"iam.googleapis.com/v1/{role}")["includedPermissions"])


def test_a_schedule_starts_its_job(stack: Stack) -> None:
    place = f"projects/{samples.PROJECT}/locations/{samples.REGION}/jobs/oe-prod-main-nfs-init"
    before = len(stack.cloud.call("GET", f"{RUN}/{place}/executions")["executions"])
    stack.cloud.call("POST", f"cloudscheduler.googleapis.com/v1/{place}:run", {})
    for _ in range(100):
        found = stack.cloud.call("GET", f"{RUN}/{place}/executions")["executions"]
        if len(found) > before:
            break
        time.sleep(0.1)
    latest = max(found, key=lambda execution: str(execution["createTime"]))
    assert len(found) == before + 1
    assert latest["creator"] == f"oe-prod-main-sched@{samples.PROJECT}.iam.gserviceaccount.com"
    assert not stack.cloud.call("GET", f"cloudscheduler.googleapis.com/v1/{place}").get("status")


def test_ssh_is_open_to_the_files_machine_alone(stack: Stack) -> None:
    path = f"cloudresourcemanager.googleapis.com/v3/projects/{samples.PROJECT}:getIamPolicy"
    theirs = {
        binding["role"]: binding["condition"]["expression"]
        for binding in stack.cloud.call("POST", path, {})["bindings"]
        if binding["members"] == [f"user:{ADMINISTRATOR}"]
    }
    assert theirs.keys() == {"roles/iap.tunnelResourceAccessor", "roles/compute.osAdminLogin"}
    address = stack.outputs["platform"]["files"]["address"]
    for ip, port, opened in ((address, 22, True), (address, 2049, False), ("10.60.0.99", 22, False), ("", 0, False)):
        known = {"destination.ip": ip, "destination.port": port}
        assert evaluate(theirs["roles/iap.tunnelResourceAccessor"], known) is opened
    (machine,) = stack.cloud.call("GET", INSTANCES)["items"]
    own = machine["selfLink"].partition("/v1/")[2]
    for name, opened in ((own, True), (f"{own.rpartition('/')[0]}/other-abcd", False)):
        assert evaluate(theirs["roles/compute.osAdminLogin"], {"resource.name": name}) is opened


def test_traffic_is_the_orchestrators(stack: Stack) -> None:
    name = stack.outputs["clinics/main"]["service"]["name"]
    service = stack.cloud.call("GET", f"{RUN}/{name}")
    service["traffic"] = [
        {
            "type": "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION",
            "revision": service["latestReadyRevision"].rpartition("/")[2],
            "percent": 100,
        }
    ]
    stack.cloud.call("PATCH", f"{RUN}/{name}", service)
    assert stack.roots["clinics/main"].changes() == []


def test_an_access_taken_away_by_hand_comes_back(stack: Stack) -> None:
    secret = stack.outputs["clinics/main"]["secrets"]["admin_password"]
    stack.cloud.call("POST", f"secretmanager.googleapis.com/v1/{secret}:setIamPolicy", {"policy": {"bindings": []}})
    assert sorted(change.rpartition("iam_member.")[2] for change in stack.roots["clinics/main"].changes()) == [
        "reader[\"admin_password/init\"] ['create']",
        "secret[\"admin_password\"] ['create']",
    ]
    stack.roots["clinics/main"].apply(stack.clinic())
    assert stack.roots["clinics/main"].changes() == []


@pytest.mark.parametrize(("path", "changes", "lost"), OPTIONS, ids=[f"{p}-{n}" for n, (p, _, _) in enumerate(OPTIONS)])
def test_a_changed_option_loses_nothing_or_the_guard_stops_it(
    path: str, changes: dict[str, Any], lost: set[str], stack: Stack
) -> None:
    makers: dict[str, Callable[..., dict[str, Any]]]
    makers = {"platform": stack.platform, "foundation": samples.foundation, "clinics/main": stack.clinic}
    values = makers[path]
    plan = stack.roots[path].plan(values(**changes))
    stack.roots[path].render(values())
    assert {change.address for change in guard.losses(planned(plan))} == lost


def take_over_roles(root: Root, values: dict[str, Any]) -> None:
    """As a deploy does (gcp_openemr/adoption.py): custom roles outlive a destroy."""
    changes = [one for one in root.plan(values)["resource_changes"] if one["type"] == "google_project_iam_custom_role"]
    blocks = [
        {"to": one["address"], "id": f"projects/{samples.PROJECT}/roles/{one['change']['after']['role_id']}"}
        for one in changes
        if one["change"]["actions"] == ["create"]
    ]
    adopted = root.directory / "adopted.tf.json"
    adopted.write_text(json.dumps({"import": blocks}))
    root.apply(values)
    adopted.unlink()


def planned(plan: dict[str, Any]) -> Plan:
    """A plan in JSON as the guard takes it: the stream of `terraform plan` tells no resource that stays as it is."""
    found = []
    for one in plan["resource_changes"]:
        change = one["change"]
        if change["actions"] == ["no-op"]:
            continue
        action = "replace" if len(change["actions"]) == 2 else change["actions"][0]
        before, after = change["before"] or {}, change["after"] or {}
        found.append(Change(address=one["address"], type=one["type"], action=action, before=before, after=after))
    return Plan(file=Path("tfplan"), changes=tuple(found))


def test_every_value_from_the_file_is_changed_or_there_is_a_reason() -> None:
    file = (GOLDEN / "every-option.toml").read_text()
    environment = parse_environment(file, file="openemr.toml", overrides={})
    for path, kind, values in samples.of_environment(environment):
        rows = [changes for where, changes, _ in OPTIONS if where.partition("/")[0] == path.partition("/")[0]]
        changed = {leaf for changes in rows for leaf in leaves(changes)}
        missing = {*leaves(values)} - changed - OTHERWISE.keys()
        assert not missing, f"{kind}: no row of OPTIONS changes {missing}"
    assert not {leaf for _, changes, _ in OPTIONS for leaf in leaves(changes)} & OTHERWISE.keys()


def test_a_lost_machine_comes_back_on_its_disk_and_address(stack: Stack) -> None:
    def machine() -> tuple[str, list[str]] | None:
        items = stack.cloud.call("GET", INSTANCES).get("items", [])
        if not items or items[0]["status"] != "RUNNING":
            return None
        disks = [disk["source"].rpartition("/")[2] for disk in items[0]["disks"] if not disk["boot"]]
        return items[0]["networkInterfaces"][0]["networkIP"], disks

    before = machine()
    (lost,) = stack.cloud.call("GET", INSTANCES)["items"]
    stack.cloud.call("DELETE", f"{INSTANCES}/{lost['name']}")
    assert before == (stack.outputs["platform"]["files"]["address"], [samples.NAMES.files_disk])
    for _ in range(100):
        if machine() == before and stack.cloud.call("GET", INSTANCES)["items"][0]["id"] != lost["id"]:
            break
        time.sleep(0.1)
    else:
        pytest.fail("the group did not make its machine again")
    assert stack.roots["platform"].changes() == []


def test_what_left_the_state_is_adopted_again(stack: Stack) -> None:
    root = stack.roots["platform"]
    address = "module.files.google_compute_disk.default"
    root.terraform("state", "rm", address)
    root.terraform(
        "import", "-input=false", address, f"{samples.PROJECT}/{samples.REGION}-b/{samples.NAMES.files_disk}"
    )
    root.apply(stack.platform())
    assert root.changes() == []


@pytest.mark.parametrize(
    ("path", "held"),
    [
        ("clinics/north", {"google_secret_manager_secret": 3, "google_cloud_run_v2_service": 1}),
        (
            "platform",
            {
                "google_compute_disk": 1,
                "google_compute_instance_group_manager": 1,
                "google_secret_manager_secret": 1,
                "google_sql_database_instance": 1,
            },
        ),
        (
            "foundation",
            {
                "google_artifact_registry_repository": 1,
                "google_logging_project_bucket_config": 1,
                "google_secret_manager_secret": 2,
                "google_storage_bucket": 3,
                "google_storage_managed_folder": 8,
            },
        ),
    ],
)
def test_protected_things_survive_a_destroy(path: str, held: dict[str, int], stack: Stack) -> None:
    root = stack.roots[path]
    refused = root.destroy()
    assert refused.status == 1
    left = Counter(address.rpartition("module.")[2].split(".")[1] for address in root.addresses())
    assert {kind: left[kind] for kind in held} == held


def test_without_protection_everything_goes_but_the_foundation(stack: Stack) -> None:
    """The last test of this file: clinics first, then the platform."""
    take_over_roles(stack.roots["foundation"], samples.foundation())
    for name in samples.CLINICS:
        root = stack.roots[f"clinics/{name}"]
        root.apply(stack.clinic(name, protect=False))
        assert root.destroy().status == 0
        assert root.addresses() == []
    platform = stack.roots["platform"]
    platform.apply(stack.platform(protect=False))
    destroyed = platform.destroy()
    assert destroyed.status == 0, destroyed.stderr
    assert platform.addresses() == []
    assert stack.roots["foundation"].changes() == []
