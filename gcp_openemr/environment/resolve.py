"""From what was written to an Environment: fill from the profile, check every section, then what they share.

Nothing stops at the first problem: each section is checked by itself, and a check across sections runs when the
values it compares are right.
"""

from __future__ import annotations

from types import MappingProxyType

from gcp_openemr.environment.check import checked
from gcp_openemr.environment.ci import Ci
from gcp_openemr.environment.environment import Clinic, Environment
from gcp_openemr.environment.model import (
    Alerts,
    Audit,
    Background,
    Backups,
    Database,
    EnvironmentSection,
    Files,
    Network,
    OpenEmr,
    Restore,
    Rotation,
)
from gcp_openemr.environment.names import Names
from gcp_openemr.environment.positions import KeyPath
from gcp_openemr.environment.profiles import PROFILES, Profile, of_profile
from gcp_openemr.environment.service import Service
from gcp_openemr.environment.settings import Settings
from gcp_openemr.environment.shape import check_shape
from gcp_openemr.environment.together import (
    check_addresses,
    check_backups,
    check_expiry,
    check_public_urls,
    check_support,
)

__all__ = ["resolve"]


def resolve(settings: Settings) -> Environment | None:
    """The environment that `settings` describe, or None with `settings.problems` saying why not."""
    check_shape(settings)
    profile = _profile(settings)
    environment = checked(settings, EnvironmentSection, [("environment",)])
    openemr = checked(settings, OpenEmr, [("openemr",)])
    database = checked(settings, Database, [("database",)], of_profile(profile, "database"))
    network = checked(settings, Network, [("network",)])
    files = checked(settings, Files, [("files",)], of_profile(profile, "files"))
    alerts = checked(settings, Alerts, [("alerts",)])
    audit = checked(settings, Audit, [("audit",)], of_profile(profile, "audit"))
    background = checked(settings, Background, [("background",)], of_profile(profile, "background"))
    backups = checked(settings, Backups, [("backups",)], of_profile(profile, "backups"))
    rotation = checked(settings, Rotation, [("rotation",)], of_profile(profile, "rotation"))
    ci = checked(settings, Ci, [("ci",)]) if settings.holds(("ci",)) else None
    # By itself as well: the clinics may override every wrong value of it.
    service = checked(settings, Service, [("service",)], of_profile(profile, "service"))
    clinics = _clinics(settings, profile)
    check_support(settings, openemr)
    check_backups(settings, database)
    check_expiry(settings, environment)
    check_public_urls(settings, clinics)
    check_addresses(settings, network, clinics)
    if settings.problems or not (environment and openemr and service and database and network and files):
        return None
    if not (alerts and audit and background and backups and rotation):
        return None
    return Environment(
        name=environment.name,
        project=environment.project,
        region=environment.region,
        zone=environment.zone or f"{environment.region}-b",  # the one letter that every region has
        profile=environment.profile,
        labels=MappingProxyType({"managed-by": "gcp-openemr", "environment": environment.name, **environment.labels}),
        protect=of_profile(environment.profile, "")["protect"] is True,
        openemr=openemr,
        service=service,
        clinics=MappingProxyType(clinics),
        database=database,
        network=network,
        files=files,
        alerts=alerts,
        audit=audit,
        background=background,
        backups=backups,
        rotation=rotation,
        ci=ci,
        names=Names(project=environment.project, environment=environment.name),
    )


def _profile(settings: Settings) -> Profile:
    """The profile to fill from; a wrong one is complained of with its section."""
    written = settings.table("environment").get("profile")
    return next((profile for profile in PROFILES if profile == written), "production")


def _clinics(settings: Settings, profile: Profile) -> dict[str, Clinic]:
    """The clinics that are right, in the order of the file."""
    names = [name for name, table in settings.table("clinics").items() if isinstance(table, dict)] or ["main"]
    restored = _clinic_of_restore(settings, names)
    found = (_clinic(settings, profile, name, restored=name == restored) for name in names)
    return {clinic.name: clinic for clinic in found if clinic}


def _clinic_of_restore(settings: Settings, names: list[str]) -> str | None:
    """The clinic that the top-level [restore] fills."""
    if "restore" not in settings.values:
        return None
    if len(names) == 1:
        return names[0]
    if "main" in names:
        return "main"
    text = f"does not say which clinic it fills; write [clinics.NAME.restore] for one of {', '.join(names)}"
    settings.complain(text, ("restore",), of_table=True)
    checked(settings, Restore, [("restore",)])
    return None


def _clinic(settings: Settings, profile: Profile, name: str, *, restored: bool) -> Clinic | None:
    own: KeyPath = ("clinics", name)
    service = checked(settings, Service, [own, ("service",)], of_profile(profile, "service"))
    openemr = checked(settings, OpenEmr, [own, ("openemr",)])
    backups: list[KeyPath] = [(*own, "restore"), *([("restore",)] if restored else [])]
    restore = checked(settings, Restore, backups) if any(map(settings.holds, backups)) else None
    if service is None or openemr is None:
        return None
    return Clinic(name=name, service=service, admin_user=openemr.admin_user, restore=restore)
