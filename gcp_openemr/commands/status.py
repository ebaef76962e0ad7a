"""Status and credentials: what is there now, asked of the cloud."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

from google.api_core.exceptions import Forbidden

from gcp_openemr import backups, cloud_monitoring, cloud_run, cloud_sql, lock, secret_store
from gcp_openemr.commands import plan, rotations, state, status_table, unfinished
from gcp_openemr.commands.context import Context
from gcp_openemr.doctor import CHECKS, Finding, Level, Subject, examine
from gcp_openemr.doctor.examine import said
from gcp_openemr.environment import Clinic
from gcp_openemr.errors import CloudRefused, InputMissing, UsageError
from gcp_openemr.release import release
from gcp_openemr.secret_store import Secret

__all__ = ["Verdict", "credentials", "status"]

_PLATFORM = ("database", "files machine", "pinned versions")  # rows of doctor's table
_PROVIDER = re.compile(r'"registry\.terraform\.io/hashicorp/google" \{\s+version\s+= "([^"]+)"')
_AT_ONCE = 8
_DRILL_FIELDS = ("at", "ok", "set", "restore_seconds", "data_age_seconds", "error")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """`healthy`: every clinic and what they share. `drifted`: it is not what its file says, where that was asked."""

    healthy: bool
    drifted: bool


def status(context: Context, *, clinic: str | None, drift: bool = False) -> Verdict:
    """Show what stands there and how it is; with `drift` also what a deploy would change, asked of Terraform.

    Raises:
        With `drift`, what `plan` raises.
    """
    chosen = context.clinics(clinic)
    planned = plan.look(context) if drift else None
    with context.console.step("ask the cloud"):
        exists = _or_why(lambda: state.exists(context))  # who may not see it may see the rest
        values = _look(context, chosen) if exists else _nothing(context, chosen)
    text = status_table.drawn(values)
    if planned is not None:
        values["drift"] = {"empty": planned.empty, **planned.values()}
        text += f"\nDrift:\n{planned.text()}"
    context.console.result(values, text)
    return Verdict(healthy=values["healthy"], drifted=planned is not None and not planned.empty)


def credentials(context: Context, *, clinic: str | None) -> None:
    """Print the administrator's name and current password of one clinic.

    Raises:
        UsageError: there are several clinics and none was named, or it has no password yet.
    """
    chosen = context.clinics(clinic)
    if len(chosen) > 1:
        names = ", ".join(c.name for c in chosen)
        raise UsageError(f"There are several clinics: {names}.", do="Name one: gcp-openemr credentials --clinic NAME")
    name = context.environment.clinic_names(chosen[0].name).admin_password_secret
    version = secret_store.find_version(context.cloud, name)
    if version is None:
        raise UsageError(f"Clinic '{chosen[0].name}' has no password yet.", do="Deploy it first: gcp-openemr deploy")
    stands = secret_store.standing(context.cloud, name)
    if stands is not None and stands.next is not None:
        context.console.warn(
            "A rotation of this password did not end; should it not be taken: gcp-openemr rotate admin"
        )
    password = secret_store.read(context.cloud, secret_store.Secret(name=name, version=version)).reveal()
    user = chosen[0].admin_user
    found = cloud_run.service_state(context.cloud, context.service_name(chosen[0]))
    url = chosen[0].public_url or (found.uri if found else "")
    context.console.result(
        {"clinic": chosen[0].name, "url": url, "user": user, "password": password},
        f"url:      {url}\nuser:     {user}\npassword: {password}",
        secrets=(password,),
    )


def _look(context: Context, chosen: Sequence[Clinic]) -> dict[str, Any]:
    environment = context.environment
    bucket = context.cloud.storage.bucket(environment.names.state_bucket)
    holder = _or_why(lambda: lock.read_holder(bucket, environment.name))
    parts: dict[str, Callable[[], Any]] = {
        "lock": lambda: _holder(holder),
        "unfinished": lambda: _unfinished(context, holder),
        "versions": lambda: _versions(context),
        "platform": lambda: _platform(context),
        "redis_root_password": lambda: _secret(context, environment.names.redis_admin_secret),
        "cloud_sql": lambda: _own_backups(context),
        "alerts": lambda: _alerts(context),
    }
    with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as pool:
        asked = {name: pool.submit(_or_why, part) for name, part in parts.items()}
        clinics = {one.name: pool.submit(_or_why, functools.partial(_clinic, context, one)) for one in chosen}
    values = {**_place(context), **{name: part.result() for name, part in asked.items()}}
    seen = {name: {"healthy": False, **one.result()} for name, one in clinics.items()}
    platform = values["platform"]
    failed = isinstance(platform, dict) or any(part["level"] == Level.FAILED for part in platform)
    return {**values, "healthy": not failed and all(one["healthy"] for one in seen.values()), "clinics": seen}


def _nothing(context: Context, chosen: Sequence[Clinic]) -> dict[str, Any]:
    clinics = {one.name: {"healthy": False, "problem": "not deployed"} for one in chosen}
    return {**_place(context), "lock": None, "unfinished": [], "healthy": False, "clinics": clinics}


def _place(context: Context) -> dict[str, Any]:
    environment = context.environment
    return {"environment": environment.name, "project": environment.project, "region": environment.region}


def _or_why(part: Callable[[], Any]) -> Any:
    """What a part of the picture is, or `not_visible` or `problem` and why: one refusal hides nothing of the rest."""
    try:
        return part()
    except Forbidden as error:
        return {"not_visible": said(error)}
    except CloudRefused as error:
        return {"problem": error.what, "do": error.do}


def _unfinished(context: Context, holder: lock.Holder | dict[str, Any] | None) -> Any:
    """Without the lock it cannot be told from what a living run is at work on."""
    if isinstance(holder, dict):
        return holder
    return [dataclasses.asdict(one) for one in unfinished.look(context, holder)]


def _holder(holder: lock.Holder | dict[str, Any] | None) -> dict[str, Any] | None:
    if holder is None or isinstance(holder, dict):
        return holder
    told = {"who": holder.who, "command": holder.command, "acquired": holder.acquired}
    return {**told, "dead": holder.is_dead()}


def _versions(context: Context) -> dict[str, str | None]:
    """What this is, and what applies it: the provider as this folder's last run had it, None before the first."""
    root = context.workspace / "foundation"
    locked = root / ".terraform.lock.hcl"
    provider = _PROVIDER.search(locked.read_text(encoding="utf-8")) if locked.is_file() else None
    return {
        "gcp_openemr": str(release()),
        "openemr": context.environment.openemr.version,
        "terraform": state.terraform_version(context),
        "provider": provider[1] if provider else None,
    }


