"""What may never be in a plan, whatever the values: how services, machines and buckets can be reached."""

from __future__ import annotations

from typing import Any

import pytest

from gcp_openemr.assets import asset
from tests.terraform import samples
from tests.terraform.conftest import Planner
from tests.terraform.inspection import block, container, variables_of
from tests.terraform.world import resources

CLINICS = ("10.60.0.0/22",)
HEALTH_CHECKS = ("130.211.0.0/22", "35.191.0.0/16")
IAP = ("35.235.240.0/20",)
SSH = {"files": {"ssh_members": ["group:it@clinic.example"]}}


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


@pytest.mark.parametrize(
    ("changes", "open_to"),
    [
        ({}, {CLINICS: {"2049", "6379", "111", "20048"}, HEALTH_CHECKS: {"8080"}}),
        (SSH, {CLINICS: {"2049", "6379", "111", "20048"}, HEALTH_CHECKS: {"8080"}, IAP: {"22"}}),
        ({"files": {"nfs_v3": False}}, {CLINICS: {"2049", "6379"}, HEALTH_CHECKS: {"8080"}}),
    ],
)
def test_the_network_lets_in_only_these(changes: dict[str, Any], open_to: dict[Any, Any], plan_of: Planner) -> None:
    rules = [r.values for r in resources(plan_of("platform", **changes), "google_compute_firewall")]
    seen = {
        tuple(sorted(rule["source_ranges"])): {port for allow in rule["allow"] for port in allow["ports"]}
        for rule in rules
        if rule["allow"]
    }
    assert seen == open_to
    assert all(rule["direction"] == "INGRESS" for rule in rules)


def test_ssh_is_one_machines_and_through_iap(plan_of: Planner) -> None:
    plan = plan_of("platform", **SSH)
    members = {m.address: m.values for m in resources(plan, "google_project_iam_member") if ".files." in m.address}
    login = next(values for address, values in members.items() if ".login" in address)
    zone = f"projects/{samples.PROJECT}/zones/{samples.REGION}-b"
    assert block(login["condition"])["expression"] == (
        f'resource.name.startsWith("{zone}/instances/{samples.NAMES.files_instance}-")'
    )
    # The address is known after apply only, hence the source.
    source = (asset("terraform") / "modules/files/ssh.tf").read_text()
    assert "destination.ip == " in source
    assert "destination.port == 22" in source


def test_the_files_machine_is_a_group_of_one_that_keeps_disk_and_address(plan_of: Planner) -> None:
    (group,) = resources(plan_of("platform"), "google_compute_instance_group_manager")
    (machine,) = resources(plan_of("platform"), "google_compute_instance_template")
    boot, data = machine.values["disk"]
    assert group.values["target_size"] == 1
    assert [(d["device_name"], d["delete_rule"]) for d in group.values["stateful_disk"]] == [("data", "NEVER")]
    assert [a["delete_rule"] for a in group.values["stateful_internal_ip"]] == ["NEVER"]
    update = block(group.values["update_policy"])
    assert (update["max_surge_fixed"], update["replacement_method"]) == (0, "RECREATE")
    assert (boot["auto_delete"], boot["boot"]) == (True, True)
    assert (data["source"], data["auto_delete"], data["device_name"]) == (samples.NAMES.files_disk, False, "data")
    assert block(group.values["auto_healing_policies"])["initial_delay_sec"] >= 300
    (check,) = resources(plan_of("platform"), "google_compute_health_check")
    assert block(check.values["http_health_check"])["port"] == 8080


def test_what_a_developer_does_not_pay_for_is_not_made(plan_of: Planner) -> None:
    made = {r.type for r in resources(plan_of("platform", files={"snapshot_days": 0}, alerts={"emails": []}))}
    assert not made & {
        "google_compute_resource_policy",
        "google_compute_disk_resource_policy_attachment",
        "google_monitoring_notification_channel",
    }


@pytest.mark.parametrize(
    ("service", "asked"),
    [
        ({"public_access": True}, ["openemr.example.org"]),
        ({"public_access": False}, []),
        ({"public_access": True, "ingress": "internal"}, []),
        ({"public_access": True, "ingress": "internal-and-cloud-load-balancing"}, ["openemr.example.org"]),
        ({"public_access": True, "ingress": "internal-and-cloud-load-balancing", "public_url": ""}, []),
    ],
)
def test_only_what_everybody_may_call_is_asked_from_outside(
    service: dict[str, Any], asked: list[str], plan_of: Planner
) -> None:
    checks = resources(plan_of("clinic", service=service), "google_monitoring_uptime_check_config")
    assert [block(check.values["monitored_resource"])["labels"]["host"] for check in checks] == asked
    for check in checks:
        http = block(check.values["http_check"])
        assert (http["use_ssl"], http["validate_ssl"], http["path"]) == (True, True, "/health/ready")


def test_the_files_machine_is_closed(plan_of: Planner) -> None:
    (machine,) = resources(plan_of("platform"), "google_compute_instance_template")
    assert block(machine.values["network_interface"])["access_config"] == []
    assert block(machine.values["shielded_instance_config"])["enable_secure_boot"] is True
    metadata = machine.values["metadata"]
    closed = {"block-project-ssh-keys": "TRUE", "enable-oslogin": "TRUE", "serial-port-enable": "FALSE"}
    assert metadata.items() >= closed.items()
    assert metadata["share-clients"] == "10.60.0.0/22"


def test_the_service_is_asked_from_its_first_second_within_the_caps(plan_of: Planner) -> None:
    (service,) = resources(plan_of("clinic"), "google_cloud_run_v2_service")
    startup = block(container(service)["startup_probe"])
    assert startup["initial_delay_seconds"] in (None, 0)
    assert 2 <= startup["period_seconds"] <= 5
    assert startup["timeout_seconds"] < startup["period_seconds"]
    assert startup["failure_threshold"] * startup["period_seconds"] <= 240
    assert block(startup["http_get"])["path"] == "/health/live"
    assert block(block(container(service)["liveness_probe"])["http_get"])["path"] == "/health/live"
    assert block(block(container(service)["readiness_probe"])["http_get"])["path"] == "/health/ready"


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
