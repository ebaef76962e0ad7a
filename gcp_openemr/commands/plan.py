"""Plan: what deploy would change, what that interrupts and how long it takes, without changing anything."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from gcp_openemr import cloud_run, effects, guard, image, lock, secret_store
from gcp_openemr.commands import deployed, roots, state
from gcp_openemr.commands.context import Context
from gcp_openemr.console import spoken
from gcp_openemr.environment import Clinic
from gcp_openemr.image import Images
from gcp_openemr.reviewed import Reviewed, reviewed
from gcp_openemr.terraform_messages import Change, Plan
from gcp_openemr.variables import (
    Foundation,
    Platform,
    SecretVersions,
    clinic_variables,
    foundation_variables,
    platform_variables,
)

__all__ = ["Summary", "look", "plan", "record", "without_traffic"]

_BUILD_SECONDS = 900


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
    """What a deploy would change, by root (`platform`, `clinics/main`), and what beside Terraform it would do.

    `later` names what can be planned only after that.
    """

    roots: Mapping[str, Plan]
    notes: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    build: bool = False

    @property
    def empty(self) -> bool:
        return not self.notes and not self.later and all(not plan.changes for plan in self.roots.values())

    @property
    def drifted(self) -> tuple[str, ...]:
        """What was changed outside of Terraform since the last apply, and would be changed back."""
        return tuple(
            guard.rooted(root, change.address)
            for root, plan in self.roots.items()
            for change in plan.changes
            if change.drifted
        )

    @property
    def interrupts(self) -> tuple[str, ...]:
        """What people notice, each thing once."""
        found = (effects.of(change).interrupts for plan in self.roots.values() for change in plan.changes)
        return tuple(dict.fromkeys(text for text in found if text))

    @property
    def seconds(self) -> int:
        """How long it usually takes: root after root, in each its slowest change, since most go side by side."""
        each = (max((effects.of(change).seconds for change in plan.changes), default=0) for plan in self.roots.values())
        return sum(each) + (_BUILD_SECONDS if self.build else 0)

    def values(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "roots": {name: _values(name, plan) for name, plan in self.roots.items()},
            "notes": [*self.notes, *self.later],
            "drifted": list(self.drifted),
            "interrupts": list(self.interrupts),
            "seconds": self.seconds,
        }

    def text(self) -> str:
        """For people."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        for name, plan in self.roots.items():
            yield f"{name}: {roots.summary(plan)}"
            for change in plan.changes:
                yield from _lines(change)
        yield from (*self.notes, *self.later)
        if self.empty:
            yield "Nothing would change."
            return
        yield f"Interrupts: {'; '.join(self.interrupts) or 'nothing'}."
        yield f"Takes about {spoken(max(self.seconds, 10))} on Google Cloud."


def plan(context: Context, *, out: Path | None = None) -> bool:
    """Show what deploy would change; write it to `out` for a review. Returns whether it would change anything.

    Raises:
        EnvironmentInvalid: the file asks for what no deploy can change.
    """
    seen = look(context)
    if out is not None:
        record(context, seen).write(out)
    context.console.result(seen.values(), seen.text())
    return not seen.empty


def record(context: Context, seen: Summary) -> Reviewed:
    """What was seen, as it is reviewed and compared."""
    states = {root: state.version(context, root) for root in seen.roots}
    return reviewed(context.environment, seen.roots, states, (*seen.notes, *seen.later))


def look(context: Context) -> Summary:
    """Plan every root as a deploy would, and apply none.

    Raises:
        EnvironmentInvalid: the file asks for what no deploy can change.
        TerraformFailed: a root cannot be planned.
    """
    beside = deployed.check(context)
    if not state.exists(context):
        news = "Nothing exists yet: deploy makes the foundation, the platform and every clinic."
        return Summary(roots={}, notes=(*beside, news), build=True)
    found = _look(context)
    return dataclasses.replace(found, notes=(*beside, *found.notes))


