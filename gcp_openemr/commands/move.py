"""A clinic that moves here from an older OpenEMR: its data restored as it is, saved as a set, and upgraded.

All of it comes before the clinic's first service, so there is nobody to see a page. The job `upgrade` is there from the
set on until nfs-init has seen whole data of the new release: while it is, the same command goes on from there, and a
deploy without `--upgrade` refuses.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from gcp_openemr import cloud_run
from gcp_openemr.commands import jobs
from gcp_openemr.commands.context import Context
from gcp_openemr.environment import Clinic
from gcp_openemr.errors import JobFailed
from gcp_openemr.variables import Platform, SecretVersions, Upgrading

__all__ = ["Move", "fill_and_upgrade"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Move:
    """A new clinic that may come from an older release. `apply` brings its root to this job `upgrade`, or to none.

    `under_way` is that job where an earlier run came as far.
    """

    context: Context
    clinic: Clinic
    platform: Platform
    versions: SecretVersions
    image: str
    apply: Callable[[Upgrading | None], object]
    under_way: Upgrading | None = None


def fill_and_upgrade(move: Move, source: Mapping[str, str]) -> str:
    """Install or restore a new clinic, and upgrade what is of an older release. Returns what was done.

    Raises:
        JobFailed: with the job's sentence; the same command again continues.
    """
    context, clinic = move.context, move.clinic
    upgrading = move.under_way
    if upgrading is None:
        record = _fill(move, source)
        if not record["upgrade_needed"]:
            return str(record["decision"])
        upgrading = _with_set(move, str(record["release"]))
    else:
        with context.console.step(f"clinics/{clinic.name}: earlier runs of upgrade") as step:
            name = context.job_name(context.environment.clinic_names(clinic.name).upgrade_job)
            cloud_run.await_running(context.cloud, name, step)
    move.apply(dataclasses.replace(upgrading, image=move.image))
    _upgrade(move, upgrading)
    jobs.run(context, clinic, "nfs-init", jobs.storage_variables(move.versions))
    move.apply(None)
    return "upgrade"


def _fill(move: Move, source: Mapping[str, str]) -> dict[str, Any]:
    wanted = {**source, "UPGRADE": "yes"}
    record = jobs.prepare_storage(move.context, move.clinic, move.platform, move.versions, wanted)
    if "upgrade_needed" not in record:
        raise JobFailed(
            f"Job nfs-init of '{move.clinic.name}' ended well, but did not tell of which release the data is.",
            do="See gcp-openemr logs --job nfs-init, then run the same command again.",
        )
    return record


def _with_set(move: Move, release: str) -> Upgrading:
    """What was restored, as a set to go back to under its own release."""
    to = move.context.environment.openemr.version
    move.context.console.say(f"  The data is of OpenEMR {release}. It becomes a backup set, and then OpenEMR {to}'s.")
    made = str(jobs.back_up(move.context, move.clinic)["set"])
    return Upgrading(from_version=release, to_version=to, image=move.image, set=made)


def _upgrade(move: Move, upgrading: Upgrading) -> dict[str, Any]:
    try:
        return jobs.run(move.context, move.clinic, "upgrade", {"UPGRADE_SET": upgrading.set, "DRAIN_SECONDS": "0"})
    except JobFailed as error:
        name = move.clinic.name
        raise JobFailed(
            f"{error.what} Clinic '{name}' does not serve yet, and set {upgrading.set} is its data as it was restored.",
            do=f"See gcp-openemr logs --clinic {name} --job upgrade, then run the same command again.",
        ) from error
