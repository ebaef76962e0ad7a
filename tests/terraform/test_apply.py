"""The three roots applied one after the other against the sandbox's APIs, changed, and taken down again."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.terraform import samples
from tests.terraform.world import Cloud, Root

NOT_TERRAFORMS = {"secret_versions": None, "serve": False}
RUN = "run.googleapis.com/v2"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stack:
    """Everything applied: two clinics on a platform on a foundation, with what Terraform said on the way."""

    cloud: Cloud
    roots: dict[str, Root]
    outputs: dict[str, Any]
    leftovers: dict[str, list[str]]

    def clinic(self, name: str = "main", **changes: Any) -> dict[str, Any]:
        values = samples.clinic(name, platform=self.outputs["platform"], **changes)
        return {**values, "backup_bucket": self.outputs["foundation"]["backup_bucket"]}


@pytest.fixture(scope="module")
def stack(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Stack:
    base: Path = tmp_path_factory.mktemp("stack")
    built = Stack(cloud=cloud, roots={}, outputs={}, leftovers={})

    def apply(kind: str, path: str, values: dict[str, Any]) -> None:
        root = built.roots.setdefault(path, Root(cloud, kind, base / path, path=path))
        built.outputs[path] = root.apply(values)
        built.leftovers.setdefault(path, []).extend(root.changes())

    apply("foundation", "foundation", samples.foundation())
    apply("platform", "platform", samples.platform(provision=None))
    apply("platform", "platform", samples.platform())
    for name in samples.CLINICS:
        apply("clinic", f"clinics/{name}", built.clinic(name, **NOT_TERRAFORMS))
        for secret in built.outputs[f"clinics/{name}"]["secrets"].values():
            for value in ("first", "second", "third"):
                cloud.add_secret_version(secret, value)
        apply("clinic", f"clinics/{name}", built.clinic(name, service={"public_access": True}))
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
        "build_account": f"oe-prod-build@{samples.PROJECT}.iam.gserviceaccount.com",
        "build_bucket": samples.NAMES.build_bucket,
        "log_bucket": f"projects/{samples.PROJECT}/locations/{samples.REGION}/buckets/oe-prod-audit",
        "registry": f"{samples.REGION}-docker.pkg.dev/{samples.PROJECT}/oe-prod",
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
    assert platform["redis"] == {"host": platform["files"]["address"], "port": 6379}
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
        job: f"{place}/jobs/oe-prod-north-{job}" for job in ("nfs-init", "backup", "verify", "drill", "prune")
    }
    assert set(clinic["secrets"]) == {"admin_password", "database_password", "redis_password"}
    assert clinic["secrets"]["redis_password"].endswith("/secrets/oe-prod-north-redis-password")


def test_secrets_are_open_to_their_readers_alone(stack: Stack) -> None:
    readers = {}
    for key, secret in stack.outputs["clinics/main"]["secrets"].items():
        policy = stack.cloud.call("GET", f"secretmanager.googleapis.com/v1/{secret}:getIamPolicy")
        (binding,) = policy["bindings"]
        assert binding["role"] == "roles/secretmanager.secretAccessor"
        readers[key] = {member.removeprefix("serviceAccount:").partition("@")[0] for member in binding["members"]}
    assert readers == {
        "admin_password": {"oe-prod-main-init"},
        "database_password": {"oe-prod-main-back", "oe-prod-main-init", "oe-prod-main-web", "oe-prod-prov"},
        "redis_password": {"oe-prod-main-web", "oe-prod-prov"},
    }


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
    (change,) = stack.roots["clinics/main"].changes()
    assert change.endswith("reader[\"admin_password/init\"] ['create']")
    stack.roots["clinics/main"].apply(stack.clinic(service={"public_access": True}))
    assert stack.roots["clinics/main"].changes() == []


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
                "google_storage_managed_folder": 6,
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
    stack.roots["foundation"].apply(samples.foundation())
    for name in samples.CLINICS:
        root = stack.roots[f"clinics/{name}"]
        root.apply(stack.clinic(name, protect=False))
        assert root.destroy().status == 0
        assert root.addresses() == []
    platform = stack.roots["platform"]
    platform.apply(samples.platform(protect=False))
    destroyed = platform.destroy()
    assert destroyed.status == 0, destroyed.stderr
    assert platform.addresses() == []
    assert stack.roots["foundation"].changes() == []
