"""Every type the provider serves, through its whole life with the real Terraform.

Made, planned again (nothing to do), every argument that can change changed (with `-var changed=true`), planned again,
imported into an empty state, planned again, destroyed. One configuration holds the samples of a group of types.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from gcp_openemr.sandbox.provider.coverage import unserved
from gcp_openemr.sandbox.provider.schema import resource_schema
from gcp_openemr.sandbox.provider.types import row, served
from tests.sandbox.provider.conftest import CONFIGURATIONS, Workspace

HEAD = """
variable "changed" {
  default = false
}
provider "google" {
  project        = "demo-project"
  region         = "europe-west1"
  zone           = "europe-west1-b"
  default_labels = { team = var.changed ? "platform" : "clinic" }
}
"""

# Arguments that the samples leave as they are: what this project does not use, or says once and for all.
KEPT: Mapping[str, str] = {
    "google_compute_per_instance_config": (
        "minimal_action most_disruptive_allowed_action remove_instance_on_destroy remove_instance_state_on_destroy"
    ),
    "google_iam_workload_identity_pool": "inline_certificate_issuance_config inline_trust_config mode",
    "google_iam_workload_identity_pool_provider": "aws saml x509",
    "google_artifact_registry_repository": (
        "cleanup_policy_dry_run description docker_config labels maven_config virtual_repository_config "
        "vulnerability_scanning_config"
    ),
    "google_cloud_run_v2_job": (
        "annotations binary_authorization client client_version deletion_protection labels launch_stage "
        "run_execution_token start_execution_token"
    ),
    "google_cloud_run_v2_service": (
        "annotations binary_authorization build_config client client_version custom_audiences "
        "default_uri_disabled deletion_protection description iap_enabled ingress invoker_iam_disabled "
        "launch_stage multi_region_settings scaling ssh_enabled traffic"
    ),
    "google_cloud_scheduler_job": "app_engine_http_target pubsub_target",
    "google_compute_address": "labels",
    "google_compute_disk": (
        "access_mode create_snapshot_before_destroy create_snapshot_before_destroy_prefix labels "
        "provisioned_iops provisioned_throughput"
    ),
    "google_compute_firewall": (
        "deny description destination_ranges disabled log_config network priority source_ranges "
        "source_service_accounts source_tags target_service_accounts target_tags"
    ),
    "google_compute_forwarding_rule": "allow_global_access allow_psc_global_access labels recreate_closed_psc target",
    "google_compute_health_check": (
        "grpc_health_check grpc_tls_health_check http2_health_check http_health_check https_health_check "
        "source_regions ssl_health_check"
    ),
    "google_compute_instance": (
        "advanced_machine_features allow_stopping_for_update attached_disk can_ip_forward deletion_protection "
        "description desired_status labels machine_type min_cpu_platform resource_policies scheduling "
        "service_account shielded_instance_config tags workload_identity_config"
    ),
    "google_compute_instance_group_manager": (
        "all_instances_config instance_lifecycle_policy list_managed_instances_results named_port "
        "resource_policies standby_policy stateful_external_ip target_pools target_size_policy "
        "target_stopped_size target_suspended_size wait_for_instances wait_for_instances_status"
    ),
    "google_compute_network": (
        "bgp_always_compare_med bgp_best_path_selection_mode bgp_inter_region_cost "
        "delete_bgp_always_compare_med delete_default_routes_on_create enable_ula_internal_ipv6 mtu "
        "network_firewall_policy_enforcement_order routing_mode"
    ),
    "google_compute_resource_policy": (
        "disk_consistency_group_policy group_placement_policy instance_schedule_policy name workload_policy"
    ),
    "google_compute_router": "bgp description md5_authentication_keys",
    "google_compute_router_nat": (
        "auto_network_tier drain_nat_ips enable_dynamic_port_allocation enable_endpoint_independent_mapping "
        "icmp_idle_timeout_sec max_ports_per_vm min_ports_per_vm nat_ip_allocate_option nat_ips rules "
        "source_subnetwork_ip_ranges_to_nat subnetwork tcp_established_idle_timeout_sec "
        "tcp_time_wait_timeout_sec tcp_transitory_idle_timeout_sec udp_idle_timeout_sec"
    ),
    "google_compute_subnetwork": (
        "allow_subnet_cidr_routes_overlap ip_cidr_range ip_collection ipv6_access_type log_config "
        "private_ip_google_access private_ipv6_google_access purpose role secondary_ip_range "
        "send_secondary_ip_range_if_empty stack_type"
    ),
    "google_dns_managed_zone": (
        "cloud_logging_config description dnssec_config force_destroy forwarding_config labels peering_config "
        "private_visibility_config"
    ),
    "google_dns_record_set": "rrdatas type",
    "google_logging_metric": "bucket_name bucket_options metric_descriptor name value_extractor",
    "google_logging_project_bucket_config": "locked",
    "google_logging_project_sink": "bigquery_options custom_writer_identity destination unique_writer_identity",
    "google_monitoring_notification_channel": "sensitive_labels type",
    "google_monitoring_uptime_check_config": "log_check_failures tcp_check",
    "google_project_iam_custom_role": "description stage title",
    "google_project_service": "disable_dependent_services disable_on_destroy",
    "google_secret_manager_secret": (
        "deletion_protection expire_time labels rotation secret_type topics ttl version_aliases version_destroy_ttl"
    ),
    "google_service_account": "description disabled display_name",
    "google_sql_database_instance": (
        "database_version deletion_protection include_replicas_for_major_version_upgrade instance_type "
        "maintenance_version master_instance_name node_count replica_configuration replica_names "
        "replication_cluster root_password switch_transaction_logs_to_cloud_storage_enabled"
    ),
    "google_storage_bucket": (
        "autoclass cors custom_placement_config default_event_based_hold encryption force_destroy ip_filter "
        "labels logging public_access_prevention requester_pays retention_policy rpo soft_delete_policy "
        "storage_class uniform_bucket_level_access versioning website"
    ),
    "google_storage_managed_folder": "force_destroy",
}

# An imported resource does not know which of Google's labels and annotations are the configuration's.
SPOKEN = {"annotations", "labels", "terraform_labels"}
# Other arguments of which an import knows nothing; the first apply fills them in.
FORGOTTEN: Mapping[str, str] = {}


def _sample(group: str) -> str:
    return (CONFIGURATIONS / f"{group}.tf").read_text()


GROUPS = sorted(path.stem for path in CONFIGURATIONS.glob("*.tf"))


@pytest.mark.parametrize("group", GROUPS)
def test_types_live(group: str, workspace: Workspace) -> None:
    workspace.write(HEAD + _sample(group))
    workspace.init()
    workspace.apply()
    workspace.assert_no_changes()
    made = _resources(workspace)
    assert " 0 added, " in workspace.apply("-var=changed=true")
    workspace.assert_no_changes("-var=changed=true")
    for terraform_type, names in _kept(made, _resources(workspace)).items():
        assert names <= {*KEPT.get(terraform_type, "").split()}, terraform_type
    _import_all(workspace)
    workspace.terraform("destroy", "-auto-approve", "-no-color", "-var=changed=true")
    assert workspace.terraform("state", "list").strip() == ""


def test_every_type_has_a_sample() -> None:
    sampled = set(re.findall(r'^resource "(\w+)"', "".join(map(_sample, GROUPS)), re.M))
    assert sampled == set(served())


def _resources(workspace: Workspace) -> dict[str, dict[str, Any]]:
    shown = json.loads(workspace.terraform("show", "-json"))
    return {one["address"]: one for one in shown["values"]["root_module"]["resources"] if one["mode"] == "managed"}


def _changeable(terraform_type: str) -> Iterator[str]:
    """Top-level arguments that can change without replacing the resource."""
    kind, block = row(terraform_type), resource_schema(terraform_type).block
    if kind.is_immutable:
        return
    fixed = kind.forced | unserved(terraform_type) | {"id", "deletion_policy", "timeouts"}
    for name, attribute in block.attributes.items():
        if attribute.settable and not attribute.force_new and name not in fixed:
            yield name
    for name, nested in block.blocks.items():
        if not nested.force_new and name not in fixed:
            yield name


def _kept(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, set[str]]:
    """Changeable arguments, by type, that are the same in all its resources."""
    kept: dict[str, set[str]] = {}
    for address, resource in after.items():
        terraform_type = resource["type"]
        old, new = before[address]["values"], resource["values"]
        same = {name for name in _changeable(terraform_type) if old.get(name) == new.get(name)}
        kept[terraform_type] = kept.get(terraform_type, same) & same
    return kept


def _import_id(resource: Mapping[str, Any]) -> str:
    """The id; for IAM, `RESOURCE ROLE MEMBER [CONDITION]`."""
    given: str = resource["values"]["id"]
    if resource["type"] == "google_project_iam_audit_config":
        return f"{resource['values']['project']} {resource['values']['service']}"
    if not resource["type"].endswith("_iam_member"):
        return given
    member = resource["values"]["member"]
    spaced = re.sub(r"/(roles/[^/]+|projects/[^/]+/roles/[^/]+)/" + re.escape(member), rf" \1 {member}", given)
    return spaced.replace(f"{member}/", f"{member} ")


def _import_all(workspace: Workspace) -> None:
    blocks = [
        f"import {{\n  to = {address}\n  id = {json.dumps(_import_id(resource))}\n}}\n"
        for address, resource in _resources(workspace).items()
    ]
    (workspace.directory / "terraform.tfstate").unlink()
    imports = workspace.directory / "imports.tf"
    imports.write_text("".join(blocks))
    for address, change in workspace.plan("-var=changed=true").items():
        assert change["actions"] in (["no-op"], ["update"]), (address, change.get("replace_paths"))
        kind = address.partition(".")[0]
        expected = {*row(kind).local, *SPOKEN, *FORGOTTEN.get(kind, "").split()}
        for name, after in change["after"].items():
            before = change["before"].get(name)
            assert name in expected or _said(before) == _said(after), (address, name, before, after)
    workspace.terraform("apply", "-no-color", "saved")
    workspace.assert_no_changes("-var=changed=true")
    imports.unlink()


def _said(value: Any) -> Any:
    """The value without null, false, zero and empty parts: Terraform shows these differences, and they are none."""
    if isinstance(value, dict):
        return {name: said for name, inner in value.items() if (said := _said(inner))} or None
    if isinstance(value, list):
        return [_said(inner) for inner in value] if any(map(_said, value)) else None
    return value or None
