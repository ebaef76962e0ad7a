"""What can be switched on to make the sandbox as slow and as unforgiving as Google Cloud; kept in the store.

How long Google takes is in a table in which each figure names its source (`latency.json`): `operations` are seconds
from a call to the end of the operation it starts, `calls` seconds to an answer. What the table does not name takes the
default, which is a guess and says so.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gcp_openemr.sandbox.api.errors import ApiError
from gcp_openemr.sandbox.api.store import Store

__all__ = ["Settings", "change_settings", "latencies", "read_settings", "seconds_of"]

_FACT = "settings"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Every number is a factor on Google's own time: 0 is off, 1 as slow as Google, 0.01 a hundredth of it.

    `latency`: how long calls and operations take. `propagation`: how long an IAM change takes to be seen.
    `held_addresses`: how long Cloud Run keeps a subnetwork's addresses after the last revision is gone. `healing`: how
    long a group waits until it makes an unhealthy machine anew. `schedules`: how long Cloud Scheduler's jobs wait for
    their next time. `quotas`: how much of Google's quotas a project has. `idle`: how long Cloud Run keeps an idle
    instance above the minimum; when off, instances stay, one of each revision at least.
    """

    latency: float = 0.0
    propagation: float = 0.0
    held_addresses: float = 0.0
    healing: float = 0.0
    schedules: float = 0.0
    quotas: float = 0.0
    idle: float = 0.0


def read_settings(store: Store) -> Settings:
    """As they were last changed; a field that a former version did not know has its default."""
    kept: dict[str, Any] = json.loads(store.fact(_FACT) or "{}")
    known = {field.name for field in dataclasses.fields(Settings)}
    return Settings(**{name: value for name, value in kept.items() if name in known})


def change_settings(store: Store, changes: Mapping[str, Any]) -> Settings:
    """Change some fields, all or none. Raises ApiError 400 for a field or a value that makes no sense."""
    with store.transaction():
        settings = dataclasses.replace(read_settings(store), **{name: _value(name, changes[name]) for name in changes})
        store.put_fact(_FACT, json.dumps(dataclasses.asdict(settings)))
    return settings


def _value(name: str, value: Any) -> float:
    known = [field.name for field in dataclasses.fields(Settings)]
    if name not in known:
        raise ApiError(400, f"There is no setting {name!r}. Settings: {', '.join(known)}.")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise ApiError(400, f"Setting {name} is a number from 0 up, not {value!r}.")
    return float(value)


@functools.cache
def latencies() -> dict[str, Any]:
    """`{"calls" | "operations": {API method id or "*": {"seconds", "source"}}}`."""
    found: dict[str, Any] = json.loads(Path(__file__).with_name("latency.json").read_text(encoding="utf-8"))
    return found


def seconds_of(kind: str, method: str) -> float:
    """Seconds until a method's call is answered (`calls`), or the operation takes that it starts (`operations`)."""
    rows = latencies()[kind]
    return float(rows.get(method, rows["*"])["seconds"])
