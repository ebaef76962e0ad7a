"""What Terraform does not remove: a clinic's data on the platform that stays, and what is in no state."""

from __future__ import annotations

from collections.abc import Mapping

from google.api_core.exceptions import GoogleAPICallError

from gcp_openemr import cloud_run, leftovers
from gcp_openemr.commands import jobs, leaving, taking_down
from gcp_openemr.commands.context import Context
from gcp_openemr.commands.last_sets import LastSet
from gcp_openemr.commands.leaving import Leaving
from gcp_openemr.commands.taking_down import Going, Patience
from gcp_openemr.errors import NotFinished
from gcp_openemr.leftovers import Leftover

__all__ = ["begun", "finish", "is_begun", "remove_data"]

_LOOKS = 3  # a list may be behind a deletion for a moment


def begun(context: Context, going: Leaving) -> Mapping[str, LastSet | None]:
    """The clinics whose data a former run began to remove, each with the last set that was its permission.

    A clinic half removed can make no set any more. What the provision job was last told about it says so.
    """
    told = {name: _told(context, name) for name in going.clinics}
    return {name: _permission(one) for name, one in told.items() if _removes(one)}


def is_begun(context: Context, clinic: str) -> bool:
    """Whether the last thing done to a clinic's data was its removal, whole or in part."""
    return _removes(_told(context, clinic))


def _told(context: Context, clinic: str) -> Mapping[str, str]:
    """What the provision job was last told of a clinic."""
    job = context.job_name(context.environment.names.provision_job)
    return cloud_run.last_told(context.cloud, job, "CLINIC", clinic)


def _removes(told: Mapping[str, str]) -> bool:
    return told.get("ACTION") == "remove"


def _permission(told: Mapping[str, str]) -> LastSet | None:
    manifest = told.get("FINAL_SET", "")
    return LastSet(set=manifest.rpartition("/")[2].removesuffix(".json"), manifest=manifest) if manifest else None


def remove_data(going: Going, leaves: Leaving, sets: Mapping[str, LastSet | None]) -> None:
    """Drop a clinic's schemas, accounts, keys and directory, where its platform stays.

    With the whole platform that is not done: its deletion takes them, and asks no machine to be healthy for it.
    """
    if not going.platform.provision_job:  # nothing of a clinic was ever made
        return
    clinic = taking_down.definition(going.context, leaves.clinic)
    last = sets.get(clinic.name)
    jobs.remove_data(
        going.context,
        clinic,
        going.platform,
        taking_down.versions(going.context, clinic),
        final_set=last.manifest if last else "",
    )


def finish(context: Context, going: Leaving, patience: Patience) -> None:
    """Ask Google what is left; remove what holds nothing and is in no state, until nothing is left.

    Raises:
        NotFinished: something is, with its type, its name and the command that removes it.
    """
    with context.console.step("ask Google what is left") as step:
        looks = 0
        while left := leaving.there_of(context, clinic=going.clinic, foundation=going.foundation):
            looks += 1
            reasons = _remove(context, left)
            in_time = patience.wait(step, f"{len(left)} left: {', '.join(one.name for one in left[:3])}")
            hopeless = all(one.holds for one in left) and looks > _LOOKS
            if hopeless or (not in_time and looks > _LOOKS):
                raise NotFinished(
                    f"Terraform's states are empty, but Google still has {len(left)} things of this environment's name:"
                    f"\n{leaving.told(left)}" + "".join(f"\n{reason}" for reason in reasons),
                    do=f"What is being deleted goes by itself: {patience.again}. What holds data and is in no state is "
                    "yours to judge: the command beside it removes it.",
                )


def _remove(context: Context, left: list[Leftover]) -> list[str]:
    """Remove what holds nothing. Returns what Google said against it."""
    reasons = []
    bound = [one.name for one in left if one.is_binding]
    if bound:
        leftovers.unbind(context.cloud, bound)
    for one in left:
        if one.holds or one.is_binding:
            continue
        try:
            leftovers.remove(context.cloud, one)
        except GoogleAPICallError as error:
            reasons.append(f"  {one.type} {one.name}: {error.message}")
        else:
            context.console.say(f"  removed {one.type} {one.name}, which was in no state")
    return reasons
