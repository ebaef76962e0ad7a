"""The foundation root as a step of others: brought to what the file says, or found to be that already."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from gcp_openemr import soft_deleted
from gcp_openemr.commands import roots, state
from gcp_openemr.commands.context import Context
from gcp_openemr.errors import CloudRefused
from gcp_openemr.variables import foundation_variables

__all__ = ["bring_about"]

# Whoever may make buckets in the project is taken for one who may change what outlives every teardown.
_CHANGING = "storage.buckets.create"


def bring_about(context: Context, allowed: Collection[str]) -> dict[str, Any]:
    """Apply the foundation and return its outputs.

    Raises:
        CloudRefused: it would change, and the caller is one who may deploy upon it, and not change it.
        DataLossRefused: its plan would lose data that `allowed` does not name.
    """
    outputs = state.outputs(context, roots.FOUNDATION.path)
    variables = foundation_variables(context.environment, known=(outputs or {}).get("backup_stores", {}))
    if outputs is not None and not _may_change(context):
        return _left(context, variables)
    if outputs is None:
        for name in soft_deleted.bring_back(context.environment, context.cloud):
            context.console.say(f"  {name} was deleted and is still kept; it is brought back")
    return roots.apply(context, roots.prepare(context, roots.FOUNDATION, variables, allowed=allowed))


def _left(context: Context, variables: dict[str, Any]) -> dict[str, Any]:
    """The outputs of a foundation that is as the file says."""
    with context.console.step(f"{roots.FOUNDATION.path}: plan"):
        terraform = roots.open_root(context, roots.FOUNDATION, variables)
        plan = terraform.plan()
        plan.file.unlink()
    if context.reviewed is not None:
        context.reviewed.check_root(roots.FOUNDATION.path, plan)
    if not plan.empty:
        listed = "".join(f"\n  {change.action} {change.address}" for change in plan.changes)
        raise CloudRefused(
            f"The foundation is not as the file says, and this identity may not change it:{listed}",
            do="Let an administrator run: gcp-openemr bootstrap",
        )
    return terraform.outputs()


def _may_change(context: Context) -> bool:
    path = f"v3/projects/{context.environment.project}:testIamPermissions"
    answer = context.cloud.ask("cloudresourcemanager", path, body={"permissions": [_CHANGING]})
    return _CHANGING in answer.get("permissions", ())
