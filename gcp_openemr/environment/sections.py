"""What all sections of the environment file have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, PlainSerializer

__all__ = ["Section", "TextList", "TextMap", "checked_list", "checked_map"]

TextMap = Annotated[Mapping[str, str], AfterValidator(MappingProxyType), PlainSerializer(dict)]
"""A map of texts that nobody can change afterwards."""

TextList = tuple[str, ...]
"""Texts in the order of the file."""


class Section(BaseModel):
    """A section: no unknown keys, no silent conversion (`"3"` is no number), nothing to change afterwards."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True)


def checked_map(check: Callable[[Mapping[str, object]], dict[str, str]]) -> BeforeValidator:
    """`check` as the first thing a map goes through; what is no map is left to pydantic's own message."""

    def first(value: Any) -> Any:
        return check(value) if isinstance(value, Mapping) else value

    return BeforeValidator(first)


def checked_list(check: Callable[[str], str]) -> BeforeValidator:
    """`check` for each text of an array."""

    def first(value: Any) -> Any:
        if isinstance(value, list) and all(isinstance(entry, str) for entry in value):
            return tuple(map(check, value))
        return value

    return BeforeValidator(first)
