"""A Terraform root from its variables to its outputs: render, plan, guard, show, agree, apply."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Collection, Mapping, Set
from typing import Any

from gcp_openemr import adoption, guard
from gcp_openemr.commands import state
from gcp_openemr.commands.context import Context
from gcp_openemr.console import Step
from gcp_openemr.errors import DataLossRefused
from gcp_openemr.render import render
from gcp_openemr.terraform import Terraform
from gcp_openemr.terraform_failures import ThereAlready
from gcp_openemr.terraform_messages import Event, Plan

__all__ = [
    "FOUNDATION",
    "PLATFORM",
    "Prepared",
    "Root",
    "adopt",
    "apply",
    "clinic_root",
    "open_root",
    "prepare",
    "summary",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Root:
    """Which root: its template folder `kind`, and its `path` below the environment.

    The path is both the state's prefix and the working directory.
    """

    kind: str
    path: str


_STATELESS = "stateless_override.tf"
FOUNDATION = Root(kind="foundation", path="foundation")
PLATFORM = Root(kind="platform", path="platform")


def clinic_root(clinic: str) -> Root:
    return Root(kind="clinic", path=f"clinics/{clinic}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prepared:
    """A root with a saved plan that the guard let through; `allowed` as it was asked for."""

    root: Root
    terraform: Terraform
    plan: Plan
    allowed: Collection[str] = ()


def open_root(context: Context, root: Root, variables: Mapping[str, Any], *, looking: bool = False) -> Terraform:
    """Render the working directory and connect its state.

    `looking` is for a plan that is thrown away, perhaps by one who may write nothing: Terraform would make a state
    where there is none yet, so that it is let to have none.
    """
    directory = render(
        root.kind,
        environment_name=context.environment.name,
        state_bucket=context.environment.names.state_bucket,
        state_prefix=f"{context.environment.name}/{root.path}",
        variables=variables,
        into=context.workspace / root.path,
    )
    stateless = directory / _STATELESS
    if looking and not any(state.version(context, root.path)):
        stateless.write_text('terraform {\n  backend "local" {}\n}\n')
    else:
        stateless.unlink(missing_ok=True)
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
    targets: Collection[str] = (),
) -> Prepared:
    """Plan a root, or those of its modules and resources that `targets` names, and show what it would change.

    Raises:
        DataLossRefused: it would lose data that `allowed` does not name (never for `destroy`, which asked by itself).
        PlanChanged: another plan of this root was reviewed.
    """
    with context.console.step(f"{root.path}: plan") as step:
        terraform = open_root(context, root, variables)
        plan = terraform.plan(destroy=destroy, targets=targets, report=_reporter(step))
    if context.reviewed is not None:
        context.reviewed.check_root(root.path, plan)
    if not destroy:
        guard.check(plan, root=root.path, allowed=allowed)
    if not plan.empty:
        context.console.say(f"  {root.path}: {summary(plan)}")
        _agree(context, root, plan)
    return Prepared(root=root, terraform=terraform, plan=plan, allowed=allowed)


def _agree(context: Context, root: Root, plan: Plan) -> None:
    """Without -y: show every change, and ask. What is applied then is this very plan."""
    if context.yes:
        return
    for change in plan.changes:
        context.console.say(f"    {change.action:8} {change.address}")
    context.agree(f"Apply this to {root.path}?")


def apply(context: Context, prepared: Prepared) -> dict[str, Any]:
    """Apply the saved plan, where it changes anything, and return the root's outputs.

    What exists already and is this environment's is adopted: again and again, since what depends on it comes after it,
    as long as every round finds something new.
    """
    adopted: set[str] = set()
    while True:
        try:
            _apply(context, prepared)
        except ThereAlready as failure:
            if adopted.issuperset(failure.addresses):
                raise
            adopted |= {*failure.addresses}
            prepared = _adopt(context, prepared, failure)
        else:
            return prepared.terraform.outputs()


def _apply(context: Context, prepared: Prepared) -> None:
    if prepared.plan.empty:
        prepared.plan.file.unlink(missing_ok=True)
        return
    with context.console.step(f"{prepared.root.path}: apply") as step:
        prepared.terraform.apply(prepared.plan, report=_reporter(step, total=len(prepared.plan.changes)))


def _adopt(context: Context, prepared: Prepared, failure: ThereAlready) -> Prepared:
    """A plan that imports what exists already; the failure again where nothing of it can be adopted."""
    root, terraform = prepared.root, prepared.terraform
    with context.console.step(f"{root.path}: look at what exists already") as step:
        creations = terraform.creations()
        named = {address: creations[address] for address in failure.addresses if address in creations}
        found = adoption.find(context.environment, context.cloud, named, step.update)
        if not found:
            raise failure
        imports = {one.address: one.id for one in found}
        plan = terraform.plan(imports=imports, report=_reporter(step))
    _refuse_other_shapes(plan, imports)
    guard.check(plan, root=root.path, allowed=prepared.allowed)
    _agree(context, root, plan)
    told = [f"{one.address} ({one.id})" for one in found] + adoption.finish(context.cloud, context.environment, found)
    context.console.say(
        f"  {root.path}: adopts what is there and in no state; by name, project and labels it is this "
        f"environment's: {', '.join(told)}"
    )
    return dataclasses.replace(prepared, plan=plan)


def adopt(context: Context, root: Root, variables: Mapping[str, Any], names: Set[str]) -> None:
    """Take what exists under these names and is in no state into the root's state, as far as it is this environment's.

    Raises:
        TerraformFailed: one of them is not.
    """
    with context.console.step(f"{root.path}: look at what is in no state") as step:
        terraform = open_root(context, root, variables)
        planned = {
            address: (type_, values)
            for address, (type_, values) in terraform.creations().items()
            if names & {str(value) for value in values.values()}
        }
        found = adoption.find(context.environment, context.cloud, planned, step.update)
        if not found:
            return
        imports = {one.address: one.id for one in found}
        terraform.apply(terraform.plan(imports=imports, targets=imports, report=_reporter(step)))
    context.console.say(f"  {root.path}: adopted {', '.join(imports.values())}, which was in no state")


def _refuse_other_shapes(plan: Plan, found: Mapping[str, str]) -> None:
    """Nothing is adopted to be destroyed, whatever was allowed for what is known."""
    strange = [change for change in plan.changes if change.address in found and change.action in ("delete", "replace")]
    if strange:
        told = "".join(f"\n  {c.address}: {found[c.address]} ({c.reason})" for c in strange)
        raise DataLossRefused(
            f"What exists already has another shape than planned, and adopting it would replace it:{told}",
            do="Nothing of it was changed. Bring the environment file to its shape, or delete it if it is nobody's.",
        )


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