def _platform(context: Context) -> list[dict[str, Any]]:
    """What the clinics share, by the checks that doctor makes of it."""
    subject = Subject(
        file=context.workspace,
        workspace=context.workspace.parent,
        console=context.console,
        environment_or=context.environment,
        cloud_or=context.cloud,
        project=context.environment.project,
        region=context.environment.region,
        verbs=(),
    )
    checks = [check for check in CHECKS if check.name in _PLATFORM]
    return [_found(check.name, finding) for check, findings in examine(checks, subject) for finding in findings]


def _found(name: str, finding: Finding) -> dict[str, Any]:
    return {"part": name, "level": finding.level.value, "what": finding.what, "do": finding.do}


def _own_backups(context: Context) -> dict[str, Any] | None:
    own = cloud_sql.own_backups(context.cloud, context.environment.names.database_instance)
    if own is None:
        return None
    newest = own.backups[0] if own.backups else None
    return {
        "backups": len(own.backups),
        "newest": dataclasses.asdict(newest) if newest else None,
        "point_in_time_since": own.since,
    }


def _alerts(context: Context) -> dict[str, Any]:
    known = cloud_monitoring.policies(context.cloud, context.environment.name)
    return {
        "policies": len(known),
        "disabled": [policy.title for policy in known if not policy.enabled],
        "open": [dataclasses.asdict(alert) for alert in cloud_monitoring.open_alerts(context.cloud, known)],
    }


def _clinic(context: Context, clinic: Clinic) -> dict[str, Any]:
    names = context.environment.clinic_names(clinic.name)
    found = cloud_run.service_state(context.cloud, context.service_name(clinic))
    if found is None:
        return {"healthy": False, "problem": "not deployed"}
    health = cloud_run.Health(healthy=not found.problem, status=0, parts={})
    if clinic.is_reachable:
        health = cloud_run.ask_health(context.cloud, found.uri)
    secrets = {
        field.removesuffix("_password_secret"): name
        for field, name in names.as_tfvars().items()
        if field.endswith("_secret")
    }
    return {
        "healthy": health.healthy,
        "asked": clinic.is_reachable,
        "url": clinic.public_url or found.uri,
        "problem": found.problem,
        "health": dict(health.parts),
        "openemr": found.openemr,
        "image": found.image,
        "revision": found.ready_revision,
        "traffic": dict(found.traffic),
        "secrets": {kind: _or_why(functools.partial(_secret, context, name)) for kind, name in secrets.items()},
        "rotation": _or_why(lambda: rotations.look(context, clinic, health).complaints),
        "backup": _or_why(lambda: _backup(context, clinic)),
        "drill": _or_why(lambda: _drill(context, clinic)),
    }


def _secret(context: Context, name: str) -> dict[str, Any] | None:
    """The version in force and since when it exists; None before the first."""
    version = secret_store.find_version(context.cloud, name)
    if version is None:
        return None
    return {"version": version, "made": secret_store.made(context.cloud, Secret(name=name, version=version))}


def _backup(context: Context, clinic: Clinic) -> dict[str, Any] | None:
    """The newest set; None where there was none yet."""
    try:
        newest = backups.newest(context.cloud, context.environment.names.backup_bucket, clinic.name)
    except InputMissing:
        return None
    return {"set": newest.set, "state": newest.state, "begun": newest.begun} if newest else None


def _drill(context: Context, clinic: Clinic) -> dict[str, Any] | None:
    """The last trial restore; None where there was none yet."""
    try:
        drill = backups.latest_run(context.cloud, context.environment.names.backup_bucket, clinic.name, "drill")
    except InputMissing:
        return None
    return {field: drill[field] for field in _DRILL_FIELDS if field in drill} if drill else None
