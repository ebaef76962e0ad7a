"""What the READMEs of terraform/ say that can be read from the code: inputs, outputs, the profiles' table."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from gcp_openemr.environment.profiles import TABLE

__all__ = ["inputs_and_outputs", "profiles", "with_section"]

_BLOCK = re.compile(r'^(variable|output) "(\w+)" \{\n(.*?)^\}', re.MULTILINE | re.DOTALL)
_HEREDOC = re.compile(r"description\s+= <<-EOT\n(.*?)\n\s*EOT", re.DOTALL)
_QUOTED = re.compile(r'description\s+= "((?:[^"\\]|\\.)*)"')
_MARKS = "<!-- {}: from the code -->\n", "<!-- end -->\n"


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Entry:
    kind: str
    name: str
    description: str
    type: str
    required: bool


def inputs_and_outputs(folder: Path) -> str:
    """Two tables: a module's variables, those that must be given first, and its outputs."""
    entries = list(_entries(folder))
    inputs = sorted((e for e in entries if e.kind == "variable"), key=lambda entry: (not entry.required, entry.name))
    outputs = sorted((e for e in entries if e.kind == "output"), key=lambda entry: entry.name)
    rows = [
        "| input | type | what it is |",
        "| --- | --- | --- |",
        *(f"| `{e.name}`{'' if e.required else ' (optional)'} | `{e.type}` | {e.description} |" for e in inputs),
    ]
    if outputs:
        rows += [
            "",
            "| output | what it is |",
            "| --- | --- |",
            *(f"| `{e.name}` | {e.description} |" for e in outputs),
        ]
    return "\n".join(rows) + "\n"


def profiles() -> str:
    rows = [
        f"| `{f'[{row.section}] {row.key}' if row.section else row.key}` | {_toml(row.production)} "
        f"| {_toml(row.developer)} | {row.why} |"
        for row in TABLE
    ]
    return "\n".join(["| setting | production | developer | why |", "| --- | --- | --- | --- |", *rows]) + "\n"


def with_section(text: str, title: str, make: Callable[[], str]) -> str:
    """`text` with the part between the marks of `title` made anew; appended where there is none yet."""
    begin, end = _MARKS[0].format(title), _MARKS[1]
    before, found, rest = text.partition(begin)
    after = rest.partition(end)[2] if found else ""
    return f"{before if found else text.rstrip() + chr(10) * 2}{begin}\n{make()}\n{end}{after}"


def _entries(folder: Path) -> Iterator[_Entry]:
    for file in (folder / "variables.tf", folder / "outputs.tf"):
        if not file.exists():
            continue
        for kind, name, body in _BLOCK.findall(file.read_text()):
            yield _Entry(
                kind=kind,
                name=name,
                description=_description(body),
                type=_type(body),
                required=not re.search(r"^  default\s+=", body, re.MULTILINE),
            )


def _description(body: str) -> str:
    quoted, heredoc = _QUOTED.search(body), _HEREDOC.search(body)
    text = json.loads(f'"{quoted[1]}"') if quoted else heredoc[1] if heredoc else ""
    return " ".join(text.split()).replace("|", "\\|")


def _type(body: str) -> str:
    """A type in one line, without the fields of its objects."""
    found = re.search(r"^  type\s+= (\w+)(\(\w+)?", body, re.MULTILINE)
    if found is None:
        return ""
    return f"{found[1]}{found[2] + ')' if found[2] else ''}"


def _toml(value: object) -> str:
    return f"`{json.dumps(value)}`"
