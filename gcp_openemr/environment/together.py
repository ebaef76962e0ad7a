"""Checks of values that stand in different sections."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Mapping

from gcp_openemr.environment.environment import Clinic
from gcp_openemr.environment.model import Database, EnvironmentSection, Network, OpenEmr
from gcp_openemr.environment.positions import KeyPath
from gcp_openemr.environment.settings import Settings

__all__ = ["check_addresses", "check_backups", "check_expiry", "check_public_urls", "check_support"]

# Twice as many addresses as instances, and two revisions while one replaces the other.
_ADDRESSES_PER_INSTANCE = 4
# Four that Google keeps in every subnet, the VM, the database's endpoint, and a few jobs at once in blocks of 16.
_ADDRESSES_BESIDE = 4 + 2 + 58

_BACKUPS: KeyPath = ("database", "backups")


def check_support(settings: Settings, openemr: OpenEmr | None) -> None:
    """Production on a line out of support has to be meant."""
    if openemr is None or not _is_production(settings) or openemr.acknowledge_end_of_support:
        return
    if openemr.line.end_of_support:
        path = settings.first_held([("openemr", "acknowledge_end_of_support"), ("openemr", "version")])
        text = (
            f"production needs acknowledge_end_of_support = true in [openemr], as the sign that you know: "
            f"{openemr.line.end_of_support_reason}"
        )
        settings.complain(text, path)


def check_backups(settings: Settings, database: Database | None) -> None:
    """Production keeps Cloud SQL's own backups."""
    if database is None or database.backups or not _is_production(settings):
        return
    settings.complain("must be true in production: they are what is left when the instance is lost", _BACKUPS)


def check_expiry(settings: Settings, environment: EnvironmentSection | None) -> None:
    """The label `expires` is a day, and production has none: `destroy --expired` goes by it."""
    if environment is None or "expires" not in environment.labels:
        return
    path: KeyPath = ("environment", "labels")
    if _is_production(settings):
        settings.complain("must not say when production expires: it would be destroyed after that day", path)
        return
    try:
        datetime.date.fromisoformat(environment.labels["expires"])
    except ValueError:
        settings.complain('must give the day after which it is destroyed as expires = "YYYY-MM-DD"', path)


def check_public_urls(settings: Settings, clinics: Mapping[str, Clinic]) -> None:
    """Two clinics cannot answer at one address."""
    first_with: dict[str, str] = {}
    for name, clinic in clinics.items():
        if not clinic.public_url:
            continue
        first = first_with.setdefault(clinic.public_url, name)
        if first != name:
            path = settings.first_held([("clinics", name, "public_url"), ("service", "public_url")])
            text = f"clinics {first} and {name} cannot share {clinic.public_url}; give each its own in [clinics.NAME]"
            settings.complain(text, path)


def check_addresses(settings: Settings, network: Network | None, clinics: Mapping[str, Clinic]) -> None:
    """The subnet holds what Cloud Run may reserve for all instances together.

    https://cloud.google.com/run/docs/configuring/vpc-direct-vpc
    """
    if network is None:
        return
    instances = sum(clinic.service.max_instances for clinic in clinics.values())
    needed = instances * _ADDRESSES_PER_INSTANCE + _ADDRESSES_BESIDE
    there = ipaddress.IPv4Network(network.cidr).num_addresses
    if needed <= there:
        return
    maxima: list[KeyPath] = [("clinics", name, "max_instances") for name in clinics]
    path = settings.first_held([("network", "cidr"), *maxima, ("service", "max_instances")])
    text = (
        f"{network.cidr} has {there} addresses, and max_instances of all clinics, {instances} together, "
        f"may need {needed}; widen cidr in [network] or lower max_instances"
    )
    settings.complain(text, path)


def _is_production(settings: Settings) -> bool:
    """Whether the profile is production; a wrong one is complained of elsewhere and asks for nothing."""
    return bool(settings.table("environment").get("profile", "production") == "production")
