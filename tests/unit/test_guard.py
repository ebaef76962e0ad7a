"""The guard stops what would lose data, and only that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gcp_openemr import guard
from gcp_openemr.errors import DataLossRefused
from gcp_openemr.terraform import Change, Plan


def plan(*changes: tuple[str, str]) -> Plan:
    made = [
        Change(address=f"module.x.{type_}.default", type=type_, action=action, reason="cannot update")
        for type_, action in changes
    ]
    return Plan(file=Path("tfplan"), changes=tuple(made))


@pytest.mark.parametrize("type_", sorted(guard.HOLDS_DATA))
@pytest.mark.parametrize("action", ["delete", "replace"])
def test_losing_data_is_refused_with_its_address_and_reason(type_: str, action: str) -> None:
    with pytest.raises(DataLossRefused) as caught:
        guard.check(plan((type_, action)))
    assert f"{action} module.x.{type_}.default" in caught.value.what
    assert "because cannot update" in caught.value.what
    assert f"--allow-data-loss 'module.x.{type_}.default'" in caught.value.do


@pytest.mark.parametrize("action", ["create", "update"])
def test_making_and_changing_is_let_through(action: str) -> None:
    guard.check(plan(("google_sql_database_instance", action)))


def database(*, backups: bool, logs: bool, disk: int = 10) -> dict[str, Any]:
    return {
        "settings": [{"disk_size": disk, "backup_configuration": [{"enabled": backups, "binary_log_enabled": logs}]}]
    }


LOGS = "google_logging_project_bucket_config"
SQL = "google_sql_database_instance"


@pytest.mark.parametrize(
    ("type_", "before", "after", "lost"),
    [
        (LOGS, {"retention_days": 400}, {"retention_days": 30}, "the older part of the record"),
        (LOGS, {"retention_days": 400}, {}, "the older part of the record"),
        (LOGS, {"retention_days": 30}, {"retention_days": 400}, ""),
        (
            SQL,
            database(backups=True, logs=True),
            database(backups=False, logs=False),
            "own backups of patients' records",
        ),
        (SQL, database(backups=True, logs=True), database(backups=True, logs=False), "the logs by which"),
        (SQL, database(backups=False, logs=False), database(backups=True, logs=True), ""),
        (SQL, database(backups=True, logs=True), database(backups=True, logs=True, disk=20), ""),
        ("google_compute_firewall", {"retention_days": 2}, {"retention_days": 1}, ""),
    ],
)
def test_keeping_less_is_refused_until_it_is_wanted(
    type_: str, before: dict[str, Any], after: dict[str, Any], lost: str
) -> None:
    change = Change(address=f"module.x.{type_}.default", type=type_, action="update", before=before, after=after)
    found = Plan(file=Path("tfplan"), changes=(change,))
    assert guard.losses(found) == ((change,) if lost else ())
    guard.check(found, allowed=[change.address])
    if lost:
        with pytest.raises(DataLossRefused, match=lost):
            guard.check(found)


def test_what_holds_no_data_may_go() -> None:
    guard.check(plan(("google_cloud_run_v2_service", "delete"), ("google_compute_firewall", "replace")))


def test_a_permission_counts_for_the_named_resource_alone() -> None:
    both = plan(("google_compute_disk", "delete"), ("google_storage_bucket", "delete"))
    with pytest.raises(DataLossRefused) as caught:
        guard.check(both, allowed=["module.x.google_compute_disk.default"])
    assert "google_compute_disk" not in caught.value.what
    guard.check(both, allowed=["module.x.google_compute_disk.default", "module.x.google_storage_bucket.default"])
