"""Running a clinic's jobs: `provision`, then `nfs-init`."""

from __future__ import annotations

from gcp_openemr import cloud_run, secret_store
from gcp_openemr.commands.context import Context
from gcp_openemr.environment import Clinic
from gcp_openemr.variables import Foundation, Platform, SecretVersions

__all__ = ["prepare_storage"]


def prepare_storage(
    context: Context, clinic: Clinic, foundation: Foundation, platform: Platform, versions: SecretVersions
) -> str:
    """Give the clinic its directory, schemas and accounts, then install or restore it. Returns what nfs-init did.

    Both jobs look first and change only what is missing.
    """
    _provision(context, clinic, foundation, platform, versions)
    return _nfs_init(context, clinic, foundation, versions)


def _provision(
    context: Context, clinic: Clinic, foundation: Foundation, platform: Platform, versions: SecretVersions
) -> None:
    names = context.environment.clinic_names(clinic.name)
    admin = context.environment.names.redis_admin_secret
    variables = {
        "ACTION": "ensure",
        "CLINIC": clinic.name,
        "MYSQL_DATABASES": ",".join((names.schema, names.staging_schema, names.scratch_schema)),
        "MYSQL_USER": names.database_user,
        "MYSQL_PASS_SECRET": _secret(context, names.database_password_secret),
        "MYSQL_PASS_VERSION": str(versions.database_password),
        "REDIS_USERNAME": names.redis_user,
        "REDIS_PREFIX": names.redis_prefix,
        "REDIS_PASS_SECRET": _secret(context, names.redis_password_secret),
        "REDIS_PASS_VERSION": str(versions.redis_password),
        "REDIS_ADMIN_VERSION": str(secret_store.current_version(context.cloud, admin)),
    }
    result = (foundation.backup_bucket, cloud_run.result_object(f"clinics/{clinic.name}", "provision"))
    with context.console.step(f"clinics/{clinic.name}: provision") as step:
        job = context.job_name(platform.provision_job.rpartition("/")[2])
        cloud_run.run_job(context.cloud, job, environment=variables, result=result, step=step)


def _nfs_init(context: Context, clinic: Clinic, foundation: Foundation, versions: SecretVersions) -> str:
    names = context.environment.clinic_names(clinic.name)
    variables = {
        "MYSQL_PASS_VERSION": str(versions.database_password),
        "OE_PASS_VERSION": str(versions.admin_password),
    }
    result = (foundation.backup_bucket, cloud_run.result_object(f"clinics/{clinic.name}", "nfs-init"))
    with context.console.step(f"clinics/{clinic.name}: nfs-init") as step:
        job = context.job_name(names.nfs_init_job)
        record = cloud_run.run_job(context.cloud, job, environment=variables, result=result, step=step)
    decision = str(record.get("decision", ""))
    context.console.say(f"  nfs-init: {decision}. {record.get('reason', '')}".rstrip())
    return decision


def _secret(context: Context, name: str) -> str:
    return f"projects/{context.environment.project}/secrets/{name}"
