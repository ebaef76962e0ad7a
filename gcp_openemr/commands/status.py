"""Status and credentials: what is there now, asked of the cloud."""

from __future__ import annotations

import datetime
from typing import Any

from gcp_openemr import backups, cloud_run, lock, secret_store
from gcp_openemr.commands import state
from gcp_openemr.commands.backup import age
from gcp_openemr.commands.context import Context
from gcp_openemr.environment import Clinic
from gcp_openemr.errors import InputMissing, UsageError

__all__ = ["credentials", "status"]


def status(context: Context, *, clinic: str | None) -> bool:
    """Show every clinic's address, health, revision and secrets. Returns whether all are healthy."""
    environment = context.environment
    chosen = context.clinics(clinic)
    with context.console.step("ask the cloud"):
        holder = None
        if state.exists(context):
            holder = lock.read_holder(context.cloud.storage.bucket(environment.names.state_bucket), environment.name)
        clinics = {c.name: _clinic(context, c) for c in chosen}
    values: dict[str, Any] = {
        "environment": environment.name,
        "project": environment.project,
        "region": environment.region,
        "lock": {"who": holder.who, "command": holder.command, "acquired": holder.acquired} if holder else None,
        "clinics": clinics,
    }
    lines = [f"{environment.name} in {environment.project}, {environment.region}"]
    if holder:
        lines.append(f"  {holder.who} is changing it with `{holder.command}`")
    for name, seen in clinics.items():
        lines += _lines(name, seen)
    context.console.result(values, "\n".join(lines))
    return all(seen["healthy"] for seen in clinics.values())


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
    password = secret_store.read(context.cloud, secret_store.Secret(name=name, version=version)).reveal()
    user = chosen[0].admin_user
    found = cloud_run.service_state(context.cloud, context.service_name(chosen[0]))
    url = chosen[0].public_url or (found.uri if found else "")
    context.console.result(
        {"clinic": chosen[0].name, "url": url, "user": user, "password": password},
        f"url:      {url}\nuser:     {user}\npassword: {password}",
        secrets=(password,),
    )


def _clinic(context: Context, clinic: Clinic) -> dict[str, Any]:
    names = context.environment.clinic_names(clinic.name)
    found = cloud_run.service_state(context.cloud, context.service_name(clinic))
    if found is None:
        return {"healthy": False, "problem": "not deployed"}
    health = cloud_run.Health(healthy=not found.problem, status=0, parts={})
    if clinic.is_reachable:
        health = cloud_run.ask_health(context.cloud, found.uri)
    return {
        "healthy": health.healthy,
        "asked": clinic.is_reachable,
        "url": clinic.public_url or found.uri,
        "problem": found.problem,
        "health": dict(health.parts),
        "revision": found.ready_revision,
        "traffic": dict(found.traffic),
        "secrets": {
            "database": secret_store.find_version(context.cloud, names.database_password_secret),
            "redis": secret_store.find_version(context.cloud, names.redis_password_secret),
            "admin": secret_store.find_version(context.cloud, names.admin_password_secret),
        },
        **_backups(context, clinic),
    }


def _backups(context: Context, clinic: Clinic) -> dict[str, Any]:
    """The newest set and the last drill, None where there was none yet."""
    bucket = context.environment.names.backup_bucket
    try:
        newest = backups.newest(context.cloud, bucket, clinic.name)
        drill = backups.latest_run(context.cloud, bucket, clinic.name, "drill")
    except InputMissing:
        newest = drill = None
    fields = ("at", "ok", "set", "restore_seconds", "data_age_seconds", "error")
    return {
        "backup": {"set": newest.set, "state": newest.state, "begun": newest.begun} if newest else None,
        "drill": {field: drill[field] for field in fields if field in drill} if drill else None,
    }


def _lines(name: str, seen: dict[str, Any]) -> list[str]:
    if "url" not in seen:
        return [f"{name}: {seen['problem']}"]
    health = "healthy" if seen["healthy"] else "NOT healthy"
    traffic = ", ".join(f"{percent} % {revision}" for revision, percent in seen["traffic"].items())
    secrets = ", ".join(f"{kind} {version}" for kind, version in seen["secrets"].items())
    lines = [f"{name}: {health}  {seen['url']}", f"  traffic: {traffic}", f"  secret versions: {secrets}"]
    lines.append(f"  newest backup set: {_backup_told(seen['backup'])}; last drill: {_drill_told(seen['drill'])}")
    checks = seen["health"].get("checks", {})
    lines += [f"  {part}: {answer}" for part, answer in checks.items() if answer != "ok"]
    return lines + ([f"  problem: {seen['problem']}"] if seen["problem"] else [])


def _backup_told(backup: dict[str, Any] | None) -> str:
    if backup is None:
        return "none"
    return f"{backup['set']}, {_ago(backup['begun'])}, {backup['state']}"


def _drill_told(drill: dict[str, Any] | None) -> str:
    if drill is None:
        return "none"
    if not drill.get("ok"):
        return f"{_ago(drill['at'])}, FAILED: {drill.get('error', 'no reason was written down')}"
    restored = f"set {drill.get('set', '')} in {drill.get('restore_seconds', 0):.0f} s"
    return f"{_ago(drill['at'])}, {restored}"


def _ago(moment: datetime.datetime) -> str:
    return f"{age((datetime.datetime.now(datetime.UTC) - moment).total_seconds())} ago"
