"""The one table in which the profiles differ.

A value in the environment file wins over its profile's. `protect` follows the profile alone.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

__all__ = ["PROFILES", "TABLE", "Profile", "Row", "of_profile"]

Profile = Literal["production", "developer"]
PROFILES: tuple[Profile, ...] = ("production", "developer")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One setting, what each profile makes of it, and why. `section` is '' where the file has no key for it."""

    section: str
    key: str
    production: object
    developer: object
    why: str


TABLE: tuple[Row, ...] = (
    Row(
        section="service",
        key="min_instances",
        production=1,
        developer=0,
        why="a clinic should not wait for a cold start; a trial should cost nothing while idle",
    ),
    Row(
        section="service",
        key="max_instances",
        production=3,
        developer=1,
        why="room for a busy morning; a trial needs one",
    ),
    Row(
        section="database",
        key="tier",
        production="db-custom-2-7680",
        developer="db-g1-small",
        why="dedicated cores carry Cloud SQL's service level; shared cores cost least",
    ),
    Row(
        section="database",
        key="availability_type",
        production="REGIONAL",
        developer="ZONAL",
        why="a standby in a second zone doubles the price",
    ),
    Row(
        section="database",
        key="disk_size_gb",
        production=20,
        developer=10,
        why="the disk grows by itself; 10 GB is the least Cloud SQL gives",
    ),
    Row(
        section="files",
        key="machine_type",
        production="e2-standard-2",
        developer="e2-small",
        why="patients' documents and sessions of many users; or of one",
    ),
    Row(
        section="files",
        key="disk_size_gb",
        production=100,
        developer=10,
        why="a persistent disk's speed grows with its size; it can grow, never shrink",
    ),
    Row(
        section="files",
        key="snapshot_days",
        production=14,
        developer=0,
        why="daily snapshots of the share, beside backups; a trial pays for none",
    ),
    Row(
        section="audit",
        key="data_access_logs",
        production=True,
        developer=False,
        why="who read patients' data; a trial holds none",
    ),
    Row(
        section="audit",
        key="retention_days",
        production=400,
        developer=30,
        why="as long as Google keeps its own audit logs; set what your rules ask for (up to 3650)",
    ),
    Row(
        section="background",
        key="scheduled",
        production=True,
        developer=False,
        why="mail and reminders go out though nobody is logged in; a trial environment runs nothing while idle",
    ),
    Row(
        section="backups",
        key="scheduled",
        production=True,
        developer=False,
        why="a set each night, and its trials; a trial environment runs nothing while idle",
    ),
    Row(
        section="rotation",
        key="scheduled",
        production=True,
        developer=False,
        why="passwords get no older than every_days; a trial environment runs nothing while idle",
    ),
    Row(
        section="",
        key="protect",
        production=True,
        developer=False,
        why="deletion protection wherever Google has it; a trial is to go away cleanly",
    ),
    Row(
        section="database",
        key="backups",
        production=True,
        developer=False,
        why="Cloud SQL's own backups and point-in-time recovery, which production and a regional instance must have",
    ),
)


def of_profile(profile: Profile, section: str) -> dict[str, object]:
    """What `profile` sets in `section`, by key."""
    return {row.key: getattr(row, profile) for row in TABLE if row.section == section}
