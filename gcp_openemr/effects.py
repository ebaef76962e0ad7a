"""What a planned change means for the people who use a clinic: what it interrupts, and how long it takes.

A table by type, action and changed values; the first row that fits a changed value tells of it. Times are what Google
usually takes, in seconds. Where Google says that a change restarts something:
https://cloud.google.com/sql/docs/mysql/instance-settings#impact
https://cloud.google.com/run/docs/rollouts-rollbacks-traffic-migration
https://cloud.google.com/compute/docs/instance-groups/rolling-out-updates-to-managed-instance-groups
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from gcp_openemr.terraform_messages import Change

__all__ = ["ROWS", "Effect", "changed", "of"]

_ANY = ("",)
_EACH_SECONDS = {"create": 10, "update": 5, "replace": 20, "delete": 10}
_SHOWN = 60
_HIDDEN = ("env", "environment", "metadata", "labels", "user_labels")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Effect:
    """`interrupts` is a sentence without its full stop, empty for nothing; `seconds` is what Google usually takes."""

    interrupts: str
    seconds: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """A row of the table: `below` are beginnings of changed values' paths, without the indices of blocks."""

    type: str
    actions: tuple[str, ...]
    effect: Effect
    below: tuple[str, ...] = _ANY


def _row(type_: str, actions: str, seconds: int, interrupts: str = "", below: str = "") -> Row:
    return Row(
        type=f"google_{type_}",
        actions=tuple(actions.split()),
        effect=Effect(interrupts=interrupts, seconds=seconds),
        below=tuple(below.split()) or _ANY,
    )


_RESTART = "the database restarts: every clinic stands still for a minute or two"
_FILES = "the files machine is made anew: every clinic stands still for some minutes, and people log in again"
_AWAY = "every clinic is away until it is there again"
ROWS = (
    _row("sql_database_instance", "create", 1200),
    _row("sql_database_instance", "replace delete", 1500, _AWAY),
    _row(
        "sql_database_instance",
        "update",
        300,
        _RESTART,
        "settings.tier settings.edition settings.availability_type settings.location_preference"
        " settings.database_flags settings.backup_configuration.enabled"
        " settings.backup_configuration.binary_log_enabled",
    ),
    _row("sql_database_instance", "update", 60),
    _row("compute_instance_group_manager", "create", 120),
    _row("compute_instance_group_manager", "replace delete", 180, _FILES),
    _row("compute_instance_group_manager", "update", 240, _FILES, "version update_policy stateful_disk"),
    _row("compute_disk", "replace delete", 60, _AWAY),
    _row("compute_forwarding_rule", "create", 30),
    _row("compute_forwarding_rule", "replace delete", 60, "every clinic loses its database until it is there again"),
    _row("dns_managed_zone", "replace delete", 60, "every clinic loses its database until it is there again"),
    _row("dns_record_set", "replace delete", 310, "every clinic loses its database until it is there again"),
    _row("compute_network", "replace delete", 120, _AWAY),
    _row("compute_subnetwork", "replace delete", 60, _AWAY),
    _row(
        "compute_address", "replace delete", 20, "what is reached by this address is away until it is told the new one"
    ),
    _row("compute_router_nat", "replace delete", 60, "the files machine cannot fetch packages meanwhile"),
    _row("compute_firewall", "replace delete", 15, "what it lets in is kept out meanwhile"),
    _row("cloud_run_v2_service", "create", 60),
    _row("cloud_run_v2_service", "update", 10, "who may come from where changes at once", "ingress"),
    _row("cloud_run_v2_service", "update", 60, "", "template"),  # a new revision takes over when it is healthy
    _row("cloud_run_v2_service", "replace delete", 60, "this clinic is away until it is there again"),
    _row("cloud_run_v2_service_iam_member", "replace delete", 10, "those callers are kept out"),
    _row("cloud_run_v2_job", "replace delete", 15, "a run that is under way ends"),
    _row("cloud_scheduler_job", "delete", 10, "nothing starts this job by itself any more"),
    _row("project_iam_audit_config", "delete", 10, "the record of who reads patients' data stops"),
    _row("monitoring_alert_policy", "delete", 10, "nobody is told of it any more"),
    _row("monitoring_notification_channel", "delete", 10, "those people are told of nothing any more"),
    _row("artifact_registry_repository", "create", 30),
    _row("project_service", "create", 60),
)


def of(change: Change) -> Effect:
    """What a change interrupts, each thing once, and the longest time that any of its values takes."""
    found = [*_fitting(change)] or [Effect(interrupts="", seconds=_EACH_SECONDS.get(change.action, 5))]
    told = dict.fromkeys(effect.interrupts for effect in found if effect.interrupts)
    return Effect(interrupts="; ".join(told), seconds=max(effect.seconds for effect in found))


def changed(change: Change) -> tuple[str, ...]:
    """What an update or a replacement changes, as `path: before → after`; what may tell too much by its path alone."""
    return tuple(_told(path, before, after) for path, before, after in _differences("", change.before, change.after))


def _fitting(change: Change) -> Iterator[Effect]:
    rows = [row for row in ROWS if row.type == change.type and change.action in row.actions]
    paths = (
        [path for path, _, _ in _differences("", change.before, change.after)] if change.action == "update" else [""]
    )
    for path in paths:
        plain = ".".join(step for step in path.split(".") if not step.isdigit())
        row = next((row for row in rows if plain.startswith(row.below)), None)
        if row is not None:
            yield row.effect


def _differences(path: str, before: Any, after: Any) -> Iterator[tuple[str, Any, Any]]:
    """The innermost values that differ. What is known only after the apply is missing in `after`, and no difference."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in sorted({*before, *after}):
            if key in after:
                yield from _differences(f"{path}.{key}" if path else key, before.get(key), after[key])
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from _differences(f"{path}.{number}", old, new)
    elif before != after and (before or after):
        yield path, before, after


def _told(path: str, before: Any, after: Any) -> str:
    plain = ".".join(step for step in path.split(".") if not step.isdigit())
    if set(plain.split(".")) & set(_HIDDEN) or any(isinstance(value, list | dict) for value in (before, after)):
        return plain
    texts = [str(value)[:_SHOWN] if value not in (None, "") else "nothing" for value in (before, after)]
    return f"{plain}: {texts[0]} → {texts[1]}"
