"""Clouds that answer badly now and then, by a seed: `pytest --faults=SEED tests/unit`.

Every cloud that the product's unit tests make misbehaves then, with what a patient caller survives: the tests are the
same, and must end the same. Rehearsals have faults of their own, see tests/rehearsal/test_faults.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["SEED", "spoil"]

KINDS: tuple[Mapping[str, Any], ...] = ({"effect": "status"}, {"effect": "status", "status": 429}, {"effect": "drop"})
CHANCE = 0.02


@dataclasses.dataclass
class Seed:
    """That of this run; None: every cloud answers well."""

    value: int | None = None


SEED = Seed()


def spoil(add: Callable[[Mapping[str, Any]], object], *, seed: int | None = None, chance: float = CHANCE) -> None:
    """Put the faults of a seed, by default of the run's, in force with `add`."""
    found = SEED.value if seed is None else seed
    if found is not None:
        for number, kind in enumerate(KINDS):
            add({**kind, "probability": chance, "seed": found + number})
