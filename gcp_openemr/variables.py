"""What each Terraform root is given: pure functions from the environment and the outputs of the roots before it."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from gcp_openemr.environment import Clinic, Environment
from gcp_openemr.environment.ci import Ci
from gcp_openemr.environment.model import Background, Backups, Rotation
from gcp_openemr.image import BuildPlace, Images
from gcp_openemr.needed import ROLES

__all__ = [
    "Foundation",
    "Platform",
    "Release",
    "SecretVersions",
    "Upgrading",
    "clinic_variables",
    "foundation_variables",
    "platform_variables",
    "services_of",
]

SERVICES = (
    "artifactregistry.googleapis.com",
    "cloudbuild.googleapis.com",
    "cloudresourcemanager.googleapis.com",
    "cloudscheduler.googleapis.com",
    "compute.googleapis.com",
    "containerscanning.googleapis.com",
    "dns.googleapis.com",
    "iam.googleapis.com",
    "iamcredentials.googleapis.com",
    "iap.googleapis.com",
    "logging.googleapis.com",
    "monitoring.googleapis.com",
    "run.googleapis.com",
    "secretmanager.googleapis.com",
    "serviceusage.googleapis.com",
    "sqladmin.googleapis.com",
    "storage.googleapis.com",
    "sts.googleapis.com",
)
"""The APIs that every stack calls."""

_DRIVE = "drive.googleapis.com"

PROVISION_SECONDS = 1800
"""Limit of the provision job; creating schemas and users takes seconds."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Foundation:
    """Outputs of the foundation."""

    registry: str
    build_account: str
    build_bucket: str
    backup_bucket: str
    roles: Mapping[str, str]

    @classmethod
    def of(cls, outputs: Mapping[str, Any]) -> Foundation:
        return cls(**{field.name: outputs[field.name] for field in dataclasses.fields(cls)})

    def build_place(self, region: str) -> BuildPlace:
        return BuildPlace(region=region, registry=self.registry, bucket=self.build_bucket, account=self.build_account)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Platform:
    """Outputs of the platform; `provision_job` is empty until an image was built."""

    outputs: Mapping[str, Any]

    @property
    def provision_job(self) -> str:
        provision = self.outputs.get("provision")
        return str(provision["job"]) if provision else ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SecretVersions:
    """The pinned version of each of a clinic's secrets."""

    database_password: int
    redis_password: int
    admin_password: int

    def as_variables(self) -> dict[str, str]:
        return {name: str(number) for name, number in dataclasses.asdict(self).items()}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Upgrading:
    """A clinic's job `upgrade`, which stands there while an upgrade is under way.

    `back`, on the way back to `set`: `restore` until the set is in place, then `serve`. With `rehearsal` it works on a
    copy, and nothing of the clinic is under way.
    """

    from_version: str
    to_version: str
    image: str
    set: str = ""
    back: str = ""
    rehearsal: bool = False

    def as_variables(self) -> dict[str, Any]:
        return {
            "back": self.back,
            "from": self.from_version,
            "image": self.image,
            "rehearsal": self.rehearsal,
            "set": self.set,
            "to": self.to_version,
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Release:
    """The versions of OpenEMR of a clinic's service and jobs, where they are not both the file's."""

    service: str
    jobs: str
    upgrading: Upgrading | None = None


def services_of(environment: Environment) -> tuple[str, ...]:
    """The APIs that an environment's stack calls: Drive's too where a clinic's backup lies there."""
    sources = {clinic.restore.source for clinic in environment.clinics.values() if clinic.restore}
    return (*SERVICES, _DRIVE) if "drive" in sources else SERVICES


def foundation_variables(environment: Environment, *, known: Collection[str] = ()) -> dict[str, Any]:
    """`known` are clinics that have backups already, be they in the file or not: what holds those stays."""
    return {
        **_common(environment),
        "labels": environment.lasting_labels,
        "audit": {
            "data_access_logs": environment.audit.data_access_logs,
            "retention_days": environment.audit.retention_days,
        },
        "ci": _ci(environment.ci) if environment.ci else None,
        "clinics": {clinic: _backup_names(environment, clinic) for clinic in sorted({*environment.clinics, *known})},
        "protect": environment.protect,
        "services": list(services_of(environment)),
    }


def platform_variables(
    environment: Environment,
    foundation: Foundation,
    *,
    images: Images | None,
    redis_admin_version: int | None,
    protect: bool,
) -> dict[str, Any]:
    """Without images, or before the Redis administrator's password exists, the provision job is left out."""
    provision = None
    if images is not None and redis_admin_version is not None:
        provision = {
            "image": images.job,
            "redis_admin_version": str(redis_admin_version),
            "timeout": PROVISION_SECONDS,
        }
    return {
        **_common(environment),
        "zone": environment.zone,
        "network": {"cidr": environment.network.cidr},
        "database": {
            "tier": environment.database.tier,
            "edition": environment.database.edition,
            "availability_type": environment.database.availability_type,
            "disk_size_gb": environment.database.disk_size_gb,
            "database_version": environment.database.database_type,
            "backups": environment.database.backups,
        },
        "files": {
            "machine_type": environment.files.machine_type,
            "disk_size_gb": environment.files.disk_size_gb,
            "nfs_v3": environment.files.nfs_v3,
            "snapshot_days": environment.files.snapshot_days,
            "ssh_members": list(environment.files.ssh_members),
        },
        "alerts": {
            "channels": list(environment.alerts.channels),
            "emails": list(environment.alerts.emails),
            "prefix": f"OpenEMR {environment.name}",
        },
        "provision": provision,
        "backup_bucket": foundation.backup_bucket,
        "roles": dict(foundation.roles),
        "protect": protect,
    }


def clinic_variables(
    environment: Environment,
    clinic: Clinic,
    foundation: Foundation,
    platform: Platform,
    images: Images,
    *,
    versions: SecretVersions | None,
    serve: bool,
    protect: bool,
    release: Release | None = None,
) -> dict[str, Any]:
    """`release` is what stands there while an upgrade is under way; the file's version otherwise."""
    names = environment.clinic_names(clinic.name)
    service = clinic.service
    release = release or Release(service=environment.openemr.version, jobs=environment.openemr.version)
    upgrading = release.upgrading
    return {
        **_common(environment),
        "labels": {**environment.labels, "clinic": clinic.name},
        "names": names.as_tfvars(),
        "clinic": clinic.name,
        "platform": dict(platform.outputs),
        "images": dataclasses.asdict(images),
        "secret_versions": versions.as_variables() if versions else None,
        "serve": serve,
        "service": {
            "cpu": service.cpu,
            "memory": service.memory,
            "min_instances": service.min_instances,
            "max_instances": service.max_instances,
            "concurrency": service.concurrency,
            "timeout": service.timeout_seconds,
            "ingress": service.ingress_settings,
            "vpc_egress": service.vpc_egress_setting,
            "public_access": service.public_access,
            "public_url": service.public_url,
            "environment": dict(service.environment_variables),
        },
        "openemr": {"version": release.service, "jobs": release.jobs},
        "upgrade": upgrading.as_variables() if upgrading else None,
        "restore": {"source": clinic.restore.source, "uri": clinic.restore.uri} if clinic.restore else None,
        "backup_bucket": foundation.backup_bucket,
        "admin_user": clinic.admin_user,
        "jobs": [
            *("nfs-init", "background", "backup", "verify", "drill", "prune", "rotate", "redis-passwords"),
            *(["upgrade"] if upgrading else []),
        ],
        "schedules": _schedules(environment) if serve else {},
        "backups": {
            "drill_days": environment.backups.drill_days,
            "keep": {
                generation: getattr(environment.backups, f"keep_{generation}")
                for generation in ("daily", "weekly", "monthly", "yearly")
            },
            "read_percent": environment.backups.read_percent,
        },
        "rotation": {
            "every_days": environment.rotation.every_days,
            "secrets": list(environment.rotation.secrets),
            "state_bucket": environment.names.state_bucket,
        },
        "protect": protect,
    }


def _schedules(environment: Environment) -> dict[str, dict[str, str]]:
    """By job, when it starts by itself."""
    return {
        **_of_backups(environment.backups),
        **_at("background", environment.background),
        **_at("rotate", environment.rotation),
    }


def _of_backups(backups: Backups) -> dict[str, dict[str, str]]:
    if not backups.scheduled:
        return {}
    times = {job: getattr(backups, job) for job in ("backup", "verify", "drill", "prune")}
    return {job: {"cron": cron, "time_zone": backups.time_zone} for job, cron in times.items()}


def _at(job: str, times: Background | Rotation) -> dict[str, dict[str, str]]:
    return {job: {"cron": times.time, "time_zone": times.time_zone}} if times.scheduled else {}


def _ci(ci: Ci) -> dict[str, Any]:
    roles = {name: {"permissions": sorted(role.permissions), "purpose": role.purpose} for name, role in ROLES.items()}
    return {"roles": roles, "trust": {**ci.model_dump(), "issuer": ci.issuer_uri}}


def _backup_names(environment: Environment, clinic: str) -> dict[str, str]:
    names = environment.clinic_names(clinic)
    return {"backup_password_secret": names.backup_password_secret, "prune_account": names.prune_account}


def _common(environment: Environment) -> dict[str, Any]:
    return {
        "project": environment.project,
        "region": environment.region,
        "labels": dict(environment.labels),
        "names": environment.names.as_tfvars(),
    }
