"""Running a clinic's jobs: `provision`, then `nfs-init`; and those of backups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.api_core.exceptions import NotFound

from gcp_openemr import cloud_run, secret_store
from gcp_openemr.commands.context import Context
from gcp_openemr.environment import Clinic
from gcp_openemr.errors import JobFailed, UsageError
from gcp_openemr.variables import Platform, SecretVersions

__all__ = [
    "back_up",
    "check_in_place",
    "prepare_storage",
    "provision",
    "remove_data",
    "run",
    "storage_variables",
    "versions",
]


def prepare_storage(
    context: Context,
    clinic: Clinic,
    platform: Platform,
    versions: SecretVersions,
    told: Mapping[str, str],
) -> dict[str, Any]:
    """Give the clinic its directory, schemas and accounts, then install or restore it. Returns nfs-init's record.

    Both jobs look first and change only what is missing. `told` are further variables of nfs-init: another backup to
    fill empty storage from than the environment file names, or that the clinic answers.
    """
    provision(context, clinic, platform, versions)
    record = run(context, clinic, "nfs-init", {**storage_variables(versions), **told})
    context.console.say(f"  nfs-init: {record.get('decision', '')}. {record.get('reason', '')}".rstrip())
    return record


def versions(context: Context, clinic: Clinic) -> SecretVersions:
    """What is in force now of a clinic's secrets; 1 where there is none yet."""
    names = context.environment.clinic_names(clinic.name)
    return SecretVersions(
        **{
            kind: secret_store.current_version(context.cloud, getattr(names, f"{kind}_secret")) or 1
            for kind in ("database_password", "redis_password", "admin_password")
        }
    )


def storage_variables(versions: SecretVersions) -> dict[str, str]:
    """The pinned secrets that nfs-init needs."""
    return {"MYSQL_PASS_VERSION": str(versions.database_password), "OE_PASS_VERSION": str(versions.admin_password)}


def run(context: Context, clinic: Clinic, job: str, variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Run one of a clinic's jobs to its end, and return the record of what it did.

    Raises:
        JobFailed: with the job's own sentence where it left one.
        UsageError: the clinic has no such job yet.
    """
    name = getattr(context.environment.clinic_names(clinic.name), f"{job.replace('-', '_')}_job")
    result = (context.environment.names.backup_bucket, cloud_run.result_object(f"clinics/{clinic.name}", job))
    with context.console.step(f"clinics/{clinic.name}: {job}") as step:
        try:
            return cloud_run.run_job(
                context.cloud, context.job_name(name), environment=variables or {}, result=result, step=step
            )
        except NotFound as error:
            raise UsageError(f"Clinic '{clinic.name}' has no job {name} yet.", do="Run: gcp-openemr deploy") from error


def check_in_place(record: Mapping[str, Any], variables: Mapping[str, str]) -> None:
    """Make sure that nfs-init put in place what it was told to, and did not only finish what a run before had begun.

    Raises:
        JobFailed: it finished another restore, as an image of before an upgrade of this program may do.
    """
    if record.get("decision") != "finish-swap":
        return
    source, database = str(record.get("source", "")), variables.get("BACKUP_DATABASE")
    wanted = variables.get("BACKUP_FILEID", "") + (f" with the database of {database}" if database else "")
    if source == wanted or (variables.get("UNDO") and source.startswith("kept since ")):
        return
    raise JobFailed(
        f"A restore that was interrupted before was finished, which put {source} in place; nothing else was done.",
        do="Run the same command again: it does what it is asked for now.",
        record=record,
    )


def back_up(context: Context, clinic: Clinic) -> dict[str, Any]:
    """Make a set, and return the record that names it.

    Raises:
        JobFailed: also where the job left no record of a set.
    """
    record = run(context, clinic, "backup")
    if not record.get("set"):
        raise JobFailed(
            f"Job backup of '{clinic.name}' ended well, but left no record of its set.",
            do="See gcp-openemr logs --job backup, then run this again.",
        )
    return record


def provision(context: Context, clinic: Clinic, platform: Platform, versions: SecretVersions) -> None:
    """Give the clinic its directory, schemas and accounts, with these passwords beside those that they have."""
    _provision(context, clinic, platform, versions, {"ACTION": "ensure"})


def remove_data(
    context: Context, clinic: Clinic, platform: Platform, versions: SecretVersions, *, final_set: str
) -> None:
    """Drop a clinic's schemas, its accounts, its keys and its directory; may be repeated.

    `final_set` is the `gs://…` manifest of its last set, which the job looks at; '' where that was renounced.

    Raises:
        JobFailed: the set is not verified, or something cannot be removed.
    """
    permission = {"FINAL_SET": final_set} if final_set else {"WITHOUT_FINAL_BACKUP": "yes"}
    _provision(context, clinic, platform, versions, {"ACTION": "remove", **permission})


def _provision(
    context: Context, clinic: Clinic, platform: Platform, versions: SecretVersions, action: Mapping[str, str]
) -> None:
    names = context.environment.clinic_names(clinic.name)
    admin = context.environment.names.redis_admin_secret
    variables = {
        **action,
        "CLINIC": clinic.name,
        "MYSQL_DATABASES": ",".join((names.schema, names.staging_schema, names.scratch_schema, names.kept_schema)),
        "MYSQL_USER": names.database_user,
        "MYSQL_PASS_SECRET": _secret(context, names.database_password_secret),
        "MYSQL_PASS_VERSION": str(versions.database_password),
        "REDIS_USERNAME": names.redis_user,
        "REDIS_PREFIX": names.redis_prefix,
        "REDIS_PASS_SECRET": _secret(context, names.redis_password_secret),
        "REDIS_PASS_VERSION": str(versions.redis_password),
        "REDIS_ADMIN_VERSION": str(secret_store.current_version(context.cloud, admin)),
    }
    result = (context.environment.names.backup_bucket, cloud_run.result_object(f"clinics/{clinic.name}", "provision"))
    title = "provision" if action["ACTION"] == "ensure" else "remove its data"
    with context.console.step(f"clinics/{clinic.name}: {title}") as step:
        job = context.job_name(platform.provision_job.rpartition("/")[2])
        cloud_run.run_job(context.cloud, job, environment=variables, result=result, step=step)


def _secret(context: Context, name: str) -> str:
    return f"projects/{context.environment.project}/secrets/{name}"
