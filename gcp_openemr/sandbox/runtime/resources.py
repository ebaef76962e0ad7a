"""Reading Google's resources: names, sizes, durations; doing things side by side."""

from __future__ import annotations

import datetime
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gcp_openemr.sandbox.interfaces import Refused

__all__ = ["cpus_of", "last", "memory_of", "network_name", "now", "part", "seconds_of", "side_by_side"]

_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}


def last(name: str) -> str:
    """The short name: what follows the last slash."""
    return name.rstrip("/").rpartition("/")[2]


def part(name: str, collection: str) -> str:
    """The value after a collection in a name or URL: `part(".../projects/p/zones/z", "zones")` is `z`; "" if none."""
    found = re.search(rf"(?:^|/){re.escape(collection)}/([^/]+)", name)
    return found[1] if found else ""


def network_name(reference: str, project: str = "") -> str:
    """`projects/p/global/networks/n` of a URL, a name or, with `project`, a short name."""
    if not reference:
        return ""
    owner = part(reference, "projects") or project
    return f"projects/{owner}/global/networks/{last(reference)}"


def memory_of(text: str) -> int:
    """Bytes of `512Mi`, `4G`, `1073741824`."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kMG]i?|Ki)?", text)
    if found is None:
        raise ValueError(f"{text!r} is no amount of memory")
    return int(float(found[1]) * _UNITS[found[2] or ""])


def cpus_of(text: str) -> float:
    """CPUs of `2`, `0.5` or `2000m`."""
    return float(text[:-1]) / 1000 if text.endswith("m") else float(text)


def seconds_of(text: str | None, default: float) -> float:
    """Seconds of `300s`."""
    return float(text.rstrip("s")) if text else default


def now() -> str:
    """This moment as Google writes it."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def side_by_side(work: Callable[..., object], arguments: Iterable[tuple[Any, ...]]) -> None:
    """Call `work` with each of the arguments, all at once; returns when all have ended."""
    threads = [threading.Thread(target=work, args=given) for given in arguments]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def only_container(template: Mapping[str, Any]) -> Mapping[str, Any]:
    """The container of a revision or task.

    Raises:
        Refused: there are several, or it has what the sandbox has nothing for.
    """
    containers: list[Mapping[str, Any]] = template.get("containers") or [{}]
    if len(containers) > 1:
        raise Refused("The sandbox runs one container for each instance or task: no sidecars.", code=12)
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        if "grpc" in (containers[0].get(probe) or {}):
            raise Refused(f"The sandbox makes no gRPC probes ({probe}).", code=12)
    return containers[0]
