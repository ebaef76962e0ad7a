"""The table of resource types: a row for each in `table.toml`, with what only functions say in its product's module."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gcp_openemr.sandbox.provider.types import (
    accounts,
    artifacts,
    compute,
    databases,
    disks,
    dns,
    groups,
    members,
    network,
    operations,
    run,
    secrets,
    storage,
)
from gcp_openemr.sandbox.provider.types.model import APIS, Hooks, ResourceType, Step, Timeouts

__all__ = ["row", "served"]

_PRODUCTS = (
    accounts, artifacts, compute, databases, disks, dns, groups, members, network, operations, run, secrets, storage,
)  # fmt: skip


@functools.cache
def _table() -> Mapping[str, ResourceType]:
    said = tomllib.loads(Path(__file__).with_name("table.toml").read_text(encoding="utf-8"))
    hooks = {name: found for product in _PRODUCTS for name, found in product.HOOKS.items()}
    rows = {name: _row(name, row, hooks.get(name, Hooks())) for name, row in said.items()}
    return rows | {row.type: row for row in members.ROWS}


def _row(terraform_type: str, said: dict[str, Any], hooks: Hooks) -> ResourceType:
    by_name = "".join(word.capitalize() for word in terraform_type.split("_")[2:])
    steps = tuple(Step(**step) for step in said.pop("steps", ())) + hooks.steps
    fields = {
        "api": APIS[said.pop("api")],
        "schema": said.pop("schema", by_name),
        "imports": tuple(said.pop("imports", ())),
        "timeouts": Timeouts(**said.pop("timeouts", {})),
        "sameness": {path: kind for kind, paths in said.pop("same", {}).items() for path in paths},
    }
    fields |= {name: frozenset(value) if isinstance(value, list) else value for name, value in said.items()}
    return ResourceType(terraform_type, **fields, **{**vars(hooks), "steps": steps})


def row(terraform_type: str) -> ResourceType:
    """The row of a type. Raises KeyError for a type that is not served."""
    return _table()[terraform_type]


def served() -> Sequence[str]:
    """Every type with a row, in order."""
    return sorted(_table())
