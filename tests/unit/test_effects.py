"""What a plan tells people of a change: what it interrupts, how long it takes, which values."""

from __future__ import annotations

from typing import Any

import pytest

from gcp_openemr import effects, guard
from gcp_openemr.terraform_messages import Change


def change(type_: str, action: str, before: Any = None, after: Any = None) -> Change:
    return Change(address=f"{type_}.x", type=type_, action=action, before=before or {}, after=after or {})


SQL = "google_sql_database_instance"
SERVICE = "google_cloud_run_v2_service"


@pytest.mark.parametrize(
    ("planned", "interrupts", "seconds"),
    [
        (change(SQL, "create"), "", 1200),
        (
            change(
                SQL, "update", {"settings": [{"tier": "db-g1-small"}]}, {"settings": [{"tier": "db-custom-2-7680"}]}
            ),
            "the database restarts: every clinic stands still for a minute or two",
            300,
        ),
        (
            change(SQL, "update", {"settings": [{"user_labels": {}}]}, {"settings": [{"user_labels": {"a": "b"}}]}),
            "",
            60,
        ),
        (
            change(SERVICE, "update", {"template": [{"timeout": "60s"}]}, {"template": [{"timeout": "90s"}]}),
            "",
            60,
        ),
        (change("google_monitoring_alert_policy", "update", {"severity": "a"}, {"severity": "b"}), "", 5),
        (change("google_something_new", "replace"), "", 20),
    ],
)
def test_a_change_tells_what_it_interrupts_and_how_long_it_takes(
    planned: Change, interrupts: str, seconds: int
) -> None:
    assert effects.of(planned) == effects.Effect(interrupts=interrupts, seconds=seconds)


def test_two_values_of_one_change_tell_one_thing_once_and_the_longer_time() -> None:
    before = {"settings": [{"tier": "a", "edition": "b", "user_labels": {}}]}
    after = {"settings": [{"tier": "c", "edition": "d", "user_labels": {"e": "f"}}]}
    told = effects.of(change(SQL, "update", before, after))
    assert (told.interrupts.count("restarts"), told.seconds) == (1, 300)


def test_values_are_shown_but_never_those_of_a_container() -> None:
    before = {"size": 10, "template": [{"containers": [{"env": [{"name": "A", "value": "hush"}], "cpu": "1"}]}]}
    after = {"size": 20, "template": [{"containers": [{"env": [{"name": "A", "value": "tell"}], "cpu": None}]}]}
    shown = effects.changed(change(SERVICE, "update", before, after))
    assert shown == ("size: 10 → 20", "template.containers.cpu: 1 → nothing", "template.containers.env.value")


def test_every_row_is_of_a_type_that_the_guard_knows() -> None:
    assert {row.type for row in effects.ROWS} <= {*guard.HOLDS, *guard.HARMLESS}
