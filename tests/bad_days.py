"""Clouds that answer badly now and then, by a seed: `pytest --faults=SEED tests/unit tests/jobs tests/rehearsal`.

Every cloud that the product's unit tests make misbehaves then, the one that a job meets in tests/jobs, and every
sandbox while a rehearsal's `Place` runs the program: it answers 503 or 429, or drops the connection before a call takes
effect. That a patient caller survives, so the tests are the same, and must end the same. What cannot is LEFT_OUT. A
unit test's cloud drops connections after the call took effect too; among those a deploy may end with a sentence and go
on when it is run again, which rehearsal/test_faults.py tries, with the other ways to answer badly.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["LEFT_OUT", "SEED", "spoil"]

KINDS: tuple[Mapping[str, Any], ...] = ({"effect": "status"}, {"effect": "status", "status": 429}, {"effect": "drop"})
LOST: Mapping[str, Any] = {"effect": "drop", "after": True}
CHANCE = 0.02
# Rehearsals that do not run with `--faults`, and why.
LEFT_OUT: Mapping[str, str] = {
    "rehearsal/test_faults.py": "puts faults of its own in force, and takes its points from a run without any",
    "rehearsal/test_faults_terraform.py": "puts a fault of its own at each call of Terraform's backend",
}


@dataclasses.dataclass
class Seed:
    """That of this run; None: every cloud answers well."""

    value: int | None = None


SEED = Seed()


def spoil(
    add: Callable[[Mapping[str, Any]], object],
    *,
    seed: int | None = None,
    chance: float = CHANCE,
    lost: bool = False,
    caller: str = "*",
) -> None:
    """Put the faults of a seed, by default of the run's, in force with `add`; `lost`: answers get lost too.

    `caller` is a pattern for whose calls it is.
    """
    found = SEED.value if seed is None else seed
    if found is not None:
        for number, kind in enumerate((*KINDS, LOST) if lost else KINDS):
            add({**kind, "probability": chance, "seed": found + number, "caller": caller})
