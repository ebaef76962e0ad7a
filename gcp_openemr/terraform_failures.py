"""What Terraform's failures mean: which may be gone the next time, and whose lock is in the way.

Terraform's backend for Cloud Storage gives up at the first connection that ends without an answer, and does not know
whether its lock was written when the answer to that is lost. `Passing` and `StateLocked` tell these failures apart.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gcp_openemr import holds, lock
from gcp_openemr.errors import Locked, TerraformFailed
from gcp_openemr.holds import Hold

__all__ = ["Held", "Passing", "StateLocked", "ThereAlready", "failure_of"]

_PASSING = re.compile(
    r"\bEOF\b|connection re(set|fused)|broken pipe|use of closed network connection|i/o timeout|TLS handshake timeout"
    r"|context deadline exceeded"
    r"|Error (408|429|500|502|503|504)\b|status code (429|5\d\d)|unexpected HTTP status 5\d\d"
    # Tried again after its answer was lost, an unlock finds nothing to unlock.
    r"|releasing the state lock|unlocking the state file"
)
# Each API's words (the sources stand with the sandbox's refusals), then the provider's own.
_THERE_ALREADY = re.compile(
    r"already exists|[aA]lreadyExists|you already own it|bucket name is not available|already has a .* attached"
    r"|existing object already found"
)
_AFTERWARDS = ("Failed to save state", "Failed to persist state to backend", "Error releasing the state lock")


class Passing(TerraformFailed):
    """A failure that may be gone the next time. `afterwards`: all work was done, and only its end went wrong."""

    def __init__(self, what: str, *, do: str, afterwards: bool) -> None:
        super().__init__(what, do=do)
        self.afterwards = afterwards


class ThereAlready(TerraformFailed):
    """Planned resources exist already: `addresses`."""

    def __init__(self, what: str, *, do: str, addresses: tuple[str, ...]) -> None:
        super().__init__(what, do=do)
        self.addresses = addresses


class Held(TerraformFailed):
    """Everything that failed is held by Google for a while; `hold` is the one that lasts longest."""

    def __init__(self, what: str, *, do: str, hold: Hold) -> None:
        super().__init__(what, do=do)
        self.hold = hold


class StateLocked(Locked):
    """A lock on the state, as it was found."""

    def __init__(self, what: str, *, do: str, id_: str, who: str, created: datetime.datetime | None) -> None:
        super().__init__(what, do=do)
        self.id = id_
        self._who = who
        self._created = created

    def is_ours(self, since: datetime.datetime) -> bool:
        """Whether it was taken since then, from this machine, by this user: by a run of ours that got no answer."""
        ours = self._who == lock.who()
        return bool(self.id) and ours and self._created is not None and self._created >= since


def failure_of(directory: Path, diagnostics: Sequence[Mapping[str, Any]], stderr: str) -> TerraformFailed | Locked:
    """The failure that error diagnostics, or what a command without them printed, tell of."""
    errors = [d for d in diagnostics if d.get("severity") == "error"]
    text = "\n".join(_describe(diagnostic) for diagnostic in errors) or stderr.strip()[-3000:]
    unanswered = _PASSING.search(text) and "Lock Info:" not in text  # then nobody is known to hold it
    if ("acquiring the state lock" in text and not unanswered) or ("Error 412" in text and "Lock Info:" in text):
        return _state_locked(directory, text)
    what = f"Terraform failed in {directory.name}:\n{text}"
    there = [error for error in errors if _THERE_ALREADY.search(_describe(error))]
    if addresses := tuple(error["address"] for error in there if error.get("address")):
        do = "Where it is yours, take it into the state: "
        do += f"terraform -chdir={directory} import ADDRESS NAME. Then run this again."
        return ThereAlready(what, do=do, addresses=addresses)
    held = [holds.of(_describe(error)) for error in errors]
    longest = max(filter(None, held), key=lambda hold: hold.seconds, default=None)
    if longest is not None and None not in held:
        return Held(what, do=f"Run the same command later: {longest.what}.", hold=longest)
    if not _PASSING.search(text):
        return TerraformFailed(what, do="Mend what it names, then run the same command again: it continues.")
    afterwards = bool(errors) and all(str(error["summary"]).startswith(_AFTERWARDS) for error in errors)
    return Passing(what, do="Run the same command again: it continues.", afterwards=afterwards)


def _describe(diagnostic: Mapping[str, Any]) -> str:
    where = diagnostic.get("address") or diagnostic.get("range", {}).get("filename", "")
    detail = diagnostic.get("detail", "")
    return "  " + ": ".join(part for part in (where, diagnostic["summary"], detail) if part)


def _state_locked(directory: Path, text: str) -> StateLocked:
    fields = {key: re.search(rf"{key}:\s+(\S.*)", text) for key in ("ID", "Who", "Created")}
    found = {key: match.group(1).strip() for key, match in fields.items() if match}
    who, created = found.get("Who", ""), found.get("Created", "")
    return StateLocked(
        f"Terraform's state of {directory.name} is locked by {who or 'another run'} "
        f"since {created or 'an unknown time'}.",
        do="Wait for that run. If you are sure it is dead: "
        f"terraform -chdir={directory} force-unlock {found.get('ID', 'LOCK_ID')}",
        id_=found.get("ID", ""),
        who=who,
        created=_moment(created),
    )


def _moment(text: str) -> datetime.datetime | None:
    """Of Go's `2026-01-02 03:04:05.678901234 +0000 UTC`."""
    found = re.match(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)\S* \+0000", text)
    return datetime.datetime.fromisoformat(found[1]).replace(tzinfo=datetime.UTC) if found else None
