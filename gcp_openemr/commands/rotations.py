"""How a clinic's passwords stand: their ages, rotations that did not end, and what was changed beside them."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from gcp_openemr import cloud_run, secret_store
from gcp_openemr.cloud_run import Health
from gcp_openemr.commands.backup import age
from gcp_openemr.commands.context import Context
from gcp_openemr.environment import Clinic
from gcp_openemr.secret_store import Standing

__all__ = ["KINDS", "Passwords", "ask", "look"]

KINDS: Mapping[str, str] = {
    "database": "database_password_secret",
    "redis": "redis_password_secret",
    "admin": "admin_password_secret",
    "backup": "backup_password_secret",
}
"""What a rotation calls a password, and which of a clinic's names is its secret's."""

_SERVED = ("database", "redis")
_PARTS = {"database": "database", "redis": "sessions"}  # of /health/ready
_ON_SCHEDULE = ("background", "backup", "verify", "drill", "prune", "rotate")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Passwords:
    """A clinic's secrets by kind, None where there is none, and sentences on what was changed beside rotations.

    `on_schedule` are the kinds that change after `every_days`.
    """

    clinic: str
    secrets: Mapping[str, Standing | None]
    drift: tuple[str, ...]
    every_days: int
    on_schedule: Collection[str] = tuple(KINDS)

    def age_days(self, kind: str) -> float | None:
        stands = self.secrets[kind]
        if stands is None or stands.since is None:
            return None
        return (datetime.datetime.now(datetime.UTC) - stands.since) / datetime.timedelta(days=1)

    def is_overdue(self, kind: str) -> bool:
        stands = self.secrets[kind]
        left = stands is not None and stands.left
        return kind in self.on_schedule and not left and (self.age_days(kind) or 0) > self.every_days

    @property
    def complaints(self) -> list[str]:
        """What is half-way, too old, or other than the last rotation left it."""
        half = [f"{kind}: {stands.half_way}" for kind, stands in self.secrets.items() if stands and stands.half_way]
        late = [f"{kind} is older than {self.every_days} days" for kind in KINDS if self.is_overdue(kind)]
        return [*half, *late, *self.drift]

    def values(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "secrets": {kind: self._values(kind, stands) for kind, stands in self.secrets.items() if stands},
            "drift": list(self.drift),
        }

    def _values(self, kind: str, stands: Standing) -> dict[str, Any]:
        days = self.age_days(kind)
        return {
            "secret": stands.secret,
            "version": stands.current,
            "since": stands.since,
            "age_days": None if days is None else round(days, 2),
            "overdue": self.is_overdue(kind),
            "half_way": stands.half_way,
            "set_by_a_person": stands.left,
        }

    def lines(self) -> list[str]:
        """For people: a line for each secret, then what is not as it should be."""
        told = []
        for kind, stands in self.secrets.items():
            if stands is None or stands.current is None:
                told.append(f"{kind:8}  none yet")
                continue
            days = self.age_days(kind)
            old = "" if days is None else f"{age(days * 86_400)} old"
            late = f", OVERDUE: every {self.every_days} days" if self.is_overdue(kind) else ""
            late += ", set by a person in OpenEMR and left to them" if stands.left else ""
            half = f"  half-way: {stands.half_way}" if stands.half_way else ""
            told.append(f"{kind:8}  version {stands.current}, {old}{late}{half}")
        return told + [f"! {sentence}" for sentence in self.drift]


def ask(context: Context, clinic: Clinic) -> Passwords:
    """As `look`, with the clinic's own report where it can be asked."""
    seen = cloud_run.service_state(context.cloud, context.service_name(clinic))
    health = cloud_run.ask_health(context.cloud, seen.uri) if seen and clinic.is_reachable else None
    return look(context, clinic, health)


def look(context: Context, clinic: Clinic, health: Health | None = None) -> Passwords:
    """Ask Secret Manager and Cloud Run; `health` is the clinic's own report, where it was asked."""
    names = context.environment.clinic_names(clinic.name)
    secrets = {kind: secret_store.standing(context.cloud, getattr(names, name)) for kind, name in KINDS.items()}
    drift = (*_of_secrets(secrets), *_of_pins(context, clinic, secrets), *_of_jobs(context, clinic), *_of(health))
    rotation = context.environment.rotation
    return Passwords(
        clinic=clinic.name,
        secrets=secrets,
        drift=drift,
        every_days=rotation.every_days,
        on_schedule=rotation.secrets,
    )


def _of_secrets(secrets: Mapping[str, Standing | None]) -> Iterator[str]:
    for stands in secrets.values():
        if stands is None:
            continue
        if stands.problem:
            yield stands.problem
        for version in stands.strange:
            yield f"Secret {stands.secret}: version {version} can be read, though {stands.current} is in force."


def _of_pins(context: Context, clinic: Clinic, secrets: Mapping[str, Standing | None]) -> Iterator[str]:
    """A revision with another version than the one in force. During a rotation that is as it should be."""
    pinned = cloud_run.pinned(context.cloud, context.service_name(clinic))
    for kind in _SERVED:
        stands = secrets[kind]
        if stands is None or stands.half_way:
            continue
        for part, versions in pinned.items():
            version = versions.get(stands.secret)
            if version and version != str(stands.current):
                who = "the service's template" if part == "template" else f"revision {part}"
                yield f"{who} has version {version} of {stands.secret}, in force is {stands.current}."


def _of_jobs(context: Context, clinic: Clinic) -> Iterator[str]:
    """A job that starts by itself takes the version in force, and no number."""
    names = context.environment.clinic_names(clinic.name)
    for job in _ON_SCHEDULE:
        name = getattr(names, f"{job}_job")
        for variable, value in cloud_run.job_variables(context.cloud, context.job_name(name)).items():
            if variable.endswith("_PASS_VERSION") and value != secret_store.CURRENT:
                yield f"job {name} has {variable}={value} and not the version in force; gcp-openemr deploy mends it."


def _of(health: Health | None) -> Iterator[str]:
    """A part that does not answer may be away; where all else answers, its password was changed by hand."""
    checks = health.parts.get("checks", {}) if health else {}
    for kind in _SERVED:
        if checks.get(_PARTS[kind], "ok") != "ok":
            yield f"the clinic cannot use its {kind}: it is away, or its password was changed by hand."
