"""What the service holds in its environment, the passwords of MySQL and Redis: they end when no instance has them.

Both passwords are valid from before the new revision until after the old one's last request. Until the old one is ended
going back is traffic only. One new revision serves both secrets where both change.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from jobs import log
from jobs.errors import Unhealthy
from jobs.rotation import executions, service, versions
from jobs.rotation.account import Account
from jobs.rotation.change import Change
from jobs.rotation.outcome import Outcome
from jobs.rotation.service import Service
from jobs.rotation.settings import Rotate
from jobs.rotation.versions import AT_ONCE, CURRENT, NEXT, PREVIOUS

__all__ = ["Database", "Part", "Redis", "Served"]

_IDLE_SECONDS = 30
_MARGIN_SECONDS = 15  # a change of traffic is not known everywhere at once


class Part(Protocol):
    """A server that knows the password of one secret."""

    def accept(self, change: Change, outcome: Outcome) -> None:
        """Let the new one be valid beside the old one."""

    def keep(self, change: Change, number: int, outcome: Outcome) -> None:
        """Let one version be valid and no other, and retire the others."""

    def end_at_once(self, change: Change, outcome: Outcome) -> None:
        """Let the new one be valid and in force, and no other, nor a connection that began with one."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Database:
    account: Account

    def accept(self, change: Change, outcome: Outcome) -> None:
        outcome.mend(change.kind, self.account.accept(change.fresh(), change.others()))

    def keep(self, change: Change, number: int, outcome: Outcome) -> None:
        self.account.keep_only(versions.value(change.secret, number))
        change.retire(outcome, keep=number)

    def end_at_once(self, change: Change, outcome: Outcome) -> None:
        self.account.set_at_once(change.fresh(), change.others())
        versions.point(change.secret, {CURRENT: change.new, PREVIOUS: None, NEXT: None})
        change.retire(outcome, keep=change.new)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Redis:
    """Its passwords are set by a job that may have Redis's administrator; it takes them from the secret's aliases."""

    job: str

    def accept(self, _change: Change, _outcome: Outcome) -> None:
        executions.run(self.job)

    def keep(self, change: Change, number: int, outcome: Outcome) -> None:
        change.retire(outcome, keep=number)
        executions.run(self.job)

    def end_at_once(self, change: Change, outcome: Outcome) -> None:
        aliases = {CURRENT: change.new, PREVIOUS: None, NEXT: None}
        versions.point(change.secret, aliases, annotations={AT_ONCE: "now"})
        change.retire(outcome, keep=change.new)
        self.finish_at_once(change.secret)

    def finish_at_once(self, secret: str) -> None:
        executions.run(self.job)
        versions.point(secret, {}, annotations={AT_ONCE: None})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Served:
    """`parts` by kind, of every secret that the service holds."""

    wanted: Rotate
    parts: Mapping[str, Part]
    still_ours: Callable[[], None]
    outcome: Outcome

    def rotate(self, changes: Sequence[Change]) -> None:
        """Bring the changes to their end, and the service to a revision with the versions in force.

        Raises:
            Unhealthy: the new revision is not; what was not in force yet is undone.
        """
        for change in [change for change in changes if change.back]:
            self._undo(change)
        onward = [change for change in changes if not change.back]
        for change in onward:
            with self.outcome.step(change.kind, "both passwords valid"):
                self.parts[change.kind].accept(change, self.outcome)
        before = self._serve(onward)
        moved = time.monotonic()
        for change in onward:
            with self.outcome.step(change.kind, "new version in force"):
                self.still_ours()
                change.put_in_force()
        if onward:
            self._end_old(onward, before, moved)
        self._tidy()

    def rotate_now(self, changes: Sequence[Change]) -> None:
        """End the old passwords first; until the new revision serves, people are shut out."""
        begun = time.monotonic()
        for change in changes:
            with self.outcome.step(change.kind, "old password ended"):
                self.still_ours()
                self.parts[change.kind].end_at_once(change, self.outcome)
        log.warning("The clinic is interrupted until its new revision serves")
        try:
            self._serve([dataclasses.replace(change, moved=True) for change in changes])
        finally:
            self.outcome.interruption_seconds = round(time.monotonic() - begun, 2)
        for change in changes:
            change.finish(self.outcome)

    def _serve(self, changes: Sequence[Change]) -> dict[str, int]:
        """Have all requests answered with the new versions. Returns what answered them before (revision → percent)."""
        found = service.find(self.wanted.service)
        if found is None:
            return {}
        pins = {**self._in_force(), **{change.secret: change.new for change in changes}}
        before = found.serving
        if before and all(service.holds(service.revision_pins(found, revision), pins) for revision in before):
            return {}
        who = "+".join(change.kind for change in changes) or "service"
        with self.outcome.step(who, "new revision"):
            found = service.make_revision(found.name, pins)
        problem = found.problem or self._ask(who, found)
        if not problem:
            with self.outcome.step(who, "traffic"):
                self.still_ours()
                found = service.give_traffic(found, {found.revision: 100}, shown=found.revision)
            problem = self._ask(who, found)
        if problem:
            self._go_back(found, before, changes, problem)
        if not changes:
            self.outcome.mend(who, "the serving revision held a version that was not in force; a new one serves")
        return before

    def _ask(self, who: str, found: Service) -> str:
        """Whether the newest revision is healthy: a complaint, or ''. It is asked at an address of its own.

        A service that lets no caller from outside in is judged by Cloud Run alone.
        """
        self.outcome.health = "ready" if found.reachable else "not asked"
        if not found.reachable:
            return ""
        with self.outcome.step(who, "health of the revision"):
            if not found.address_of(found.revision):
                found = service.give_traffic(found, found.serving, shown=found.revision)
            return service.ask_health(found, found.address_of(found.revision))

    def _go_back(self, found: Service, before: Mapping[str, int], changes: Sequence[Change], problem: str) -> None:
        self.outcome.health = problem
        if before:
            with self.outcome.step("service", "traffic back"):
                service.give_traffic(found, before)
        undone = [change for change in changes if not change.moved]
        for change in undone:
            self._undo(dataclasses.replace(change, back=True))
        self._tidy()
        raise Unhealthy(
            f"Revision {found.revision} is not healthy: {problem}." + (" The old passwords stay." if undone else ""),
            do="See the revision's log, then run gcp-openemr rotate again.",
        )

    def _undo(self, change: Change) -> None:
        with self.outcome.step(change.kind, "undone"):
            self.parts[change.kind].keep(change, change.old, self.outcome)
            change.finish(self.outcome)

    def _tidy(self) -> None:
        """Our tag goes, and after an undo the template goes back to the versions in force."""
        found = service.find(self.wanted.service)
        if found is not None and not service.holds(found.pins, self._in_force()):
            found = service.make_revision(found.name, self._in_force())
        if found is not None and found.is_tagged:
            service.give_traffic(found, found.serving)

    def _in_force(self) -> dict[str, int]:
        return {name: versions.look(name).current for name in (self.wanted.secrets[kind] for kind in self.parts)}

    def _end_old(self, changes: Sequence[Change], before: Mapping[str, int], moved: float) -> None:
        """When nobody has the old passwords any more."""
        left = self._wait_for_jobs(changes)
        found = service.find(self.wanted.service)
        if found is not None:
            seconds = self.wanted.drain_seconds
            drain = found.request_seconds + _MARGIN_SECONDS if seconds is None else seconds
            with self.outcome.step("service", "requests in hand of the old revision"):
                self._pause(until=moved + drain)
            problem = self._ask("service", found)
            if problem:
                self._go_back(found, before, (), problem)
        for change in changes:
            if left and change.kind == "database":
                names = ", ".join(one.rpartition("/")[2] for one in left)
                self.outcome.waiting[change.kind] = f"{names} began before; the old password stays valid for it."
                continue
            with self.outcome.step(change.kind, "old password ended"):
                self.still_ours()
                self.parts[change.kind].keep(change, change.new, self.outcome)
                change.finish(self.outcome)

    def _pause(self, *, until: float) -> None:
        """Sleep, with the locks' connection in use."""
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _IDLE_SECONDS))
            self.still_ours()

    def _wait_for_jobs(self, changes: Sequence[Change]) -> list[str]:
        """Of jobs that have MySQL's password. Returns those that go on for too long."""
        if not any(change.kind == "database" for change in changes):
            return []
        with self.outcome.step("database", "executions that began before"):
            begun = executions.running(self.wanted.jobs, but=self.wanted.execution)
            return executions.wait(begun, seconds=self.wanted.wait_seconds, meanwhile=self.still_ours)
