from __future__ import annotations

from typing import Any

import pytest

from gcp_openemr.sandbox.provider.planning import plan
from gcp_openemr.sandbox.provider.protocol import UNKNOWN
from gcp_openemr.sandbox.provider.sameness import is_zero, same
from gcp_openemr.sandbox.provider.schema import Attribute, Block, Nested

INNER = Block(
    attributes={
        "name": Attribute(name="name", type="string", required=True, force_new=True),
        "link": Attribute(name="link", type="string", optional=True),
        "address": Attribute(name="address", type="string", optional=True, computed=True),
    },
    blocks={},
)
BLOCK = Block(
    attributes={
        "id": Attribute(name="id", type="string", optional=True, computed=True),
        "kind": Attribute(name="kind", type="string", required=True, force_new=True),
        "size": Attribute(name="size", type="number", optional=True, default=10),
        "note": Attribute(name="note", type="string", optional=True),
        "tags": Attribute(name="tags", type=["set", "string"], optional=True),
        "secret_wo": Attribute(name="secret_wo", type="string", optional=True, write_only=True, sensitive=True),
    },
    blocks={
        "disk": Nested(name="disk", nesting="list", min_items=0, max_items=0, block=INNER),
        "peer": Nested(name="peer", nesting="set", min_items=0, max_items=0, block=INNER),
        "tuning": Nested(name="tuning", nesting="list", min_items=0, max_items=1, block=INNER, computed=True),
    },
)
SAMENESS = {"disk.link": "link", "peer.link": "link"}


def _config(**said: Any) -> dict[str, Any]:
    empty = {"id": None, "kind": "a", "size": None, "note": None, "tags": None, "secret_wo": None}
    return {**empty, "disk": [], "peer": [], "tuning": [], **said}


def _state(**known: Any) -> dict[str, Any]:
    return {**_config(id="1", size=10), **known}


def test_create_leaves_unknown_what_the_server_sets() -> None:
    disk = {"name": "d", "link": None, "address": None}
    planned = plan(BLOCK, None, _config(secret_wo="x", disk=[disk]), SAMENESS)
    assert planned.state["id"] is UNKNOWN
    assert planned.state["size"] == 10
    assert planned.state["secret_wo"] is None
    assert planned.state["tuning"] is UNKNOWN
    assert planned.state["disk"] == [{"name": "d", "link": None, "address": UNKNOWN}]
    assert planned.replaces == ()


@pytest.mark.parametrize(
    ("prior", "config"),
    [
        (_state(), _config()),
        (_state(note=""), _config()),
        (_state(tags=["b", "a"]), _config(tags=["a", "b"])),
        (_state(tuning=[{"name": "t", "link": "", "address": "x"}]), _config()),
        (
            _state(
                disk=[{"name": "d", "link": "https://www.googleapis.com/compute/v1/projects/p/x/n", "address": "1"}]
            ),
            _config(disk=[{"name": "d", "link": "projects/p/x/n", "address": None}]),
        ),
    ],
)
def test_same_meaning_changes_nothing(prior: dict[str, Any], config: dict[str, Any]) -> None:
    planned = plan(BLOCK, prior, config, SAMENESS)
    assert planned.state == prior
    assert planned.replaces == []


def test_elements_of_a_set_find_their_earlier_selves() -> None:
    one = {"name": "1", "link": "https://www.googleapis.com/compute/v1/a/1", "address": "x"}
    two = {"name": "2", "link": "https://www.googleapis.com/compute/v1/a/2", "address": "y"}
    said = [{"name": "2", "link": "a/2", "address": None}, {"name": "1", "link": "a/1", "address": None}]
    planned = plan(BLOCK, _state(peer=[one, two]), _config(peer=said), SAMENESS)
    assert planned.state["peer"] == [two, one]
    assert planned.replaces == []


def test_removing_an_argument_or_a_block_is_a_change() -> None:
    disk = {"name": "d", "link": "", "address": "1"}
    planned = plan(BLOCK, _state(note="x", disk=[disk]), _config(), SAMENESS)
    assert planned.state["note"] is None
    assert planned.state["disk"] == []


@pytest.mark.parametrize("value", ["b", UNKNOWN])
def test_changed_force_new_replaces(value: Any) -> None:
    assert plan(BLOCK, _state(), _config(kind=value), SAMENESS).replaces == [("kind",)]


def test_force_new_inside_blocks() -> None:
    old, new = {"name": "d", "link": "", "address": "1"}, {"name": "e", "link": None, "address": None}
    assert plan(BLOCK, _state(disk=[old]), _config(disk=[new]), SAMENESS).replaces == [("disk", 0, "name")]
    assert plan(BLOCK, _state(peer=[old]), _config(peer=[new]), SAMENESS).replaces == [("peer",)]


@pytest.mark.parametrize(
    ("kind", "one", "other", "expected"),
    [
        ("link", "net", "https://www.googleapis.com/compute/v1/projects/p/global/networks/net", True),
        ("link", "projects/p/global/networks/net", "projects/q/global/networks/net", False),
        ("link", "et", "projects/p/global/networks/net", False),
        ("case", "EU", "eu", True),
        ("duration", "60s", "60.000s", True),
        ("duration", "60s", "61s", False),
        ("image", "debian-cloud/debian-12", "projects/debian-cloud/global/images/debian-12-bookworm-v1", True),
        ("image", "debian-cloud/debian-12", "projects/debian-cloud/global/images/debian-11-bullseye", False),
        ("dns_name", "a.b.", "a.b", True),
        ("", "a", "A", False),
        ("", None, "", True),
        ("", None, False, True),
        ("", [], None, True),
        ("", "0", None, False),
    ],
)  # fmt: skip
def test_sameness(kind: str, one: Any, other: Any, expected: bool) -> None:
    assert same(kind, one, other) is expected
    assert same(kind, other, one) is expected


def test_a_block_is_zero_when_all_in_it_is() -> None:
    assert is_zero([{"a": None, "b": [{"c": False}]}])
    assert not is_zero([{"a": None, "b": [{"c": True}]}])
    assert not is_zero(["a"])
