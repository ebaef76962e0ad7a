"""The other sections of the environment file, as frozen models.

A model takes a section that is already complete: what the file leaves open has been filled from the profile. Fields
stand in the order in which their checks look back at one another.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from gcp_openemr.environment.problems import Fault, Wrong, allowed
from gcp_openemr.environment.profiles import Profile
from gcp_openemr.environment.sections import Section, TextList, TextMap, checked_list, checked_map
from gcp_openemr.environment.values import (
    between,
    check_channel,
    check_cidr,
    check_cron,
    check_database_type,
    check_email,
    check_labels,
    check_machine_type,
    check_member,
    check_project,
    check_region,
    check_short_name,
    check_time_zone,
    tier_fault,
)
from gcp_openemr.environment.versions import LINES, OpenEmrLine

__all__ = [
    "Alerts",
    "Audit",
    "Background",
    "Backups",
    "Database",
    "EnvironmentSection",
    "Files",
    "Network",
    "OpenEmr",
    "Restore",
    "Rotation",
    "archive_fault",
]

# https://cloud.google.com/storage/docs/buckets#naming and https://cloud.google.com/storage/docs/objects#naming
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_DRIVE_ID = re.compile(r"[A-Za-z0-9_-]{15,128}")
_DRIVE_ID_IN_URL = re.compile(r"(?:/d/|[?&]id=)([A-Za-z0-9_-]{15,128})")
_CONSOLE_URL = re.compile(r"https://storage\.(?:cloud\.google|googleapis)\.com/([^/?]+/[^?]+)")
_COMMIT = re.compile(r"(?:[0-9a-f]{40})?")
_ADMIN_USER = re.compile(r"[A-Za-z][A-Za-z0-9._-]{1,31}")
_LARGEST_DISK_GB = 65536
_LARGEST_SHARED_CORE_DISK_GB = 3062


class EnvironmentSection(Section):
    """`[environment]`: what is deployed where."""

    name: Annotated[str, AfterValidator(check_short_name)] = Field(examples=["prod"])
    project: Annotated[str, AfterValidator(check_project)] = Field(examples=["my-clinic-prod"])
    region: Annotated[str, AfterValidator(check_region)] = Field(examples=["europe-west1"])
    zone: str | None = Field(default=None, examples=["europe-west1-b"])
    profile: Profile = "production"
    labels: Annotated[TextMap, checked_map(check_labels)] = Field(default_factory=dict)

    @field_validator("zone")
    @classmethod
    def _zone_is_in_region(cls, value: str | None, info: ValidationInfo) -> str | None:
        region = info.data.get("region")
        if value is None or region is None or re.fullmatch(f"{region}-[a-z]", value):
            return value
        raise Wrong(Fault(text=f"is not a zone of {region}", hint=f'write e.g. "{region}-b"'))


def _check_version(value: str) -> str:
    if value in LINES:
        return value
    raise Wrong(Fault(text="is not a version that can be built", hint=f"known: {allowed(tuple(LINES))}"))


def _check_commit(value: str) -> str:
    if _COMMIT.fullmatch(value):
        return value
    raise Wrong(Fault(text="is not a commit's 40 hexadecimal digits"))


def _check_admin_user(value: str) -> str:
    if _ADMIN_USER.fullmatch(value):
        return value
    raise Wrong(Fault(text="needs 2 to 32 letters, digits, '.', '_' and '-', a letter first", hint='e.g. "admin"'))


class OpenEmr(Section):
    """`[openemr]`: which OpenEMR, and its first user."""

    version: Annotated[str, AfterValidator(_check_version)] = "7.0.4"
    commit: Annotated[str, AfterValidator(_check_commit)] = ""
    acknowledge_end_of_support: bool = False
    admin_user: Annotated[str, AfterValidator(_check_admin_user)] = "admin"

    @property
    def line(self) -> OpenEmrLine:
        """What the version is built from."""
        return LINES[self.version]

    @property
    def build_arguments(self) -> Mapping[str, str]:
        """What the Dockerfile is told. With `commit` it builds that one or nothing."""
        return {**self.line.build_arguments, **({"OPENEMR_COMMIT": self.commit} if self.commit else {})}


class Restore(Section):
    """`[restore]`: the backup a clinic's empty storage is filled from, once."""

    source: Literal["gcs", "drive"] = "gcs"
    uri: str = Field(examples=["gs://bucket/backup.zip"])

    @field_validator("uri")
    @classmethod
    def _uri_is_of_source(cls, value: str, info: ValidationInfo) -> str:
        source = info.data.get("source")
        if source and (fault := archive_fault(source, value)):
            raise Wrong(fault)
        return value


