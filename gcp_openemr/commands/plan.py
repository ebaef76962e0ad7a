"""Plan: what deploy would change, without changing anything."""

from __future__ import annotations

from typing import Any

from gcp_openemr import guard, image, secret_store
from gcp_openemr.commands import roots, state
from gcp_openemr.commands.context import Context
from gcp_openemr.environment import Clinic
from gcp_openemr.image import Images
from gcp_openemr.terraform import Plan
from gcp_openemr.variables import (
    Foundation,
    Platform,
    SecretVersions,
    clinic_variables,
    foundation_variables,
    platform_variables,
)

__all__ = ["plan"]


def plan(context: Context) -> bool:
    """Show what deploy would change. Returns whether it would change anything."""
    found: dict[str, dict[str, Any]] = {}
    notes: list[str] = []
    if state.exists(context):
        _plan_known(context, found, notes)
    else:
        notes.append("Nothing exists yet: deploy makes the foundation, the platform and every clinic.")
    _report(context, found, notes)
    return bool(notes) or any(root["changes"] for root in found.values())


def _plan_known(context: Context, found: dict[str, dict[str, Any]], notes: list[str]) -> None:
    environment = context.environment
    foundation_outputs = state.outputs(context, roots.FOUNDATION.path)
    known = (foundation_outputs or {}).get("backup_stores", {})
    _add(found, "foundation", _look(context, roots.FOUNDATION, foundation_variables(environment, known=known)))
    if foundation_outputs is None:
        notes.append("The platform and the clinics can be planned once the foundation is there.")
        return
    foundation = Foundation.of(foundation_outputs)
    wanted = image.source(version=environment.openemr.version, arguments=environment.openemr.build_arguments)
    images = image.find(context.cloud, foundation.build_place(environment.region), wanted)
    if images is None:
        notes.append(f"The image {wanted.tag} would be built.")
    platform = Platform(outputs=state.outputs(context, roots.PLATFORM.path) or {})
    version = secret_store.find_version(context.cloud, environment.names.redis_admin_secret)
    variables = platform_variables(
        environment, foundation, images=images, redis_admin_version=version, protect=environment.protect
    )
    _add(found, "platform", _look(context, roots.PLATFORM, variables))
    if not platform.provision_job or images is None:
        notes.append("The clinics can be planned once the platform and the image are there.")
        return
    for clinic in environment.clinics.values():
        _plan_clinic(context, clinic, foundation, platform, images, found)


def _plan_clinic(
    context: Context,
    clinic: Clinic,
    foundation: Foundation,
    platform: Platform,
    images: Images,
    found: dict[str, dict[str, Any]],
) -> None:
    versions = _versions(context, clinic)
    variables = clinic_variables(
        context.environment,
        clinic,
        foundation,
        platform,
        images,
        versions=versions,
        serve=versions is not None,
        protect=context.environment.protect,
    )
    _add(found, f"clinics/{clinic.name}", _look(context, roots.clinic_root(clinic.name), variables))


def _versions(context: Context, clinic: Clinic) -> SecretVersions | None:
    names = context.environment.clinic_names(clinic.name)
    database = secret_store.find_version(context.cloud, names.database_password_secret)
    redis = secret_store.find_version(context.cloud, names.redis_password_secret)
    admin = secret_store.find_version(context.cloud, names.admin_password_secret)
    if database is None or redis is None or admin is None:
        return None
    return SecretVersions(database_password=database, redis_password=redis, admin_password=admin)


def _look(context: Context, root: roots.Root, variables: dict[str, Any]) -> Plan:
    with context.console.step(f"{root.path}: plan"):
        terraform = roots.open_root(context, root, variables)
        seen = terraform.plan(lock=False, compared=guard.COMPARED)
    seen.file.unlink()
    return seen


def _add(found: dict[str, dict[str, Any]], name: str, seen: Plan) -> None:
    found[name] = {
        "changes": [{"address": c.address, "action": c.action, "reason": c.reason} for c in seen.changes],
        "would_lose_data": [c.address for c in guard.losses(seen)],
        "summary": roots.summary(seen),
    }


def _report(context: Context, found: dict[str, dict[str, Any]], notes: list[str]) -> None:
    lines = []
    for name, root in found.items():
        lines.append(f"{name}: {root['summary']}")
        lines += [
            f"  {c['action']:8} {c['address']}" + (f"  ({c['reason']})" if c["reason"] else "") for c in root["changes"]
        ]
        lines += [f"  ! loses data: {address}" for address in root["would_lose_data"]]
    context.console.result({"roots": found, "notes": notes}, "\n".join(lines + notes))
