"""Which OpenEMR a clinic is on, and whether an upgrade is under way: read from its service and its jobs.

While the job `upgrade` is there, an upgrade, a way back or a rehearsal of one is under way, and it says which; nothing
else has to be remembered.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping

from google.api_core.exceptions import NotFound

from gcp_openemr import cloud_run
from gcp_openemr.cloud_run import Container
from gcp_openemr.commands.context import Context
from gcp_openemr.environment import Clinic
from gcp_openemr.image import Images
from gcp_openemr.variables import Upgrading

__all__ = ["Standing", "back", "look", "moving", "order", "problems", "under_way", "upgrading", "version_of"]

_VERSION = "OPENEMR_VERSION"
_REFUSED = 3  # see jobs/errors.py


@dataclasses.dataclass(frozen=True, kw_only=True)
class Standing:
    """What a deployed clinic is on. `begun`: its job `upgrade` may have changed data already, after `first_set`."""

    clinic: str
    version: str
    jobs_version: str
    images: Images
    upgrading: Upgrading | None = None
    begun: bool = False
    first_set: str = ""

    @property
    def between(self) -> Upgrading | None:
        """What it is between two releases by, as it is not by a rehearsal that was interrupted."""
        return self.upgrading if self.upgrading and not self.upgrading.rehearsal else None


def look(context: Context, clinic: Clinic) -> Standing | None:
    """Where a clinic stands; None when it has no service yet."""
    names = context.environment.clinic_names(clinic.name)
    service = cloud_run.service_state(context.cloud, context.service_name(clinic))
    jobs = cloud_run.job_container(context.cloud, context.job_name(names.nfs_init_job))
    if service is None or jobs is None:
        return None
    upgrade_name = context.job_name(names.upgrade_job)
    job = cloud_run.job_container(context.cloud, upgrade_name)
    runs = cloud_run.runs(context.cloud, upgrade_name) if job else []
    changing = [run for run in runs if _changes(run) and not _was_refused(context, run)]
    return Standing(
        clinic=clinic.name,
        version=service.openemr,
        jobs_version=version_of(jobs),
        images=Images(service=service.image, job=jobs.image),
        upgrading=_upgrading(job) if job else None,
        begun=bool(changing),
        first_set=changing[0].get("UPGRADE_SET", "") if changing else "",
    )


def moving(context: Context, clinic: Clinic) -> Upgrading | None:
    """The job `upgrade` of a clinic without a service, which moves here from an older release; else None."""
    if cloud_run.service_state(context.cloud, context.service_name(clinic)) is not None:
        return None
    return upgrading(context, clinic)


def upgrading(context: Context, clinic: Clinic) -> Upgrading | None:
    """The job `upgrade` of a clinic, be there a service or not."""
    name = context.job_name(context.environment.clinic_names(clinic.name).upgrade_job)
    job = cloud_run.job_container(context.cloud, name)
    return _upgrading(job) if job else None


def version_of(container: Container) -> str:
    """The OpenEMR that a job was told to be of."""
    return container.variables.get(_VERSION, "")


def order(version: str) -> tuple[int, ...]:
    """Newer versions compare as greater; what is no version as the least."""
    parts = version.split(".")
    return tuple(map(int, parts)) if all(part.isdigit() for part in parts) else ()


def problems(context: Context, *, upgrade: bool = False) -> Iterator[tuple[str, str]]:
    """What keeps a deploy from this file: a sentence, and what to do. With `upgrade` it finishes what moves here."""
    wanted = context.environment.openemr.version
    for clinic in context.environment.clinics.values():
        standing = look(context, clinic)
        if standing is not None and (standing.upgrading or standing.version != wanted):
            yield _problem(standing, wanted)
        if standing is None and (way := moving(context, clinic)) and not (upgrade and way.to_version == wanted):
            yield _problem_of_a_move(clinic.name, way)


def _problem(standing: Standing, wanted: str) -> tuple[str, str]:
    if standing.upgrading:
        return under_way(standing.clinic, standing.upgrading)
    name = standing.clinic
    told = f"[openemr] version is {wanted}, and '{name}' is on {standing.version}"
    if order(wanted) > order(standing.version):
        return told, f"Run: gcp-openemr upgrade --to {wanted}"
    keep = f'Set version = "{standing.version}" in [openemr]'
    return told, f"{keep}, or go back to an older backup set: {back(name)}"


def under_way(name: str, way: Upgrading) -> tuple[str, str]:
    """Where a clinic is on its way to: a sentence without its end, and what to do."""
    if way.back:
        return f"'{name}' is on its way back to OpenEMR {way.from_version}", f"Finish it: {back(name)}"
    to = way.to_version
    if way.rehearsal:
        again = f"gcp-openemr upgrade --to {to} --rehearse --clinic {name}"
        what = f"a rehearsal of OpenEMR {to} for '{name}' has not come to its end"
        return what, f'With version = "{to}" in [openemr], go on with it: {again}\nOr call it off: {back(name)}'
    finish = f'With version = "{to}" in [openemr], finish it: gcp-openemr upgrade --to {to} --clinic {name}'
    return f"'{name}' is on its way to OpenEMR {to}", f"{finish}\nOr go back: {back(name)}"


def back(name: str) -> str:
    """The command that takes a clinic back, or calls off what has not touched its data."""
    return f"gcp-openemr upgrade --back --clinic {name}"


def _problem_of_a_move(name: str, way: Upgrading) -> tuple[str, str]:
    return (
        f"'{name}' moves here and is on its way from OpenEMR {way.from_version} to {way.to_version}",
        f'With version = "{way.to_version}" in [openemr], finish it: gcp-openemr deploy --upgrade',
    )


def _changes(run: Mapping[str, str]) -> bool:
    """A rehearsal works on a copy; the page alone changes no data."""
    return "yes" not in (run.get("REHEARSE"), run.get("PAGE_ONLY"))


def _was_refused(context: Context, run: Mapping[str, str]) -> bool:
    """Whether a run left a record which says that it changed nothing."""
    bucket, _, name = run.get("RESULT_URI", "").removeprefix("gs://").partition("/")
    try:
        record = json.loads(context.cloud.storage.bucket(bucket).blob(name).download_as_bytes())
    except (NotFound, ValueError):
        return False
    return bool(record.get("exit_code") == _REFUSED)


def _upgrading(job: Container) -> Upgrading:
    return Upgrading(
        from_version=job.variables.get("UPGRADE_FROM", ""),
        to_version=job.variables.get(_VERSION, ""),
        image=job.image,
        set=job.variables.get("UPGRADE_SET", ""),
        back=job.variables.get("UPGRADE_BACK", ""),
        rehearsal=job.variables.get("REHEARSE") == "yes",
    )
