"""Which arguments of a type reach its API, so that none is dropped in silence."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any, Final

from gcp_openemr.sandbox.provider import convert, labels
from gcp_openemr.sandbox.provider.schema import Block, resource_schema
from gcp_openemr.sandbox.provider.types import row
from gcp_openemr.sandbox.provider.types.model import ResourceType, placeholders

__all__ = ["given_but_unserved", "unserved"]

# Terraform's own: they mean something to the provider only.
_TERRAFORM: Final = frozenset({"deletion_policy", "deletion_protection", "id", "timeouts"})


@functools.cache
def unserved(terraform_type: str) -> frozenset[str]:
    """Dotted paths of arguments that no request would carry."""
    kind, schema = row(terraform_type), resource_schema(terraform_type)
    if kind.create is not None:
        return kind.unserved
    return kind.unserved | frozenset(_unplaced(kind, schema.block, kind.properties, ""))


def given_but_unserved(terraform_type: str, config: Mapping[str, Any]) -> list[str]:
    """Those of them that a configuration gives."""
    return [path for path in sorted(unserved(terraform_type)) if _gives(config, path.split("."))]


def _unplaced(kind: ResourceType, block: Block, properties: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for name, attribute in block.attributes.items():
        path = prefix + name
        if not attribute.settable or _is_known(kind, path):
            continue
        if convert.definition_of(kind, properties, path) is None:
            yield path
    for name, nested in block.blocks.items():
        path = prefix + name
        if nested.nesting == "single" or _is_known(kind, path):
            continue
        definition = convert.definition_of(kind, properties, path)
        if definition is None:
            yield path
        else:
            inner = definition.get("items", {}) if definition.get("type") == "array" else definition
            yield from _unplaced(kind, nested.block, kind.schema_of(inner), f"{path}.")


def _is_known(kind: ResourceType, path: str) -> bool:
    in_url = placeholders(" ".join([kind.collection, kind.item, *kind.create_query.values()]))
    ours = {*_TERRAFORM, *labels.EFFECTIVE.values(), *kind.local, *kind.by_hand, *in_url}
    return path in ours or any(path == f"{place}.{key}" for place, key in kind.maps.items())


def _gives(value: Any, steps: list[str]) -> bool:
    if isinstance(value, list):
        return any(_gives(element, steps) for element in value)
    if not steps:
        return value not in (None, "", False)
    return isinstance(value, dict) and _gives(value.get(steps[0]), steps[1:])
