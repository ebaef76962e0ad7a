"""docs/nfs-init.md tells the decision table and the exit codes as they are.

After a change: python -m tests.jobs.test_documentation
"""

from __future__ import annotations

import re
from pathlib import Path

from jobs import errors
from jobs.decide import ROWS

PAGE = Path(__file__).parents[2] / "docs" / "nfs-init.md"


def rows() -> str:
    lines = [f"| {row.name} | {row.action} | {row.do or '–'} |" for row in ROWS]
    return "\n".join(["| what is there | what it does | what to do |", "| --- | --- | --- |", *lines])


def codes() -> str:
    found = re.findall(r"\w+ (\d+) +(.+)", errors.__doc__ or "")
    lines = [f"| {code} | {meaning.strip('()')} |" for code, meaning in found]
    return "\n".join(["| code | what it means |", "| --- | --- |", *lines])


def written(page: str) -> str:
    """The page with both tables as they are now."""
    page = re.sub(r"(?s)(<!-- rows -->\n).*?(<!-- end -->)", lambda m: f"{m[1]}{rows()}\n{m[2]}", page)
    return re.sub(r"(?s)<!-- codes -->\n.*?<!-- end codes -->", f"<!-- codes -->\n{codes()}\n<!-- end codes -->", page)


def test_the_page_is_as_the_code() -> None:
    page = PAGE.read_text()
    assert page == written(page), __doc__


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
