"""What a rehearsal tells: a line for each act, one object for programs, JUnit's XML for CI servers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

from gcp_openemr.console import spoken

__all__ = ["Scene", "as_junit", "as_text", "as_values"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scene:
    """An act as it was played: what it proved, or why it `failed`; one that was not played has neither.

    `day` is what befell it, `again` how often its commands had to be run again, `said` its last lines.
    """

    name: str
    proved: str = ""
    failed: str = ""
    day: str = ""
    again: int = 0
    seconds: float = 0.0
    said: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return bool(self.proved)


def as_values(scenes: Sequence[Scene]) -> list[dict[str, Any]]:
    return [
        {
            "act": one.name,
            "ok": one.ok,
            "proved": one.proved,
            "failed": one.failed,
            "bad_day": one.day,
            "run_again": one.again,
            "seconds": round(one.seconds, 1),
        }
        for one in scenes
    ]


def as_text(scenes: Sequence[Scene]) -> str:
    width = max(len(one.name) for one in scenes)
    return "\n".join(_line(one, width) for one in scenes)


def _line(one: Scene, width: int) -> str:
    mark = "✓" if one.ok else "✗" if one.failed else "-"
    day = f"  ({one.day}; {one.again} times run again)" if one.day else ""
    return f"{mark} {one.name:{width}}  {spoken(one.seconds):>12}  {one.proved or one.failed or 'not played'}{day}"


def as_junit(title: str, scenes: Sequence[Scene]) -> bytes:
    """One suite, a case for each act, as CI servers read it: https://github.com/testmoapp/junitxml"""
    counts = {
        "tests": len(scenes),
        "failures": sum(bool(one.failed) for one in scenes),
        "skipped": sum(not one.ok and not one.failed for one in scenes),
        "time": f"{sum(one.seconds for one in scenes):.1f}",
    }
    suite = ElementTree.Element("testsuite", {"name": title, **{key: str(value) for key, value in counts.items()}})
    for one in scenes:
        case = ElementTree.SubElement(
            suite, "testcase", {"classname": title, "name": one.name, "time": f"{one.seconds:.1f}"}
        )
        if one.failed:
            failure = ElementTree.SubElement(case, "failure", {"message": _printable(one.failed)})
            failure.text = _printable("\n".join(one.said))
        elif not one.ok:
            ElementTree.SubElement(case, "skipped")
        ElementTree.SubElement(case, "system-out").text = _printable("\n".join(filter(None, (one.proved, one.day))))
    ElementTree.indent(suite)
    return bytes(ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True))


def _printable(text: str) -> str:
    """Without the control characters that XML has no way to write."""
    return "".join(sign for sign in text if sign in "\t\n" or sign >= " ")
