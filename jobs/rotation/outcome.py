"""What a rotation did, for its record. There is no value in it."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator
from typing import Any

from jobs import log

__all__ = ["Outcome"]


@dataclasses.dataclass(kw_only=True)
class Outcome:
    """By kind of secret: `rotated`, `finished` (begun by an earlier run) and `undone` are {"from": n, "to": n}.

    `waiting`, `skipped` and `mended` are sentences, `destroyed` the versions that will be destroyed. `changed_by_hand`
    are kinds whose server takes no version that is known.
    """

    what: tuple[str, ...]
    rotated: dict[str, dict[str, int]] = dataclasses.field(default_factory=dict)
    finished: dict[str, dict[str, int]] = dataclasses.field(default_factory=dict)
    undone: dict[str, dict[str, int]] = dataclasses.field(default_factory=dict)
    waiting: dict[str, str] = dataclasses.field(default_factory=dict)
    skipped: dict[str, str] = dataclasses.field(default_factory=dict)
    mended: dict[str, str] = dataclasses.field(default_factory=dict)
    destroyed: dict[str, list[int]] = dataclasses.field(default_factory=dict)
    changed_by_hand: list[str] = dataclasses.field(default_factory=list)
    admin: dict[str, Any] = dataclasses.field(default_factory=dict)
    health: str = ""
    interruption_seconds: float | None = None
    steps: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    @contextlib.contextmanager
    def step(self, secret: str, step: str) -> Iterator[None]:
        """One step with its duration; a step that fails is told of, too."""
        log.info(f"{secret}: {step}")
        begun = time.monotonic()
        try:
            yield
        finally:
            self.steps.append({"secret": secret, "step": step, "seconds": round(time.monotonic() - begun, 2)})

    def mend(self, kind: str, sentence: str) -> None:
        if sentence:
            log.warning(f"{kind}: {sentence}")
            self.mended[kind] = sentence

    def destroy(self, kind: str, numbers: list[int]) -> None:
        if numbers:
            self.destroyed[kind] = [*self.destroyed.get(kind, []), *numbers]

    def as_record(self) -> dict[str, Any]:
        found = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        always = ("what", "steps", "rotated")
        return {name: part for name, part in found.items() if name in always or part not in ({}, [], "", None)}
