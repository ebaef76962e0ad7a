"""One secret's way from an old version to a new one, begun by this run or found half-way."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

from jobs.passwords import new_password
from jobs.redacted import Redacted
from jobs.rotation import versions
from jobs.rotation.outcome import Outcome
from jobs.rotation.versions import CURRENT, LEFT, MOVED, NEXT, PREVIOUS, Secret

__all__ = ["Change", "begin", "is_due", "look"]

_DAY_SECONDS = 86_400


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """`moved`: `new` is in force already. `back`: it is being taken back. `own`: this run began it."""

    kind: str
    secret: str
    old: int
    new: int
    moved: bool = False
    back: bool = False
    own: bool = False

    @property
    def numbers(self) -> dict[str, int]:
        return {"from": self.old, "to": self.new}

    def fresh(self) -> Redacted:
        return versions.value(self.secret, self.new)

    def others(self) -> list[Redacted]:
        """The values of the other enabled versions, the old one first."""
        return self.values_but(self.new)

    def values_but(self, kept: int) -> list[Redacted]:
        """The values of the enabled versions but one, the old one first."""
        enabled = [number for number in versions.look(self.secret).enabled if number != kept]
        ordered = sorted(enabled, key=lambda number: number != self.old)
        return [versions.value(self.secret, number) for number in ordered]

    def put_in_force(self) -> datetime:
        """Have everybody else take the new version. Returns when that was begun, by this run or an earlier one."""
        moved = versions.look(self.secret).moved if self.moved else None
        if moved is None:
            moved = datetime.now(UTC).replace(microsecond=0)
            aliases = {CURRENT: self.new, PREVIOUS: self.old, NEXT: None}
            versions.point(self.secret, aliases, annotations={MOVED: moved.isoformat()})
        return moved

    def retire(self, outcome: Outcome, *, keep: int) -> None:
        """Disable every version but one, and have them destroyed later."""
        outcome.destroy(self.kind, versions.retire(versions.look(self.secret), keep=keep))

    def finish(self, outcome: Outcome) -> None:
        """At rest again; what says that there was something to finish goes last."""
        versions.point(self.secret, {PREVIOUS: None, NEXT: None}, annotations={LEFT: None, MOVED: None})
        if self.back:
            outcome.undone[self.kind] = self.numbers
        elif self.own:
            outcome.rotated[self.kind] = self.numbers
        else:
            outcome.finished[self.kind] = self.numbers


def look(kind: str, name: str, outcome: Outcome) -> Secret:
    """The secret as it is; a version in force that was disabled by hand is enabled again."""
    secret = versions.look(name)
    if secret.current not in secret.enabled:
        versions.enable(name, secret.current)
        outcome.mend(kind, f"version {secret.current} was disabled, though in force; it is enabled again")
        secret = versions.look(name)
    return secret


def begin(kind: str, secret: Secret, outcome: Outcome, *, due: bool) -> Change | None:
    """What is half-way, else a new version where one is due, else None; versions that nobody named go."""
    found = _half_way(kind, secret)
    if found is not None:
        return found
    if not due:
        outcome.destroy(kind, versions.retire(secret, keep=secret.current))
        return None
    with outcome.step(kind, "new version"):
        number = versions.add(secret, new_password())
        versions.point(secret.name, {NEXT: number})
    return Change(kind=kind, secret=secret.name, old=secret.current, new=number, own=True)


def is_due(secret: Secret, every_days: int) -> bool:
    return secret.age_seconds >= every_days * _DAY_SECONDS


def _half_way(kind: str, secret: Secret) -> Change | None:
    if secret.previous is not None:
        return Change(kind=kind, secret=secret.name, old=secret.previous, new=secret.current, moved=True)
    if secret.next is not None:
        back = secret.next not in secret.enabled
        return Change(kind=kind, secret=secret.name, old=secret.current, new=secret.next, back=back)
    return None
