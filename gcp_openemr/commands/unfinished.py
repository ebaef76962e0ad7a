"""What commands that were interrupted left behind, and which command goes on with it.

All of it is read from Google: locks, states, jobs' last runs, operations, revisions, secrets' aliases. Commands keep no
file of their own about where they are.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterator, Mapping
from typing import cast

from google.api_core.exceptions import NotFound
from google.cloud import run_v2

from gcp_openemr import cloud_run, cloud_sql_copies, lock, state_locks
from gcp_openemr.commands import moments, releases, removal, roots, state
from gcp_openemr.commands.backup import age
from gcp_openemr.commands.context import Context, typed
from gcp_openemr.environment import Clinic
from gcp_openemr.variables import Platform, Upgrading

__all__ = ["Unfinished", "look"]

_AGAIN = {
    "background": "",  # its schedule runs it again, and no command does
    "provision": "deploy",
    "backup": "backup create",
    "verify": "backup verify",
    "drill": "backup drill",
    "prune": "",
    "rotate": "rotate",
    "redis-passwords": "rotate",
}
_HALF_WAY = ("next", "previous")  # aliases of a secret's versions that only a rotation under way has


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unfinished:
    """`what` stopped half way, and the `command` that goes on with it; '' where it goes on by itself."""

    what: str
    command: str


def look(context: Context, holder: lock.Holder | None) -> Iterator[Unfinished]:
    """Everything that a run left; `holder` is who holds the environment's lock, dead or alive.

    What is half way while a living run works on it is that run's.
    """
    if holder is not None and not holder.is_dead():
        return
    if holder is None:
        yield from _state_locks(context)
    else:
        died = f"`{holder.command}` of {holder.who} died; it began {_ago(holder.acquired)}"
        yield Unfinished(what=died, command=f"gcp-openemr {holder.command}")
    for part in (_states, _revisions, _jobs, _operations, _copies, _exports, _rotations, _upgrades):
        yield from part(context)


def _state_locks(context: Context) -> Iterator[Unfinished]:
    """States that are locked though nobody holds the environment: a Terraform that was run by hand, or died."""
    environment = context.environment
    bucket = context.cloud.storage.bucket(environment.names.state_bucket)
    for blob, told in state_locks.locks(bucket, environment.name):
        root = blob.name.removeprefix(f"{environment.name}/").removesuffix("/default.tflock")
        yield Unfinished(
            what=f"Terraform's state of {root} is locked by {told.get('Who', 'somebody')}, by no command of ours",
            command=f"gcloud storage rm gs://{bucket.name}/{blob.name}",
        )


def _states(context: Context) -> Iterator[Unfinished]:
    """Roots that were made in part, and protections that a destroy lifted."""
    environment = context.environment
    platform = state.outputs(context, roots.PLATFORM.path)
    if platform is None:
        return
    if environment.protect and not state.protected(context, roots.PLATFORM.path):
        yield Unfinished(
            what="the protections of the platform are lifted, as a destroy does first; to keep it: gcp-openemr deploy",
            command="gcp-openemr destroy",
        )
    elif not Platform(outputs=platform).provision_job:
        yield Unfinished(what="the platform is there without its provision job", command="gcp-openemr deploy")
    known = state.known_clinics(context)
    for name in sorted({*known} - {*environment.clinics}):
        yield Unfinished(
            what=f"clinic {name} stands there, but the environment file names it no more",
            command=f"gcp-openemr destroy --clinic {name}",
        )


def _revisions(context: Context) -> Iterator[Unfinished]:
    """Clinics without their service, and new revisions that got no traffic."""
    for clinic in context.environment.clinics.values():
        seen = cloud_run.service_state(context.cloud, context.service_name(clinic))
        if seen is None and state.outputs(context, roots.clinic_root(clinic.name).path) is not None:
            yield _without_service(context, clinic)
        elif seen is not None and not seen.newest_serves:
            yield Unfinished(
                what=f"clinic {clinic.name}: revision {seen.created_revision} does not have the traffic",
                command="gcp-openemr deploy",
            )


def _without_service(context: Context, clinic: Clinic) -> Unfinished:
    if removal.is_begun(context, clinic.name):
        return Unfinished(
            what=f"clinic {clinic.name} has no service, and its data was being removed; to begin anew: "
            "gcp-openemr deploy",
            command=f"gcp-openemr destroy --clinic {clinic.name}",
        )
    again = "deploy --upgrade" if releases.moving(context, clinic) else "deploy"
    return Unfinished(what=f"clinic {clinic.name} was made without its service", command=f"gcp-openemr {again}")


def _jobs(context: Context) -> Iterator[Unfinished]:
    """Jobs whose last run failed, and those at work that no command waits for."""
    environment = context.environment
    place = f"projects/{environment.project}/locations/{environment.region}"
    known = _known_jobs(context)
    for job in context.cloud.jobs.list_jobs(parent=place):
        last = job.latest_created_execution
        clinic, kind = known.get(job.name.rpartition("/")[2], ("", ""))
        if not (last and last.name and kind):
            continue
        failed = last.completion_status.name in ("EXECUTION_FAILED", "EXECUTION_CANCELLED")
        if last.completion_time and not failed:
            continue
        ended = cast("datetime.datetime", last.completion_time or last.create_time)
        what = f"failed {_ago(ended)}" if failed else "is at work"
        who = f"clinic {clinic}: " if clinic else ""
        again = _command(context, kind, clinic, f"{job.name}/executions/{_short(last.name)}")
        yield Unfinished(
            what=f"{who}job {kind} {what}; its log: gcp-openemr logs --job {kind}",
            command=f"gcp-openemr {again}" if again else "",
        )


def _upgrades(context: Context) -> Iterator[Unfinished]:
    """Clinics between two releases of OpenEMR, also where no job has failed."""
    for clinic in context.environment.clinics.values():
        standing = releases.look(context, clinic)
        if standing is not None and standing.upgrading is not None:
            yield _upgrade(clinic.name, standing.upgrading)


def _upgrade(clinic: str, way: Upgrading) -> Unfinished:
    back = releases.back(clinic)
    if way.back:
        return Unfinished(what=f"clinic {clinic}: is on its way to OpenEMR {way.from_version}", command=back)
    options = {"--to": way.to_version, "--rehearse": way.rehearsal, "--clinic": clinic}
    what = f"is on its way to OpenEMR {way.to_version}"
    if way.rehearsal:
        what = f"an upgrade to OpenEMR {way.to_version} was being rehearsed; to call that off: {back}"
    return Unfinished(what=f"clinic {clinic}: {what}", command=f"gcp-openemr {typed('upgrade', options)}")


def _known_jobs(context: Context) -> dict[str, tuple[str, str]]:
    """Job's name → clinic and kind."""
    found = {context.environment.names.provision_job: ("", "provision")}
    for clinic in context.environment.clinics:
        for field, name in context.environment.clinic_names(clinic).as_tfvars().items():
            if field.endswith("_job"):
                found[name] = clinic, field.removesuffix("_job").replace("_", "-")
    return found


