"""Schemas of the provider: extracted data (`schema.json.gz`) joined with the constraints in `rules.json`.

`rules.json` holds, per resource type, what hashicorp/google checks or decides in its own code and no published schema
carries: ForceNew, defaults, enums, patterns, ranges, combinations, sensitive and write-only arguments, how many blocks
there may be, and blocks the server may fill in (`computed_blocks`). Paths are Terraform names joined by dots, without
indices; "*" in `force_new` is every argument of the API.
"""

from __future__ import annotations

import dataclasses
import functools
import gzip
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["Attribute", "Block", "Nested", "TypeSchema", "data_schema", "provider_block", "resource_schema"]

_HERE = Path(__file__).parent


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attribute:
    """One argument or attribute. `type` is Terraform's type as JSON (`"string"`, `["list", ["object", {…}]]`)."""

    name: str
    type: Any
    required: bool = False
    optional: bool = False
    computed: bool = False
    sensitive: bool = False
    write_only: bool = False
    force_new: bool = False
    default: Any = None
    enum: tuple[str, ...] = ()
    pattern: re.Pattern[str] | None = None
    range: tuple[float, float] | None = None

    @property
    def settable(self) -> bool:
        return self.required or self.optional


@dataclasses.dataclass(frozen=True, kw_only=True)
class Nested:
    """A nested block; `nesting` is single, list or set; 0 max items means unbounded."""

    name: str
    nesting: str
    min_items: int
    max_items: int
    block: Block
    computed: bool = False
    force_new: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Block:
    attributes: Mapping[str, Attribute]
    blocks: Mapping[str, Nested]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TypeSchema:
    """A resource type or data source, with the combinations of arguments it accepts."""

    type: str
    version: int
    block: Block
    conflicts: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    required_with: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    exactly_one: Sequence[Sequence[str]] = ()
    at_least_one: Sequence[Sequence[str]] = ()


@functools.cache
def resource_schema(terraform_type: str) -> TypeSchema:
    """Schema and constraints of a managed resource. Raises KeyError for a type that is not served."""
    rules = _rules().get(terraform_type, {})
    return TypeSchema(
        type=terraform_type,
        version=rules.get("version", 0),
        block=_block(_data()["resource"][terraform_type], rules, ""),
        conflicts=rules.get("conflicts", {}),
        required_with=rules.get("required_with", {}),
        exactly_one=rules.get("exactly_one", ()),
        at_least_one=rules.get("at_least_one", ()),
    )


@functools.cache
def data_schema(terraform_type: str) -> TypeSchema:
    """Schema of a data source. Raises KeyError for one that is not served."""
    rules = _rules().get(f"data {terraform_type}", {})
    return TypeSchema(type=terraform_type, version=0, block=_block(_data()["data"][terraform_type], rules, ""))


@functools.cache
def provider_block() -> Block:
    """The provider's own arguments, as far as the published ones mean something here; the others are accepted."""
    strings = "access_token billing_project credentials impersonate_service_account project region request_reason"
    strings += " request_timeout terraform_attribution_label_addition_strategy universe_domain zone"
    types: dict[str, Any] = dict.fromkeys(strings.split(), "string")
    types |= dict.fromkeys(["add_terraform_attribution_label", "user_project_override"], "bool")
    types |= {"default_labels": ["map", "string"], "scopes": ["list", "string"]}
    types |= {"impersonate_service_account_delegates": ["list", "string"]}
    sensitive = {"access_token", "credentials"}
    attributes = {
        name: Attribute(name=name, type=kind, optional=True, sensitive=name in sensitive)
        for name, kind in sorted(types.items())
    }
    return Block(attributes=attributes, blocks={})


@functools.cache
def _data() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(gzip.decompress((_HERE / "schema.json.gz").read_bytes()))
    return loaded


@functools.cache
def _rules() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((_HERE / "rules.json").read_bytes())
    return loaded


def _block(raw: Mapping[str, Any], rules: Mapping[str, Any], prefix: str) -> Block:
    attributes = {
        name: _attribute(name, kind, flags, rules, prefix + name) for name, (kind, flags) in raw["attributes"].items()
    }
    blocks = {
        name: Nested(
            name=name,
            nesting=nesting,
            min_items=least,
            max_items=rules.get("max_items", {}).get(prefix + name, most),
            block=_block(nested, rules, f"{prefix}{name}."),
            computed=prefix + name in rules.get("computed_blocks", ()),
            force_new=_is_forced(rules, prefix + name, settable=True),
        )
        for name, (nesting, least, most, nested) in raw["blocks"].items()
    }
    return Block(attributes=attributes, blocks=blocks)


def _is_forced(rules: Mapping[str, Any], path: str, *, settable: bool) -> bool:
    listed = rules.get("force_new", ())
    of_api = path.partition(".")[0] not in ("deletion_policy", "id", "timeouts")
    return path in listed or ("*" in listed and settable and of_api)


def _attribute(name: str, kind: Any, flags: str, rules: Mapping[str, Any], path: str) -> Attribute:
    pattern = rules.get("pattern", {}).get(path)
    bounds = rules.get("range", {}).get(path)
    return Attribute(
        name=name,
        type=kind,
        required="r" in flags,
        optional="o" in flags,
        computed="c" in flags,
        sensitive=path in rules.get("sensitive", ()),
        write_only=path in rules.get("write_only", ()),
        force_new=_is_forced(rules, path, settable="r" in flags or "o" in flags),
        default=rules.get("default", {}).get(path),
        enum=tuple(rules.get("enum", {}).get(path, ())),
        pattern=re.compile(pattern) if pattern else None,
        range=(bounds[0], bounds[1]) if bounds else None,
    )
