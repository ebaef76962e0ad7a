"""Doctor: look at everything that a command needs, and say what to mend."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gcp_openemr.clients import Cloud
from gcp_openemr.console import Console
from gcp_openemr.doctor import CHECKS, Finding, Level, Subject, examine
from gcp_openemr.environment import Environment, load_environment
from gcp_openemr.errors import GcpOpenemrError

__all__ = ["doctor"]

_MARKS = {Level.OK: "✓", Level.WARNING: "!", Level.FAILED: "✗", Level.NOT_VISIBLE: "?", Level.SKIPPED: "-"}
_MOST_ITEMS = 8

Found = Sequence[tuple[str, Finding]]


def doctor(
    file: Path, connect: Callable[[str], Cloud], console: Console, *, workspace: Path, verbs: Sequence[str]
) -> bool:
    """Examine everything and show it. Returns whether there is nothing to mend.

    `connect` makes the cloud of a project; `verbs` are the commands whose permissions must be there.
    """
    subject = _subject(file, connect, console, workspace, verbs)
    with console.step("look at everything"):
        found = [(check.name, finding) for check, findings in examine(CHECKS, subject) for finding in findings]
    counts = {level.value: sum(finding.level is level for _, finding in found) for level in Level}
    well = counts[Level.FAILED] == 0
    values = {
        "well": well,
        "project": subject.project,
        "region": subject.region,
        "counts": counts,
        "checks": [_values(name, finding) for name, finding in found],
    }
    console.result(values, "\n".join([*_lines(found), "", _sentence(counts)]))
    return well


def _subject(
    file: Path, connect: Callable[[str], Cloud], console: Console, workspace: Path, verbs: Sequence[str]
) -> Subject:
    environment = _or_error(lambda: load_environment(file))
    if isinstance(environment, Environment):
        project, region = environment.project, environment.region
    else:
        project, region = _as_far_as_readable(file)
    return Subject(
        file=file,
        workspace=workspace,
        console=console,
        environment_or=environment,
        cloud_or=_or_error(lambda: connect(project)),
        project=project,
        region=region,
        verbs=verbs,
    )


def _or_error(make: Callable[[], Any]) -> Any:
    try:
        return make()
    except GcpOpenemrError as error:
        return error


def _as_far_as_readable(file: Path) -> tuple[str, str]:
    """Project and region of a file that is wrong elsewhere; '' where it does not hold them."""
    try:
        section = tomllib.loads(file.read_text(encoding="utf-8")).get("environment", {})
    except (OSError, ValueError):
        return "", ""
    given = [section.get(key, "") if isinstance(section, dict) else "" for key in ("project", "region")]
    project, region = (value if isinstance(value, str) else "" for value in given)
    return project, region


def _values(name: str, finding: Finding) -> dict[str, Any]:
    return {
        "check": name,
        "level": finding.level.value,
        "what": finding.what,
        "items": list(finding.items),
        "do": finding.do,
    }


def _lines(found: Found) -> list[str]:
    width = max(len(name) for name, _ in found)
    lines: list[str] = []
    last = ""
    for name, finding in found:
        title, last = ("" if name == last else name), name
        lines.append(f"{_MARKS[finding.level]} {title:{width}}  {_what(finding)}")
        if finding.do and finding.level is not Level.OK:
            lines.append(f"  {'':{width}}  → {finding.do}")
    return lines


def _what(finding: Finding) -> str:
    shown = ", ".join(finding.items[:_MOST_ITEMS])
    more = len(finding.items) - _MOST_ITEMS
    listed = f": {shown}" + (f" and {more} more" if more > 0 else "") if shown else ""
    return finding.what.replace("\n", "\n    ") + listed


def _sentence(counts: dict[str, int]) -> str:
    parts = [f"{count} {level}" for level, count in counts.items() if count]
    ending = "There is something to mend." if counts[Level.FAILED] else "Nothing has to be mended."
    return f"{', '.join(parts)}. {ending}"
