"""Reads a plan and names what would be lost.

Two tables decide for every type of the stack: what HOLDS data or identity is not deleted or replaced, what is HARMLESS
may go. A type that is in neither is treated as holding something. A third table knows the updates that keep less.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from gcp_openemr.errors import DataLossRefused
from gcp_openemr.terraform_messages import Change, Plan

__all__ = ["HARMLESS", "HOLDS", "LESSENED", "check", "losses", "lost", "rooted"]

HOLDS: Mapping[str, str] = {
    "google_artifact_registry_repository": "the images that services start from",
    "google_compute_address": "an address by which others know it",
    "google_compute_disk": "patients' documents and encryption keys",
    "google_compute_disk_resource_policy_attachment": "the disk's place in its snapshot schedule",
    "google_compute_region_disk": "patients' documents and encryption keys",
    "google_compute_resource_policy": "the schedule of the disk's snapshots",
    "google_compute_snapshot": "a copy of patients' documents",
    "google_filestore_instance": "patients' documents and encryption keys",
    "google_iam_workload_identity_pool": "the identity of pipelines; its name is taken for 30 days",
    "google_iam_workload_identity_pool_provider": "the identity of pipelines; its name is taken for 30 days",
    "google_kms_crypto_key": "the key without which data cannot be read",
    "google_kms_key_ring": "the keys without which data cannot be read",
    "google_logging_project_bucket_config": "the record of who read and wrote patients' data",
    "google_logging_project_sink": "what leads the record of who read patients' data into its bucket",
    "google_secret_manager_secret": "passwords, with every version",
    "google_secret_manager_secret_version": "a password",
    "google_service_account": "an identity, with the rights that others gave it",
    "google_sql_database": "patients' records",
    "google_sql_database_instance": "patients' records",
    "google_sql_ssl_cert": "a certificate by which others know it",
    "google_sql_user": "the account that owns records",
    "google_storage_bucket": "backups or Terraform's state",
    "google_storage_bucket_object": "what is stored in it",
    "google_storage_managed_folder": "the rights on a clinic's backups or records of jobs",
}
"""Resource type → what is lost with it."""

_MADE_AGAIN = """
    artifact_registry_repository_iam_member cloud_run_v2_job cloud_run_v2_job_iam_member cloud_run_v2_service
    cloud_run_v2_service_iam_member cloud_scheduler_job compute_firewall compute_forwarding_rule compute_health_check
    compute_instance_group_manager compute_instance_template compute_network compute_router compute_router_nat
    compute_subnetwork dns_managed_zone dns_record_set iap_tunnel_instance_iam_member logging_metric
    monitoring_alert_policy monitoring_notification_channel monitoring_uptime_check_config project_iam_audit_config
    project_iam_custom_role project_iam_member project_service secret_manager_secret_iam_member
    service_account_iam_member storage_bucket_iam_member storage_managed_folder_iam_member
"""
HARMLESS = frozenset(f"google_{name}" for name in _MADE_AGAIN.split())
"""Types that can be made again as they were. The files machine is one: disk and address outlive it."""

_ONLY_OURS = ("module.schedule.google_service_account.", "module.ci[")
"""Beginnings of addresses that no row of HOLDS means: what starts jobs, and pipelines have Terraform's rights alone."""

_KEEPING = frozenset({"create", "import", "move", "noop", "read", "update"})
"""Terraform's words for what leaves a resource in its place. Whatever else it may say takes it away."""

