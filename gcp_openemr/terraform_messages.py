"""What Terraform tells as JSON: plans with their changes, what it does while it works, and the contents of a state."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

__all__ = ["Change", "Event", "Plan", "change_of", "contents", "event_of", "parse", "with_values"]

_KINDS = {"apply_start": "started", "apply_complete": "completed", "apply_errored": "failed"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """One planned change. `action` is create, update, delete, replace or import (and no more than that).

    `reason` is Terraform's word for it, `forced_by` the values that make a replacement necessary. `before` and `after`
    are the values of an update or a replacement; what is unknown is missing. `drifted`: it was changed outside of
    Terraform since it was applied.
    """

    address: str
    type: str
    action: str
    reason: str = ""
    forced_by: tuple[str, ...] = ()
    drifted: bool = False
    before: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    after: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """A saved plan. Applying it applies exactly these changes."""

    file: Path
    changes: tuple[Change, ...]
    outputs_change: bool = False

    @property
    def empty(self) -> bool:
        return not self.changes and not self.outputs_change

    def count(self, *actions: str) -> int:
        return sum(change.action in actions for change in self.changes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Event:
    """What Terraform reports while it works. `kind` is started, completed or failed; `seconds` since its start."""

    kind: str
    address: str
    action: str
    seconds: float = 0.0


def contents(state: str) -> dict[str, Any]:
    """A state without what each time of saving changes; nothing where there is none."""
    found = json.loads(state or "{}")
    return {key: value for key, value in found.items() if key not in ("serial", "terraform_version")}


def parse(line: str) -> dict[str, Any]:
    """A message (https://developer.hashicorp.com/terraform/internals/machine-readable-ui); {} for what is none."""
    try:
        message = json.loads(line)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}


def change_of(change: Mapping[str, Any], drifted: Collection[str]) -> Change:
    """The change of a `planned_change`; `drifted` are the addresses of the `resource_drift`s before it."""
    resource = change["resource"]
    return Change(
        address=resource["addr"],
        type=resource["resource_type"],
        action=change["action"],
        reason=change.get("reason", "").replace("_", " "),
        drifted=resource["addr"] in drifted,
    )


def with_values(change: Change, values: Mapping[str, Any] | None, drift: Mapping[str, Any] | None) -> Change:
    """An update or replacement with its values. What drifted but stays, as a server's own fields, is no drift of it."""
    if values is None or change.action not in ("update", "replace"):
        return change
    forced = tuple(".".join(map(str, path)) for path in values.get("replace_paths", ()))
    return dataclasses.replace(
        change,
        drifted=change.drifted and bool(_differing(values) & _differing(drift or {})),
        forced_by=forced,
        before=values["before"] or {},
        after=values["after"] or {},
    )


def _differing(values: Mapping[str, Any]) -> set[str]:
    """The attributes whose value is known and another afterwards."""
    before, after = values.get("before") or {}, values.get("after") or {}
    return {name for name, value in before.items() if name in after and after[name] != value}


def event_of(message: Mapping[str, Any]) -> Event | None:
    """What a message says of a resource that is worked on; None where it says something else."""
    kind = _KINDS.get(message.get("type", ""))
    if kind is None:
        return None
    hook = message["hook"]
    return Event(
        kind=kind,
        address=hook["resource"]["addr"],
        action=hook.get("action", ""),
        seconds=float(hook.get("elapsed_seconds", 0)),
    )