def _command(context: Context, kind: str, clinic: str, execution: str) -> str:
    """What started a job, by what it was told; '' where its schedule alone does."""
    try:
        told = _told(context.cloud.executions.get_execution(name=execution))
    except NotFound:
        told = {}
    if kind == "upgrade":
        if releases.moving(context, context.environment.clinic(clinic)):
            return "deploy --upgrade"
        to, rehearsal = told.get("OPENEMR_VERSION", "VERSION"), told.get("REHEARSE") == "yes"
        return typed("upgrade", {"--to": to, "--rehearse": rehearsal, "--clinic": clinic})
    if kind == "nfs-init":
        return _of_nfs_init(told, clinic)
    if told.get("ACTION") == "remove":
        return f"destroy --clinic {told['CLINIC']}"
    again = _AGAIN[kind]
    return f"{again} --clinic {clinic}" if again.startswith("backup") else again


def _of_nfs_init(told: Mapping[str, str], clinic: str) -> str:
    if told.get("KEEP_PAGE") == "yes":
        return f"upgrade --back --clinic {clinic}"
    if told.get("UNDO") == "yes":
        return f"restore --undo --clinic {clinic}"
    if told.get("RESTORE_OVER") == "yes" and told.get("BACKUP_DATABASE"):
        return f"restore --from {moments.moment_of(told['BACKUP_DATABASE'])} --point-in-time --clinic {clinic}"
    if told.get("RESTORE_OVER") == "yes":
        source = {"gcs": "", "drive": "drive:", "set": ""}.get(told.get("BACKUP_SOURCE", ""), "")
        return f"restore --from {source}{told.get('BACKUP_FILEID', 'WHAT')} --clinic {clinic}"
    upgrading = " --upgrade" if told.get("UPGRADE") == "yes" else ""
    if told.get("BACKUP_SOURCE") == "set":  # a deploy alone would begin with nothing
        return f"recover --from-bucket BUCKET --clinic {clinic}{upgrading}"
    return f"deploy{upgrading}"


