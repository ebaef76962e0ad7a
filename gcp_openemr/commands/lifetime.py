"""How long an environment for review lives: until the day that the label `expires` of what was deployed names."""

from __future__ import annotations

import datetime

from gcp_openemr.commands import state
from gcp_openemr.commands.context import Context
from gcp_openemr.errors import UsageError

__all__ = ["is_over"]

_LABEL = "expires"


def is_over(context: Context) -> bool:
    """Whether the environment as it was last deployed has expired; if not, says until when it stays.

    Where a deploy was interrupted while it changed the day, the later one holds. Of what is gone already it is over.

    Raises:
        UsageError: it was deployed without an end, so that nothing may end it by itself.
    """
    name = context.environment.name
    labels = [
        attributes.get("user_labels") or attributes.get("labels") or {}
        for address, attributes in (state.deployed(context) if state.exists(context) else ())
        if not address.startswith("foundation.")
    ]
    days = [written[_LABEL] for written in labels if _LABEL in written]
    if labels and not days:
        raise UsageError(
            f"'{name}' was deployed without a label {_LABEL}, so it stays.",
            do="Deploy it with one, or destroy it without --expired.",
        )
    last_day = max(map(datetime.date.fromisoformat, days), default=datetime.date.min)
    if last_day < datetime.datetime.now(datetime.UTC).date():
        return True
    context.console.result(
        {"environment": name, "destroyed": [], "expires": last_day},
        f"{name}: stays until the end of {last_day} (UTC).",
    )
    return False
