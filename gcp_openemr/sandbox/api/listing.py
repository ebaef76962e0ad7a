"""Lists: pages, and the filters that the project's tools send."""

from __future__ import annotations

import base64
import binascii
import functools
import json
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from gcp_openemr.sandbox.api.calls import Call
from gcp_openemr.sandbox.api.refusals import demand, refuse, refuse_if
from gcp_openemr.sandbox.api.store import Record
from gcp_openemr.sandbox.interfaces import Json

__all__ = ["listed", "matches", "newest_first", "page", "page_token", "read_token", "readable"]

_LARGEST_PAGE = 1000
_TERM = re.compile(
    r"\(?\s*(?P<field>[A-Za-z_][\w.]*)\s*(?P<sign>!=|>=|<=|=|:|<|>|\beq\b|\bne\b)\s*"
    r"(?P<value>\"[^\"]*\"|'[^']*'|[^\s()]+)\s*\)?"
)


def page(call: Call, items: Sequence[tuple[str, Json]], *, default_size: int = 500) -> tuple[list[Json], str]:
    """The page a call asks for out of named items in order, and the next page's token ("" at the end)."""
    given = call.number("pageSize") if "pageSize" in call.method.parameters else call.number("maxResults")
    refuse_if(given is not None and given < 0, "google.page-size")
    size = min(given or default_size, _LARGEST_PAGE)
    after = read_token(call.one("pageToken"))
    wanted = call.one("filter")
    _parsed(wanted)  # a filter that cannot be read is refused for an empty list too
    found = [(name, item) for name, item in items if name > after and matches(wanted, item)]
    shown = found[:size]
    token = page_token(shown[-1][0]) if len(found) > size else ""
    return [item for _, item in shown], token


def listed(
    call: Call, found: Sequence[tuple[str, Json]], field: str, *, kind: str = "", default_size: int = 500
) -> Json:
    """A list's answer: the page under `field` when it is not empty, `kind`, and the next page's token."""
    items, token = page(call, found, default_size=default_size)
    answer = {"kind": kind, field: items, "nextPageToken": token}
    return {key: value for key, value in answer.items() if value}


def newest_first(records: Iterable[Record], moment: Callable[[Record], str]) -> list[tuple[str, Json]]:
    """Named items for `page`, the latest moment first."""
    ordered = sorted(records, key=moment, reverse=True)
    return [(f"{place:09}", record.body) for place, record in enumerate(ordered)]


def page_token(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode()


def read_token(token: str) -> str:
    """The name after which a page starts. Raises 400 for a token that no list gave out."""
    try:
        return base64.b64decode(token.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise refuse("google.page-token") from error


def matches(filter_: str, item: Json) -> bool:
    """Whether an item passes a filter: terms `field=value`, `field:value`, `field eq value` … joined by AND and OR."""
    return all(any(_term(item, *term) for term in terms) for terms in _parsed(filter_))


@functools.lru_cache(maxsize=64)
def _parsed(expression: str) -> Sequence[Sequence[tuple[str, str, str]]]:
    """What must be true: of each row one term at least. OR binds closer than AND, as in Logging's language."""
    parts = re.split(r"\s+AND\s+", expression.strip()) if expression.strip() else []
    return [[_read_term(text, expression) for text in re.split(r"\s+OR\s+", part)] for part in parts]


def _read_term(text: str, expression: str) -> tuple[str, str, str]:
    found = demand(_TERM.fullmatch(text.strip()), "google.filter", expression=expression)
    field, sign, value = found["field"], found["sign"], found["value"].strip("\"'")
    if sign == "eq":
        readable(value, "google.filter", expression=expression)
    return field, sign, value


def readable(pattern: str, refusal: str, /, **values: Any) -> re.Pattern[str]:
    """A caller's regular expression. Raises the error of a row for what is none."""
    try:
        return re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise refuse(refusal, **values) from error


def _term(item: Json, field: str, sign: str, wanted: str) -> bool:
    value: Any = item
    for part in field.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if sign == ":":
        if isinstance(value, (list, dict)):
            return wanted == "*" or wanted in value
        return value is not None and (wanted == "*" or wanted.lower() in str(value).lower())
    if isinstance(value, list):
        # A repeated field equals a value when one of its items does.
        return (wanted in map(str, value)) == (sign in {"=", "eq"})
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value)
    if sign in {"=", "eq"}:
        return text == wanted or (sign == "eq" and re.fullmatch(wanted, text) is not None)
    if sign in {"!=", "ne"}:
        return text != wanted
    return {"<": text < wanted, "<=": text <= wanted, ">": text > wanted, ">=": text >= wanted}[sign]
