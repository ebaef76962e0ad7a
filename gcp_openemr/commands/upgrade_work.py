"""What an upgrade and the way back share: where a clinic stands, its images, its Terraform root, its jobs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from gcp_openemr import cloud_run, image
from gcp_openemr.commands import deploy, jobs, releases, roots, state
from gcp_openemr.commands.context import Context
from gcp_openemr.commands.releases import Standing
from gcp_openemr.environment import Clinic
from gcp_openemr.environment.versions import LINES
from gcp_openemr.errors import Locked, UsageError
from gcp_openemr.image import Images
from gcp_openemr.variables import Foundation, Platform, Release, SecretVersions, clinic_variables

__all__ = ["Work", "check_still", "end_page", "ground", "images_of", "look", "serve_and_end_page", "work_on"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Work:
    """One clinic, the ground it stands on, and where it stands."""

    context: Context
    clinic: Clinic
    foundation: Foundation
    platform: Platform
    standing: Standing

    def apply(self, versions: SecretVersions, images: Images, release: Release) -> None:
        """Bring the clinic's root to these images and versions; the guard reads the plan."""
        environment = self.context.environment
        variables = clinic_variables(
            environment,
            self.clinic,
            self.foundation,
            self.platform,
            images,
            versions=versions,
            serve=True,
            protect=environment.protect,
            release=release,
        )
        roots.apply(self.context, roots.prepare(self.context, roots.clinic_root(self.clinic.name), variables))

    def run(self, job: str, variables: Mapping[str, str]) -> dict[str, Any]:
        """Run a job after what an earlier command may have left running."""
        self.await_runs(job)
        return jobs.run(self.context, self.clinic, job, variables)

    def back_up(self) -> str:
        """Make a set, and return its id."""
        self.await_runs("backup")
        return str(jobs.back_up(self.context, self.clinic)["set"])

    def await_runs(self, job: str) -> None:
        """Wait for what an earlier command may have left running."""
        name = self.context.job_name(getattr(self.names, f"{job.replace('-', '_')}_job"))
        with self.context.console.step(f"clinics/{self.clinic.name}: earlier runs of {job}") as step:
            cloud_run.await_running(self.context.cloud, name, step)

    @property
    def names(self) -> Any:
        return self.context.environment.clinic_names(self.clinic.name)


def look(context: Context, clinic: str | None, *, one_only: bool = False) -> list[Standing]:
    chosen = context.clinics(clinic)
    if one_only and len(chosen) > 1:
        names = ", ".join(one.name for one in chosen)
        raise UsageError(f"There are several clinics: {names}.", do="Name one: --clinic NAME")
    with context.console.step("look at what is deployed"):
        found = {one.name: releases.look(context, one) for one in chosen}
    missing = [name for name, standing in found.items() if standing is None]
    if missing:
        raise UsageError(f"Clinic '{missing[0]}' is not deployed yet.", do="Run: gcp-openemr deploy")
    return [standing for standing in found.values() if standing is not None]


def check_still(context: Context, clinic: str | None, agreed: Sequence[Standing]) -> None:
    """Under the environment's lock: what was looked at before it is what stands there.

    Raises:
        Locked: another run ended in the meantime.
    """
    if look(context, clinic) != agreed:
        raise Locked(
            "Another run changed a clinic in the meantime, so this one changed nothing.",
            do="See gcp-openemr status, then run this again.",
        )


def ground(context: Context) -> tuple[Foundation, Platform]:
    outputs = state.outputs(context, roots.FOUNDATION.path)
    platform = Platform(outputs=state.outputs(context, roots.PLATFORM.path) or {})
    if outputs is None or not platform.provision_job:
        raise UsageError(f"'{context.environment.name}' is not deployed.", do="Run: gcp-openemr deploy")
    return Foundation.of(outputs), platform


def work_on(context: Context, foundation: Foundation, platform: Platform, standing: Standing) -> Work:
    clinic = context.environment.clinic(standing.clinic)
    return Work(context=context, clinic=clinic, foundation=foundation, platform=platform, standing=standing)


def images_of(context: Context, foundation: Foundation, version: str) -> Images:
    """The images of a line, built where they are not there yet. A pinned commit is of the file's version."""
    openemr = context.environment.openemr
    arguments = openemr.build_arguments if version == openemr.version else LINES[version].build_arguments
    wanted = image.source(version=version, arguments=arguments)
    place = foundation.build_place(context.environment.region)
    found = image.find(context.cloud, place, wanted)
    if found is not None:
        return found
    with context.console.step(f"image: build {wanted.tag}") as step:
        return image.build(context.cloud, place, wanted, step)


def serve_and_end_page(work: Work, versions: SecretVersions) -> str:
    """Traffic to the newest revision, health, and only then the end of the maintenance page."""
    seen = cloud_run.service_state(work.context.cloud, work.context.service_name(work.clinic))
    after = deploy.serve(work.context, work.clinic, seen)
    end_page(work, versions)
    return work.clinic.public_url or after.uri


def end_page(work: Work, versions: SecretVersions) -> None:
    """By nfs-init, which first looks whether code and data fit each other."""
    work.run("nfs-init", jobs.storage_variables(versions))
