"""What is wrong with an environment file, said so that it can be mended without looking anything up."""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
from collections.abc import Iterable, Sequence

from gcp_openemr.environment.positions import KeyPath

__all__ = ["Fault", "Origin", "Problem", "Wrong", "allowed", "describe", "nearest", "one_of", "shown"]

Origin = int | str
"""Where a value comes from: a line of the file, or the name of an environment variable."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_USER_IN_URL = re.compile(r"//[^/@\s]*@")
_LONGEST_SHOWN = 80
_MISSING = object()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing wrong with a value.

    `below` leads from the field to the entry of a map that is meant, `related` names other keys of the section that
    would mend it too, `value_shown` is False where the text says it already or the value may be a secret.
    """

    text: str
    hint: str = ""
    below: tuple[str, ...] = ()
    related: tuple[str, ...] = ()
    value_shown: bool = True


class Wrong(ValueError):
    """Raised by a field's check; carries every fault it found."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__("; ".join(fault.text for fault in faults))
        self.faults = faults


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
    """One line of the report."""

    origin: Origin
    path: KeyPath
    text: str
    of_table: bool = False

    @property
    def order(self) -> tuple[int, int, str, str, str]:
        """File first, by line; then the variables, by name."""
        where = ".".join(str(key) for key in self.path)
        if isinstance(self.origin, int):
            return (0, self.origin, "", where, self.text)
        return (1, 0, self.origin, where, self.text)

    def line(self, file: str) -> str:
        where = f"{file}:{self.origin}" if isinstance(self.origin, int) else self.origin
        if not self.path:
            return f"{where}: {self.text}"
        return f"{where}: {_display(self.path, of_table=self.of_table)}: {self.text}"


def _display(path: KeyPath, *, of_table: bool) -> str:
    """`[clinics.main] cpu`, or `[clinics.main]` where the table itself is meant; a top-level key stands alone."""
    keys = [str(key) if _BARE_KEY.fullmatch(str(key)) else shown(str(key)) for key in path]
    if of_table:
        return f"[{'.'.join(keys)}]"
    if len(keys) > 1:
        return f"[{'.'.join(keys[:-1])}] {keys[-1]}"
    return "".join(keys)


def shown(value: object) -> str:
    """A value as TOML would write it, short, printable, without what may be a credential in a URL."""
    if isinstance(value, str):
        text = _USER_IN_URL.sub("//…@", value)
        if "://" in text:
            text = text.partition("?")[0]
        if len(text) > _LONGEST_SHOWN:
            text = text[: _LONGEST_SHOWN - 1] + "…"
        text = json.dumps(text, ensure_ascii=False)
    elif isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, dict):
        text = "a table"
    elif isinstance(value, list):
        text = "an array"
    elif isinstance(value, int) and abs(value) >= 10**_LONGEST_SHOWN:
        text = "a very large number"  # Python refuses to write out some of them
    else:
        text = str(value)
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def allowed(values: Sequence[object]) -> str:
    """`"a", "b" or "c"`."""
    texts = [shown(value) for value in values]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} or {texts[-1]}"


def one_of(value: object, values: Sequence[str]) -> Fault:
    """The fault of a value that is none of `values`, with the nearest of them."""
    near = nearest(value, values)
    return Fault(text=f"must be {allowed(values)}", hint=f"did you mean {shown(near)}?" if near else "")


def nearest(value: object, values: Iterable[str], *, likeness: float = 0.6) -> str:
    """The one of `values` that `value` was probably meant to be, or ''; `likeness` is at most 1."""
    if not isinstance(value, str):
        return ""
    by_lower = {known.lower(): known for known in values}
    lower = value.lower()
    starting = [known for known in by_lower if len(lower) > 2 and known.startswith(lower)]
    close = starting if len(starting) == 1 else difflib.get_close_matches(lower, by_lower, n=1, cutoff=likeness)
    return by_lower[close[0]] if close else ""


def describe(fault: Fault, value: object = _MISSING) -> str:
    """`must be … (found …); did you mean …?`."""
    text = fault.text
    if value is not _MISSING and fault.value_shown:
        text += f" (found {shown(value)})"
    return f"{text}; {fault.hint}" if fault.hint else text
