from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcp_openemr.sandbox.provider import wire
from gcp_openemr.sandbox.provider.protocol import UNKNOWN, conform, decode, encode, has_unknown, settled
from gcp_openemr.sandbox.provider.schema import resource_schema

_scalars = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text() | st.just(UNKNOWN)
_values = st.recursive(_scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


@given(_values)
def test_what_is_encoded_is_decoded(value: Any) -> None:
    assert decode(encode(value)) == value
    assert not has_unknown(settled(value))


def test_refined_unknowns_are_unknown() -> None:
    refined = msgpack.ExtType(12, msgpack.packb({1: False}))
    assert decode(wire.DynamicValue(msgpack=msgpack.packb({"name": refined}))) == {"name": UNKNOWN}


def test_other_extensions_are_refused() -> None:
    with pytest.raises(ValueError, match="extension 7"):
        decode(wire.DynamicValue(msgpack=msgpack.packb(msgpack.ExtType(7, b""))))


def test_json_and_empty_values() -> None:
    assert decode(wire.DynamicValue(json=b'{"a": [1]}')) == {"a": [1]}
    assert decode(wire.DynamicValue()) is None


def test_conform_drops_and_fills() -> None:
    block = resource_schema("google_secret_manager_secret").block
    shaped = conform(block, {"secret_id": "a", "of another version": 1, "replication": [{"auto": [{}]}]})
    assert set(shaped) == {*block.attributes, *block.blocks}
    assert shaped["replication"] == [{"auto": [{"customer_managed_encryption": []}], "user_managed": []}]
    assert shaped["topics"] == []
    assert shaped["timeouts"] is None
