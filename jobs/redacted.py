"""A value that prints as [redacted] everywhere but where it is used."""

from __future__ import annotations

__all__ = ["Redacted"]


class Redacted:
    """Holds a secret text; only `reveal()` gives it out. The job image has no gcp_openemr to borrow it from."""

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
