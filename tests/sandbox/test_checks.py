"""The list of what a rehearsal proves: whole, the same in the documentation, and readable by people."""

from __future__ import annotations

from pathlib import Path

from gcp_openemr.sandbox import checks
from gcp_openemr.sandbox.api.refusals import REFUSALS
from gcp_openemr.sandbox.provider.types import served
from gcp_openemr.sandbox.runtime.claims import Level

DOCUMENT = Path(__file__).parents[2] / "docs" / "sandbox.md"


def test_the_documentation_holds_the_list_as_the_tables_have_it() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    command = "python -m gcp_openemr.sandbox.checks --write docs/sandbox.md"
    assert document == checks.render(document), f"run: {command}"


def test_every_table_is_in_the_list() -> None:
    said = [claim.what for claim in checks.rows()]
    assert all(any(what.startswith(f"{name} (") for what in said) for name in REFUSALS)
    assert all(any(what.startswith(f"{kind}: ") for what in said) for kind in served())
    assert any(what.startswith("run.projects.locations.services: ") and "create" in what for what in said)


def test_a_rule_names_its_source_and_what_is_unproven_says_why() -> None:
    for claim in checks.rows():
        if claim.level in (Level.RULE, Level.UNPROVEN):
            assert claim.source, claim


def test_people_get_areas_with_counts_and_everything_unproven() -> None:
    claims = checks.rows()
    text = checks.for_people(claims)
    for area, numbers in checks.counted(claims).items():
        assert f"  {area} " in text
        assert sum(numbers.values()) == sum(claim.area == area for claim in claims)
    for claim in claims:
        assert (f"{claim.what} ({claim.source})" in text) == (claim.level is Level.UNPROVEN)
    assert len(checks.as_values(claims)) == len(claims)