def _told(execution: run_v2.Execution) -> Mapping[str, str]:
    return {one.name: one.value for container in execution.template.containers for one in container.env}


def _operations(context: Context) -> Iterator[Unfinished]:
    """What Cloud SQL is at work on."""
    project, instance = context.environment.project, context.environment.names.database_instance
    path = f"v1/projects/{project}/operations"
    try:
        listed = context.cloud.ask("sqladmin", path, instance=instance, maxResults=20).get("items", ())
    except NotFound:
        return
    for operation in listed:
        if operation["status"] != "DONE":
            yield Unfinished(
                what=f"Cloud SQL is at work on {operation['operationType']} of {instance}",
                command=f"gcloud sql operations wait {operation['name']} --project={project}",
            )


def _copies(context: Context) -> Iterator[Unfinished]:
    """Copies of the database that a restore to a moment was to remove."""
    for name in cloud_sql_copies.copies(context.cloud, context.environment.names.database_instance):
        yield Unfinished(
            what=f"{name}, a copy of the database for a restore, is left and costs",
            command=f"gcloud sql instances delete {name} --project={context.environment.project}",
        )


def _exports(context: Context) -> Iterator[Unfinished]:
    """A clinic's database as SQL, which such a restore was to remove from the bucket."""
    bucket = context.environment.names.backup_bucket
    try:
        found = list(context.cloud.storage.list_blobs(bucket, match_glob=f"{moments.exports('*')}*"))
    except NotFound:
        return
    for folder in sorted({blob.name.rpartition("/")[0] for blob in found}):
        yield Unfinished(
            what=f"gs://{bucket}/{folder}/ holds a clinic's database as SQL, for a restore",
            command=f"gcloud storage rm --recursive gs://{bucket}/{folder}/",
        )


def _rotations(context: Context) -> Iterator[Unfinished]:
    """Secrets with a version that is not yet, or no more, in force."""
    names = {context.environment.names.redis_admin_secret}
    for clinic in context.environment.clinics:
        table = context.environment.clinic_names(clinic).as_tfvars()
        names |= {name for field, name in table.items() if field.endswith("_secret")}
    for name in sorted(names):
        try:
            secret = context.cloud.secrets.get_secret(name=f"projects/{context.environment.project}/secrets/{name}")
        except NotFound:
            continue
        if not secret.version_aliases.keys().isdisjoint(_HALF_WAY):
            told = ", ".join(f"{alias} {version}" for alias, version in sorted(secret.version_aliases.items()))
            yield Unfinished(what=f"the rotation of {name} is half way: {told}", command="gcp-openemr rotate")


def _ago(moment: datetime.datetime) -> str:
    return f"{age((datetime.datetime.now(datetime.UTC) - moment).total_seconds())} ago"


def _short(name: str) -> str:
    return name.rpartition("/")[2]
