"""Deploy: from the environment file to clinics that answer.

foundation → platform, while the image builds → for each clinic: identities and secrets → `provision` → `nfs-init`
→ service without traffic → traffic → health. Each step looks first and changes only what differs, so a run that was
interrupted anywhere is continued by the next one.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import datetime
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any

from gcp_openemr import backups, cloud_run, image, secret_store, timeline
from gcp_openemr.cloud_run import ServiceState
from gcp_openemr.commands import deployed as settled
from gcp_openemr.commands import foundation as foundation_step
from gcp_openemr.commands import jobs, releases, roots, state
from gcp_openemr.commands import plan as planning
from gcp_openemr.commands.context import Context, changing, typed
from gcp_openemr.commands.move import Move, fill_and_upgrade
from gcp_openemr.console import spoken
from gcp_openemr.environment import Clinic
from gcp_openemr.errors import Unhealthy
from gcp_openemr.image import Images
from gcp_openemr.passwords import new_password
from gcp_openemr.variables import (
    Foundation,
    Platform,
    Release,
    SecretVersions,
    Upgrading,
    clinic_variables,
    platform_variables,
)

__all__ = ["deploy", "secret_versions", "serve"]

_HEALTH_SECONDS = 180.0
_BEGINS = {"install": "empty", "restore": "with the backup that the file names"}
"""What nfs-init did to empty storage → how a clinic begins then."""
_WORTH_TELLING_SECONDS = 20.0  # less than that is nobody's waiting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Deployed:
    """A clinic that answers."""

    name: str
    url: str
    revision: str
    storage: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Ground:
    """What all clinics of a deploy stand on; `allowed` and `upgrade` as they were asked for."""

    foundation: Foundation
    platform: Platform
    images: Images
    allowed: Collection[str]
    upgrade: bool


def deploy(
    context: Context,
    *,
    allow_data_loss: Collection[str] = (),
    rebuild: bool = False,
    upgrade: bool = False,
    command: str = "",
    sources: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
    afterwards: Callable[[], object] = lambda: None,
) -> None:
    """Bring the environment to what its file says, and wait until every clinic is healthy.

    `rebuild` builds the image though nothing of it changed here, for what its packages have been given since.
    With `upgrade`, a new clinic's data of an older release is restored and upgraded before it serves.
    `command` is what was given, where that is another one than deploy.
    `sources` are nfs-init's variables, by clinic, for a backup to fill empty storage from that the file does not name.
    `afterwards` is done when all clinics serve, before that is told.

    Raises:
        EnvironmentInvalid: the file asks for what no deploy can change.
        UsageError: `allow_data_loss` names what is not there.
        DataLossRefused: a plan would lose data that `allow_data_loss` does not name.
        PlanChanged: a plan was reviewed, and this deploy would do something else.
        TerraformFailed, BuildFailed, JobFailed, Unhealthy: with what happened and what to do.
    """
    if context.reviewed is not None:
        context.reviewed.check(planning.record(context, planning.look(context)))
    _agree(context)
    with context.console.step("APIs and state bucket"):
        state.ensure_apis(context)
        beside = settled.check(context, upgrade=upgrade)
        state.ensure_bucket(context)
    for text in beside:
        context.console.warn(text)
    with changing(context, command or typed("deploy", {"--upgrade": upgrade})) as held:
        if context.reviewed is not None:
            context.reviewed.check_states({root: state.version(context, root) for root in context.reviewed.roots})
        allowed = settled.allowances(context, allow_data_loss)
        foundation = Foundation.of(foundation_step.bring_about(context, allowed))
        platform, images = _platform_and_images(context, foundation, allowed, rebuild=rebuild)
        held.check()
        ground = _Ground(foundation=foundation, platform=platform, images=images, allowed=allowed, upgrade=upgrade)
        deployed = _clinics(context, ground, sources)
    afterwards()
    _report(context, deployed)


def _agree(context: Context) -> None:
    environment = context.environment
    for warning in environment.warnings:
        context.console.warn(warning)
    context.agree(f"Deploy '{environment.name}' ({', '.join(environment.clinics)}) to project {environment.project}?")


def _platform_and_images(
    context: Context, foundation: Foundation, allowed: Collection[str], *, rebuild: bool
) -> tuple[Platform, Images]:
    """A new platform comes up while the image builds; the provision job, which needs both, comes last.

    Where the platform is there already the image comes first, so that no plan takes the provision job away.
    """
    environment = context.environment
    place = foundation.build_place(environment.region)
    wanted = image.source(version=environment.openemr.version, arguments=environment.openemr.build_arguments)
    wanted = wanted.rebuilt(datetime.datetime.now(datetime.UTC)) if rebuild else wanted
    images = image.find(context.cloud, place, wanted)
    if images is None and Platform(outputs=state.outputs(context, roots.PLATFORM.path) or {}).provision_job:
        images = _build(context, place, wanted)
    first = roots.prepare(context, roots.PLATFORM, _platform_variables(context, foundation, images), allowed=allowed)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        coming_up = pool.submit(roots.apply, context, first)
        if images is None:
            images = _build(context, place, wanted)
        platform = Platform(outputs=coming_up.result())
    _ensure_secret(context, environment.names.redis_admin_secret)
    if not platform.provision_job:
        variables = _platform_variables(context, foundation, images)
        second = roots.prepare(context, roots.PLATFORM, variables, allowed=allowed)
        platform = Platform(outputs=roots.apply(context, second))
    return platform, images


def _platform_variables(context: Context, foundation: Foundation, images: Images | None) -> dict[str, Any]:
    environment = context.environment
    version = secret_store.find_version(context.cloud, environment.names.redis_admin_secret)
    return platform_variables(
        environment, foundation, images=images, redis_admin_version=version, protect=environment.protect
    )


def _build(context: Context, place: image.BuildPlace, wanted: image.Source) -> Images:
    with context.console.step(f"image: build {wanted.tag}") as step:
        return image.build(context.cloud, place, wanted, step)


def _ensure_secret(context: Context, name: str) -> secret_store.Secret:
    return secret_store.ensure(context.cloud, name, new_password)


def _clinics(context: Context, ground: _Ground, sources: Mapping[str, Mapping[str, str]]) -> list[Deployed]:
    """All clinics side by side; one after the other where someone is asked in between. The first failure is raised."""
    clinics = context.environment.clinics.values()
    with concurrent.futures.ThreadPoolExecutor(len(clinics) if context.yes else 1) as pool:
        runs = [pool.submit(_clinic, context, clinic, ground, sources.get(clinic.name, {})) for clinic in clinics]
        return [run.result() for run in runs]


def _clinic(context: Context, clinic: Clinic, ground: _Ground, source: Mapping[str, str]) -> Deployed:
    before = cloud_run.service_state(context.cloud, context.service_name(clinic))
    storage = ""
    if before is None:
        versions, storage = _fill(context, clinic, ground, source)
    else:
        versions = secret_versions(context, clinic)
    changed = _bring_about(context, clinic, ground, versions)
    if before is not None:
        answers = _is_healthy(context, clinic, before)
        if changed or not answers:
            told = {"ANSWERED": "yes"} if answers else {}
            storage = str(jobs.prepare_storage(context, clinic, ground.platform, versions, told).get("decision", ""))
    after = serve(context, clinic, before)
    return Deployed(
        name=clinic.name, url=clinic.public_url or after.uri, revision=after.created_revision, storage=storage
    )


def _fill(context: Context, clinic: Clinic, ground: _Ground, source: Mapping[str, str]) -> tuple[SecretVersions, str]:
    """A new clinic's accounts, secrets and data. Returns the secrets' versions, and what was done to the storage."""
    under_way = releases.moving(context, clinic)
    _bring_about(context, clinic, ground, None, under_way)
    versions = secret_versions(context, clinic)
    earlier = "" if source else _earlier_set(context, clinic)
    if earlier and clinic.restore and context.environment.protect:
        source = {"EARLIER_SET": earlier}
    if not ground.upgrade:
        done = str(jobs.prepare_storage(context, clinic, ground.platform, versions, source).get("decision", ""))
        if earlier and done in _BEGINS:
            context.console.warn(
                f"Clinic '{clinic.name}' begins {_BEGINS[done]}, but sets of an earlier clinic of this name are there. "
                f"To bring that back: gcp-openemr restore --clinic {clinic.name} --from {earlier}"
            )
        return versions, done
    move = Move(
        context=context,
        clinic=clinic,
        platform=ground.platform,
        versions=versions,
        image=ground.images.job,
        apply=lambda upgrading: _bring_about(context, clinic, ground, None, upgrading),
        under_way=under_way,
    )
    return versions, fill_and_upgrade(move, source)


def _earlier_set(context: Context, clinic: Clinic) -> str:
    """The newest verified set: a clinic that was destroyed has left its own, '' where there is none."""
    sets, _ = backups.read_sets(context.cloud, context.environment.names.backup_bucket, clinic.name)
    return next((one.set for one in sets if one.is_verified), "")


def _bring_about(
    context: Context,
    clinic: Clinic,
    ground: _Ground,
    versions: SecretVersions | None,
    upgrading: Upgrading | None = None,
) -> bool:
    """Bring a clinic's root there, with its service once there are `versions`. Returns whether it changed anything."""
    environment = context.environment
    version = environment.openemr.version
    variables = clinic_variables(
        environment,
        clinic,
        ground.foundation,
        ground.platform,
        ground.images,
        versions=versions,
        serve=versions is not None,
        protect=environment.protect,
        release=Release(service=version, jobs=version, upgrading=upgrading),
    )
    prepared = roots.prepare(context, roots.clinic_root(clinic.name), variables, allowed=ground.allowed)
    roots.apply(context, prepared)
    return not prepared.plan.empty


