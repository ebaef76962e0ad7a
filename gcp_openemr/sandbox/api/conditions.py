"""IAM conditions and attribute mappings: the part of CEL that this product uses.

`resource.name`, `resource.type`, `resource.service`, `request.time`, and `destination.ip` and `destination.port` of a
tunnel, with `==`, `!=`, comparisons, `startsWith`, `endsWith`, `timestamp("…")`, `&&`, `||`, `!`, whole numbers and
parentheses (https://cloud.google.com/iam/docs/conditions-attribute-reference), and which roles a change of a policy
touches (https://cloud.google.com/iam/docs/setting-limits-on-granting-roles). A provider of a workload identity pool
asks for `assertion.CLAIM`, with `has`, `+` and `… ? … : …` beside those
(https://cloud.google.com/iam/docs/workload-identity-federation#mapping).
"""

from __future__ import annotations

import dataclasses
import operator
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

__all__ = ["ATTRIBUTES", "MODIFIED_ROLES", "ConditionInvalid", "Known", "evaluate", "mapped"]

MODIFIED_ROLES = "iam.googleapis.com/modifiedGrantsByRole"
_MOST_ROLES = 10
Known = Mapping[str, str | int | datetime | frozenset[str] | None]
ATTRIBUTES: Known = {
    "resource.name": "",
    "resource.type": "",
    "resource.service": "",
    "request.time": datetime.min.replace(tzinfo=UTC),
    "destination.ip": "",
    "destination.port": 0,
    MODIFIED_ROLES: frozenset(),
}
"""What conditions may ask for, as it is where there is nothing to say: only a tunnel has a destination.

The modified roles are None where a policy is changed by a service that does not tell them.
"""

_TOKEN = re.compile(
    r"\s*(?:(?P<text>\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*')|(?P<name>\.?[A-Za-z_][\w.]*|\d{1,18}\b)|(?P<sign>&&|\|\||[=!<>]=|[][!<>(),?:+]))"
)
_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


_CLAIM = "assertion."


class ConditionInvalid(ValueError):
    """The expression cannot be read; the message says where."""


@dataclasses.dataclass(frozen=True)
class _Missing:
    """A claim that the token does not have: an error for whoever needs its value."""

    name: str

    def __bool__(self) -> bool:
        raise ConditionInvalid(f"{self.name} is not in the token")


def evaluate(expression: str, known: Known) -> bool:
    """Whether a condition holds, by what is `known` of ATTRIBUTES; the others are empty. Raises ConditionInvalid."""
    values = {**ATTRIBUTES, "true": True, "false": False, **known}
    reader = _Reader(tokens=_tokens(expression), values=values)
    result = reader.read(reader.alternatives)
    if reader.tokens or not isinstance(result, bool):
        raise ConditionInvalid(f"cannot be read as a condition: {expression}")
    return result


def mapped(expression: str, claims: Mapping[str, Any]) -> Any:
    """What an expression makes of a token's claims. Raises ConditionInvalid, also for one that is missing."""
    values = {"true": True, "false": False, **{f"{_CLAIM}{name}": value for name, value in claims.items()}}
    reader = _Reader(tokens=_tokens(expression), values=values, claims=True)
    result = reader.read(reader.choice)
    if reader.tokens or isinstance(result, _Missing):
        raise ConditionInvalid(f"cannot be evaluated: {expression}")
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
    claims: bool = False

    def read(self, whole: Callable[[], Any]) -> Any:
        try:
            return whole()
        except RecursionError as error:
            raise ConditionInvalid("too many parts lie in each other") from error

    def choice(self) -> Any:
        result = self.alternatives()
        if self._take("?"):
            yes = self.choice()
            self._expect(":")
            no = self.choice()
            return yes if result else no
        return result

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
        left = self._sum()
        if self.tokens and self.tokens[0] in _COMPARE:
            compare = _COMPARE[self.tokens.pop(0)]
            return self._both(compare, left, self._sum())
        return left

    def _sum(self) -> Any:
        result = self._value()
        while self._take("+"):
            result = self._both(operator.add, result, self._value())
        return result

    def _both(self, combine: Callable[[Any, Any], Any], left: Any, right: Any) -> Any:
        for side in (left, right):
            if isinstance(side, _Missing):
                return side
        try:
            return combine(left, right)
        except TypeError as error:
            raise ConditionInvalid("values of different types are put together") from error

    def _value(self) -> Any:
        if not self.tokens:
            raise ConditionInvalid("the expression ends early")
        word = self.tokens.pop(0)
        if word == "!":
            return not self._value()
        if word == "(":
            result = self.choice()
            self._expect(")")
            return result
        if word[0] in "\"'":
            return re.sub(r"\\(.)", r"\1", word[1:-1])
        if word.isdecimal():
            return int(word)
        if word == "timestamp":
            return _moment(self._argument())
        return self._named(word)

    def _named(self, word: str) -> Any:
        if word == "has" and self.claims:
            self._expect("(")
            name = self.tokens.pop(0) if self.tokens else ""
            self._expect(")")
            return name in self.values
        base, _, method = word.rpartition(".")
        if method in {"startsWith", "endsWith"} and base in self.values:
            argument = self._argument()
            text = str(self.values[base])
            return text.startswith(argument) if method == "startsWith" else text.endswith(argument)
        if word == "api.getAttribute":
            return self._modified_only()
        if word in self.values:
            return self.values[word]
        if self.claims and word.startswith(_CLAIM):
            return _Missing(word)
        raise ConditionInvalid(f"{word} is not known here")

    def _modified_only(self) -> bool:
        """`api.getAttribute('…', []).hasOnly([…])`."""
        self._expect("(")
        name = self._value()
        self._expect(",")
        default = self._texts()
        for token in (")", ".hasOnly", "("):
            self._expect(token)
        allowed = self._texts()
        self._expect(")")
        if name != MODIFIED_ROLES or default or len(allowed) > _MOST_ROLES:
            raise ConditionInvalid(f"{MODIFIED_ROLES} is [] by default, and compared with {_MOST_ROLES} roles at most")
        modified = self.values.get(MODIFIED_ROLES)
        if modified is None:
            raise ConditionInvalid(f"{MODIFIED_ROLES} is not known to this service")
        return bool(modified <= {*allowed})

    def _texts(self) -> list[str]:
        found: list[str] = []
        self._expect("[")
        while not self._take("]"):
            if found:
                self._expect(",")
            if not self.tokens or self.tokens[0][0] not in "\"'":
                raise ConditionInvalid("a list holds texts and nothing else")
            found.append(str(self._value()))
        return found

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
