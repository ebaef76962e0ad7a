"""The sum that a manifest carries of itself: what changed by a digit is seen before anybody believes it.

The job image has no gcp_openemr, and who runs that has no image: gcp_openemr/sealed.py is the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

__all__ = ["FORMAT", "is_whole", "sealed"]

FORMAT = 2
_WITHOUT_SUM = 1  # sets of before stay as they are
_SUM = "sum"


def sealed(body: Mapping[str, Any]) -> dict[str, Any]:
    """With its sum; of a format without one, as it is."""
    return {**body, _SUM: _sum(body)} if body["format"] != _WITHOUT_SUM else dict(body)


def is_whole(body: Mapping[str, Any]) -> bool:
    """Whether it is what was written, as far as it can tell."""
    if body.get("format") == _WITHOUT_SUM:
        return _SUM not in body
    return body.get(_SUM) == _sum(body)


def _sum(body: Mapping[str, Any]) -> str:
    """Of all but the sum, in whatever order it came."""
    rest = {name: value for name, value in body.items() if name != _SUM}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
