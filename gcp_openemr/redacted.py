"""A value that prints as [redacted] everywhere but where it is used."""

from __future__ import annotations

from typing import NoReturn

__all__ = ["Redacted"]


class Redacted:
    """Holds a secret text; only `reveal()` gives it out."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "[redacted]"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "[redacted]"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Redacted) and self._value == other._value

    def __hash__(self) -> int:
        return hash((Redacted, self._value))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not written out")
