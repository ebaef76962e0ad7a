"""Every rule of `rules.json`, broken: each kind of rule has its way of being broken, and each row goes through it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from gcp_openemr.sandbox import provider
from gcp_openemr.sandbox.provider import planning
from gcp_openemr.sandbox.provider.protocol import UNKNOWN, block_message, conform
from gcp_openemr.sandbox.provider.schema import Attribute, Block, Nested, data_schema, resource_schema
from gcp_openemr.sandbox.provider.types import row
from gcp_openemr.sandbox.provider.validation import validate

RULES: Mapping[str, Mapping[str, Any]] = json.loads((Path(provider.__path__[0]) / "rules.json").read_text())


def block_of(terraform_type: str) -> Block:
    kind, _, name = terraform_type.rpartition(" ")
    return data_schema(name).block if kind else resource_schema(name).block


def element(block: Block, path: str) -> Attribute | Nested:
    """What a dotted path names. Raises KeyError for a path that no configuration can have."""
    *parents, last = path.split(".")
    for parent in parents:
        block = block.blocks[parent].block
    return block.attributes[last] if last in block.attributes else block.blocks[last]


def some(kind: Any, which: int = 0) -> Any:
    """The first or second of two values of one of Terraform's types."""
    if isinstance(kind, list):
        return {"key": some("string", which)} if kind[0] == "map" else [some(kind[1], which)]
    values: dict[str, Any] = {"string": ["a", "b"], "number": [1, 2], "bool": [True, False]}
    return values[kind][which]


def configuration(block: Block, **given: Any) -> dict[str, Any]:
    """One that says just this: dotted path → value, a block where the value is None."""
    said: dict[str, Any] = {}
    for path, value in given.items():
        inside, inner = said, block
        *parents, last = path.split(".")
        for parent in parents:
            inner = inner.blocks[parent].block
            inside = inside.setdefault(parent, [{}])[0]
        if last in inner.blocks:
            inside.setdefault(last, [{}])
        else:
            inside[last] = value
    return said


def broken(terraform_type: str, **given: Any) -> str:
    """What the provider says to such a configuration."""
    schema = resource_schema(terraform_type)
    said = conform(schema.block, configuration(schema.block, **given))
    return "\n".join(f"{problem.summary}: {problem.detail}" for problem in validate(schema, said))


def value_at(terraform_type: str, path: str, which: int = 0) -> Any:
    found = element(resource_schema(terraform_type).block, path)
    if not isinstance(found, Attribute):
        return None
    return some(found.type, which)


def leaf(path: str) -> str:
    return path.rpartition(".")[2]


def enums(name: str, rules: Mapping[str, Any]) -> Iterator[str]:
    for path, choices in rules.items():
        if f"{leaf(path)} to be one of" not in broken(name, **{path: "no such choice"}):
            yield f"{path} takes any word"
        for choice in choices:
            if f"{leaf(path)} to be one of" in broken(name, **{path: choice}):
                yield f"{path} refuses {choice}"


def max_items(name: str, rules: Mapping[str, int]) -> Iterator[str]:
    """Terraform itself counts, by the schema it is given."""
    for path, most in rules.items():
        if told(name, path).max_items != most:
            yield f"{path} may be more than {most}"


def told(name: str, path: str) -> Any:
    """The attribute or block at a path as Terraform is told of it."""
    *parents, last = path.split(".")
    message = block_message(block_of(name))
    for parent in parents:
        message = next(one.block for one in message.block_types if one.type_name == parent)
    named = {one.name: one for one in message.attributes} | {one.type_name: one for one in message.block_types}
    return named[last]


def patterns(name: str, rules: Mapping[str, Any]) -> Iterator[str]:
    for path in rules:
        if not any("doesn't match regexp" in broken(name, **{path: text}) for text in ("!", " ", "x" * 2000)):
            yield f"{path} takes any text"


def ranges(name: str, rules: Mapping[str, Any]) -> Iterator[str]:
    for path, (least, most) in rules.items():
        for number, wrong in ((least - 1, True), (least, False), (most, False), (most + 1, True)):
            if ("to be in the range" in broken(name, **{path: number})) != wrong:
                yield f"{path} = {number}"


def conflicts(name: str, rules: Mapping[str, Any]) -> Iterator[str]:
    for path, others in rules.items():
        for other in others:
            given = {one: value_at(name, one) for one in (path, other)}
            if f'"{path}": conflicts with {other}' not in broken(name, **given):
                yield f"{path} beside {other}"


def required_with(name: str, rules: Mapping[str, Any]) -> Iterator[str]:
    for path, others in rules.items():
        if f'"{path}": all of' not in broken(name, **{path: value_at(name, path)}):
            yield f"{path} without {others}"
        whole = {one: value_at(name, one) for one in (path, *others)}
        if f'"{path}": all of' in broken(name, **whole):
            yield f"{path} with {others}"


