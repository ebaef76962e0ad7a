"""Destroy: clinics first, then the platform. The foundation, with backups and images, stays."""

from __future__ import annotations

from typing import Any

from gcp_openemr import secret_store
from gcp_openemr.cloud_run import service_state
from gcp_openemr.commands import roots, state
from gcp_openemr.commands.context import Context, changing
from gcp_openemr.environment import Clinic
from gcp_openemr.errors import UsageError
from gcp_openemr.image import Images
from gcp_openemr.variables import Foundation, Platform, SecretVersions, clinic_variables, platform_variables

__all__ = ["destroy"]

_NO_IMAGE = "none/none/none/none@sha256:" + "0" * 64
"""Stands where a destroy plan asks for an image of something that will not be made."""


def destroy(context: Context, *, named: str | None) -> None:
    """Take every clinic and the platform down. With -y the environment must be named, else its name is asked for.

    Raises:
        UsageError: the name was not given or is another one.
    """
    environment = context.environment
    if not state.exists(context):
        context.console.result(
            {"environment": environment.name, "destroyed": []}, f"{environment.name}: nothing to destroy."
        )
        return
    _ask(context, named)
    destroyed: list[str] = []
    with changing(context, "destroy") as held:
        outputs = state.outputs(context, roots.FOUNDATION.path)
        platform_outputs = state.outputs(context, roots.PLATFORM.path)
        if outputs is not None and platform_outputs is not None:
            foundation, platform = Foundation.of(outputs), Platform(outputs=platform_outputs)
            for clinic in state.known_clinics(context):
                held.check()
                _clinic(context, _definition(context, clinic), foundation, platform)
                destroyed.append(f"clinics/{clinic}")
            held.check()
            _platform(context, foundation)
            destroyed.append("platform")
    kept = [environment.names.backup_bucket, environment.names.state_bucket, environment.names.registry]
    context.console.result(
        {"environment": environment.name, "destroyed": destroyed, "kept": kept},
        f"{environment.name}: {', '.join(destroyed) or 'nothing'} destroyed. Kept: {', '.join(kept)}.",
    )


def _ask(context: Context, named: str | None) -> None:
    name = context.environment.name
    if named is not None and named != name:
        raise UsageError(f"--environment says '{named}', but the file describes '{name}'.", do="Name the right one.")
    if named is None and context.yes:
        raise UsageError("With -y, destroy wants the environment's name.", do=f"Add: --environment {name}")
    if named is None:
        context.console.say(f"This deletes the records and documents of every clinic of '{name}'. Backups stay.")
        context.agree(f"Destroy '{name}' in project {context.environment.project}?")


def _definition(context: Context, name: str) -> Clinic:
    """A clinic as the file names it; one that the file names no more is taken down with default settings."""
    return context.environment.clinics.get(name) or context.environment.default_clinic(name)


def _clinic(context: Context, clinic: Clinic, foundation: Foundation, platform: Platform) -> None:
    root = roots.clinic_root(clinic.name)
    found = service_state(context.cloud, context.service_name(clinic))
    variables = clinic_variables(
        context.environment,
        clinic,
        foundation,
        platform,
        _images_in_use(context, clinic, serving=found is not None),
        versions=_versions(context, clinic) if found else None,
        serve=found is not None,
        protect=False,
    )
    _take_down(context, root, variables)


def _platform(context: Context, foundation: Foundation) -> None:
    variables = platform_variables(
        context.environment, foundation, images=None, redis_admin_version=None, protect=False
    )
    _take_down(context, roots.PLATFORM, variables)


def _take_down(context: Context, root: roots.Root, variables: dict[str, Any]) -> None:
    """Protections must be off in the state before a destroy, so they are lifted by an apply of their own.

    Where the state shows none, an interrupted destroy lifted them already; applying again would make anew what it
    took away.
    """
    if state.is_protected(context, root.path):
        every = roots.prepare(context, root, variables)
        roots.apply(context, every)
    prepared = roots.prepare(context, root, variables, destroy=True)
    roots.apply(context, prepared)


def _images_in_use(context: Context, clinic: Clinic, *, serving: bool) -> Images:
    """The images that stand there now, so that lifting the protection starts no new revision."""
    names = context.environment.clinic_names(clinic.name)
    if not serving:
        return Images(service=_NO_IMAGE, job=_NO_IMAGE)
    job = context.cloud.jobs.get_job(name=context.job_name(names.nfs_init_job))
    service = context.cloud.services.get_service(name=context.service_name(clinic))
    return Images(service=service.template.containers[0].image, job=job.template.template.containers[0].image)


def _versions(context: Context, clinic: Clinic) -> SecretVersions:
    names = context.environment.clinic_names(clinic.name)

    def version(secret: str) -> int:
        return secret_store.find_version(context.cloud, secret) or 1

    return SecretVersions(
        database_password=version(names.database_password_secret),
        redis_password=version(names.redis_password_secret),
        admin_password=version(names.admin_password_secret),
    )
