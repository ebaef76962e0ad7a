"""Buckets: the state's, the lock in it, and the backup that a clinic is to be filled from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from google.api_core.exceptions import Forbidden
from google.cloud.storage import Bucket

from gcp_openemr import lock, state_locks
from gcp_openemr.commands import state
from gcp_openemr.doctor.examine import is_disabled
from gcp_openemr.doctor.model import Absent, Finding, Subject, failed, ok, warning
from gcp_openemr.environment import Clinic

__all__ = ["environment_lock", "is_far", "is_foreign", "restore", "state_bucket"]

# https://cloud.google.com/storage/docs/json_api/v1/status-codes#403-forbidden
_UNPAID = "accountDisabled"


def state_bucket(subject: Subject) -> Iterator[Finding]:
    """There, ours, versioned, closed, in the region. Before the first deploy: not there, and nobody else's."""
    name = subject.environment.names.state_bucket
    try:
        bucket = subject.cloud.storage.lookup_bucket(name)
    except Forbidden as error:
        if not is_foreign(subject, error):
            raise
        yield _foreign(name)
        return
    if bucket is None:
        yield ok(f"{name} is not there yet; deploy makes it")
        return
    number = subject.cloud.ask("cloudresourcemanager", f"v3/projects/{subject.project}")["name"].rpartition("/")[2]
    if str(bucket.project_number) != number:
        yield _foreign(name)
        return
    yield from _as_it_should_be(subject, bucket)


def is_foreign(subject: Subject, refusal: Forbidden) -> bool:
    """Whether a bucket that may not be seen is somebody else's: who may see all of the project's would see its own.

    Raises what google.api_core makes of a refusal to say so.
    """
    reasons = {entry.get("reason") for entry in refusal.errors if isinstance(entry, Mapping)}
    if is_disabled(refusal) or _UNPAID in reasons:
        return False
    path = f"v3/projects/{subject.project}:testIamPermissions"
    answer = subject.cloud.ask("cloudresourcemanager", path, body={"permissions": ["storage.buckets.get"]})
    return bool(answer.get("permissions"))


def _foreign(name: str) -> Finding:
    return failed(
        f"{name} belongs to somebody else's project; whoever owns it could read and change Terraform's state",
        do="Choose another name in [environment], and tell your security officer.",
    )


def _as_it_should_be(subject: Subject, bucket: Bucket) -> Iterator[Finding]:
    address = f"gs://{bucket.name}"
    closed = bucket.iam_configuration.public_access_prevention == "enforced"
    wrong = [
        (
            bucket.versioning_enabled,
            "keeps no old versions of the state",
            f"gcloud storage buckets update {address} --versioning",
        ),
        (closed, "can be opened to the public", f"gcloud storage buckets update {address} --public-access-prevention"),
    ]
    for fine, what, command in wrong:
        if not fine:
            yield failed(f"{bucket.name} {what}", do=f"Run: {command}")
    place = str(bucket.location).lower()
    if place != subject.region:
        yield warning(
            f"{bucket.name} is in {place}, not in {subject.region}",
            do="Check region in [environment]; a bucket cannot be moved.",
        )
    if all(fine for fine, _, _ in wrong):
        yield ok(f"{bucket.name} is this project's, versioned, closed to the public")


def environment_lock(subject: Subject) -> Iterator[Finding]:
    """The environment's own, and Terraform's of each root."""
    name = subject.environment.name
    bucket = _bucket(subject)
    holder = lock.read_holder(bucket, name)
    if holder is None:
        yield ok("nobody holds it")
    elif holder.is_dead():
        yield ok(f"left by {holder.who}, whose `{holder.command}` died; the next command takes it over")
    else:
        yield warning(
            f"{holder.who} holds it with `{holder.command}` since {holder.acquired:%Y-%m-%d %H:%M} UTC",
            do="Wait for that run to end; commands that change something answer 75 until then.",
        )
    if holder is None:
        for blob, told in state_locks.locks(bucket, name):
            whose = f"{told.get('Who', 'somebody')} since {told.get('Created', 'an unknown time')}"
            yield failed(
                f"Terraform's state {blob.name} is locked by {whose}",
                do=f"If that run is dead: gcloud storage rm gs://{bucket.name}/{blob.name}",
            )


def _bucket(subject: Subject) -> Bucket:
    found = subject.cloud.storage.lookup_bucket(subject.environment.names.state_bucket)
    if found is None:
        raise Absent("nothing is deployed yet")
    return found


def restore(subject: Subject) -> Iterator[Finding]:
    """The backups that clinics are to be filled from, once."""
    restoring = [clinic for clinic in subject.environment.clinics.values() if clinic.restore]
    if not restoring:
        raise Absent("no clinic names a backup")
    for clinic in restoring:
        yield from _backup(subject, clinic)


def _backup(subject: Subject, clinic: Clinic) -> Iterator[Finding]:
    if clinic.restore is None:
        return
    if state.exists(subject.context) and state.outputs(subject.context, f"clinics/{clinic.name}") is not None:
        yield ok(f"{clinic.name} is deployed already; its backup is not read again")
        return
    if clinic.restore.source != "gcs":
        name = subject.environment.clinic_names(clinic.name).init_account
        account = f"{name}@{subject.project}.iam.gserviceaccount.com"
        yield warning(
            f"{clinic.name}: a file on Drive cannot be seen from here",
            do=f"Share it, or its shared drive, with {account}, which the first deploy makes; then deploy again.",
        )
        return
    uri = clinic.restore.uri
    bucket_name, _, name = uri.removeprefix("gs://").partition("/")
    bucket = subject.cloud.storage.lookup_bucket(bucket_name)
    blob = bucket.get_blob(name) if bucket is not None else None
    if bucket is None or blob is None:
        missing = "is not there" if bucket is not None else "names a bucket that is not there"
        yield failed(f"{clinic.name}: {uri} {missing}", do="Correct uri in [restore]: gcloud storage ls")
        return
    place = str(bucket.location).lower()
    if is_far(place, subject.region):
        yield warning(
            f"{clinic.name}: {uri} is in {place}, far from {subject.region}",
            do="Ask whether patients' data may cross, and expect a slow restore; or copy it to a bucket nearby.",
        )
    else:
        yield ok(f"{clinic.name}: {uri}, {blob.size / 1_000_000:.1f} MB in {place}")


def is_far(place: str, region: str) -> bool:
    """Another continent. A multi-region's name (`eu`, `us`, `asia`) is the beginning of its regions' names."""
    return place != region and place[:2] != region[:2]
