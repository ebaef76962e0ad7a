"""A root on its way down: its protections lifted by an apply, then a destroy that waits for what Google holds."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import datetime
import time
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from gcp_openemr import cloud_run, interruption, secret_store
from gcp_openemr.commands import releases, roots, state
from gcp_openemr.commands.context import Context
from gcp_openemr.environment import Clinic
from gcp_openemr.errors import NotFinished
from gcp_openemr.image import Images
from gcp_openemr.terraform_failures import Held
from gcp_openemr.variables import Foundation, Platform, Release, SecretVersions, clinic_variables, platform_variables

__all__ = [
    "Going",
    "Patience",
    "close",
    "definition",
    "lift",
    "side_by_side",
    "take_down",
    "take_down_clinic",
    "take_down_platform",
    "versions",
]

_NO_IMAGE = "none/none/none/none@sha256:" + "0" * 64
"""Stands where a destroy plan asks for an image of something that will not be made."""
_LONGEST_PAUSE = 60.0
_WRITERS = frozenset({"module.service", "module.schedule"})


class Patience:
    """How long what Google holds is waited for: `seconds` in all; `again` is the command that goes on later."""

    def __init__(self, seconds: float, again: str) -> None:
        self._end = time.monotonic() + seconds
        self._pause = 1.0
        self.again = again

    def wait(self, step: Any, why: str) -> bool:
        """Wait a while, longer each time. False when there is no time left."""
        left = self._end - time.monotonic()
        if left <= 0:
            return False
        step.update(f"{why}; waits {left / 60:.0f} min at most")
        interruption.pause(min(self._pause, left))
        self._pause = min(self._pause * 1.5, _LONGEST_PAUSE)
        return True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Going:
    """What the roots of an environment are given on their way down. `strays` hold data and are in no state, by name."""

    context: Context
    foundation: Foundation
    platform: Platform
    patience: Patience
    strays: frozenset[str] = frozenset()

    def variables(self, clinic: Clinic) -> dict[str, Any]:
        """A clinic's, without protection, and with the images and versions of OpenEMR that stand there now.

        The file may name another version, to which an upgrade is still to come or was begun.
        """
        context = self.context
        names, file = context.environment.clinic_names(clinic.name), context.environment.openemr.version
        service = cloud_run.service_state(context.cloud, context.service_name(clinic))
        job = cloud_run.job_container(context.cloud, context.job_name(names.nfs_init_job))
        on = releases.version_of(job) if job else ""
        return clinic_variables(
            context.environment,
            clinic,
            self.foundation,
            self.platform,
            Images(service=service.image if service else _NO_IMAGE, job=job.image if job else _NO_IMAGE),
            versions=versions(context, clinic) if service else None,
            serve=service is not None,
            protect=False,
            release=Release(
                service=(service.openemr if service else "") or file,
                jobs=on or file,
                upgrading=releases.upgrading(context, clinic),
            ),
        )


def definition(context: Context, name: str) -> Clinic:
    """A clinic as the file names it; one that the file names no more is taken down with default settings."""
    return context.environment.clinics.get(name) or context.environment.default_clinic(name)


def close(going: Going, clinic: Clinic) -> None:
    """Take the service and the schedules away, so that nobody writes any more; jobs and data stay."""
    root, variables = roots.clinic_root(clinic.name), going.variables(clinic)
    lift(going.context, root, variables)
    if state.modules(going.context, root.path) & _WRITERS:
        take_down(going.context, root, variables, going.patience, targets=_WRITERS)


def take_down_clinic(going: Going, clinic: Clinic) -> None:
    _take_down(going, roots.clinic_root(clinic.name), going.variables(clinic))


def take_down_platform(going: Going) -> None:
    variables = platform_variables(
        going.context.environment, going.foundation, images=None, redis_admin_version=None, protect=False
    )
    _take_down(going, roots.PLATFORM, variables)


def _take_down(going: Going, root: roots.Root, variables: Mapping[str, Any]) -> None:
    """What a lost answer kept from the state comes into it first, and goes with the rest."""
    if going.strays:
        roots.adopt(going.context, root, variables, going.strays)
    lift(going.context, root, variables)
    take_down(going.context, root, variables, going.patience)


def side_by_side(work: Any, clinics: Iterable[Clinic]) -> dict[str, Any]:
    """Do something for every clinic at once; all are waited for, and the first failure is raised."""
    chosen = list(clinics)
    with concurrent.futures.ThreadPoolExecutor(max(len(chosen), 1)) as pool:
        running = {one.name: pool.submit(work, one) for one in chosen}
    return {name: run.result() for name, run in running.items()}


def lift(context: Context, root: roots.Root, variables: Mapping[str, Any]) -> None:
    """Protections must be off in the state before a destroy.

    Nothing but what is protected is applied: what an interrupted destroy took away, or a deploy could not make, stays
    away.
    """
    targets = state.protected(context, root.path)
    if targets:
        roots.apply(context, roots.prepare(context, root, variables, targets=targets))


def take_down(
    context: Context,
    root: roots.Root,
    variables: Mapping[str, Any],
    patience: Patience,
    *,
    targets: Collection[str] = (),
) -> None:
    """Destroy what the root's state holds, again and again while all that is left is held by Google.

    Raises:
        NotFinished: it is held for longer than there is patience; the state knows what is left.
    """
    while True:
        prepared = roots.prepare(context, root, variables, destroy=True, targets=targets)
        try:
            roots.apply(context, prepared)
        except Held as held:
            with context.console.step(f"{root.path}: wait for Google") as step:
                if not patience.wait(step, held.hold.what):
                    raise _not_finished(patience, root, held) from held
        else:
            return


def _not_finished(patience: Patience, root: roots.Root, held: Held) -> NotFinished:
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=held.hold.seconds)
    return NotFinished(
        f"Not all of {root.path} could be deleted yet: {held.hold.what}. Everything else of it is gone.\n{held.what}",
        do=f"Run it again, at the latest at {until:%Y-%m-%d %H:%M} UTC; it goes on where it stopped: {patience.again}",
    )


def versions(context: Context, clinic: Clinic) -> SecretVersions:
    names = context.environment.clinic_names(clinic.name)

    def version(secret: str) -> int:
        return secret_store.find_version(context.cloud, secret) or 1

    return SecretVersions(
        database_password=version(names.database_password_secret),
        redis_password=version(names.redis_password_secret),
        admin_password=version(names.admin_password_secret),
    )
