"""A plan on file: no values, and every difference to what would be done now is told."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from gcp_openemr.environment.load import parse_environment
from gcp_openemr.errors import InputMissing, PlanChanged
from gcp_openemr.reviewed import Reviewed, read, reviewed
from gcp_openemr.terraform_messages import Change, Plan
from tests.rehearsal.place import environment_file

VALUE = "not-for-everybody"
STATES = {"foundation": ("a", 3), "platform": ("b", 7), "clinics/main": ("c", 2)}


def change(address: str = "x.y", action: str = "update", **after: Any) -> Change:
    kind = address.partition(".")[0]
    return Change(address=address, type=kind, action=action, before={"a": 1, "same": 2}, after={"same": 2, **after})


def plan(*changes: Change) -> Plan:
    return Plan(file=Path("tfplan"), changes=changes)


def made(
    plans: dict[str, Plan] | None = None,
    states: dict[str, tuple[str, int]] | None = None,
    beside: tuple[str, ...] = (),
    file: str = "",
) -> Reviewed:
    environment = parse_environment(environment_file(file), file="openemr.toml", overrides={})
    planned = {root: plan() for root in STATES} | (plans or {"platform": plan(change(a=VALUE))})
    return reviewed(environment, planned, {**STATES, **(states or {})}, beside)


def test_what_is_written_is_read_back_and_holds_no_value(tmp_path: Path) -> None:
    before = made(beside=("The image would be built.",))
    before.write(tmp_path / "plan.json")
    assert read(tmp_path / "plan.json") == before
    before.check(read(tmp_path / "plan.json"))
    text = (tmp_path / "plan.json").read_text()
    assert "update x.y" in text
    assert VALUE not in text


@pytest.mark.parametrize(
    ("now", "words"),
    [
        ({"plans": {"platform": plan(change(a="other"))}}, "platform: now it would update x.y"),
        ({"plans": {"platform": plan(change(a=VALUE, action="replace"))}}, "replace x.y"),
        ({"plans": {"platform": plan()}}, "platform: now it would change nothing"),
        ({"plans": {"platform": plan(change(a=VALUE)), "clinics/new": plan()}}, "clinics/new: was not planned then"),
        ({"states": {"platform": ("b", 8)}}, "serial 7, now 8"),
        ({"states": {"platform": ("z", 7)}}, "platform: its state was changed meanwhile"),
        ({"beside": ("The image 1 would be built.",)}, "The image 1 would be built."),
        ({"file": "cpu = 4\nmemory = '4Gi'"}, "the environment file"),
    ],
)
def test_every_difference_is_refused_in_words(now: dict[str, Any], words: str) -> None:
    if "clinics/new" in now.get("plans", {}):
        now = {**now, "states": {"clinics/new": ("d", 1)}}
    with pytest.raises(PlanChanged) as refused:
        made().check(made(**now))
    assert words in refused.value.what
    assert "gcp-openemr plan --out" in refused.value.do
    assert VALUE not in refused.value.what


def test_another_release_of_ours_is_refused() -> None:
    with pytest.raises(PlanChanged, match=r"gcp-openemr: 0\.0\.9"):
        dataclasses.replace(made(), release="0.0.9 (commit 1)").check(made())


def test_what_is_known_only_afterwards_may_move_by_itself() -> None:
    moved = dataclasses.replace(change(a=VALUE), before={"a": 1, "same": 2, "etag": "new"})
    made().check(made({"platform": plan(moved)}))


def test_under_the_lock_states_and_each_root_are_compared_again() -> None:
    agreed = made({"clinics/main": plan(change(a=VALUE))})
    agreed.check_states(STATES)
    with pytest.raises(PlanChanged, match="platform: its state"):
        agreed.check_states({**STATES, "platform": ("b", 8)})
    agreed.check_root("clinics/main", plan(change(a=VALUE)))
    with pytest.raises(PlanChanged, match=r"clinics/main: now it would update x\.y"):
        agreed.check_root("clinics/main", plan(change(a="by hand")))


def test_a_root_after_one_that_changes_is_not_compared() -> None:
    made().check_root("clinics/main", plan(change(a="follows from the platform")))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', '{"format": 1, "roots": {"a": {}}}'])
def test_another_file_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(InputMissing, match=r"plan\.json is no reviewed plan"):
        read(tmp_path / "plan.json")


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match="cannot be read"):
        read(tmp_path / "plan.json")