def archive_fault(source: Literal["gcs", "drive"], uri: str) -> Fault | None:
    """What keeps `uri` from naming an archive there."""
    return _gcs_fault(uri) if source == "gcs" else _drive_fault(uri)


def _gcs_fault(uri: str) -> Fault | None:
    example = 'write e.g. "gs://bucket/backup.zip"'
    scheme, _, rest = uri.partition("://")
    bucket, _, name = rest.partition("/")
    if scheme != "gs":
        found = _CONSOLE_URL.match(uri)
        hint = f'write "gs://{found[1]}"' if found else example
        if _DRIVE_ID.fullmatch(uri):
            hint += ' or, for a file on Google Drive, source = "drive"'
        return Fault(text="is not an address in Cloud Storage", hint=hint, related=("source",))
    if not _BUCKET.fullmatch(bucket):
        return Fault(text="names no possible bucket", hint=example)
    if not name or name.endswith("/"):
        return Fault(text="names a folder; one archive is wanted", hint=example)
    if len(name.encode(errors="replace")) > 1024 or not name.isprintable() or name in {".", ".."}:
        return Fault(text="names no possible object", hint=example)
    return None


def _drive_fault(uri: str) -> Fault | None:
    if _DRIVE_ID.fullmatch(uri):
        return None
    found = _DRIVE_ID_IN_URL.search(uri)
    if found:
        return Fault(text="must be the file's id alone", hint=f'write uri = "{found[1]}"')
    if uri.startswith("gs://"):
        return Fault(text="is in Cloud Storage", hint='write source = "gcs"', related=("source",))
    return Fault(
        text="is not the id of a file on Google Drive", hint="it is the long part of the file's link, after /d/"
    )


class Database(Section):
    """`[database]`: the Cloud SQL instance that an environment's clinics share. Sizes in GB."""

    database_type: Annotated[str, AfterValidator(check_database_type)] = "MYSQL_8_0"
    edition: Literal["ENTERPRISE", "ENTERPRISE_PLUS"] = "ENTERPRISE"
    tier: str = Field(examples=["db-custom-2-7680"])
    availability_type: Literal["REGIONAL", "ZONAL"] = Field(examples=["REGIONAL"])
    backups: bool = Field(examples=[True])
    disk_size_gb: Annotated[int, AfterValidator(between(10, _LARGEST_DISK_GB, "GB"))] = Field(examples=[20])

    @field_validator("tier")
    @classmethod
    def _tier_is_of_edition(cls, value: str, info: ValidationInfo) -> str:
        if fault := tier_fault(value, info.data.get("edition")):
            raise Wrong(fault)
        return value

    @field_validator("backups")
    @classmethod
    def _regional_has_backups(cls, value: bool, info: ValidationInfo) -> bool:
        """https://cloud.google.com/sql/docs/mysql/high-availability asks for them."""
        if value or info.data.get("availability_type") != "REGIONAL":
            return value
        text = 'backups must be true with availability_type "REGIONAL": Cloud SQL keeps no standby without them'
        raise Wrong(Fault(text=text, related=("availability_type",), value_shown=False))

    @field_validator("disk_size_gb")
    @classmethod
    def _disk_fits_tier(cls, value: int, info: ValidationInfo) -> int:
        """Shared-core machines take 3062 GB: https://cloud.google.com/sql/docs/mysql/instance-settings."""
        tier = info.data.get("tier", "")
        if tier in {"db-f1-micro", "db-g1-small"} and value > _LARGEST_SHARED_CORE_DISK_GB:
            text = f"can be at most {_LARGEST_SHARED_CORE_DISK_GB} GB with the shared-core tier {tier}"
            raise Wrong(Fault(text=text, related=("tier",)))
        return value


class Network(Section):
    """`[network]`: the environment's own VPC. `cidr` is the range of its one subnet."""

    cidr: Annotated[str, AfterValidator(check_cidr)] = "10.20.0.0/22"


