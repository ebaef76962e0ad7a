"""What may never be in a plan, whatever the values: access, secrets, protection.

General linters know nothing of Cloud Run v2 and Secret Manager, which are the core of this stack.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from gcp_openemr.assets import asset
from gcp_openemr.environment.names import ClinicNames
from tests.terraform import samples
from tests.terraform.conftest import Planner
from tests.terraform.world import Resource, resources

SHARED_BACKUP = {"source": "gcs", "uri": f"gs://{samples.NAMES.backup_bucket}/imports/backup.zip"}
OWN_BACKUP = {"source": "gcs", "uri": "gs://somebodys-bucket/backup.tar.zst"}
OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("foundation", {}),
    ("foundation", {"protect": False}),
    ("platform", {}),
    ("platform", {"provision": None}),
    (
        "platform",
        {"protect": False, "database": {"availability_type": "ZONAL", "backups": False, "tier": "db-g1-small"}},
    ),
    ("clinic", {}),
    ("clinic", {"name": "north"}),
    ("clinic", {"serve": False, "secret_versions": None}),
    ("clinic", {"service": {"public_access": True}}),
    ("clinic", {"restore": SHARED_BACKUP}),
    ("clinic", {"restore": OWN_BACKUP}),
    ("clinic", {"restore": {"source": "drive", "uri": "1a2b3c"}}),
    ("clinic", {"protect": False, "service": {"min_instances": 0, "max_instances": 1}}),
]
ROLES = {
    "roles/artifactregistry.writer",
    "roles/logging.logWriter",
    "roles/run.invoker",
    "roles/secretmanager.secretAccessor",
    "roles/storage.objectCreator",
    "roles/storage.objectViewer",
}
PROJECT_WIDE = {
    "module.build_identity.google_project_iam_member.log": "Cloud Logging takes writers only for a project",
    "module.provision.google_project_iam_member.operations": "Cloud SQL has no policy below the project; reads only",
    "module.provision.google_project_iam_member.users": "Cloud SQL has no policy below the project; conditional",
}
PERMISSIONS = {
    "cloudsql.instances.get",
    "cloudsql.users.create",
    "cloudsql.users.delete",
    "cloudsql.users.get",
    "cloudsql.users.list",
    "cloudsql.users.update",
}
FORBIDDEN = {
    "google_project_iam_binding",
    "google_project_iam_policy",
    "google_secret_manager_secret_version",
    "google_service_account_key",
    "google_sql_user",
}
every_option = pytest.mark.parametrize(
    ("kind", "changes"), OPTIONS, ids=[f"{kind}-{number}" for number, (kind, _) in enumerate(OPTIONS)]
)


def bindings(plan: dict[str, Any]) -> list[Resource]:
    return [r for r in resources(plan) if re.search(r"_iam_(member|binding|policy)$", r.type)]


def block(value: Any) -> Any:
    """The one element of a block."""
    assert isinstance(value, list)
    assert len(value) == 1
    return value[0]


def container(resource: Resource) -> Any:
    template = block(resource.values["template"])
    inner = block(template["template"]) if resource.type.endswith("_job") else template
    return block(inner["containers"])


def variables_of(resource: Resource) -> Iterator[tuple[str, str, Any]]:
    """Name, plain value ("" when known only after apply) and secret reference of each environment variable."""
    for variable in container(resource)["env"]:
        source = variable["value_source"]
        yield variable["name"], variable.get("value", ""), block(block(source)["secret_key_ref"]) if source else None


@every_option
def test_nobody_is_everybody_unless_asked(kind: str, changes: dict[str, Any], plan_of: Planner) -> None:
    public = [
        b.address for b in bindings(plan_of(kind, **changes)) if str(b.values.get("member", "")).startswith("all")
    ]
    asked = changes.get("service", {}).get("public_access", False)
    assert public == (["module.service[0].google_cloud_run_v2_service_iam_member.public[0]"] if asked else [])


@every_option
def test_only_narrow_roles_are_given(kind: str, changes: dict[str, Any], plan_of: Planner) -> None:
    plan = plan_of(kind, **changes)
    assert {b.values["role"] for b in bindings(plan) if "role" in b.values} <= ROLES
    for role in resources(plan, "google_project_iam_custom_role"):
        assert set(role.values["permissions"]) <= PERMISSIONS


@every_option
def test_roles_on_the_project_are_the_reasoned_ones(kind: str, changes: dict[str, Any], plan_of: Planner) -> None:
    project_wide = {
        r.address for r in resources(plan_of(kind, **changes)) if r.type.startswith("google_project_iam_member")
    }
    assert project_wide <= set(PROJECT_WIDE)


def test_the_provision_job_changes_only_this_environments_instance(plan_of: Planner) -> None:
    users = next(
        b for b in bindings(plan_of("platform")) if b.address.endswith("provision.google_project_iam_member.users")
    )
    instance = f"projects/{samples.PROJECT}/instances/{samples.NAMES.database_instance}"
    assert block(users.values["condition"])["expression"] == f'resource.name == "{instance}"'


@every_option
def test_nothing_forbidden_is_made(kind: str, changes: dict[str, Any], plan_of: Planner) -> None:
    made = {r.type for r in resources(plan_of(kind, **changes))}
    assert not made & FORBIDDEN
    assert all(name.startswith("google_") for name in made)


def test_no_source_makes_a_password_or_runs_a_program() -> None:
    for file in asset("terraform").rglob("*.tf*"):
        text = file.read_text()
        assert not re.search(r"random_|null_resource|terraform_data|provisioner\s+\"|external\"", text), file
        assert not any(f'"{name}"' in text for name in FORBIDDEN), file


@every_option
def test_secrets_are_pinned_and_passwords_are_secrets(kind: str, changes: dict[str, Any], plan_of: Planner) -> None:
    for resource in resources(plan_of(kind, **changes), "google_cloud_run_v2_service", "google_cloud_run_v2_job"):
        for name, value, secret in variables_of(resource):
            if secret:
                assert re.fullmatch(r"[1-9][0-9]*", secret["version"]), name
            elif re.search(r"PASS|TOKEN|KEY|SECRET", name):
                assert name.endswith("_SECRET"), "a job is told which secret, not what is in it"
                assert re.fullmatch(r"(projects/[^/]+/secrets/[^/]+)?", value), name


@every_option
def test_images_are_named_by_digest(kind: str, changes: dict[str, Any], plan_of: Planner) -> None:
    for resource in resources(plan_of(kind, **changes), "google_cloud_run_v2_service", "google_cloud_run_v2_job"):
        assert "@sha256:" in container(resource)["image"]


@every_option
def test_everything_that_takes_labels_has_them(kind: str, changes: dict[str, Any], plan_of: Planner) -> None:
    for resource in resources(plan_of(kind, **changes)):
        for key in ("labels", "user_labels"):
            if key in resource.values:
                assert {**(resource.values[key] or {})}.items() >= samples.LABELS.items(), resource.address
        for settings in resource.values.get("settings") or ():
            assert settings["user_labels"].items() >= samples.LABELS.items()


@every_option
def test_what_holds_data_is_protected_exactly_when_asked(kind: str, changes: dict[str, Any], plan_of: Planner) -> None:
    protect = changes.get("protect", True)
    wanted = {
        "google_artifact_registry_repository": ("deletion_policy", "PREVENT" if protect else "DELETE"),
        "google_cloud_run_v2_service": ("deletion_protection", protect),
        "google_compute_disk": ("deletion_policy", "PREVENT" if protect else "DELETE"),
        "google_compute_instance": ("deletion_protection", protect),
        "google_secret_manager_secret": ("deletion_protection", protect),
        "google_sql_database_instance": ("deletion_protection", protect),
        "google_storage_bucket": ("deletion_policy", "PREVENT" if protect else "DELETE"),
    }
    plan = plan_of(kind, **changes)
    seen = {r.address: r.values[wanted[r.type][0]] for r in resources(plan, *wanted)}
    assert seen == {r.address: wanted[r.type][1] for r in resources(plan, *wanted)}
    for instance in resources(plan, "google_sql_database_instance"):
        settings = block(instance.values["settings"])
        assert settings["deletion_protection_enabled"] is protect
        assert settings["retain_backups_on_delete"] is protect
    assert not any(bucket.values["force_destroy"] for bucket in resources(plan, "google_storage_bucket"))


def test_buckets_are_private_and_keep_what_was_deleted(plan_of: Planner) -> None:
    buckets = {b.values["name"]: b.values for b in resources(plan_of("foundation"), "google_storage_bucket")}
    assert len(buckets) == 3
    for values in buckets.values():
        assert values["uniform_bucket_level_access"] is True
        assert values["public_access_prevention"] == "enforced"
        assert block(values["soft_delete_policy"])["retention_duration_seconds"] >= 7 * 86400
    for name in (samples.NAMES.state_bucket, samples.NAMES.backup_bucket):
        assert block(buckets[name]["versioning"])["enabled"] is True


def test_images_cannot_be_replaced_under_their_tag(plan_of: Planner) -> None:
    (repository,) = resources(plan_of("foundation"), "google_artifact_registry_repository")
    assert block(repository.values["docker_config"])["immutable_tags"] is True


def test_the_database_has_no_public_address_and_asks_for_tls(plan_of: Planner) -> None:
    (instance,) = resources(plan_of("platform"), "google_sql_database_instance")
    address = block(block(instance.values["settings"])["ip_configuration"])
    assert (address["ipv4_enabled"], address["ssl_mode"]) == (False, "ENCRYPTED_ONLY")
    assert address["server_ca_mode"] == "GOOGLE_MANAGED_CAS_CA"
    assert block(address["psc_config"])["allowed_consumer_projects"] == [samples.PROJECT]


def test_the_network_lets_in_only_its_own_clients(plan_of: Planner) -> None:
    rules = [r.values for r in resources(plan_of("platform"), "google_compute_firewall")]
    allowing = [rule for rule in rules if rule["allow"]]
    assert [rule["source_ranges"] for rule in allowing] == [["10.60.0.0/22"]]
    ports = {port for rule in allowing for allow in rule["allow"] for port in allow["ports"]}
    assert ports == {"111", "2049", "20048", "6379"}


def test_the_files_machine_is_closed(plan_of: Planner) -> None:
    (machine,) = resources(plan_of("platform"), "google_compute_instance")
    assert block(machine.values["network_interface"])["access_config"] == []
    assert block(machine.values["shielded_instance_config"])["enable_secure_boot"] is True
    metadata = machine.values["metadata"]
    closed = {"block-project-ssh-keys": "TRUE", "enable-oslogin": "TRUE", "serial-port-enable": "FALSE"}
    assert metadata.items() >= closed.items()
    assert metadata["share-clients"] == "10.60.0.0/22"


@every_option
def test_secrets_stay_in_their_region(kind: str, changes: dict[str, Any], plan_of: Planner) -> None:
    for secret in resources(plan_of(kind, **changes), "google_secret_manager_secret"):
        replicas = block(block(secret.values["replication"])["user_managed"])["replicas"]
        assert [replica["location"] for replica in replicas] == [samples.REGION]
        assert secret.values["version_destroy_ttl"] == "604800s"


@every_option
def test_jobs_are_never_retried_blindly(kind: str, changes: dict[str, Any], plan_of: Planner) -> None:
    for job in resources(plan_of(kind, **changes), "google_cloud_run_v2_job"):
        assert block(block(job.values["template"])["template"])["max_retries"] == 0


def test_the_service_is_asked_from_its_first_second_within_the_caps(plan_of: Planner) -> None:
    (service,) = resources(plan_of("clinic"), "google_cloud_run_v2_service")
    startup = block(container(service)["startup_probe"])
    assert startup["initial_delay_seconds"] in (None, 0)
    assert 2 <= startup["period_seconds"] <= 5
    assert startup["timeout_seconds"] < startup["period_seconds"]
    assert startup["failure_threshold"] * startup["period_seconds"] <= 240
    assert block(startup["http_get"])["path"] == "/health/live"
    assert block(block(container(service)["liveness_probe"])["http_get"])["path"] == "/health/live"


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("all", "INGRESS_TRAFFIC_ALL"),
        ("internal", "INGRESS_TRAFFIC_INTERNAL_ONLY"),
        ("internal-and-cloud-load-balancing", "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER"),
    ],
)
def test_ingress_is_the_providers_word(word: str, value: str, plan_of: Planner) -> None:
    (service,) = resources(plan_of("clinic", service={"ingress": word}), "google_cloud_run_v2_service")
    assert service.values["ingress"] == value


@pytest.mark.parametrize(("minimum", "idle"), [(0, True), (1, False)])
def test_a_cpu_is_always_there_when_an_instance_is(minimum: int, idle: bool, plan_of: Planner) -> None:
    (service,) = resources(plan_of("clinic", service={"min_instances": minimum}), "google_cloud_run_v2_service")
    assert block(container(service)["resources"])["cpu_idle"] is idle
    assert block(service.values["template"])["session_affinity"] is True


def test_added_variables_cannot_point_elsewhere(plan_of: Planner) -> None:
    added = {"MYSQL_HOST": "elsewhere", "REDIS_PREFIX": "oe_north:", "PHP_MEMORY_LIMIT": "1G"}
    (service,) = resources(plan_of("clinic", service={"environment": added}), "google_cloud_run_v2_service")
    values = {name: value for name, value, _ in variables_of(service)}
    assert values["MYSQL_HOST"] == samples.PLATFORM["database"]["host"]
    assert values["REDIS_PREFIX"] == "oe_main:"
    assert values["PHP_MEMORY_LIMIT"] == "1G"


def test_a_clinic_sees_one_object_of_the_bucket_that_clinics_share(plan_of: Planner) -> None:
    (reader,) = resources(plan_of("clinic", restore=SHARED_BACKUP), "google_storage_bucket_iam_member")
    name = f"projects/_/buckets/{samples.NAMES.backup_bucket}/objects/imports/backup.zip"
    assert block(reader.values["condition"])["expression"] == f'resource.name == "{name}"'


def test_a_clinic_names_nothing_of_another(plan_of: Planner) -> None:
    """Every name of one clinic's resources, and every folder and path that it is given, is its own."""
    for name, other in (samples.CLINICS, samples.CLINICS[::-1]):
        changes = {"name": name} if name != "main" else {}
        values = str([dict(r.values) for r in resources(plan_of("clinic", **changes))])
        foreign = set(ClinicNames(environment=samples.ENVIRONMENT, clinic=other).as_tfvars().values())
        own = set(ClinicNames(environment=samples.ENVIRONMENT, clinic=name).as_tfvars().values())
        assert [word for word in foreign if word in values] == []
        assert f"clinics/{other}/" not in values
        assert {word for word in own if word in values} >= own - {f"oe_{name}_scratch"}
