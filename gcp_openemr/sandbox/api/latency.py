"""How long Google Cloud takes, from a table in which each figure names its source (`latency.json`).

`operations` are seconds from a call to the end of the operation it starts, `calls` seconds to an answer. What the table
does not name takes the default, which is a guess and says so.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

__all__ = ["call_seconds", "latencies", "operation_seconds"]


@functools.cache
def latencies() -> dict[str, Any]:
    """`{"calls" | "operations": {API method id or "*": {"seconds", "source"}}}`."""
    found: dict[str, Any] = json.loads(Path(__file__).with_name("latency.json").read_text(encoding="utf-8"))
    return found


def call_seconds(method: str) -> float:
    """Seconds until a call is answered."""
    return _seconds("calls", method)


def operation_seconds(method: str) -> float:
    """Seconds that the operation takes which a method starts."""
    return _seconds("operations", method)


def _seconds(kind: str, method: str) -> float:
    rows = latencies()[kind]
    return float(rows.get(method, rows["*"])["seconds"])
