"""The foundation on its way down: backup sets, their passwords, images, audit logs, and last of all Terraform's state.

The state bucket was made before Terraform could keep a state in it, and goes after Terraform has nothing left to keep:
the same hands, the other way round. Until then every run finds in it what is still there.
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import Iterable

from google.api_core.exceptions import Conflict, NotFound
from google.cloud.storage import Blob

from gcp_openemr import lock
from gcp_openemr.commands import roots, state, taking_down
from gcp_openemr.commands.context import Context
from gcp_openemr.commands.taking_down import Patience
from gcp_openemr.console import Step
from gcp_openemr.errors import Locked
from gcp_openemr.variables import foundation_variables

__all__ = ["remove_state", "take_down"]

_AT_ONCE = 16
_APIS = "module.services"
_STATE = "module.state_bucket"


def take_down(context: Context, patience: Patience) -> None:
    """Destroy all of it but the state bucket and the enabled APIs, which other work in the project may use.

    Raises:
        NotFinished: Google holds something.
    """
    known = (state.outputs(context, roots.FOUNDATION.path) or {}).get("backup_stores", {})
    variables = {**foundation_variables(context.environment, known=known), "protect": False}
    modules = state.modules(context, roots.FOUNDATION.path) - {_APIS, _STATE}
    if not modules:
        return
    taking_down.lift(context, roots.FOUNDATION, variables)
    for bucket in (context.environment.names.backup_bucket, context.environment.names.build_bucket):
        _empty(context, bucket)
    taking_down.take_down(context, roots.FOUNDATION, variables, patience, targets=modules)


def remove_state(context: Context) -> None:
    """Delete the state bucket with everything in it; the environment's lock goes last.

    Raises:
        Locked: another run began in this moment.
    """
    name = context.environment.names.state_bucket
    own = lock.object_name(context.environment.name)
    _empty(context, name, but=own)
    with context.console.step(f"delete gs://{name}"):
        bucket = context.cloud.storage.bucket(name)
        _delete_all(blob for blob in bucket.list_blobs(versions=True, prefix=own))
        try:
            bucket.delete()
        except NotFound:
            return
        except Conflict as error:
            raise Locked(
                f"Another run writes into gs://{name}.", do="Wait for its end, then run this again."
            ) from error


def _empty(context: Context, name: str, *, but: str = "") -> None:
    """Delete every object of a bucket with all its versions."""
    with context.console.step(f"empty gs://{name}") as step:
        bucket = context.cloud.storage.bucket(name)
        try:
            _delete_all((blob for blob in bucket.list_blobs(versions=True) if blob.name != but), step)
        except NotFound:
            return


def _delete_all(blobs: Iterable[Blob], step: Step | None = None) -> None:
    def delete(blob: Blob) -> None:
        try:
            blob.bucket.delete_blob(blob.name, generation=blob.generation)
        except NotFound:
            return

    with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as pool:
        for count, _ in enumerate(pool.map(delete, blobs), start=1):
            if step is not None:
                step.update(f"{count} objects")
