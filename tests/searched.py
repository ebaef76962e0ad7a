"""What to search for where a secret must not be."""

from __future__ import annotations

import base64
from collections.abc import Iterator

__all__ = ["shapes"]


def shapes(value: bytes) -> Iterator[bytes]:
    """A value as it is, and as it looks within base64 of something longer, wherever it begins there."""
    yield value
    for before in range(3):
        coded = base64.b64encode(bytes(before) + value)
        whole = slice(-(-8 * before // 6), 8 * (before + len(value)) // 6)  # characters without a neighbour's bits
        yield coded[whole]
