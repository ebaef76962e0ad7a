"""A search for secrets finds them."""

from __future__ import annotations

import base64

from hypothesis import given
from hypothesis import strategies as st

from tests.searched import shapes


@given(before=st.binary(), value=st.binary(min_size=8), after=st.binary())
def test_a_value_is_found_in_whatever_base64_it_is_part_of(before: bytes, value: bytes, after: bytes) -> None:
    coded = base64.b64encode(before + value + after)
    assert any(shape in coded for shape in shapes(value))
    assert all(len(shape) > len(value) for shape in [*shapes(value)][1:])