def _look(context: Context) -> Summary:
    environment = context.environment
    outputs = state.outputs(context, roots.FOUNDATION.path)
    known = (outputs or {}).get("backup_stores", {})
    plans = {roots.FOUNDATION.path: _plan(context, roots.FOUNDATION, foundation_variables(environment, known=known))}
    if outputs is None:
        rest = "The platform and the clinics can be planned once the foundation is there."
        return Summary(roots=plans, later=(rest,), build=True)
    foundation = Foundation.of(outputs)
    wanted = image.source(version=environment.openemr.version, arguments=environment.openemr.build_arguments)
    images = image.find(context.cloud, foundation.build_place(environment.region), wanted)
    notes = () if images else (f"The image {wanted.tag} would be built.",)
    platform = Platform(outputs=state.outputs(context, roots.PLATFORM.path) or {})
    version = secret_store.find_version(context.cloud, environment.names.redis_admin_secret)
    variables = platform_variables(
        environment, foundation, images=images, redis_admin_version=version, protect=environment.protect
    )
    plans[roots.PLATFORM.path] = _plan(context, roots.PLATFORM, variables)
    if not platform.provision_job or images is None:
        rest = "The clinics can be planned once the platform and the image are there."
        return Summary(roots=plans, notes=notes, later=(rest,), build=images is None)
    for clinic in environment.clinics.values():
        root = roots.clinic_root(clinic.name)
        plans[root.path] = _plan(context, root, _clinic_variables(context, clinic, foundation, platform, images))
    settled = [name for name in environment.clinics if plans[roots.clinic_root(name).path].empty]
    return Summary(roots=plans, notes=(*notes, *without_traffic(context, settled)))


def without_traffic(context: Context, clinics: Collection[str]) -> Iterator[str]:
    """New revisions that a deploy ended before: traffic is not Terraform's, whose plan says nothing of it.

    While somebody changes the environment, it may be that run that has not come to it yet.
    """
    bucket = context.cloud.storage.bucket(context.environment.names.state_bucket)
    holder = lock.read_holder(bucket, context.environment.name)
    if holder is not None and not holder.is_dead():
        return
    for name in clinics:
        seen = cloud_run.service_state(context.cloud, context.service_name(context.environment.clinic(name)))
        if seen is not None and not seen.newest_serves:
            yield f"Clinic '{name}': revision {seen.created_revision} would get the traffic, which it does not have."


def _clinic_variables(
    context: Context, clinic: Clinic, foundation: Foundation, platform: Platform, images: Images
) -> dict[str, Any]:
    versions = _versions(context, clinic)
    return clinic_variables(
        context.environment,
        clinic,
        foundation,
        platform,
        images,
        versions=versions,
        serve=versions is not None,
        protect=context.environment.protect,
    )


def _versions(context: Context, clinic: Clinic) -> SecretVersions | None:
    names = context.environment.clinic_names(clinic.name)
    database = secret_store.find_version(context.cloud, names.database_password_secret)
    redis = secret_store.find_version(context.cloud, names.redis_password_secret)
    admin = secret_store.find_version(context.cloud, names.admin_password_secret)
    if database is None or redis is None or admin is None:
        return None
    return SecretVersions(database_password=database, redis_password=redis, admin_password=admin)


def _plan(context: Context, root: roots.Root, variables: dict[str, Any]) -> Plan:
    with context.console.step(f"{root.path}: plan"):
        terraform = roots.open_root(context, root, variables, looking=True)
        seen = terraform.plan(lock=False)
    seen.file.unlink()
    return seen


def _values(root: str, plan: Plan) -> dict[str, Any]:
    return {
        "changes": [
            {
                "address": change.address,
                "action": change.action,
                "reason": change.reason,
                "values": list(effects.changed(change)),
                "drifted": change.drifted,
                **dataclasses.asdict(effects.of(change)),
            }
            for change in plan.changes
        ],
        "would_lose_data": [guard.rooted(root, change.address) for change in guard.losses(plan)],
        "summary": roots.summary(plan),
    }


def _lines(change: Change) -> Iterator[str]:
    reason = ", ".join(part for part in (change.reason, "changed by hand" if change.drifted else "") if part)
    yield f"  {change.action:8} {change.address}" + (f"  ({reason})" if reason else "")
    yield from (f"             {text}" for text in effects.changed(change))
    if lost := guard.lost(change):
        yield f"           ! loses {lost}"
    if interrupts := effects.of(change).interrupts:
        yield f"           interrupts {interrupts}"
