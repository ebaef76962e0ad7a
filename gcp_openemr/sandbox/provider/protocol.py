"""Terraform's values on the wire: msgpack with unknowns, type conversion, and the protocol's small messages.

A value is None, bool, int, float, str, list, dict or `UNKNOWN` ("known after apply"). A block is a dict with every
attribute and block of its schema; a list or set of blocks is a list.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

import msgpack

from gcp_openemr.sandbox.provider import wire
from gcp_openemr.sandbox.provider.schema import Block, TypeSchema

__all__ = [
    "UNKNOWN",
    "Path",
    "Value",
    "attribute_path",
    "block_message",
    "conform",
    "decode",
    "encode",
    "error",
    "has_unknown",
    "schema_message",
    "settled",
]

Value = Any
Path = tuple[str | int, ...]

# Codes of cty's msgpack: 0 is a plain unknown, 12 one with refinements (which say what it cannot be).
_UNKNOWN_CODES = frozenset({0, 12})
_NESTING = {
    "single": wire.Schema.NestedBlock.SINGLE,
    "list": wire.Schema.NestedBlock.LIST,
    "set": wire.Schema.NestedBlock.SET,
}


class _Unknown:
    """The type of `UNKNOWN`; equal to itself only."""

    def __repr__(self) -> str:
        return "UNKNOWN"

    def __deepcopy__(self, memo: object) -> _Unknown:
        return self


UNKNOWN: Final = _Unknown()


def decode(wire: wire.DynamicValue) -> Value:
    """A value from the wire; None when the message is empty."""
    if wire.msgpack:
        return msgpack.unpackb(wire.msgpack, ext_hook=_extension, strict_map_key=False)
    return json.loads(wire.json) if wire.json else None


def encode(value: Value) -> wire.DynamicValue:
    """A value for the wire, as msgpack."""
    return wire.DynamicValue(msgpack=msgpack.packb(value, default=_pack_unknown))


def has_unknown(value: Value) -> bool:
    """Whether anything in the value is only known after apply."""
    if isinstance(value, dict):
        return any(has_unknown(inner) for inner in value.values())
    if isinstance(value, list):
        return any(has_unknown(inner) for inner in value)
    return value is UNKNOWN


def settled(value: Value) -> Value:
    """The value with null for everything unknown."""
    if isinstance(value, dict):
        return {name: settled(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [settled(inner) for inner in value if inner is not UNKNOWN]
    return None if value is UNKNOWN else value


def conform(block: Block, value: dict[str, Any]) -> dict[str, Any]:
    """The value with exactly the names of the block: unknown names dropped, missing ones null or empty."""
    shaped: dict[str, Any] = {name: value.get(name) for name in block.attributes}
    for name, nested in block.blocks.items():
        inner = value.get(name)
        if nested.nesting == "single":
            shaped[name] = conform(nested.block, inner) if isinstance(inner, dict) else inner
        elif isinstance(inner, list):
            shaped[name] = [conform(nested.block, item) if isinstance(item, dict) else item for item in inner]
        else:
            shaped[name] = UNKNOWN if inner is UNKNOWN else []
    return shaped


def attribute_path(path: Path) -> wire.AttributePath:
    """Names are attributes, numbers are list indices."""
    steps = [
        wire.AttributePath.Step(attribute_name=step)
        if isinstance(step, str)
        else wire.AttributePath.Step(element_key_int=step)
        for step in path
    ]
    return wire.AttributePath(steps=steps)


def error(summary: str, detail: str = "", path: Path = ()) -> wire.Diagnostic:
    return wire.Diagnostic(
        severity=wire.Diagnostic.ERROR, summary=summary, detail=detail, attribute=attribute_path(path) if path else None
    )


def schema_message(schema: TypeSchema) -> wire.Schema:
    """The schema as Terraform asks for it."""
    return wire.Schema(version=schema.version, block=block_message(schema.block))


def block_message(block: Block) -> wire.Schema.Block:
    """A block as Terraform asks for it."""
    attributes: Sequence[wire.Schema.Attribute] = [
        wire.Schema.Attribute(
            name=name,
            type=json.dumps(attribute.type).encode(),
            required=attribute.required,
            optional=attribute.optional,
            computed=attribute.computed,
            sensitive=attribute.sensitive,
            write_only=attribute.write_only,
        )
        for name, attribute in block.attributes.items()
    ]
    nested = [
        wire.Schema.NestedBlock(
            type_name=name,
            block=block_message(inner.block),
            nesting=_NESTING[inner.nesting],
            min_items=inner.min_items,
            max_items=inner.max_items,
        )
        for name, inner in block.blocks.items()
    ]
    return wire.Schema.Block(attributes=attributes, block_types=nested)


def _extension(code: int, data: bytes) -> Value:
    if code in _UNKNOWN_CODES:
        return UNKNOWN
    raise ValueError(f"msgpack extension {code} of {len(data)} bytes is none of Terraform's")


def _pack_unknown(value: object) -> msgpack.ExtType:
    if value is UNKNOWN:
        return msgpack.ExtType(0, b"\x00")
    raise TypeError(f"{type(value).__name__} is no Terraform value")
