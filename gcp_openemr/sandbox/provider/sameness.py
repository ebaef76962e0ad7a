"""When two spellings are one value: the rules behind "no changes" where people and Google write differently."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from gcp_openemr.sandbox.provider.protocol import UNKNOWN

__all__ = ["KINDS", "is_zero", "same"]

_HOSTS = re.compile(r"^(https://(www|compute|secretmanager)\.googleapis\.com/(compute/)?(v1/|beta/)|//[\w.]+/)")


def is_zero(value: Any) -> bool:
    """Null, false, 0, empty: what Google leaves out of its JSON.

    A block is zero when all in it is; one that has no arguments says something by being there.
    """
    if isinstance(value, dict):
        return all(is_zero(inner) for inner in value.values())
    if isinstance(value, list):
        return all(isinstance(inner, dict) and inner and is_zero(inner) for inner in value)
    return value in (None, False, 0, "")


def same(kind: str, one: Any, other: Any) -> bool:
    """Whether two known values mean the same; `kind` is a key of `KINDS` or "" for plain comparison."""
    if one is UNKNOWN or other is UNKNOWN:
        return one is other
    if one == other:
        return True
    if isinstance(one, str) and isinstance(other, str) and kind:
        return KINDS[kind](one, other)
    if isinstance(one, list) and isinstance(other, list) and kind and len(one) == len(other):
        return all(same(kind, *pair) for pair in zip(one, other, strict=True))
    return is_zero(one) and is_zero(other)


def _link(one: str, other: str) -> bool:
    """Full links, relative names and short names of one Google resource; what follows a `?` does not count."""
    shorter, longer = sorted((_HOSTS.sub("", link.partition("?")[0]) for link in (one, other)), key=len)
    return bool(shorter) and (shorter == longer or longer.endswith("/" + shorter))


def _case(one: str, other: str) -> bool:
    return one.casefold() == other.casefold()


def _duration(one: str, other: str) -> bool:
    seconds = [re.fullmatch(r"(\d+)(?:\.(\d*?)0*)?s", text) for text in (one, other)]
    first, second = seconds
    return bool(first and second) and _seconds(first) == _seconds(second)


def _seconds(found: re.Match[str] | None) -> tuple[int, str]:
    return (int(found.group(1)), found.group(2) or "") if found else (-1, "")


def _image(one: str, other: str) -> bool:
    """An image family as people write it, and the image or family link that the disk reports."""
    if _link(one, other):
        return True
    short, long = sorted((_HOSTS.sub("", one), _HOSTS.sub("", other)), key=len)
    family = short.rsplit("/", 1)[-1]
    owner = short.split("/")[0] if "/" in short else ""
    return long.rsplit("/", 1)[-1].startswith(family) and (not owner or f"/{owner}/" in f"/{long}/")


def _dns_name(one: str, other: str) -> bool:
    return one.rstrip(".").casefold() == other.rstrip(".").casefold()


def _address(one: str, other: str) -> bool:
    """An address may be given by the name or link of what reserves it, and is reported as an address."""
    given = [re.fullmatch(r"[\d.]+|[\da-f]*:[\da-f:]*", text) for text in (one, other)]
    return _link(one, other) if all(given) or not any(given) else True


KINDS: Mapping[str, Callable[[str, str], bool]] = {
    "address": _address,
    "case": _case,
    "dns_name": _dns_name,
    "duration": _duration,
    "image": _image,
    "last_slash": lambda one, other: one.rstrip("/") == other.rstrip("/"),
    "link": _link,
    "served": str.__eq__,  # what is not said is as the server has it
}
