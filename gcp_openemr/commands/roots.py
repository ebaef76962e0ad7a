"""A Terraform root from its variables to its outputs: render, plan, guard, show, agree, apply."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from gcp_openemr import guard
from gcp_openemr.commands import state
from gcp_openemr.commands.context import Context
from gcp_openemr.console import Step
from gcp_openemr.render import render
from gcp_openemr.terraform import Event, Plan, Terraform

__all__ = ["FOUNDATION", "PLATFORM", "Prepared", "Root", "apply", "clinic_root", "open_root", "prepare", "summary"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Root:
    """Which root: its template folder `kind`, and its `path` below the environment.

    The path is both the state's prefix and the working directory.
    """

    kind: str
    path: str


FOUNDATION = Root(kind="foundation", path="foundation")
PLATFORM = Root(kind="platform", path="platform")


def clinic_root(clinic: str) -> Root:
    return Root(kind="clinic", path=f"clinics/{clinic}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prepared:
    """A root with a saved plan that the guard let through."""

    root: Root
    terraform: Terraform
    plan: Plan


def open_root(context: Context, root: Root, variables: Mapping[str, Any]) -> Terraform:
    """Render the working directory and connect its state."""
    directory = render(
        root.kind,
        environment_name=context.environment.name,
        state_bucket=context.environment.names.state_bucket,
        state_prefix=f"{context.environment.name}/{root.path}",
        variables=variables,
        into=context.workspace / root.path,
    )
    terraform = Terraform(
        directory,
        binary=context.terraform,
        environment=context.cloud.terraform_environment,
        unlock=lambda lock: state.unlock(context, root.path, lock),
    )
    terraform.init()
    return terraform


def prepare(
    context: Context,
    root: Root,
    variables: Mapping[str, Any],
    *,
    allowed: Collection[str] = (),
    destroy: bool = False,
) -> Prepared:
    """Plan a root and show what it would change.

    Raises:
        DataLossRefused: it would lose data that `allowed` does not name (never for `destroy`, which asked by itself).
    """
    with context.console.step(f"{root.path}: plan") as step:
        terraform = open_root(context, root, variables)
        plan = terraform.plan(destroy=destroy, compared=guard.COMPARED, report=_reporter(step))
    if not destroy:
        guard.check(plan, allowed=allowed)
    if not plan.empty:
        context.console.say(f"  {root.path}: {summary(plan)}")
        _agree(context, root, plan)
    return Prepared(root=root, terraform=terraform, plan=plan)


def _agree(context: Context, root: Root, plan: Plan) -> None:
    """Without -y: show every change, and ask. What is applied then is this very plan."""
    if context.yes:
        return
    for change in plan.changes:
        context.console.say(f"    {change.action:8} {change.address}")
    context.agree(f"Apply this to {root.path}?")


def apply(context: Context, prepared: Prepared) -> dict[str, Any]:
    """Apply the saved plan, where it changes anything, and return the root's outputs."""
    if prepared.plan.empty:
        prepared.plan.file.unlink(missing_ok=True)
    else:
        with context.console.step(f"{prepared.root.path}: apply") as step:
            prepared.terraform.apply(prepared.plan, report=_reporter(step, total=len(prepared.plan.changes)))
    return prepared.terraform.outputs()


def summary(plan: Plan) -> str:
    """What a plan does, in one line."""
    parts = [
        f"{plan.count('create', 'replace')} to create",
        f"{plan.count('update')} to change",
        f"{plan.count('delete', 'replace')} to destroy",
    ]
    return ", ".join(parts)


def _reporter(step: Step, *, total: int = 0) -> Callable[[Event], None]:
    done = 0
    began: dict[str, float] = {}  # Terraform itself tells whole seconds only

    def report(event: Event) -> None:
        nonlocal done
        what = f"{event.address} ({event.action})"
        if event.kind == "started":
            began[what] = time.monotonic()
        if event.kind == "completed":
            done += 1
            step.part(what, began.pop(what, time.monotonic()))
        progress = f"{done}/{total} " if total else ""
        step.update(f"{progress}{event.address} {event.action} {event.kind} {event.seconds:.0f} s")

    return report
