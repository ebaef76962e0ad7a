"""Values for each root, by option set: what the orchestrator would hand in."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from gcp_openemr.environment import Environment
from gcp_openemr.environment.ci import ISSUERS
from gcp_openemr.environment.names import ClinicNames, Names
from gcp_openemr.image import Images
from gcp_openemr.needed import ROLES
from gcp_openemr.variables import (
    SERVICES,
    Foundation,
    Platform,
    SecretVersions,
    clinic_variables,
    foundation_variables,
    platform_variables,
)

__all__ = ["CLINICS", "ENVIRONMENT", "IMAGE", "NAMES", "PLATFORM", "clinic", "foundation", "of_environment", "platform"]

PROJECT = "example-clinic"
REGION = "europe-west1"
ENVIRONMENT = "prod"
CLINICS = ("main", "north")
NAMES = Names(project=PROJECT, environment=ENVIRONMENT)
LABELS = {"application": "openemr", "environment": ENVIRONMENT}
Values = dict[str, Any]
CI: Values = {
    "roles": {name: {"permissions": sorted(role.permissions), "purpose": role.purpose} for name, role in ROLES.items()},
    "trust": {
        "provider": "github",
        "issuer": ISSUERS["github"],
        "repository": "my-clinic/openemr",
        "repository_id": "",
        "branch": "main",
        "environment": "production",
        "destroy_environment": "destroy",
    },
}
# Of another project, in whose registry the sandbox cannot look.
IMAGE = f"{REGION}-docker.pkg.dev/example-images/openemr/job@sha256:{'0123456789abcdef' * 4}"


PLATFORM: Values = {
    "database": {"host": "db.example.sql.goog", "instance": "oe-prod-sql", "port": 3306, "server_ca": "PEM of a CA"},
    "channels": [f"projects/{PROJECT}/notificationChannels/1"],
    "files": {"address": "10.60.0.5", "export": "/share"},
    "network": {
        "network": f"projects/{PROJECT}/global/networks/oe-prod-net",
        "subnetwork": f"projects/{PROJECT}/regions/{REGION}/subnetworks/oe-prod-run",
    },
    "provision": {"account": f"oe-prod-prov@{PROJECT}.iam.gserviceaccount.com", "job": "the job"},
    "redis": {
        "host": "10.60.0.5",
        "port": 6379,
        "admin_secret": f"projects/{PROJECT}/secrets/{NAMES.redis_admin_secret}",
    },
    "rotation": {what: NAMES.roles[what] for what in ("revisions", "secrets")},
}
"""Outputs of a platform, for planning a clinic alone."""


def foundation(**changes: Any) -> Values:
    values = {
        **_common(),
        "services": list(SERVICES),
        "audit": {"data_access_logs": True, "retention_days": 400},
        "clinics": {
            name: {"backup_password_secret": names.backup_password_secret, "prune_account": names.prune_account}
            for name, names in ((name, ClinicNames(environment=ENVIRONMENT, clinic=name)) for name in CLINICS)
        },
        "ci": CI,
        "protect": True,
    }
    return _changed(values, changes)


def platform(**changes: Any) -> Values:
    values = {
        **_common(),
        "zone": f"{REGION}-b",
        "network": {"cidr": "10.60.0.0/22"},
        "database": {
            "tier": "db-custom-2-7680",
            "edition": "ENTERPRISE",
            "availability_type": "REGIONAL",
            "disk_size_gb": 20,
            "database_version": "MYSQL_8_0",
            "backups": True,
        },
        "files": {"machine_type": "e2-standard-2", "disk_size_gb": 100, "snapshot_days": 14},
        "alerts": {"emails": ["it@clinic.example"], "channels": [], "prefix": "OpenEMR prod"},
        "provision": {"image": IMAGE, "redis_admin_version": "1", "timeout": 1800},
        "backup_bucket": NAMES.backup_bucket,
        "roles": NAMES.roles,
        "protect": True,
    }
    return _changed(values, changes)


def clinic(name: str = "main", **changes: Any) -> Values:
    names = ClinicNames(environment=ENVIRONMENT, clinic=name)
    values = {
        **_common(),
        "labels": {**LABELS, "clinic": name},
        "names": names.as_tfvars(),
        "clinic": name,
        "platform": PLATFORM,
        "images": {"service": IMAGE, "job": IMAGE},
        "secret_versions": {"database_password": "1", "redis_password": "2", "admin_password": "3"},
        "serve": True,
        "service": {
            "cpu": 2,
            "memory": "4Gi",
            "min_instances": 1,
            "max_instances": 3,
            "concurrency": 20,
            "timeout": 300,
            "ingress": "all",
            "vpc_egress": "PRIVATE_RANGES_ONLY",
            "public_access": False,
            "public_url": "https://openemr.example.org",
            "environment": {"PHP_MEMORY_LIMIT": "512M"},
        },
        "openemr": {"version": "7.0.4"},
        "restore": None,
        "backup_bucket": NAMES.backup_bucket,
        "admin_user": "admin",
        "jobs": ["nfs-init", "background", "backup", "verify", "drill", "prune", "rotate", "redis-passwords"],
        "schedules": {},
        "backups": {"drill_days": 15, "read_percent": 5, "keep": {"daily": 7}},
        "rotation": {"every_days": 90, "state_bucket": NAMES.state_bucket},
        "upgrade": None,
        "protect": True,
    }
    return _changed(values, changes)


def of_environment(environment: Environment) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Path, kind and values of each root, as the orchestrator hands them in when everything is there."""
    images = Images(service=IMAGE, job=IMAGE)
    secrets = SecretVersions(database_password=1, redis_password=2, admin_password=3)
    names = environment.names
    foundation = Foundation(
        registry=f"{environment.region}-docker.pkg.dev/{environment.project}/{names.registry}",
        build_account="build",
        build_bucket=names.build_bucket,
        backup_bucket=names.backup_bucket,
        roles=names.roles,
    )
    protect = environment.protect
    yield "foundation", "foundation", foundation_variables(environment)
    yield (
        "platform",
        "platform",
        platform_variables(environment, foundation, images=images, redis_admin_version=1, protect=protect),
    )
    for name, clinic in environment.clinics.items():
        platform = Platform(outputs=PLATFORM)
        yield (
            f"clinics/{name}",
            "clinic",
            clinic_variables(
                environment, clinic, foundation, platform, images, versions=secrets, serve=True, protect=protect
            ),
        )


def _common() -> Values:
    return {"project": PROJECT, "region": REGION, "labels": LABELS, "names": NAMES.as_tfvars()}


def _changed(values: Values, changes: Mapping[str, Any]) -> Values:
    """`values` with `changes`; a change to an object changes only the keys it names."""
    result = copy.deepcopy(values)
    for key, change in changes.items():
        both = (
            isinstance(change, Mapping)
            and isinstance(result.get(key), dict)
            and key not in ("ci", "clinics", "platform", "restore", "roles")
        )
        result[key] = {**result[key], **change} if both else change
    return result
