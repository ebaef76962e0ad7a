"""What an environment file becomes: the plan of each root, compared where a reviewer would look.

The environment files are golden/plans/*.toml; beside each lies a .json with, per root, how many resources of each type
there are and the values of those named in SHOWN. What is known only after apply is not listed.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gcp_openemr.environment.load import parse_environment
from tests.terraform import samples
from tests.terraform.world import Root, resources

PLANS = Path(__file__).parent / "golden" / "plans"
SHOWN: Mapping[str, str] = {
    "google_artifact_registry_repository": "repository_id deletion_policy docker_config.immutable_tags "
    "vulnerability_scanning_config.enablement_config",
    "google_cloud_run_v2_job": "name template.template.timeout template.template.max_retries "
    "template.template.containers.args template.template.containers.resources.limits "
    "template.template.vpc_access.egress",
    "google_cloud_run_v2_service": "name deletion_protection ingress template.timeout template.session_affinity "
    "template.max_instance_request_concurrency template.scaling.min_instance_count template.scaling.max_instance_count "
    "template.vpc_access.egress template.containers.resources.limits template.containers.resources.cpu_idle "
    "template.containers.readiness_probe.http_get.path template.containers.liveness_probe.http_get.path",
    "google_cloud_run_v2_service_iam_member": "role member",
    "google_cloud_scheduler_job": "name schedule time_zone",
    "google_compute_disk": "name zone size type deletion_policy",
    "google_compute_firewall": "name source_ranges allow.ports deny.protocol",
    "google_compute_instance_group_manager": "name zone target_size stateful_disk.delete_rule deletion_policy "
    "stateful_internal_ip.delete_rule update_policy.replacement_method update_policy.max_surge_fixed",
    "google_compute_instance_template": "machine_type metadata.nfs-versions metadata.enable-oslogin "
    "metadata.serial-port-enable shielded_instance_config.enable_secure_boot",
    "google_compute_resource_policy": "name snapshot_schedule_policy.retention_policy",
    "google_compute_subnetwork": "ip_cidr_range private_ip_google_access log_config.flow_sampling",
    "google_iam_workload_identity_pool": "workload_identity_pool_id",
    "google_iam_workload_identity_pool_provider": "attribute_condition attribute_mapping oidc.issuer_uri",
    "google_logging_project_bucket_config": "bucket_id retention_days location",
    "google_monitoring_alert_policy": "display_name severity",
    "google_monitoring_notification_channel": "type labels",
    "google_monitoring_uptime_check_config": "monitored_resource.labels http_check.path http_check.validate_ssl",
    "google_project_iam_audit_config": "service",
    "google_project_iam_member": "role condition.title",
    "google_secret_manager_secret": "secret_id deletion_protection version_destroy_ttl",
    "google_sql_database_instance": "name database_version deletion_protection settings.tier settings.edition "
    "settings.availability_type settings.disk_size settings.deletion_protection_enabled "
    "settings.retain_backups_on_delete settings.backup_configuration.enabled settings.database_flags.name "
    "settings.backup_configuration.binary_log_enabled settings.final_backup_config.retention_days "
    "settings.ip_configuration.ipv4_enabled settings.ip_configuration.ssl_mode "
    "settings.ip_configuration.server_ca_mode settings.location_preference.zone",
    "google_storage_bucket": "name location deletion_policy public_access_prevention",
    "google_storage_bucket_iam_member": "bucket role",
    "google_storage_managed_folder": "name",
    "google_storage_managed_folder_iam_member": "managed_folder role",
}


def inventory(plan: dict[str, Any]) -> dict[str, Any]:
    values = {
        resource.address: {
            path: value
            for path in SHOWN[resource.type].split()
            if (value := pick(resource.values, path.split("."))) is not None
        }
        for resource in resources(plan, *SHOWN)
    }
    return {"counts": dict(sorted(Counter(r.type for r in resources(plan)).items())), "values": values}


def pick(value: Any, steps: list[str]) -> Any:
    """What lies at the end of `steps`; a block of one element is that element."""
    if isinstance(value, list) and steps:
        found = [inner for element in value if (inner := pick(element, steps)) is not None]
        return found[0] if len(found) == 1 else found or None
    if not steps:
        return value
    return pick(value.get(steps[0]), steps[1:]) if isinstance(value, dict) else None


# Two clinics are applied in every run, and their platform is the default's.
SELDOM = {"two-clinics": pytest.mark.torture}


@pytest.mark.parametrize(
    "case",
    [pytest.param(name, marks=SELDOM.get(name, ())) for name in sorted(path.stem for path in PLANS.glob("*.toml"))],
)
def test_an_environment_file_becomes_this(case: str, roots: dict[str, Root]) -> None:
    environment = parse_environment((PLANS / f"{case}.toml").read_text(), file="openemr.toml", overrides={})
    seen = {path: inventory(roots[kind].plan(values)) for path, kind, values in samples.of_environment(environment)}
    golden = PLANS / f"{case}.json"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(json.dumps(seen, indent=1, sort_keys=True) + "\n")
    assert seen == json.loads(golden.read_text()), (
        f"The plan of {case}.toml changed. If it should: UPDATE_GOLDEN=1 pytest tests/terraform/test_golden_plans.py"
    )
