"""The sandbox's call log, faults, settings and servers, for people and programs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gcp_openemr import interruption
from gcp_openemr.console import Console
from gcp_openemr.errors import UsageError
from gcp_openemr.sandbox.api.call_log import Entry
from gcp_openemr.sandbox.api.faults import Fault
from gcp_openemr.sandbox.remote import remote

__all__ = ["add_fault", "calls", "clear_faults", "disturb", "list_faults", "settings"]

_POLL_SECONDS = 0.5


def calls(directory: Path, console: Console, *, since: int, who: str, method: str, follow: bool) -> None:
    """The log so far, or line after line as calls come."""
    sandbox = remote(directory)

    def wanted() -> list[Entry]:
        return [entry for entry in sandbox.calls(since) if who in entry.caller and method in entry.api_method]

    while follow:
        for entry in wanted():
            since = entry.number
            console.line(json.dumps(dataclasses.asdict(entry)) if console.as_json else _told(entry))
        interruption.pause(_POLL_SECONDS)
    found = wanted()
    console.result(
        {"calls": [dataclasses.asdict(entry) for entry in found]}, "\n".join(map(_told, found)) or "No calls."
    )


def list_faults(directory: Path, console: Console) -> None:
    _show(console, remote(directory).faults())


def add_fault(directory: Path, console: Console, effect: str, fields: Mapping[str, Any]) -> None:
    """Raises UsageError for a fault that makes no sense."""
    _show(console, [remote(directory).add_fault(effect, **fields)])


def clear_faults(directory: Path, console: Console, fault: str) -> None:
    """Raises UsageError when there is no such fault."""
    cleared = remote(directory).clear_faults(fault)
    console.result({"cleared": cleared}, f"{cleared} ended.")


def settings(directory: Path, console: Console, changes: Sequence[str]) -> None:
    """Raises UsageError for a setting or a value that makes no sense."""
    found = remote(directory).settings(**dict(map(_change, changes)))
    console.result(found, "\n".join(f"{name} = {value:g}" for name, value in found.items()))


def disturb(directory: Path, console: Console, kind: str, name: str, condition: str) -> None:
    """Raises UsageError when there is no such server."""
    remote(directory).disturb(kind, name, condition)
    console.result({"kind": kind, "name": name, "condition": condition}, f"{kind} {name}: {condition}.")


def _change(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError as error:
        raise UsageError(f"{text!r} is no NAME=NUMBER.") from error


def _show(console: Console, faults: Iterable[Fault]) -> None:
    shown = list(faults)
    lines = [f"{f.told}, {_scope(f)}, struck {f.hits} of {f.seen}" for f in shown]
    console.result({"faults": [dataclasses.asdict(fault) for fault in shown]}, "\n".join(lines) or "No faults.")


def _scope(fault: Fault) -> str:
    where = [f"{name} {value}" for name in ("method", "path", "caller") if (value := getattr(fault, name)) != "*"]
    when = [f"{name} {value:g}" for name in ("nth", "every", "probability", "times") if (value := getattr(fault, name))]
    return ", ".join(where + when) or "all calls"


def _told(entry: Entry) -> str:
    ending = str(entry.status or "no answer") + "".join(f" {word}" for word in (entry.refusal, entry.fault) if word)
    what = entry.api_method or f"{entry.method} {entry.path}"
    name = entry.resource.partition("/")[2]
    return f"{entry.number:6} {entry.time[11:23]} {entry.seconds:7.3f} s  {ending:9} {entry.caller}  {what}  {name}"
