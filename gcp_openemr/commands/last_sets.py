"""The last backup set of a clinic that goes: one while it serves, to see that it can be made; one when nobody writes.

Nothing of a clinic is taken away before every clinic could make a set. Between that set and the end people may have
written, so the service is closed and a second set, which costs what changed, is the last one; all data is read back.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence

from gcp_openemr import backups
from gcp_openemr.commands import jobs, roots, state, taking_down
from gcp_openemr.commands.taking_down import Going
from gcp_openemr.environment import Clinic
from gcp_openemr.errors import GcpOpenemrError, JobFailed
from gcp_openemr.leftovers import Leftover

__all__ = ["LastSet", "take"]

_WITHOUT = "--without-final-backup"


@dataclasses.dataclass(frozen=True, kw_only=True)
class LastSet:
    """A clinic's last set: its id, and the `gs://…` of its manifest."""

    set: str
    manifest: str


def take(going: Going, clinics: Sequence[Clinic], there: Collection[Leftover]) -> dict[str, LastSet]:
    """Make the last set of every clinic that can still change, and close it. Returns the last set of each that has one.

    A clinic without protections, service and backup job was closed by an earlier run: Terraform takes jobs before what
    they need, so as long as there is one it can do its work.

    Raises:
        JobFailed: a clinic cannot be backed up; the text says what was done until then, and what to do.
    """
    names = {one.name for one in there}
    living = [clinic for clinic in clinics if _lives(going, clinic, names)]
    try:
        taking_down.side_by_side(lambda clinic: jobs.back_up(going.context, clinic), living)
    except GcpOpenemrError as error:
        raise _refused(error, "A clinic could not be backed up, so nothing was changed.") from error
    taking_down.side_by_side(lambda clinic: taking_down.close(going, clinic), living)
    try:
        made = taking_down.side_by_side(lambda clinic: _last(going, clinic), living)
    except GcpOpenemrError as error:
        closed = "The clinics are closed, but a last set could not be made. Nothing of their data was removed"
        raise _refused(error, f"{closed}; to open them again: gcp-openemr deploy.") from error
    return {**_earlier(going, [one for one in clinics if one not in living]), **made}


def _lives(going: Going, clinic: Clinic, names: Collection[str]) -> bool:
    """It can make a set; or it should, since a destroy lifts protections before it takes service and jobs away."""
    own = going.context.environment.clinic_names(clinic.name)
    there = own.service in names or own.backup_job in names
    return there or bool(state.protected(going.context, roots.clinic_root(clinic.name).path))


def _last(going: Going, clinic: Clinic) -> LastSet:
    made = jobs.back_up(going.context, clinic)
    jobs.run(going.context, clinic, "verify", {"SET": str(made["set"]), "READ_DATA": "all"})
    return LastSet(set=str(made["set"]), manifest=str(made["manifest"]))


def _earlier(going: Going, clinics: Sequence[Clinic]) -> Mapping[str, LastSet]:
    """The newest verified sets of clinics that an earlier run closed."""
    found: dict[str, LastSet] = {}
    bucket = going.context.environment.names.backup_bucket
    for clinic in clinics:
        sets, _ = backups.read_sets(going.context.cloud, bucket, clinic.name)
        newest = next((one for one in sets if one.is_verified), None)
        if newest is not None:
            found[clinic.name] = LastSet(set=newest.set, manifest=backups.manifest(bucket, newest))
    return found


def _refused(error: GcpOpenemrError, what: str) -> JobFailed:
    return JobFailed(f"{what} {error.what}", do=f"{error.do} To destroy it all the same: {_WITHOUT}".strip())
