"""What all sections of the environment file have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, PlainSerializer

__all__ = ["Section", "TextMap", "checked_map"]

TextMap = Annotated[Mapping[str, str], AfterValidator(MappingProxyType), PlainSerializer(dict)]
"""A map of texts that nobody can change afterwards."""


class Section(BaseModel):
    """A section: no unknown keys, no silent conversion (`"3"` is no number), nothing to change afterwards."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True)


def checked_map(check: Callable[[Mapping[str, object]], dict[str, str]]) -> BeforeValidator:
    """`check` as the first thing a map goes through; what is no map is left to pydantic's own message."""

    def first(value: Any) -> Any:
        return check(value) if isinstance(value, Mapping) else value

    return BeforeValidator(first)
