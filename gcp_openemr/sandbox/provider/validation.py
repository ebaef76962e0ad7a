"""Checks a configuration as hashicorp/google does before it plans: values one by one, then combinations."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from gcp_openemr.sandbox.provider import wire
from gcp_openemr.sandbox.provider.protocol import UNKNOWN, Path, error
from gcp_openemr.sandbox.provider.schema import Attribute, Block, TypeSchema

__all__ = ["validate"]


def validate(schema: TypeSchema, config: Mapping[str, Any]) -> list[wire.Diagnostic]:
    """Every problem of a configuration, in the real provider's words. Unknown values pass."""
    return [*_values(schema.block, config, ()), *_combinations(schema, config)]


def _values(block: Block, config: Mapping[str, Any], path: Path) -> Iterator[wire.Diagnostic]:
    for name, attribute in block.attributes.items():
        value = config.get(name)
        if value is not None and value is not UNKNOWN:
            yield from _value(attribute, value, (*path, name))
    for name, nested in block.blocks.items():
        inner = config.get(name)
        elements = inner if isinstance(inner, list) else []
        for index, element in enumerate(elements):
            if isinstance(element, dict):
                # Elements of a set have no address of their own.
                place: Path = (*path, name) if nested.nesting == "set" else (*path, name, index)
                yield from _values(nested.block, element, place if nested.nesting == "list" else path)


def _value(attribute: Attribute, value: Any, path: Path) -> Iterator[wire.Diagnostic]:
    shown = _dotted(path)
    if attribute.enum and isinstance(value, str) and value and value not in attribute.enum:
        allowed = " ".join(json.dumps(choice) for choice in attribute.enum)
        yield error(f"expected {shown} to be one of [{allowed}], got {value}", path=path)
    if attribute.pattern and isinstance(value, str) and value and not attribute.pattern.search(value):
        yield error(f'"{shown}" ("{value}") doesn\'t match regexp "{attribute.pattern.pattern}"', path=path)
    if attribute.range and isinstance(value, int | float):
        least, most = attribute.range
        if not least <= value <= most:
            yield error(f"expected {shown} to be in the range ({least} - {most}), got {value}", path=path)


def _combinations(schema: TypeSchema, config: Mapping[str, Any]) -> Iterator[wire.Diagnostic]:
    for path, others in schema.conflicts.items():
        for other in others:
            if _is_set(config, path) is True and _is_set(config, other) is True and path != other:
                yield error("Conflicting configuration arguments", f'"{path}": conflicts with {other}', _top(path))
    for path, others in schema.required_with.items():
        if _is_set(config, path) is True and any(_is_set(config, other) is False for other in others):
            names = ",".join([path, *others])
            yield error("Missing required argument", f'"{path}": all of `{names}` must be specified', _top(path))
    for group in schema.exactly_one:
        yield from _exactly_one(group, config)
    for group in schema.at_least_one:
        if _parent_is_set(config, group[0]) and all(_is_set(config, path) is False for path in group):
            yield error("Missing required argument", f'"{group[0]}": one of `{",".join(group)}` must be specified')


def _exactly_one(group: Any, config: Mapping[str, Any]) -> Iterator[wire.Diagnostic]:
    if not _parent_is_set(config, group[0]):
        return
    states = {path: _is_set(config, path) for path in group}
    given = [path for path, state in states.items() if state is True]
    names = ",".join(group)
    if len(given) > 1:
        shown = ",".join(given)
        yield error(
            "Invalid combination of arguments",
            f'"{given[0]}": only one of `{names}` can be specified, but `{shown}` were specified.',
            _top(group[0]),
        )
    elif not given and None not in states.values():
        yield error(
            "Invalid combination of arguments", f'"{group[0]}": one of `{names}` must be specified', _top(group[0])
        )


def _is_set(config: Mapping[str, Any], path: str) -> bool | None:
    """Whether a dotted path is given; None while that is unknown. Only first elements of lists are followed."""
    value: Any = config
    for name in path.split("."):
        if isinstance(value, list):
            value = value[0] if value else None
        if value is UNKNOWN:
            return None
        if not isinstance(value, dict):
            return False
        value = value.get(name)
    if value is UNKNOWN:
        return None
    return value is not None and value != []


def _parent_is_set(config: Mapping[str, Any], path: str) -> bool:
    parent = path.rpartition(".")[0]
    return not parent or _is_set(config, parent) is True


def _top(path: str) -> Path:
    return (path.partition(".")[0],)


def _dotted(path: Path) -> str:
    return ".".join(str(step) for step in path)
