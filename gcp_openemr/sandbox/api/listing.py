"""Lists: pages, and the filters that the project's tools send."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from typing import Any

from gcp_openemr.sandbox.api.calls import Call
from gcp_openemr.sandbox.api.refusals import refuse
from gcp_openemr.sandbox.interfaces import Json

__all__ = ["matches", "page", "page_token", "read_token"]

_LARGEST_PAGE = 1000
_TERM = re.compile(
    r"\(?\s*(?P<field>[A-Za-z_][\w.]*)\s*(?P<sign>!=|>=|<=|=|:|<|>|\beq\b|\bne\b)\s*"
    r"(?P<value>\"[^\"]*\"|'[^']*'|[^\s()]+)\s*\)?"
)


def page(call: Call, items: Sequence[tuple[str, Json]], *, default_size: int = 500) -> tuple[list[Json], str]:
    """The page a call asks for out of named items in order, and the next page's token ("" at the end)."""
    given = call.number("pageSize") if "pageSize" in call.method.parameters else call.number("maxResults")
    if given is not None and given < 0:
        raise refuse("google.page-size")
    size = min(given or default_size, _LARGEST_PAGE)
    after = read_token(call.one("pageToken"))
    keep = _filter(call.one("filter"))
    found = [(name, item) for name, item in items if name > after and keep(item)]
    shown = found[:size]
    token = page_token(shown[-1][0]) if len(found) > size else ""
    return [item for _, item in shown], token


def page_token(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode()


def read_token(token: str) -> str:
    """The name after which a page starts. Raises 400 for a token that no list gave out."""
    try:
        return base64.b64decode(token.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise refuse("google.page-token") from error


def matches(filter_: str, item: Json) -> bool:
    """Whether an item passes a filter expression."""
    return _filter(filter_)(item)


def _filter(expression: str) -> Callable[[Json], bool]:
    """Terms `field=value`, `field:value`, `field eq value` … joined by AND."""
    if not expression.strip():
        return lambda _: True
    terms = []
    for part in re.split(r"\s+AND\s+", expression.strip()):
        found = _TERM.fullmatch(part.strip())
        if found is None:
            raise refuse("google.filter", expression=expression)
        terms.append((found["field"], found["sign"], found["value"].strip("\"'")))
    return lambda item: all(_term(item, *term) for term in terms)


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
    text = {True: "true", False: "false", None: ""}.get(value, str(value))
    if sign in {"=", "eq"}:
        return text == wanted or (sign == "eq" and re.fullmatch(wanted, text) is not None)
    if sign in {"!=", "ne"}:
        return text != wanted
    return {"<": text < wanted, "<=": text <= wanted, ">": text > wanted, ">=": text >= wanted}[sign]