def _check_nfs_enabled(value: bool) -> bool:
    if value:
        return value
    text = (
        "must be true: without the share, patients' documents and the keys that decrypt them "
        "would live in the instance's memory and be lost with it"
    )
    raise Wrong(Fault(text=text))


class Files(Section):
    """`[files]`: the VM that holds the clinics' files and sessions. Sizes in GB."""

    nfs_enabled: Annotated[bool, AfterValidator(_check_nfs_enabled)] = True
    machine_type: Annotated[str, AfterValidator(check_machine_type)] = Field(examples=["e2-standard-2"])
    disk_size_gb: Annotated[int, AfterValidator(between(10, _LARGEST_DISK_GB, "GB"))] = Field(examples=[100])
    snapshot_days: Annotated[int, AfterValidator(between(0, 3650, "days"))] = Field(examples=[14])
    nfs_v3: bool = True
    ssh_members: Annotated[TextList, checked_list(check_member)] = ()


class Alerts(Section):
    """`[alerts]`: who hears of trouble."""

    emails: Annotated[TextList, checked_list(check_email)] = ()
    channels: Annotated[TextList, checked_list(check_channel)] = ()


class Audit(Section):
    """`[audit]`: what is written down of who read and wrote patients' data, and for how long."""

    data_access_logs: bool = Field(examples=[True])
    # https://cloud.google.com/logging/docs/buckets#custom-retention
    retention_days: Annotated[int, AfterValidator(between(1, 3650, "days"))] = Field(examples=[400])


class Background(Section):
    """`[background]`: when OpenEMR's own background services are looked after, in `time_zone`.

    Each of them knows how often it is due; `time` is how often somebody asks.
    """

    scheduled: bool = Field(examples=[True])
    time: Annotated[str, AfterValidator(check_cron)] = "*/15 * * * *"
    time_zone: Annotated[str, AfterValidator(check_time_zone)] = "Etc/UTC"


def _generations(most: int) -> AfterValidator:
    return AfterValidator(between(0, most, "sets"))


class Backups(Section):
    """`[backups]`: when sets are made, read back, restored for a trial and pruned; which of them stay.

    Times are cron's five fields in `time_zone`. `read_percent` of the repository's data is read by each verification.
    """

    scheduled: bool = Field(examples=[True])
    backup: Annotated[str, AfterValidator(check_cron)] = "30 1 * * *"
    verify: Annotated[str, AfterValidator(check_cron)] = "30 4 * * 3"
    drill: Annotated[str, AfterValidator(check_cron)] = "30 4 * * 0"
    prune: Annotated[str, AfterValidator(check_cron)] = "30 6 * * 0"
    time_zone: Annotated[str, AfterValidator(check_time_zone)] = "Etc/UTC"
    read_percent: Annotated[int, AfterValidator(between(0, 100, "%"))] = 5
    drill_days: Annotated[int, AfterValidator(between(1, 365, "days"))] = 15
    keep_daily: Annotated[int, AfterValidator(between(1, 366, "sets"))] = 7
    keep_weekly: Annotated[int, _generations(520)] = 5
    keep_monthly: Annotated[int, _generations(240)] = 12
    keep_yearly: Annotated[int, _generations(100)] = 7

    @property
    def is_daily(self) -> bool:
        """Whether cron's fields of days and months leave no day without a set."""
        return self.backup.endswith(" * * *")


_SECRETS = ("database", "redis", "admin", "backup")


def _check_rotated(secret: str) -> str:
    if secret in _SECRETS:
        return secret
    raise Wrong(Fault(text="is no secret of a clinic", hint=f"choose of {', '.join(_SECRETS)}"))


class Rotation(Section):
    """`[rotation]`: how old a clinic's passwords get. `time` is when its job looks each day, in `time_zone`."""

    scheduled: bool = Field(examples=[True])
    every_days: Annotated[int, AfterValidator(between(1, 3650, "days"))] = 90
    secrets: Annotated[TextList, checked_list(_check_rotated)] = _SECRETS
    time: Annotated[str, AfterValidator(check_cron)] = "30 3 * * *"
    time_zone: Annotated[str, AfterValidator(check_time_zone)] = "Etc/UTC"
