"""ifGenerationMatch and its relatives."""

from __future__ import annotations

from collections.abc import Mapping

from gcp_openemr.sandbox.api.calls import Call
from gcp_openemr.sandbox.api.errors import ApiError
from gcp_openemr.sandbox.api.refusals import refuse
from gcp_openemr.sandbox.interfaces import Json

__all__ = ["CONDITIONS", "check", "given", "given_source"]

CONDITIONS = ("ifGenerationMatch", "ifGenerationNotMatch", "ifMetagenerationMatch", "ifMetagenerationNotMatch")


def given(call: Call) -> dict[str, int]:
    """Preconditions of a call, from the query or (XML API) the x-goog-if-… headers."""
    found = {name: number for name in CONDITIONS if (number := call.number(name)) is not None}
    for name in ("generation", "metageneration"):
        value = call.request.headers.get(f"x-goog-if-{name}-match", "")
        if value.isdigit():
            found[f"if{name.capitalize()}Match"] = int(value)
    return found


def given_source(call: Call) -> dict[str, int]:
    """Preconditions on the source of a copy."""
    pairs = ((name, call.number(name.replace("if", "ifSource", 1))) for name in CONDITIONS)
    return {name: number for name, number in pairs if number is not None}


def check(conditions: Mapping[str, int], current: Json | None, *, reading: bool = False) -> None:
    """Compare with the live resource (None: there is none).

    Raises:
        ApiError: 412, or 304 for a `…NotMatch` of a read.
    """
    for name, wanted in conditions.items():
        field = "metageneration" if "Meta" in name else "generation"
        actual = int(current[field]) if current is not None else 0
        if name.endswith("NotMatch"):
            if actual == wanted:
                raise _not_modified() if reading else _failed("If-None-Match")
        elif actual != wanted:
            raise _failed("If-Match")


def _failed(header: str) -> ApiError:
    return refuse("storage.precondition", location=("header", header))


def _not_modified() -> ApiError:
    return refuse("storage.not-modified")
