"""Reads a plan and names what would be lost."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from gcp_openemr.errors import DataLossRefused
from gcp_openemr.terraform import Change, Plan

__all__ = ["COMPARED", "HOLDS_DATA", "check", "losses"]

HOLDS_DATA = {
    "google_artifact_registry_repository": "the images that services start from",
    "google_compute_disk": "patients' documents and encryption keys",
    "google_compute_region_disk": "patients' documents and encryption keys",
    "google_compute_snapshot": "a copy of patients' documents",
    "google_filestore_instance": "patients' documents and encryption keys",
    "google_kms_crypto_key": "the key without which data cannot be read",
    "google_kms_key_ring": "the keys without which data cannot be read",
    "google_logging_project_bucket_config": "the record of who read and wrote patients' data",
    "google_secret_manager_secret": "passwords, with every version",
    "google_secret_manager_secret_version": "a password",
    "google_sql_database": "patients' records",
    "google_sql_database_instance": "patients' records",
    "google_sql_user": "the account that owns records",
    "google_storage_bucket": "backups or Terraform's state",
}
"""Resource type → what is lost with it."""


_BACKUPS = ("settings", 0, "backup_configuration", 0)
_LESSENED: tuple[tuple[str, tuple[str | int, ...], str], ...] = (
    (
        "google_logging_project_bucket_config",
        ("retention_days",),
        "the older part of the record of who read and wrote patients' data",
    ),
    ("google_sql_database_instance", (*_BACKUPS, "enabled"), "Cloud SQL's own backups of patients' records"),
    (
        "google_sql_database_instance",
        (*_BACKUPS, "binary_log_enabled"),
        "the logs by which patients' records can be brought back to a moment",
    ),
)
"""Resource type, setting, and what is lost when an update makes that less or turns it off."""
COMPARED = frozenset(type_ for type_, _, _ in _LESSENED)
"""The types of which updates have to be seen with their values."""


def losses(plan: Plan) -> tuple[Change, ...]:
    """The changes that would delete or replace something that holds data, or lessen what keeps or brings it back."""
    return tuple(change for change in plan.changes if _lost(change))


def check(plan: Plan, *, allowed: Collection[str] = ()) -> None:
    """Stop a plan that would lose data, unless each such resource's address is in `allowed`.

    Raises:
        DataLossRefused: with every address, what it holds and Terraform's reason.
    """
    refused = [change for change in losses(plan) if change.address not in allowed]
    if refused:
        raise DataLossRefused(
            "This plan would lose data, so nothing was changed:\n" + "\n".join(_sentence(c) for c in refused),
            do=_permission(refused),
        )


def _lost(change: Change) -> str:
    """What a change loses; '' for nothing."""
    if change.action in ("delete", "replace"):
        return HOLDS_DATA.get(change.type, "")
    rows = (row for row in _LESSENED if change.action == "update" and row[0] == change.type)
    return " and ".join(what for _, steps, what in rows if _amount(change.after, steps) < _amount(change.before, steps))


def _amount(values: Any, steps: Sequence[str | int]) -> int:
    """A number or a switch; what is not set or not known counts as nothing."""
    for step in steps:
        try:
            values = values[step]
        except (LookupError, TypeError):
            return 0
    return int(values or 0)


def _sentence(change: Change) -> str:
    because = f" (because {change.reason})" if change.reason else ""
    return f"  {change.action} {change.address}: {_lost(change)}{because}"


def _permission(refused: Sequence[Change]) -> str:
    flags = " ".join(f"--allow-data-loss '{change.address}'" for change in refused)
    return f"Change the environment file back. If the loss is wanted, run again with: {flags}"