def _is_healthy(context: Context, clinic: Clinic, seen: ServiceState) -> bool:
    return not clinic.is_reachable or cloud_run.ask_health(context.cloud, seen.uri).healthy


def secret_versions(context: Context, clinic: Clinic) -> SecretVersions:
    names = context.environment.clinic_names(clinic.name)
    with context.console.step(f"clinics/{clinic.name}: secrets"):
        _ensure_secret(context, names.backup_password_secret)
        return SecretVersions(
            database_password=_ensure_secret(context, names.database_password_secret).version,
            redis_password=_ensure_secret(context, names.redis_password_secret).version,
            admin_password=_ensure_secret(context, names.admin_password_secret).version,
        )


def serve(context: Context, clinic: Clinic, before: ServiceState | None) -> ServiceState:
    """Send the traffic to the newest revision and wait for health; go back to the old one when it does not come."""
    name = context.service_name(clinic)
    state_now = cloud_run.service_state(context.cloud, name)
    if state_now is None or state_now.problem or not state_now.created_revision:
        problem = state_now.problem if state_now else "it does not exist"
        raise Unhealthy(f"Service {name.rpartition('/')[2]} is not ready: {problem}")
    newest = state_now.created_revision
    old = next(iter(before.traffic), "") if before else ""
    with context.console.step(f"clinics/{clinic.name}: traffic to {newest}, health") as step:
        if not state_now.newest_serves or before is None:
            cloud_run.move_traffic(context.cloud, name, newest)
        if not clinic.is_reachable:
            context.console.warn(f"Health was not asked: ingress_settings closes '{clinic.name}' to callers from here.")
            return state_now
        try:
            cloud_run.wait_until_healthy(context.cloud, state_now.uri, seconds=_HEALTH_SECONDS, step=step)
        except Unhealthy:
            if old and old != newest:
                cloud_run.move_traffic(context.cloud, name, old)
                context.console.warn(f"Traffic went back to {old}, which served before.")
            raise
    return state_now


def _report(context: Context, deployed: list[Deployed]) -> None:
    values = {
        "environment": context.environment.name,
        "project": context.environment.project,
        "clinics": {d.name: {"url": d.url, "revision": d.revision, "storage": d.storage} for d in deployed},
        "seconds": context.console.seconds(),
        "critical_path": timeline.described(context.console.timings),
    }
    timings = context.console.timings
    total = sum(timing.seconds for timing in timings)
    if total > _WORTH_TELLING_SECONDS:
        title, *lines = timeline.told(timings).splitlines()
        context.console.block(title, lines)
    lines = [f"{d.name}: {d.url}" for d in deployed]
    context.console.say(
        f"Every clinic is healthy. Steps took {spoken(total)} in all. "
        "The administrator's password: gcp-openemr credentials"
    )
    context.console.result(values, "\n".join(lines))