def exactly_one(name: str, rules: Any) -> Iterator[str]:
    for group in rules:
        for pair in itertools.combinations(group, 2):
            if "only one of" not in broken(name, **{one: value_at(name, one) for one in pair}):
                yield f"{pair} together"
        yield from none_of(name, group)


def at_least_one(name: str, rules: Any) -> Iterator[str]:
    for group in rules:
        yield from none_of(name, group)


def none_of(name: str, group: list[str]) -> Iterator[str]:
    parent = group[0].rpartition(".")[0]
    if f'"{group[0]}": one of `{",".join(group)}` must be' not in broken(name, **({parent: None} if parent else {})):
        yield f"none of {group}"
    for one in group:
        if "must be specified" in told_of(group, broken(name, **{one: value_at(name, one)})):
            yield f"{one} alone"


def told_of(group: list[str], told: str) -> str:
    return "\n".join(line for line in told.splitlines() if f"`{','.join(group)}`" in line)


def force_new(name: str, rules: list[str]) -> Iterator[str]:
    """Changed, added or removed: each makes another resource of it."""
    block, sameness = block_of(name), row(name).sameness
    paths = [one for one, found in block.attributes.items() if found.settable] if rules == ["*"] else rules
    for path in paths:
        if path in ("deletion_policy", "id"):
            continue
        found = element(block, path)
        if isinstance(found, Nested):
            parent = path.rpartition(".")[0]
            before, after = ({parent: None} if parent else {}), {path: None, **filled(found.block, path)}
        else:
            before, after = {path: some(found.type)}, {path: some(found.type, 1)}
        prior, state = (conform(block, configuration(block, **given)) for given in (before, after))
        forced = {
            ".".join(step for step in place if isinstance(step, str))
            for place in planning.forced_paths(block, prior, state, sameness)
        }
        if not any(path == place or path.startswith(f"{place}.") for place in forced):
            yield f"{path} changes in place"


def filled(block: Block, path: str) -> dict[str, Any]:
    """Something in a block, where it has arguments, so that it is not as good as none."""
    attribute = next((one for one in block.attributes.values() if one.settable), None)
    if attribute is not None:
        return {f"{path}.{attribute.name}": some(attribute.type)}
    inner = next(iter(block.blocks.values()), None)
    if inner is None:
        return {}
    return {f"{path}.{inner.name}": None, **filled(inner.block, f"{path}.{inner.name}")}


def planned(name: str, path: str, **given: Any) -> Any:
    """What a plan to create makes of the element at a path."""
    block = block_of(name)
    parent = path.rpartition(".")[0]
    said = conform(block, configuration(block, **({parent: None} if parent else {}), **given))
    found: Any = planning.plan(block, None, said, row(name).sameness).state
    for step in path.split("."):
        found = found[0][step] if isinstance(found, list) else found[step]
    return found


def defaults(name: str, rules: Mapping[str, Any]) -> Iterator[str]:
    for path, value in rules.items():
        if planned(name, path) != value:
            yield f"{path} is {planned(name, path)!r}"


def write_only(name: str, rules: list[str]) -> Iterator[str]:
    for path in rules:
        if planned(name, path, **{path: "kept secret"}) is not None:
            yield f"{path} stands in the plan"


def computed_blocks(name: str, rules: list[str]) -> Iterator[str]:
    for path in rules:
        if planned(name, path) is not UNKNOWN:
            yield f"{path} is {planned(name, path)!r}"


def sensitive(name: str, rules: list[str]) -> Iterator[str]:
    for path in rules:
        if not told(name, path).sensitive:
            yield f"{path} is shown"


def version(name: str, rules: int) -> Iterator[str]:
    if resource_schema(name).version != rules:
        yield f"version {resource_schema(name).version}"


BREAKING: Mapping[str, Callable[[str, Any], Iterator[str]]] = {
    "at_least_one": at_least_one,
    "computed_blocks": computed_blocks,
    "conflicts": conflicts,
    "default": defaults,
    "enum": enums,
    "exactly_one": exactly_one,
    "force_new": force_new,
    "max_items": max_items,
    "pattern": patterns,
    "range": ranges,
    "required_with": required_with,
    "sensitive": sensitive,
    "version": version,
    "write_only": write_only,
}


@pytest.mark.parametrize("terraform_type", RULES)
def test_no_rule_is_broken_unseen(terraform_type: str) -> None:
    rules = RULES[terraform_type]
    found = [f"{kind}: {said}" for kind, given in rules.items() for said in BREAKING[kind](terraform_type, given)]
    assert found == []
