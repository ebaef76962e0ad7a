"""Reads a Dockerfile: stages, instructions, variables.

Follows https://docs.docker.com/reference/dockerfile/ as far as this product's file needs it; what is not known here is
refused, never skipped.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from collections.abc import Iterator, Mapping

from gcp_openemr.sandbox.interfaces import Refused

__all__ = ["Instruction", "Stage", "expand", "parse", "words"]

_KNOWN = {
    "ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "MAINTAINER", "RUN",
    "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
}  # fmt: skip
_VARIABLE = re.compile(
    r"\\\$|\$(?:(?P<plain>[A-Za-z_]\w*)|\{(?P<name>[A-Za-z_]\w*)(?::(?P<sign>[-+])(?P<word>[^}]*))?\})"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Instruction:
    """One instruction: `flags` are its leading `--name=value`, `value` the rest, not expanded yet."""

    line: int
    keyword: str
    flags: Mapping[str, str]
    value: str

    def json_form(self) -> list[str] | None:
        """The words of the form `["a", "b"]`, or None for the shell form."""
        if not self.value.startswith("["):
            return None
        try:
            found = json.loads(self.value)
        except ValueError:
            return None
        return found if isinstance(found, list) and all(isinstance(word, str) for word in found) else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """`FROM base AS name` and what follows it. `base` is not expanded yet."""

    name: str
    base: str
    instructions: tuple[Instruction, ...]


def parse(text: str) -> tuple[dict[str, str], list[Stage]]:
    """Return the arguments before the first FROM with their defaults, and the stages in order.

    Raises:
        Refused: with the line that cannot be read.
    """
    arguments: dict[str, str] = {}
    stages: list[Stage] = []
    current: list[Instruction] = []
    for instruction in _instructions(text):
        if instruction.keyword == "FROM":
            current = []
            stages.append(_stage(instruction, number=len(stages)))
        elif not stages:
            if instruction.keyword != "ARG":
                raise _unreadable(instruction.line, f"no build stage in current context for {instruction.keyword}")
            name, _, default = instruction.value.partition("=")
            arguments[name] = "".join(shlex.split(default))
        else:
            current.append(instruction)
            stages[-1] = dataclasses.replace(stages[-1], instructions=tuple(current))
    if not stages:
        raise Refused("failed to read dockerfile: file with no instructions", code=3)
    return arguments, stages


def expand(text: str, values: Mapping[str, str]) -> str:
    """Replace `$NAME`, `${NAME}`, `${NAME:-word}` and `${NAME:+word}`; a name without value is empty."""

    def replace(found: re.Match[str]) -> str:
        if found[0] == "\\$":
            return "$"
        value = values.get(found["plain"] or found["name"], "")
        if found["sign"] == "-":
            return value or found["word"]
        if found["sign"] == "+":
            return found["word"] if value else ""
        return value

    return _VARIABLE.sub(replace, text)


def words(instruction: Instruction) -> dict[str, str]:
    """The `name=value` pairs of ENV, LABEL and ARG; ENV's old form `NAME some value` too."""
    parts = shlex.split(instruction.value.replace("\\$", "\\\\$"))
    if instruction.keyword == "ENV" and parts and "=" not in parts[0]:
        name, _, value = instruction.value.partition(" ")
        return {name: value.strip()}
    pairs = (part.partition("=") for part in parts)
    return {name: value for name, _, value in pairs}


def _unreadable(line: int, why: str) -> Refused:
    return Refused(f"dockerfile parse error on line {line}: {why}", code=3)


def _stage(instruction: Instruction, *, number: int) -> Stage:
    parts = instruction.value.split()
    named = len(parts) == 3 and parts[1].upper() == "AS"
    if not named and len(parts) != 1:
        raise _unreadable(instruction.line, "FROM requires either one or three arguments")
    return Stage(name=parts[2].lower() if named else str(number), base=parts[0], instructions=())


def _instructions(text: str) -> Iterator[Instruction]:
    for number, line in _logical_lines(text):
        keyword, _, rest = line.partition(" ")
        keyword, rest = keyword.upper(), rest.strip()
        if keyword not in _KNOWN:
            raise _unreadable(number, f"unknown instruction: {keyword}")
        if re.match(r"<<-?['\"]?\w", rest) and keyword in ("RUN", "COPY", "ADD"):
            raise _unreadable(number, "the sandbox does not read here-documents")
        flags: dict[str, str] = {}
        while found := re.match(r"--([a-z-]+)(?:=(\S+))?\s+", rest):
            flags[found[1]] = found[2] or "true"
            rest = rest[found.end() :]
        yield Instruction(line=number, keyword=keyword, flags=flags, value=rest)


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with their continuations joined and comments left out, each with the number it begins at."""
    start, joined = 0, ""
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.strip()
        if bare.startswith("#") or (not bare and not joined):
            continue
        start = start if joined else number
        if bare.endswith("\\"):
            joined += bare[:-1] + " "
            continue
        yield start, (joined + bare).strip()
        joined = ""
    if joined.strip():
        yield start, joined.strip()