Amount = Callable[[Mapping[str, Any]], float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lessening:
    """What an update of a type loses when `amount`, measured on its values, becomes less."""

    type: str
    amount: Amount
    lost: str


def _at(*steps: str | int) -> Amount:
    """A number or a switch in the values; `604800s` is a number; what is not set or not known counts as nothing."""

    def amount(values: Mapping[str, Any]) -> float:
        found: Any = values
        for step in steps:
            try:
                found = found[step]
            except (LookupError, TypeError):
                return 0
        return float(found.rstrip("s") if isinstance(found, str) else found or 0)

    return amount


def _days_until_deletion(values: Mapping[str, Any]) -> float:
    """The shortest time that any of a bucket's rules waits before it deletes what is current."""
    ages = [one.get("age") or 0 for one in _deleting(values) if not one.get("days_since_noncurrent_time")]
    return min(ages, default=math.inf)


def _days_until_replaced_goes(values: Mapping[str, Any]) -> float:
    """The same for what was replaced; a first such rule is no loss, since a new bucket has none for a moment."""
    ages = [days for one in _deleting(values) if (days := one.get("days_since_noncurrent_time"))]
    return min(ages, default=math.nan)


def _deleting(values: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The conditions of a bucket's rules that delete."""
    rules = values.get("lifecycle_rule") or ()
    deleting = (rule for rule in rules if any(action.get("type") == "Delete" for action in rule.get("action") or ()))
    return [condition for rule in deleting for condition in rule.get("condition") or ()]


def _never_expires(values: Mapping[str, Any]) -> float:
    return not (values.get("ttl") or values.get("expire_time"))


_SQL = "google_sql_database_instance"
_SQL_BACKUPS = ("settings", 0, "backup_configuration", 0)
_LOGS = "the logs by which patients' records can be brought back to a moment"
_DELETED = "what was deleted or replaced, while it can still be taken back"
LESSENED: tuple[Lessening, ...] = (
    Lessening(
        type="google_compute_resource_policy",
        amount=_at("snapshot_schedule_policy", 0, "retention_policy", 0, "max_retention_days"),
        lost="the older snapshots of patients' documents",
    ),
    Lessening(
        type="google_logging_project_bucket_config",
        amount=_at("retention_days"),
        lost="the older part of the record of who read and wrote patients' data",
    ),
    Lessening(type="google_secret_manager_secret", amount=_never_expires, lost="passwords, when they expire"),
    Lessening(
        type="google_secret_manager_secret", amount=_at("version_destroy_ttl"), lost="a way back to destroyed passwords"
    ),
    Lessening(type=_SQL, amount=_at(*_SQL_BACKUPS, "enabled"), lost="Cloud SQL's own backups of patients' records"),
    Lessening(
        type=_SQL,
        amount=_at(*_SQL_BACKUPS, "backup_retention_settings", 0, "retained_backups"),
        lost="the older of Cloud SQL's own backups",
    ),
    Lessening(type=_SQL, amount=_at(*_SQL_BACKUPS, "binary_log_enabled"), lost=_LOGS),
    Lessening(type=_SQL, amount=_at(*_SQL_BACKUPS, "transaction_log_retention_days"), lost=f"the older of {_LOGS}"),
    Lessening(
        type="google_storage_bucket",
        amount=_at("soft_delete_policy", 0, "retention_duration_seconds"),
        lost=_DELETED,
    ),
    Lessening(type="google_storage_bucket", amount=_at("versioning", 0, "enabled"), lost=_DELETED),
    Lessening(
        type="google_storage_bucket",
        amount=_at("retention_policy", 0, "retention_period"),
        lost="the time for which nothing can be deleted",
    ),
    Lessening(type="google_storage_bucket", amount=_days_until_deletion, lost="what a rule deletes earlier now"),
    Lessening(type="google_storage_bucket", amount=_days_until_replaced_goes, lost="what a rule deletes earlier now"),
)
"""Updates that keep less than before. What is kept after a destroy is lifted on purpose, so it has no row."""


def rooted(root: str, address: str) -> str:
    """An address as people name it: roots of two clinics have the same addresses in them."""
    return f"{root}:{address}" if root else address


def losses(plan: Plan) -> tuple[Change, ...]:
    """The changes that would delete or replace something that holds data, or lessen what keeps or brings it back."""
    return tuple(change for change in plan.changes if lost(change))


def check(plan: Plan, *, root: str = "", allowed: Collection[str] = ()) -> None:
    """Stop a plan of `root` that would lose data, unless each such resource's address is in `allowed`.

    Raises:
        DataLossRefused: with every address, what it holds and Terraform's reason.
    """
    refused = [change for change in losses(plan) if rooted(root, change.address) not in allowed]
    if refused:
        raise DataLossRefused(
            "This plan would lose data, so nothing of it was applied:\n"
            + "\n".join(_sentence(root, change) for change in refused),
            do=_permission(root, refused),
        )


def lost(change: Change) -> str:
    """What a change loses; '' for nothing. What a plan forgets is lost to us, though it stays where it is."""
    if change.action not in _KEEPING:
        if change.type in HARMLESS or change.address.startswith(_ONLY_OURS):
            return ""
        return HOLDS.get(change.type, "what a type holds that this program does not know")
    rows = (row for row in LESSENED if change.action == "update" and row.type == change.type)
    return " and ".join(dict.fromkeys(row.lost for row in rows if row.amount(change.after) < row.amount(change.before)))


def _sentence(root: str, change: Change) -> str:
    told = ", ".join(part for part in (change.reason, ", ".join(change.forced_by)) if part)
    return f"  {change.action} {rooted(root, change.address)}: {lost(change)}" + (f" (because {told})" if told else "")


def _permission(root: str, refused: Sequence[Change]) -> str:
    flags = " ".join(f"--allow-data-loss '{rooted(root, change.address)}'" for change in refused)
    return f"Change the environment file back. If the loss is wanted: gcp-openemr deploy {flags}"
