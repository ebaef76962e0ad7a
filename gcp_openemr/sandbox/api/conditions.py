"""IAM conditions: the part of CEL that bindings of this product use.

`resource.name`, `resource.type`, `resource.service`, `request.time`, and `destination.ip` and `destination.port` of a
tunnel, with `==`, `!=`, comparisons, `startsWith`, `endsWith`, `timestamp("…")`, `&&`, `||`, `!`, whole numbers and
parentheses (https://cloud.google.com/iam/docs/conditions-attribute-reference).
"""

from __future__ import annotations

import dataclasses
import operator
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

__all__ = ["ATTRIBUTES", "ConditionInvalid", "evaluate"]

ATTRIBUTES: Mapping[str, str | int | datetime] = {
    "resource.name": "",
    "resource.type": "",
    "resource.service": "",
    "request.time": datetime.min.replace(tzinfo=UTC),
    "destination.ip": "",
    "destination.port": 0,
}
"""What conditions may ask for, as it is where there is nothing to say: only a tunnel has a destination."""

_TOKEN = re.compile(
    r"\s*(?:(?P<text>\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*')|(?P<name>[A-Za-z_][\w.]*|\d+\b)|(?P<sign>&&|\|\||[=!<>]=|[!<>(),]))"
)
_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class ConditionInvalid(ValueError):
    """The expression cannot be read; the message says where."""


def evaluate(expression: str, known: Mapping[str, str | int | datetime]) -> bool:
    """Whether a condition holds, by what is `known` of ATTRIBUTES; the others are empty. Raises ConditionInvalid."""
    values = {**ATTRIBUTES, "true": True, "false": False, **known}
    reader = _Reader(tokens=_tokens(expression), values=values)
    result = reader.alternatives()
    if reader.tokens or not isinstance(result, bool):
        raise ConditionInvalid(f"cannot be read as a condition: {expression}")
    return result


def _tokens(expression: str) -> list[str]:
    found: list[str] = []
    position = 0
    text = expression.strip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ConditionInvalid(f"not understood at character {position}: {text[position : position + 20]}")
        found.append(match.group().strip())
        position = match.end()
    return found


@dataclasses.dataclass(kw_only=True)
class _Reader:
    """Reads tokens from the front."""

    tokens: list[str]
    values: Mapping[str, Any]

    def alternatives(self) -> Any:
        result = self._all()
        while self._take("||"):
            right = self._all()
            result = bool(result) or bool(right)
        return result

    def _all(self) -> Any:
        result = self._comparison()
        while self._take("&&"):
            right = self._comparison()
            result = bool(result) and bool(right)
        return result

    def _comparison(self) -> Any:
        left = self._value()
        if self.tokens and self.tokens[0] in _COMPARE:
            compare = _COMPARE[self.tokens.pop(0)]
            try:
                return compare(left, self._value())
            except TypeError as error:
                raise ConditionInvalid("values of different types are compared") from error
        return left

    def _value(self) -> Any:
        if not self.tokens:
            raise ConditionInvalid("the expression ends early")
        word = self.tokens.pop(0)
        if word == "!":
            return not self._value()
        if word == "(":
            result = self.alternatives()
            self._expect(")")
            return result
        if word[0] in "\"'":
            return re.sub(r"\\(.)", r"\1", word[1:-1])
        if word.isdecimal():
            return int(word)
        if word == "timestamp":
            return _moment(self._argument())
        return self._named(word)

    def _named(self, token: str) -> Any:
        base, _, method = token.rpartition(".")
        if method in {"startsWith", "endsWith"} and base in self.values:
            argument = self._argument()
            text = str(self.values[base])
            return text.startswith(argument) if method == "startsWith" else text.endswith(argument)
        if token in self.values:
            return self.values[token]
        raise ConditionInvalid(f"{token} is not known here")

    def _argument(self) -> str:
        self._expect("(")
        value = self._value()
        self._expect(")")
        if not isinstance(value, str):
            raise ConditionInvalid("a text is needed in parentheses")
        return value

    def _take(self, token: str) -> bool:
        if self.tokens and self.tokens[0] == token:
            self.tokens.pop(0)
            return True
        return False

    def _expect(self, token: str) -> None:
        if not self._take(token):
            raise ConditionInvalid(f"{token} is missing")


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise ConditionInvalid(f"{text} is no timestamp") from error
