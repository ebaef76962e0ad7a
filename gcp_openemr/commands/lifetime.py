"""How long an environment for review lives: until the day that the label `expires` of its state bucket names."""

from __future__ import annotations

import datetime

from gcp_openemr.commands.context import Context
from gcp_openemr.errors import UsageError

__all__ = ["is_over"]

_LABEL = "expires"


def is_over(context: Context) -> bool:
    """Whether the environment as it was last deployed has expired; if not, says until when it stays.

    Raises:
        UsageError: it was deployed without an end, so that nothing may end it by itself.
    """
    name = context.environment.name
    bucket = context.cloud.storage.lookup_bucket(context.environment.names.state_bucket)
    if bucket is None:
        return True  # there is nothing, and the same answer as for what was destroyed already
    written = bucket.labels.get(_LABEL, "")
    if not written:
        raise UsageError(
            f"'{name}' was deployed without a label {_LABEL}, so it stays.",
            do="Deploy it with one, or destroy it without --expired.",
        )
    last_day = datetime.date.fromisoformat(written)
    if last_day < datetime.datetime.now(datetime.UTC).date():
        return True
    context.console.result(
        {"environment": name, "destroyed": [], "expires": written}, f"{name}: stays until the end of {written} (UTC)."
    )
    return False
