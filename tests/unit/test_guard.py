"""The guard stops what would lose data, and only that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gcp_openemr import guard
from gcp_openemr.errors import DataLossRefused
from gcp_openemr.needed import types_of_the_stack
from gcp_openemr.terraform_messages import Change, Plan


def plan(*changes: tuple[str, str]) -> Plan:
    made = [
        Change(address=f"module.x.{type_}.default", type=type_, action=action, reason="cannot update")
        for type_, action in changes
    ]
    return Plan(file=Path("tfplan"), changes=tuple(made))


@pytest.mark.parametrize("type_", sorted(guard.HOLDS))
@pytest.mark.parametrize("action", ["delete", "replace"])
def test_losing_data_is_refused_with_its_address_and_reason(type_: str, action: str) -> None:
    with pytest.raises(DataLossRefused) as caught:
        guard.check(plan((type_, action)))
    assert f"{action} module.x.{type_}.default" in caught.value.what
    assert "because cannot update" in caught.value.what
    assert f"gcp-openemr deploy --allow-data-loss 'module.x.{type_}.default'" in caught.value.do


@pytest.mark.parametrize("action", ["remove", "an action of a Terraform to come"])
def test_what_leaves_the_state_is_lost_too(action: str) -> None:
    with pytest.raises(DataLossRefused, match=f"{action} .*patients' records"):
        guard.check(plan(("google_sql_database_instance", action)))


@pytest.mark.parametrize("action", ["create", "update", "import", "move"])
def test_making_and_changing_is_let_through(action: str) -> None:
    guard.check(plan(("google_sql_database_instance", action)))


def database(*, backups: bool, logs: bool, disk: int = 10) -> dict[str, Any]:
    return {
        "settings": [{"disk_size": disk, "backup_configuration": [{"enabled": backups, "binary_log_enabled": logs}]}]
    }


LOGS = "google_logging_project_bucket_config"
SQL = "google_sql_database_instance"
SECRET = "google_secret_manager_secret"
SNAPSHOTS = "google_compute_resource_policy"
BUCKET = "google_storage_bucket"


def keeping(days: int) -> dict[str, Any]:
    return {"snapshot_schedule_policy": [{"retention_policy": [{"max_retention_days": days}]}]}


def deleting(**condition: int) -> dict[str, Any]:
    return {"lifecycle_rule": [{"action": [{"type": "Delete"}], "condition": [condition]}]}


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
        (SECRET, {"version_destroy_ttl": "604800s"}, {"version_destroy_ttl": "86400s"}, "a way back"),
        (SECRET, {"version_destroy_ttl": "604800s"}, {}, "a way back"),
        (SECRET, {}, {"ttl": "86400s"}, "passwords, when they expire"),
        (SNAPSHOTS, keeping(14), keeping(7), "the older snapshots"),
        (SNAPSHOTS, keeping(7), keeping(14), ""),
        (BUCKET, {"versioning": [{"enabled": True}]}, {"versioning": [{"enabled": False}]}, "what was deleted"),
        (BUCKET, {}, deleting(age=30), "what a rule deletes earlier now"),
        (BUCKET, deleting(age=30), deleting(age=10), "what a rule deletes earlier now"),
        (BUCKET, {}, deleting(days_since_noncurrent_time=60), ""),
        (
            BUCKET,
            deleting(days_since_noncurrent_time=60),
            deleting(days_since_noncurrent_time=30),
            "deletes earlier now",
        ),
        (BUCKET, deleting(days_since_noncurrent_time=60), {}, ""),
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


def test_what_is_not_known_may_not_go() -> None:
    with pytest.raises(DataLossRefused, match="that this program does not know"):
        guard.check(plan(("google_alloydb_cluster", "delete")))


def test_the_account_that_starts_jobs_may_go_with_its_schedules() -> None:
    address = "module.schedule.google_service_account.default[0]"
    gone = Change(address=address, type="google_service_account", action="delete")
    guard.check(Plan(file=Path("tfplan"), changes=(gone,)))


def test_every_type_of_the_stack_is_in_one_of_the_two_tables() -> None:
    assert types_of_the_stack() <= {name.removeprefix("google_") for name in {*guard.HOLDS, *guard.HARMLESS}}
    assert not guard.HARMLESS & {*guard.HOLDS}


def test_a_permission_counts_for_the_named_resource_of_its_root_alone() -> None:
    both = plan(("google_compute_disk", "delete"), ("google_storage_bucket", "delete"))
    disk, bucket = (f"module.x.{type_}.default" for type_ in ("google_compute_disk", "google_storage_bucket"))
    with pytest.raises(DataLossRefused) as caught:
        guard.check(both, root="platform", allowed=[f"platform:{disk}", f"foundation:{bucket}"])
    assert "google_compute_disk" not in caught.value.what
    assert f"--allow-data-loss 'platform:{bucket}'" in caught.value.do
    guard.check(both, root="platform", allowed=[f"platform:{disk}", f"platform:{bucket}"])
