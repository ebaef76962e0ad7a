"""What a change will do, decided without calling anything.

These are the rules of the SDK under hashicorp/google: computed values are unknown on create and kept on update,
defaults fill gaps, an absent argument equals its zero value, a suppressed difference keeps the old spelling, write-only
values never reach the plan, and a changed ForceNew argument replaces the resource.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from gcp_openemr.sandbox.provider.protocol import UNKNOWN, Path, Value, has_unknown
from gcp_openemr.sandbox.provider.sameness import is_zero, same
from gcp_openemr.sandbox.provider.schema import Attribute, Block, Nested

__all__ = ["Plan", "forced_paths", "matching", "plan"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """The state after the change as far as known, and the arguments that make it a replacement."""

    state: dict[str, Any]
    replaces: Sequence[Path] = ()


def plan(block: Block, prior: Mapping[str, Any] | None, config: Mapping[str, Any], sameness: Mapping[str, str]) -> Plan:
    """Plan a create (no `prior`) or update. `sameness` names a kind of `sameness.KINDS` for dotted paths."""
    state = _plan_block(block, prior, config, sameness, "")
    return Plan(state=state, replaces=forced_paths(block, prior, state, sameness) if prior is not None else ())


def forced_paths(
    block: Block, prior: Mapping[str, Any], state: Mapping[str, Any], sameness: Mapping[str, str]
) -> list[Path]:
    """Paths of changed ForceNew arguments."""
    found: list[Path] = []
    _find_forced(block, prior, state, sameness, (), found)
    return found


def matching(
    element: Mapping[str, Any],
    candidates: Sequence[Mapping[str, Any]],
    sameness: Mapping[str, str] | None = None,
    prefix: str = "",
) -> Mapping[str, Any] | None:
    """The candidate of a set that agrees with everything the element says, or else with most of it."""
    kinds = sameness or {}
    said = [(name, value) for name, value in element.items() if not is_zero(value) and value is not UNKNOWN]
    scored = [
        (sum(same(kinds.get(prefix + name, ""), candidate.get(name), value) for name, value in said), candidate)
        for candidate in candidates
    ]
    best = max(scored, key=lambda pair: pair[0], default=None)
    return best[1] if best is not None and (best[0] > 0 or not said) else None


def _plan_block(
    block: Block,
    prior: Mapping[str, Any] | None,
    config: Mapping[str, Any],
    sameness: Mapping[str, str],
    prefix: str,
) -> dict[str, Any]:
    planned: dict[str, Any] = {}
    for name, attribute in block.attributes.items():
        before = None if prior is None else prior.get(name)
        planned[name] = _plan_attribute(
            attribute, before, config.get(name), sameness.get(prefix + name, ""), creating=prior is None
        )
    for name, nested in block.blocks.items():
        before = None if prior is None else prior.get(name)
        planned[name] = _plan_nested(
            nested, before, config.get(name), sameness, f"{prefix}{name}.", creating=prior is None
        )
    return planned


def _plan_attribute(attribute: Attribute, before: Value, said: Value, kind: str, *, creating: bool) -> Value:
    if attribute.write_only:
        return None
    if said is not None:
        unordered = attribute.type[0] == "set" and isinstance(said, list) and isinstance(before, list)
        if before is not None and not has_unknown(said):
            pair = (sorted(before, key=str), sorted(said, key=str)) if unordered else (before, said)
            return before if same(kind, *pair) else said
        return said
    if attribute.default is not None:
        return before if before is not None and same(kind, before, attribute.default) else attribute.default
    if attribute.computed:
        return UNKNOWN if creating else before
    return before if is_zero(before) or kind == "served" else None


def _plan_nested(
    nested: Nested, before: Value, said: Value, sameness: Mapping[str, str], prefix: str, *, creating: bool
) -> Value:
    if nested.nesting == "single" or said is UNKNOWN:
        return said
    if not said:
        if nested.computed:
            return UNKNOWN if creating else before
        return before if before and is_zero(before) else []
    priors = before if isinstance(before, list) else []
    planned: list[Any] = []
    for index, element in enumerate(said):
        if element is UNKNOWN:
            planned.append(element)
            continue
        if nested.nesting == "set":
            earlier = matching(element, priors, sameness, prefix)
        else:
            earlier = priors[index] if index < len(priors) else None
        planned.append(_plan_block(nested.block, earlier, element, sameness, prefix))
    return planned


def _find_forced(
    block: Block,
    prior: Mapping[str, Any],
    state: Mapping[str, Any],
    sameness: Mapping[str, str],
    path: Path,
    found: list[Path],
) -> None:
    dotted = ".".join(step for step in path if isinstance(step, str))
    for name, attribute in block.attributes.items():
        kind = sameness.get(f"{dotted}.{name}".lstrip("."), "")
        if attribute.force_new and not same(kind, prior.get(name), state.get(name)):
            found.append((*path, name))
    for name, nested in block.blocks.items():
        before, after = prior.get(name) or [], state.get(name) or []
        if nested.nesting == "set":
            forced = _forces(nested) and not _same_set(before, after)
        else:
            forced = nested.force_new and not _same_count(before, after)
        if forced:
            found.append((*path, name))
        if nested.nesting == "list" and after is not UNKNOWN:
            for index, (old, new) in enumerate(zip(before, after, strict=False)):
                if isinstance(old, dict) and isinstance(new, dict):
                    _find_forced(nested.block, old, new, sameness, (*path, name, index), found)


def _forces(nested: Nested) -> bool:
    return nested.force_new or any(attribute.force_new for attribute in nested.block.attributes.values())


def _same_count(before: Value, after: Value) -> bool:
    if after is UNKNOWN:
        return False
    return len(before) == len(after) or (is_zero(before) and is_zero(after))


def _same_set(before: Value, after: Value) -> bool:
    return after is not UNKNOWN and len(before) == len(after) and all(element in before for element in after)
