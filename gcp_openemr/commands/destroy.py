"""Destroy: last sets, then clinics, then the platform, its network last; and the question to Google what is left.

What goes and what stays is shown first. Where a run stopped is read from Terraform's states and from Google, so the
next one goes on: it makes no last set where a former run took the clinic's jobs away, and lifts no protection twice.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from gcp_openemr.commands import foundation_removal, last_sets, leaving, removal, roots, state, taking_down
from gcp_openemr.commands.context import Context, changing
from gcp_openemr.commands.last_sets import LastSet
from gcp_openemr.commands.leaving import Leaving, Wish
from gcp_openemr.commands.taking_down import Going, Patience
from gcp_openemr.errors import CloudRefused
from gcp_openemr.variables import Foundation, Platform

__all__ = ["Wish", "destroy"]


def destroy(context: Context, wish: Wish) -> None:
    """Take the environment down, or one clinic of it.

    Raises:
        UsageError: a name was not given or is another one.
        EnvironmentInvalid: the file describes something else than what stands there.
        Locked: what stands there changed while it was agreed to.
        JobFailed: a clinic could not be backed up.
        NotFinished: Google holds something, or a person has to judge what is left.
        What Terraform and Google raise.
    """
    leaving.check_names(context, wish)
    going = leaving.look(context, wish)
    if going.is_nothing:
        context.console.result(
            {"environment": context.environment.name, "destroyed": [], "left": []},
            f"{context.environment.name}: nothing to destroy.",
        )
        return
    leaving.show(context, going)
    leaving.agree(context, going)
    if not state.exists(context):
        raise CloudRefused(
            f"There is no state bucket {context.environment.names.state_bucket}, so Terraform knows nothing of "
            f"what carries this environment's name:\n{leaving.told(going.there)}",
            do="Look whether it is yours and holds nothing; then delete it by these commands.",
        )
    patience = Patience(wish.wait, wish.again)
    agreed = dataclasses.replace(context, yes=True)
    with changing(agreed, wish.command) as held:
        going = leaving.look_again(agreed, going)
        sets, destroyed = _take_down(agreed, going, patience, held.check)
        if going.foundation:
            held.check()
            foundation_removal.take_down(agreed, patience)
            destroyed.append("foundation")
        removal.finish(agreed, going, patience)
        if going.foundation:
            foundation_removal.remove_state(agreed)
    _report(context, going, sets, destroyed)


def _take_down(
    context: Context, leaves: Leaving, patience: Patience, check: Any
) -> tuple[dict[str, LastSet], list[str]]:
    """Clinics and platform. Returns the last sets and what was destroyed."""
    outputs = state.outputs(context, roots.FOUNDATION.path)
    if outputs is None or not (leaves.clinics or leaves.platform):
        return {}, []
    platform = Platform(outputs=state.outputs(context, roots.PLATFORM.path) or {})
    going = Going(
        context=context,
        foundation=Foundation.of(outputs),
        platform=platform,
        patience=patience,
        strays=leaving.strays(context, leaves.there),
    )
    clinics = [taking_down.definition(context, name) for name in leaves.clinics]
    gone = removal.begun(context, leaves)
    sets = last_sets.take(going, [one for one in clinics if one.name not in gone], leaves.there) if leaves.sets else {}
    check()
    if leaves.clinic:
        removal.remove_data(going, leaves, {**sets, **gone})
        check()
    taking_down.side_by_side(lambda clinic: taking_down.take_down_clinic(going, clinic), clinics)
    destroyed = [f"clinics/{clinic.name}" for clinic in clinics]
    if leaves.platform:
        check()
        taking_down.take_down_platform(going)
        destroyed.append("platform")
    return sets, destroyed


def _report(context: Context, going: Leaving, sets: dict[str, LastSet], destroyed: list[str]) -> None:
    names = context.environment.names
    kept = [] if going.foundation else [names.backup_bucket, names.state_bucket, names.registry, names.log_bucket]
    values = {
        "environment": context.environment.name,
        "destroyed": destroyed,
        "last_sets": {name: one.set for name, one in sets.items()},
        "kept": kept,
        "left": [],
    }
    told = [f"{context.environment.name}: {', '.join(destroyed) or 'what was left'} destroyed."]
    told += [f"Last set of {name}: {one.set}" for name, one in sets.items()]
    told += [f"Kept: {', '.join(kept)}." if kept else leaving.NOTHING_KEPT]
    told += ["Google has nothing else of it." if not going.clinic else f"Google has nothing else of {going.clinic}."]
    context.console.result(values, "\n".join(told))
