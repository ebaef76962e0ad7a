"""A clinic's database as of a moment, for a restore: a copy of the Cloud SQL instance, written as SQL to the bucket.

Cloud SQL writes there as the copy's own account, in a folder that is made for it. Copy, folder and SQL are removed when
the block ends, well or not. What a killed run left of them is used by the next run for the same moment, or removed.
"""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterator
from urllib.parse import quote

from google.api_core.exceptions import BadRequest, Conflict, Forbidden, GoogleAPICallError, NotFound
from requests.exceptions import RequestException

from gcp_openemr import cloud_sql, cloud_sql_copies, interruption
from gcp_openemr.commands.context import Context
from gcp_openemr.console import Step
from gcp_openemr.environment import Clinic
from gcp_openemr.errors import CloudRefused, GcpOpenemrError, UsageError

__all__ = ["check", "database_of", "exports", "moment_of"]

_FORM = "%Y%m%dT%H%M%SZ"
_SUFFIX = ".sql.gz"
_ROLE = "roles/storage.objectAdmin"  # https://cloud.google.com/sql/docs/mysql/import-export/import-export-sql
_GRANTED_WITHIN = 12  # times ten seconds, until a role that was given is in force


def exports(clinic: str) -> str:
    """Where in the backup bucket a clinic's database lies as SQL for as long as it is read."""
    return f"clinics/{clinic}/backups/moments/"


def moment_of(place: str) -> str:
    """The moment of the database at `gs://…`, as `restore --from` takes it."""
    return place.rpartition("/")[2].removesuffix(_SUFFIX)


def check(context: Context, moment: datetime.datetime) -> None:
    """Raises UsageError where Cloud SQL's log does not reach the moment."""
    instance = context.environment.names.database_instance
    own = cloud_sql.own_backups(context.cloud, instance)
    if own is None or own.since is None:
        raise UsageError(
            f"{instance} keeps no log with which it could be brought to a moment.",
            do="Set [database] backups = true for the future; now restore a set: gcp-openemr backup list",
        )
    now = datetime.datetime.now(datetime.UTC)
    if not own.since <= moment <= now:
        raise UsageError(
            f"{moment:%Y-%m-%d %H:%M:%S} UTC is not between {own.since:%Y-%m-%d %H:%M} and now, "
            f"{now:%Y-%m-%d %H:%M} UTC, as far as the log of {instance} goes.",
            do="Restore the set before it: the same command without --point-in-time.",
        )


@contextlib.contextmanager
def database_of(context: Context, clinic: Clinic, moment: datetime.datetime) -> Iterator[str]:
    """Yields the `gs://…` of the clinic's database as it was at the moment.

    Raises:
        CloudRefused: Cloud SQL cannot make the copy or write it; nothing of the clinic was touched.
    """
    bucket = context.environment.names.backup_bucket
    folder = exports(clinic.name)
    name = f"{folder}{moment.astimezone(datetime.UTC):{_FORM}}{_SUFFIX}"
    place = f"gs://{bucket}/{name}"
    try:
        with context.console.step(f"the database as of {moment:%Y-%m-%d %H:%M:%S} UTC: copy the instance") as step:
            copied, account = _copied(context, moment, step)
        schema = context.environment.clinic_names(clinic.name).schema
        with context.console.step("the database as of then: write it to the bucket") as step:
            _open_folder(context, bucket, folder, account)
            _export(context, copied, schema, place, step)
        yield place
    finally:
        _remove_all(context, bucket, folder)


def _copied(context: Context, moment: datetime.datetime, step: Step) -> tuple[str, str]:
    """Name and account of the copy. The environment's lock is ours, so a copy that is there is of a killed run."""
    instance = context.environment.names.database_instance
    fresh = cloud_sql_copies.copy_name(instance, moment)
    for left in cloud_sql_copies.copies(context.cloud, instance):
        if left[:-5] == fresh[:-5]:
            with contextlib.suppress(CloudRefused):
                return left, cloud_sql_copies.clone(context.cloud, instance, left, moment, step)
        cloud_sql_copies.remove(context.cloud, left, step)
    return fresh, cloud_sql_copies.clone(context.cloud, instance, fresh, moment, step)


def _export(context: Context, copied: str, schema: str, place: str, step: Step) -> None:
    for attempt in range(1, _GRANTED_WITHIN + 1):
        try:
            cloud_sql_copies.export(context.cloud, copied, schema, place, step)
        except (BadRequest, CloudRefused, Forbidden) as error:
            told = str(getattr(error, "message", error))
            if attempt == _GRANTED_WITHIN or "permission" not in told:
                raise CloudRefused(f"Cloud SQL could not write {place}: {told}") from error
            step.update("wait for the copy's right to write there")
            interruption.pause(10)
        else:
            return


def _open_folder(context: Context, bucket: str, folder: str, account: str) -> None:
    """Let the copy's account write in a folder of its own, and nowhere else."""
    with contextlib.suppress(Conflict):
        context.cloud.ask("storage", f"storage/v1/b/{bucket}/managedFolders", body={"name": folder})
    policy = {"bindings": [{"role": _ROLE, "members": [f"serviceAccount:{account}"]}]}
    context.cloud.ask("storage", f"{_folder(bucket, folder)}/iam", body=policy, method="PUT")


def _remove_all(context: Context, bucket: str, folder: str) -> None:
    """Remove what is there, of this run and earlier ones. What cannot be is told, and is no failure of the restore."""
    instance = context.environment.names.database_instance
    again = "The next restore --point-in-time removes it; by hand:"
    if interruption.is_interrupted():
        context.console.warn(f"A copy of {instance} may be left, and costs. {again} gcloud sql instances delete")
        return
    with context.console.step("remove the copy of the database") as step:
        try:
            for blob in context.cloud.storage.list_blobs(bucket, prefix=folder):
                blob.delete()
            with contextlib.suppress(NotFound):
                context.cloud.ask("storage", _folder(bucket, folder), method="DELETE", allowNonEmpty="true")
            for left in cloud_sql_copies.copies(context.cloud, instance):
                cloud_sql_copies.remove(context.cloud, left, step)
        except (GcpOpenemrError, GoogleAPICallError, RequestException) as error:
            context.console.warn(
                f"A copy of {instance} is left, and costs: {error}. {again} gcloud sql instances delete"
            )


def _folder(bucket: str, folder: str) -> str:
    return f"storage/v1/b/{bucket}/managedFolders/{quote(folder, safe='')}"
