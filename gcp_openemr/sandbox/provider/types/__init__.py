"""The table of resource types: one row per type, grouped by product."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

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
from gcp_openemr.sandbox.provider.types.model import ResourceType

__all__ = ["row", "served"]

_PRODUCTS = (
    accounts, artifacts, compute, databases, disks, dns, groups, members, network, operations, run, secrets, storage,
)  # fmt: skip


@functools.cache
def _table() -> Mapping[str, ResourceType]:
    return {row.type: row for product in _PRODUCTS for row in product.ROWS}


def row(terraform_type: str) -> ResourceType:
    """The row of a type. Raises KeyError for a type that is not served."""
    return _table()[terraform_type]


def served() -> Sequence[str]:
    """Every type with a row, in order."""
    return sorted(_table())
