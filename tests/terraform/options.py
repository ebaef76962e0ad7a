"""Every value that comes from the environment file, changed, and what holds data that the change would take away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tests.terraform import samples

__all__ = ["OPTIONS", "OTHERWISE", "leaves"]

DISK = "module.files.google_compute_disk.default"
AUDIT = "module.audit.google_logging_project_bucket_config.default"
SQL = "module.database.google_sql_database_instance.default"
POLICY = "module.files.google_compute_resource_policy.snapshots[0]"
ATTACHED = "module.files.google_compute_disk_resource_policy_attachment.snapshots[0]"
ADDRESSES = {f"module.{name}.google_compute_address.default" for name in ("database", "files")}
OPTIONS: list[tuple[str, dict[str, Any], set[str]]] = [
    (
        "platform",
        {
            "labels": {"team": "it", **samples.LABELS},
            "database": {
                "tier": "db-custom-4-15360", "disk_size_gb": 30, "availability_type": "ZONAL", "backups": False,
            },
            "files": {
                "machine_type": "e2-small", "disk_size_gb": 200, "snapshot_days": 0, "nfs_v3": False,
                "ssh_members": [],
            },
            "alerts": {"emails": [], "channels": [f"projects/{samples.PROJECT}/notificationChannels/1"]},
            "provision": None,
        },
        {SQL, POLICY, ATTACHED},
    ),
    ("platform", {"files": {"snapshot_days": 7}}, {POLICY}),
    ("platform", {"database": {"edition": "ENTERPRISE_PLUS", "tier": "db-perf-optimized-N-2"}}, set()),
    ("platform", {"zone": f"{samples.REGION}-c"}, {DISK, ATTACHED}),
    ("platform", {"files": {"disk_size_gb": 50}}, {DISK}),
    ("platform", {"network": {"cidr": "10.60.0.0/20"}}, set()),
    ("platform", {"network": {"cidr": "10.80.0.0/20"}}, ADDRESSES),
    (
        "foundation",
        {
            "labels": {"team": "it", **samples.LABELS},
            "audit": {"data_access_logs": False, "retention_days": 30},
            "services": ["run.googleapis.com"],
        },
        {AUDIT},
    ),
    ("foundation", {"ci": None}, set()),
    (
        "foundation",
        {"clinics": {}},
        {
            held
            for name in samples.CLINICS
            for held in (
                f'module.backup_passwords.google_secret_manager_secret.default["{name}"]',
                f'module.backup_store["{name}"].google_service_account.prune',
                f'module.backup_store["{name}"].google_storage_managed_folder.changing["keys"]',
                f'module.backup_store["{name}"].google_storage_managed_folder.changing["locks"]',
                f'module.backup_store["{name}"].google_storage_managed_folder.changing["sets"]',
                f'module.backup_store["{name}"].google_storage_managed_folder.default',
            )
        },
    ),
    (
        "clinics/main",
        {
            "labels": {"team": "it", **samples.LABELS},
            "service": {
                "cpu": 4, "memory": "8Gi", "min_instances": 0, "max_instances": 9, "concurrency": 5, "timeout": 60,
                "ingress": "internal", "vpc_egress": "ALL_TRAFFIC", "public_access": False, "environment": {"A": "b"},
                "public_url": "https://other.example.org",
            },
            "openemr": {"version": "7.0.3"},
            "admin_user": "chief",
            "jobs": ["nfs-init", "backup", "rotate", "redis-passwords"],
            "schedules": {"backup": {"cron": "0 1 * * *"}},
            "rotation": {"every_days": 30, "secrets": ["database"]},
            "backups": {"drill_days": 30, "read_percent": 10, "keep": {"daily": 14}},
            "restore": {"source": "drive", "uri": "1a2b3c"},
        },
        set(),
    ),
]  # fmt: skip
"""Root, changes, and the addresses for which the guard stops them."""

OTHERWISE: Mapping[str, str] = {
    "project": "another project has another state: nothing there is changed by it",
    "region": "as project: the names of the state bucket and of everything else change with it",
    "names": "made from the environment's name; an environment of another name is another environment",
    "protect": "the tests that destroy lift it",
    "clinic": "as names",
    "database.database_version": "there is one value",
    "alerts.prefix": "from the environment's name, and only in titles",
    "backup_bucket": "an output of the foundation",
    "roles": "as backup_bucket",
    "platform": "outputs of the platform",
    "rotation.state_bucket": "as names",
    "provision.image": "made by a build; a job holds nothing",
    "provision.redis_admin_version": "not in the file",
    "provision.timeout": "not in the file",
    "images": "made by a build",
    "secret_versions": "not in the file; the stack is applied without and with them",
    "openemr.jobs": "not in the file: the way back from an upgrade",
    "upgrade": "not in the file: an upgrade under way",
    "serve": "not in the file; the stack is applied without and with it",
}
"""Values that no row changes, and why."""
_WHOLE = ("labels", "names", "ci", "clinics", "platform", "images", "secret_versions", "schedules", "restore", "roles")


def leaves(values: Mapping[str, Any]) -> Iterator[str]:
    """The names of a root's values; of sections, each setting's."""
    for key, value in values.items():
        if isinstance(value, Mapping) and key not in _WHOLE:
            yield from (f"{key}.{setting}" for setting in value)
        else:
            yield key
