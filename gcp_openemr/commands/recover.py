"""Recover: a new environment whose clinic begins with another environment's backups.

The old environment is only read, by whoever runs the command: its repository and manifests are copied into the new
environment's bucket and the repository's password into the new Secret Manager. From then on nothing of the old one is
needed, and the clinic's own jobs never hold rights there. Everything else is new: accounts, passwords, database, share;
and when the clinic serves, the repository's password, too.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import json
import re
from collections.abc import Sequence

from google.api_core.exceptions import Forbidden, NotFound
from google.cloud.storage import Blob, Bucket

from gcp_openemr import backups, cloud_run, sealed, secret_store
from gcp_openemr.commands import deploy, jobs, roots, state
from gcp_openemr.commands.backup import size
from gcp_openemr.commands.context import Context, changing, typed
from gcp_openemr.commands.restore import Source, source_of
from gcp_openemr.console import Step
from gcp_openemr.environment import Clinic
from gcp_openemr.errors import CloudRefused, InputMissing, UsageError
from gcp_openemr.redacted import Redacted
from gcp_openemr.secret_store import Secret
from gcp_openemr.variables import foundation_variables

__all__ = ["Old", "recover"]

_BUCKET = re.compile(r"(?P<project>[a-z][a-z0-9-]{4,28}[a-z0-9])-(?P<own>oe-[a-z0-9]+)-backups")
_SECRET = re.compile(r"projects/(?P<project>[^/]+)/secrets/(?P<name>[^/]+)(?:/versions/(?P<version>[1-9][0-9]*))?")
_COPIED_AT_ONCE = 16
# of a repository; restic writes them the other way round, so each kind needs only what is there of the later ones
_KINDS = ("config", "keys/", "snapshots/", "index/", "data/")
_JSON = "application/json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Old:
    """Where the backups are that a clinic begins with, and the secret with their password; version 0 is the current."""

    bucket: str
    clinic: str
    project: str
    secret: str
    version: int

    @property
    def password(self) -> str:
        return f"projects/{self.project}/secrets/{self.secret}"

    @classmethod
    def of(cls, bucket: str, clinic: str, password: str | None) -> Old:
        """`password` is `projects/P/secrets/S`, with `/versions/N` or not; None finds it by the bucket's name.

        Raises:
            UsageError: it is not, and no secret was named; or what was named is none.
        """
        bucket = bucket.removeprefix("gs://").rstrip("/")
        found = _BUCKET.fullmatch(bucket)
        if password is None and found:
            password = f"projects/{found['project']}/secrets/{found['own']}-{clinic}-backup-password"
        named = _SECRET.fullmatch(password or "")
        if named is None:
            raise UsageError(
                f"Which secret holds the password of the backups in {bucket}?",
                do="Name it: --password projects/PROJECT/secrets/SECRET",
            )
        return cls(
            bucket=bucket,
            clinic=clinic,
            project=named["project"],
            secret=named["name"],
            version=int(named["version"] or 0),
        )


def recover(context: Context, old: Old, *, clinic: str | None, wanted: str, upgrade: bool = False) -> None:
    """Deploy the environment, its clinic filled from `wanted` (`latest`, an id or a moment) of another's sets.

    With `upgrade`, a set of an older release becomes the file's before the clinic serves.
    Run again after an interruption, it goes on: what is copied or restored already is not done again, and `latest` is
    then the set that the clinic was filled with, whatever the old one made since.

    Raises:
        UsageError: the clinic exists already and began with something else, or there is no such set.
        CloudRefused, InputMissing: the old bucket or password cannot be read.
        What `deploy` raises.
    """
    chosen = context.clinics(clinic)
    if len(chosen) > 1:
        names = ", ".join(one.name for one in chosen)
        raise UsageError(f"There are several clinics: {names}.", do="Name one: --clinic NAME")
    one = chosen[0]
    with context.console.step("look at the old backups"):
        password = _password(context, old)
        sets, unreadable = _old_sets(context, old)
    for text in unreadable:
        context.console.warn(text)
    source, begins_with = _source(context, one, wanted, sets)
    context.console.say(f"Clinic '{one.name}' begins with {source.title} of {old.clinic} in {old.bucket}.")
    context.agree(f"Recover it into '{context.environment.name}' in project {context.environment.project}?")
    with context.console.step("APIs and state bucket"):
        state.ensure_apis(context)
        state.ensure_bucket(context)
    command = _command(old, one, begins_with, upgrade=upgrade)
    with changing(context, command):
        if not _has_begun(context, one, begins_with):
            known = (state.outputs(context, roots.FOUNDATION.path) or {}).get("backup_stores", {})
            variables = foundation_variables(context.environment, known=known)
            roots.apply(context, roots.prepare(context, roots.FOUNDATION, variables))
            _take_password(context, one, password)
            _copy(context, old, one)

    def finish() -> None:
        _own_password(context, one, password)
        _check_filled(context, one, begins_with)

    deploy.deploy(
        context,
        upgrade=upgrade,
        command=command,
        sources={one.name: source.variables},
        afterwards=finish,
    )


def _command(old: Old, clinic: Clinic, chosen: backups.BackupSet, *, upgrade: bool) -> str:
    """What goes on with this very set, also when there is a newer one."""
    password = f"{old.password}/versions/{old.version}" if old.version else old.password
    where = {"--from-bucket": old.bucket, "--from-clinic": old.clinic, "--password": password}
    return typed("recover", {**where, "--set": chosen.set, "--clinic": clinic.name, "--upgrade": upgrade})


def _source(
    context: Context, clinic: Clinic, wanted: str, sets: Sequence[backups.BackupSet]
) -> tuple[Source, backups.BackupSet]:
    """What `wanted` means; `latest` is the set that a run before has filled the clinic with, where there was one.

    Raises:
        UsageError: it means nothing, or an archive.
    """
    filled = _filled_with(context, clinic)
    if wanted == "latest" and filled in {one.set for one in sets}:
        context.console.say(f"A run before has filled '{clinic.name}' already, with what was the latest set then.")
        wanted = filled
    source = source_of(clinic.name, wanted, sets)
    if source.set is None:
        raise UsageError(f"{wanted} is no backup set.", do="To begin with an archive, name it in [restore] and deploy.")
    return source, source.set


def _has_begun(context: Context, clinic: Clinic, chosen: backups.BackupSet) -> bool:
    """Whether a run that was interrupted came as far as the clinic's service; then only its deploy has to be finished.

    Raises:
        UsageError: the clinic serves already, and not from this set.
    """
    if cloud_run.service_state(context.cloud, context.service_name(clinic)) is None:
        return False
    own, _ = backups.read_sets(context.cloud, context.environment.names.backup_bucket, clinic.name)
    if chosen.set not in {one.set for one in own}:
        raise UsageError(
            f"Clinic '{clinic.name}' serves already; recover fills a new one.",
            do=f"To replace its data: gcp-openemr restore --clinic {clinic.name} --from WHAT",
        )
    context.console.say(f"Clinic '{clinic.name}' has begun with it already: what is left of its deploy follows.")
    return True


def _filled_with(context: Context, clinic: Clinic) -> str:
    """As `backups.filled_with`; '' also where the new environment has no bucket yet."""
    with contextlib.suppress(InputMissing):
        return backups.filled_with(context.cloud, context.environment.names.backup_bucket, clinic.name)
    return ""


def _check_filled(context: Context, clinic: Clinic, chosen: backups.BackupSet) -> None:
    """nfs-init leaves alone what a run before has filled.

    Raises:
        UsageError: that was from another set.
    """
    filled = _filled_with(context, clinic)
    if filled not in ("", chosen.set):
        raise UsageError(
            f"Clinic '{clinic.name}' serves {filled}, with which a run before had filled it, not set {chosen.set}.",
            do=f"To replace its data: gcp-openemr restore --clinic {clinic.name} --from {chosen.set}",
        )


def _password(context: Context, old: Old) -> Redacted:
    """The old repository's password.

    Raises:
        CloudRefused: it is gone or closed to this caller; without it nobody can read the backups.
    """
    cloud = dataclasses.replace(context.cloud, project=old.project)
    try:
        version = old.version or secret_store.current_version(cloud, old.secret)
        if version is None:
            raise NotFound("it has no version")
        return secret_store.read(cloud, Secret(name=old.secret, version=version))
    except (NotFound, CloudRefused) as error:
        raise CloudRefused(
            f"The password of the backups in {old.bucket}, {old.password}, is not there: "
            f"{getattr(error, 'message', error)}. The sets are encrypted with it and cannot be read without.",
            do="A secret that was deleted cannot be brought back; a version destroyed within the last week can "
            "(gcloud secrets versions enable). Cloud SQL still has the database's backups, snapshots the files.",
        ) from error
    except Forbidden as error:
        do = f"Ask for roles/secretmanager.secretAccessor on {old.password}."
        raise CloudRefused(f"This caller may not read {old.password}.", do=do) from error


def _old_sets(context: Context, old: Old) -> tuple[list[backups.BackupSet], list[str]]:
    try:
        return backups.read_sets(context.cloud, old.bucket, old.clinic)
    except Forbidden as error:
        do = f"Ask for roles/storage.objectViewer on gs://{old.bucket}."
        raise CloudRefused(f"This caller may not read gs://{old.bucket}.", do=do) from error
    except InputMissing as error:
        raise InputMissing(error.what, do="Name the old environment's backup bucket.") from error


def _take_password(context: Context, clinic: Clinic, password: Redacted) -> None:
    """Make the old password the new secret's first version.

    Raises:
        UsageError: the new clinic has backups of its own already, under another password.
    """
    name = context.environment.clinic_names(clinic.name).backup_password_secret
    kept = secret_store.ensure(context.cloud, name, lambda: password)
    if secret_store.read(context.cloud, kept) != password:
        raise UsageError(
            f"Clinic '{clinic.name}' has backups of its own, with another password.",
            do="Recover into a clinic that never was: give it another name.",
        )


def _own_password(context: Context, clinic: Clinic, old: Redacted) -> None:
    """Give the copied repository a password of its own; the old one opens it no more."""
    name = context.environment.clinic_names(clinic.name).backup_password_secret
    if secret_store.read(context.cloud, secret_store.ensure(context.cloud, name, lambda: old)) == old:
        jobs.run(context, clinic, "rotate", {"WHAT": "backup", "DUE": "no"})


def _copy(context: Context, old: Old, clinic: Clinic) -> None:
    """Copy repository and manifests, manifests last, so that a set that is seen is whole. Locks stay behind.

    They are looked up the other way round, so that a backup that ends meanwhile leaves no index without its packs.
    The manifests tell the new clinic's name; whose the set was is in their `source`.
    """
    source = context.cloud.storage.bucket(old.bucket)
    target = context.cloud.storage.bucket(context.environment.names.backup_bucket)
    here, there = f"clinics/{old.clinic}/backups/", f"clinics/{clinic.name}/backups/"
    with context.console.step(f"clinics/{clinic.name}: copy the backups") as step:
        manifests = list(source.list_blobs(prefix=f"{here}sets/"))
        by_kind = [list(source.list_blobs(prefix=f"{here}repository/{kind}")) for kind in _KINDS]
        stored = [blob for blobs in reversed(by_kind) for blob in blobs]
        have = {blob.name: blob.crc32c for blob in target.list_blobs(prefix=there)}
        missing = [blob for blob in stored if have.get(there + blob.name.removeprefix(here)) != blob.crc32c]
        _copy_all(missing, target, here, there, step)
        for blob in manifests:
            with contextlib.suppress(ValueError):  # one that cannot be read was told of
                found = backups.whole(blob.download_as_bytes())
                whose = {"clinic": old.clinic, **found.get("source", {})}
                body = sealed.sealed({**found, "clinic": clinic.name, "source": whose})
                new = target.blob(there + blob.name.removeprefix(here))
                new.upload_from_string(json.dumps(body), _JSON, checksum="crc32c")


def _copy_all(blobs: Sequence[Blob], target: Bucket, here: str, there: str, step: Step) -> None:
    def copied(blob: Blob) -> int:
        new = target.blob(there + blob.name.removeprefix(here))
        token, _, _ = new.rewrite(blob)
        while token:
            token, _, _ = new.rewrite(blob, token=token)
        return int(blob.size)

    done = 0
    with concurrent.futures.ThreadPoolExecutor(_COPIED_AT_ONCE) as pool:
        for count, got in enumerate(pool.map(copied, blobs), start=1):
            done += got
            step.update(f"{count}/{len(blobs)} objects, {size(done)}")
