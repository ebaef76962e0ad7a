"""What an instance's settings must be, and what Google fills in."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from gcp_openemr.environment.values import tier_fault
from gcp_openemr.sandbox.api.names import etag_of, id_of, now, project_of
from gcp_openemr.sandbox.api.rules import ApiError, Change, Json, demand, fill, refuse, refuse_if, shape

__all__ = ["complete"]

_VERSION = re.compile(r"MYSQL_(5_7|8_0(_\d+)?|8_4)")
_LONGEST_NAME = 98  # of project and instance together (https://cloud.google.com/sql/docs/mysql/instance-settings)
_SMALLEST_DISK, _LARGEST_DISK = 10, 65_536  # GB
_LIKE = {"ENTERPRISE": "db-custom-*", "ENTERPRISE_PLUS": "db-perf-optimized-N-*"}
_LOG_DAYS = {"ENTERPRISE": 7, "ENTERPRISE_PLUS": 35}
# What is filled in when it is not given.
# `defaults` are filled in when they are not given; `flags` of MySQL 8.0 stand by the form of their value.
_TABLES: Json = json.loads(Path(__file__).with_name("settings.json").read_text(encoding="utf-8"))
_FLAGS = {name: form for form, names in _TABLES["flags"].items() for name in names.split()}
_FORMS = {"boolean": r"(?i)on|off", "number": r"-?\d+(\.\d+)?", "string": r".+"}


def complete(change: Change) -> None:
    """Refuse what does not fit together, then fill in."""
    new = change.new
    settings = new.setdefault("settings", {})
    if change.old is not None:
        _check_growth(change.old["settings"], settings)
    _check(change, settings)
    _fill(settings)
    if change.old is None:
        new |= _computed(change)
        new["state"] = "PENDING_CREATE"
    else:
        settings["settingsVersion"] = str(int(change.old["settings"].get("settingsVersion", "1")) + 1)
        for field in _computed(change):
            new.setdefault(field, change.old.get(field))
        new["state"] = change.old["state"]
    new["etag"] = etag_of(change.name, now(), settings["settingsVersion"]).strip('"')
    new |= _endpoints(change, new)


def _check_growth(old: Json, settings: Json) -> None:
    refuse_if(settings.get("settingsVersion", old["settingsVersion"]) != old["settingsVersion"], "sqladmin.stale")
    before, size = int(old["dataDiskSizeGb"]), int(settings.get("dataDiskSizeGb") or old["dataDiskSizeGb"])
    refuse_if(size < before, "sqladmin.disk-shrink", old=before, size=size)


def _check(change: Change, settings: Json) -> None:
    new = change.new
    refuse_if(not settings.get("tier"), "sqladmin.required", field="tier")
    version = str(new.get("databaseVersion") or "")
    refuse_if(not _VERSION.fullmatch(version), "sqladmin.version", value=version or "databaseVersion")
    if change.old is None and len(f"{project_of(change.name)}:{id_of(change.name)}") > _LONGEST_NAME:
        raise refuse("sqladmin.name-length", most=_LONGEST_NAME)
    if new.pop("rootPassword", ""):
        raise ApiError(501, "The sandbox sets no root password with an instance: update the user root afterwards.")
    _check_connectivity(settings.get("ipConfiguration") or {})
    # MySQL 8.0 is ENTERPRISE unless it says otherwise, later versions ENTERPRISE_PLUS.
    edition = settings.setdefault("edition", "ENTERPRISE_PLUS" if version == "MYSQL_8_4" else "ENTERPRISE")
    fault = tier_fault(settings["tier"], edition)
    if fault is not None and fault.related:
        raise refuse("sqladmin.tier-edition", tier=settings["tier"], edition=edition, like=_LIKE.get(edition, ""))
    refuse_if(fault is not None, "sqladmin.tier", tier=settings["tier"])
    size = int(settings.get("dataDiskSizeGb") or _SMALLEST_DISK)
    refuse_if(not _SMALLEST_DISK <= size <= _LARGEST_DISK, "sqladmin.disk-size", size=size)
    _check_backups(settings, edition)
    for flag in settings.get("databaseFlags") or ():
        _check_flag(str(flag.get("name") or ""), str(flag.get("value") or ""))


def _check_connectivity(addresses: Json) -> None:
    if addresses.get("ipv4Enabled", True):
        raise ApiError(501, "The sandbox has no public addresses: set ipv4Enabled to false.")
    if addresses.get("privateNetwork"):
        raise ApiError(501, "The sandbox stands in for Private Service Connect, not for private services access.")
    refuse_if(not (addresses.get("pscConfig") or {}).get("pscEnabled"), "sqladmin.connectivity")


def _check_backups(settings: Json, edition: str) -> None:
    backup = settings.get("backupConfiguration") or {}
    refuse_if(backup.get("binaryLogEnabled") and not backup.get("enabled"), "sqladmin.binary-log")
    if settings.get("availabilityType") == "REGIONAL" and not backup.get("binaryLogEnabled"):
        raise refuse("sqladmin.regional")
    days = backup.get("transactionLogRetentionDays")
    most = _LOG_DAYS.get(edition, 0)
    refuse_if(days is not None and not 1 <= days <= most, "sqladmin.log-days", most=most)


def _check_flag(name: str, value: str) -> None:
    kind = demand(_FLAGS.get(name), "sqladmin.flag-name", name=name)
    refuse_if(not re.fullmatch(_FORMS[kind], value), "sqladmin.flag", name=name, value=value, kind=kind)


def _fill(settings: Json) -> None:
    for field, value in _TABLES["defaults"].items():
        settings.setdefault(field, value)
    settings["kind"] = "sql#settings"
    backup = settings.setdefault("backupConfiguration", {})
    backup |= {"kind": "sql#backupConfiguration", "enabled": bool(backup.get("enabled"))}
    addresses = settings["ipConfiguration"]
    fill(addresses, serverCaMode="GOOGLE_MANAGED_INTERNAL_CA", sslMode="ALLOW_UNENCRYPTED_AND_ENCRYPTED")
    addresses["requireSsl"] = addresses["sslMode"] == "TRUSTED_CLIENT_CERTIFICATE_REQUIRED"


def _computed(change: Change) -> Json:
    new = change.new
    region = str(new.get("region") or "us-central1")
    zone = (new["settings"].get("locationPreference") or {}).get("zone") or f"{region}-b"
    installed = {"MYSQL_8_0": "MYSQL_8_0_44"}.get(new["databaseVersion"], new["databaseVersion"])
    unique = _hash(change.name, 6)
    return shape("sql.instance", change.name, region=region, zone=zone, installed=installed, unique=unique)


def _endpoints(change: Change, new: Json) -> Json:
    """Names and service attachment of Private Service Connect; a fresh instance of the same name gets others."""
    born, project, region = str(new["createTime"]), project_of(change.name), new["region"]
    first, second = _hash(f"{project}{born}", 12), _hash(f"{change.name}{born}", 12)
    name = f"{first}.{second}.{region}.sql.goog."
    values = {"region": region, "second": second, "tenant": _hash(project, 8), "unique": _hash(name, 16)}
    return shape("sql.endpoint", change.name, name=name, **values)


def _hash(text: str, length: int) -> str:
    """Letters and digits that begin with a letter."""
    return "s" + hashlib.sha256(text.encode()).hexdigest()[: length - 1]
