"""Bad days: what goes wrong while an act plays, drawn by a seed, so that a day can be had again."""

from __future__ import annotations

import dataclasses
import random
import signal
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["QUIET", "BadDay", "Stop", "draw"]

# What the cloud does: one of them, and how often a call is hit.
_CLOUDS: Sequence[tuple[str, Mapping[str, Any]]] = (
    ("some calls are answered 503", {"effect": "status", "status": 503, "probability": 0.02}),
    ("some calls are answered 429", {"effect": "status", "status": 429, "probability": 0.03}),
    (
        "some calls are answered 500 though done",
        {"effect": "status", "status": 500, "after": True, "probability": 0.01},
    ),
    ("some connections drop", {"effect": "drop", "probability": 0.02}),
    ("some answers are lost", {"effect": "drop", "after": True, "probability": 0.01}),
    ("some answers are late", {"effect": "delay", "seconds": 1.0, "probability": 0.05}),
)
_MOST_SECONDS = 1.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stop:
    """The command is sent `sign` this many seconds after it has shown its `step`-th step."""

    step: int
    seconds: float
    sign: signal.Signals

    @property
    def told(self) -> str:
        how = "is killed" if self.sign == signal.SIGKILL else "is interrupted"
        return f"the command {how} {self.seconds:.1f} s into its step {self.step}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class BadDay:
    """What befalls one act: a fault of the cloud, fields as those of `faults.Fault`, and a stop of its command."""

    told: str = ""
    fault: Mapping[str, Any] | None = None
    stop: Stop | None = None


QUIET = BadDay()


def draw(seed: int | None, act: str, steps: int) -> BadDay:
    """The day of an act whose command shows about so many steps; without a seed nothing goes wrong."""
    if seed is None or not steps:
        return QUIET
    chance = random.Random(f"{seed}/{act}")  # noqa: S311 -- no secret
    told, fault = chance.choice(_CLOUDS)
    sign = chance.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGINT))
    stop = Stop(step=chance.randint(1, steps), seconds=chance.uniform(0, _MOST_SECONDS), sign=sign)
    kinds = chance.choice(("cloud", "stop", "both"))
    return BadDay(
        told="; ".join([*([told] if kinds != "stop" else []), *([stop.told] if kinds != "cloud" else [])]),
        fault={**fault, "seed": chance.randrange(1 << 30)} if kinds != "stop" else None,
        stop=stop if kinds != "cloud" else None,
    )
