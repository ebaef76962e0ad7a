"""Which keys there are, where each belongs, and what the earlier module called it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from gcp_openemr.environment.ci import Ci
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
from gcp_openemr.environment.positions import KeyPath
from gcp_openemr.environment.problems import allowed, nearest, shown
from gcp_openemr.environment.sections import Section
from gcp_openemr.environment.service import Service

__all__ = ["CLINIC_KEYS", "RESTORE_ALIASES", "SECTIONS", "key_hint", "section_hint"]

SECTIONS: Mapping[str, type[Section]] = MappingProxyType(
    {
        "environment": EnvironmentSection,
        "openemr": OpenEmr,
        "restore": Restore,
        "service": Service,
        "database": Database,
        "network": Network,
        "files": Files,
        "alerts": Alerts,
        "audit": Audit,
        "background": Background,
        "backups": Backups,
        "rotation": Rotation,
        "ci": Ci,
    }
)
SECTION_NAMES = (*SECTIONS, "clinics")

CLINIC_KEYS = (*Service.model_fields, "admin_user", "restore")
"""What `[clinics.NAME]` may hold: settings of its own service, its first user, its backup."""

RESTORE_ALIASES: Mapping[str, str] = MappingProxyType({"backup_source": "source", "backup_uri": "uri"})
"""The earlier module's names, taken in `[restore]` as well."""

_EARLIER = {
    "application_version": 'it is "version" in [openemr]',
    "backup_format": "leave it out: the format is told by the archive itself",
    "backup_source": 'it is "source" in [restore]',
    "backup_uri": 'it is "uri" in [restore]',
    "deployment_region": 'it is "region" in [environment]',
    "deployment_regions": 'it is "region" in [environment]',
    "enable_backup_import": "leave it out: naming a backup in [restore] is enough",
    "enable_redis": "leave it out: sessions are always kept in Redis",
    "existing_project_id": 'it is "project" in [environment]',
    "max_instance_count": 'it is "max_instances" in [service]',
    "min_instance_count": 'it is "min_instances" in [service]',
    "network_name": "leave it out: an environment has a network of its own",
    "nfs_mount_path": "leave it out: the files are mounted where OpenEMR looks for them",
    "resource_labels": 'it is "labels" in [environment]',
    "tenant_deployment_id": 'it is "name" in [environment]',
}


def key_hint(section: KeyPath, key: str) -> str:
    """What to write instead of the unknown `key` of `section`."""
    known = _keys_of(section)
    if key in _EARLIER:
        return _EARLIER[key]
    if near := nearest(key, known):
        return f"did you mean {shown(near)}?"
    homes = [f"[{name}]" for name, model in SECTIONS.items() if key in model.model_fields]
    if homes:
        return f"it belongs in {' or '.join(homes)}"
    return f"known here: {', '.join(known)}"


def section_hint(name: str) -> str:
    """What to write instead of the unknown section or top-level key `name`."""
    if name in _EARLIER:
        return _EARLIER[name]
    homes = [f"[{section}]" for section, model in SECTIONS.items() if name in model.model_fields]
    if homes:
        return f"it belongs in {' or '.join(homes)}"
    if near := nearest(name, SECTION_NAMES):
        return f"did you mean [{near}]?"
    return f"sections are {allowed(SECTION_NAMES)}"


def _keys_of(section: KeyPath) -> tuple[str, ...]:
    if section[:1] == ("clinics",) and len(section) == 2:
        return CLINIC_KEYS
    return tuple(SECTIONS[str(section[-1])].model_fields)
