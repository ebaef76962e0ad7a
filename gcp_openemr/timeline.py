"""Where the time went: the chain of pieces of work that the end waited for.

The chain is found backwards in time: from the piece that ended last to the one that ended last before it began, and so
on. That needs no knowledge of what depends on what, and is right where work begins as soon as the last thing it waits
for has ended, as a command's steps do, and Terraform's resources as long as fewer are ready than it works on at once
(ten). Where several ended together, the longest of them is named.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

__all__ = ["Piece", "critical_path", "described", "told"]

_TOGETHER_SECONDS = 0.25  # Terraform, and what reads its output, take a moment between two resources
_MOST_PARTS = 8
_WORTH_NAMING_SECONDS = 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Piece:
    """Work from `start` to `end`, in seconds of one clock, and the pieces it was made of, where they are known."""

    title: str
    start: float
    end: float
    parts: tuple[Piece, ...] = ()

    @property
    def seconds(self) -> float:
        return self.end - self.start


def critical_path(pieces: Sequence[Piece]) -> list[Piece]:
    """The chain that the end waited for, first piece first."""
    chain: list[Piece] = []
    left = [piece for piece in pieces if piece.seconds > 0]
    while left:
        last = max(piece.end for piece in left)
        together = [piece for piece in left if piece.end >= last - _TOGETHER_SECONDS]
        chosen = max(together, key=lambda piece: piece.seconds)
        chain.insert(0, chosen)
        left = [p for p in left if p.end <= chosen.start + _TOGETHER_SECONDS and p.start < chosen.start]
    return chain


def described(pieces: Sequence[Piece]) -> list[dict[str, Any]]:
    """`[{"step", "seconds", "resources": [{"resource", "seconds"}]}]` of the critical path."""
    return [
        {
            "step": piece.title,
            "seconds": round(piece.seconds, 2),
            "resources": [{"resource": p.title, "seconds": round(p.seconds, 2)} for p in critical_path(piece.parts)],
        }
        for piece in critical_path(pieces)
    ]


def told(pieces: Sequence[Piece]) -> str:
    """The critical path for people: a line for each step, and under it one for each resource worth it."""
    chain = critical_path(pieces)
    lines = [f"Critical path, {chain[-1].end - chain[0].start:.0f} s:" if chain else "Nothing took any time."]
    for piece in chain:
        lines.append(f"  {piece.seconds:7.1f} s  {piece.title}")
        parts = critical_path(piece.parts)
        longest = sorted(parts, key=lambda part: -part.seconds)[:_MOST_PARTS]
        lines += [
            f"  {part.seconds:7.1f} s    {part.title}" for part in parts if part in longest and part.seconds >= 0.5
        ]
    return "\n".join(lines)
