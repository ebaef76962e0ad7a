"""What the service holds in its environment, the passwords of MySQL and Redis: they end when no instance has them.

Both passwords are valid from before the new revision until after the old one's last request. Until the old one is ended
going back is traffic only. One new revision serves both secrets where both change.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from jobs import log
from jobs.errors import Unhealthy, Unreachable
from jobs.redacted import Redacted
from jobs.rotation import executions, service, versions
from jobs.rotation.account import Account
from jobs.rotation.change import Change
from jobs.rotation.locks import Fence
from jobs.rotation.outcome import Outcome
from jobs.rotation.service import Service
from jobs.rotation.settings import Rotate
from jobs.rotation.versions import AT_ONCE, CURRENT, NEXT, PREVIOUS

__all__ = ["Database", "Part", "Redis", "Served"]

_AGAIN_SECONDS = 20.0
_ATTEMPTS = 8
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
        in_front = [] if number == change.new else change.values_but(number)
        self.account.keep_only(versions.value(change.secret, number), in_front=in_front)
        change.retire(outcome, keep=number)

    def end_at_once(self, change: Change, outcome: Outcome) -> None:
        self.account.set_at_once(change.fresh(), change.others())
        versions.point(change.secret, {CURRENT: change.new, PREVIOUS: None, NEXT: None})
        change.retire(outcome, keep=change.new)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Redis:
    """Its passwords are set by a job that may have Redis's administrator; it takes them from the secret's aliases.

    Secret Manager may tell a change of them minutes late (https://cloud.google.com/secret-manager/docs/reference/consistency),
    so Redis itself is asked what it takes.
    """

    job: str
    opens: Callable[[Redacted], bool]

    def accept(self, change: Change, _outcome: Outcome) -> None:
        self.set(valid=change.fresh())

    def keep(self, change: Change, number: int, outcome: Outcome) -> None:
        ended = change.values_but(number)
        change.retire(outcome, keep=number)
        self.set(valid=versions.value(change.secret, number), ended=ended)

    def end_at_once(self, change: Change, outcome: Outcome) -> None:
        aliases = {CURRENT: change.new, PREVIOUS: None, NEXT: None}
        versions.point(change.secret, aliases, annotations={AT_ONCE: "now"})
        ended = change.values_but(change.new)
        change.retire(outcome, keep=change.new)
        self.finish_at_once(change.secret, valid=change.fresh(), ended=ended)

    def finish_at_once(self, secret: str, *, valid: Redacted, ended: Sequence[Redacted] = ()) -> None:
        self.set(valid=valid, ended=ended)
        versions.point(secret, {}, annotations={AT_ONCE: None})

    def set(self, *, valid: Redacted, ended: Sequence[Redacted] = ()) -> None:
        """Run the job until Redis takes the one and none of the others.

        Raises:
            Unreachable: it does not come to that.
        """
        for attempt in range(_ATTEMPTS):
            if attempt:
                log.info("The job was told how the secret was before; it is run again")
                time.sleep(_AGAIN_SECONDS)
            executions.run(self.job)
            if self.opens(valid) and not any(self.opens(other) for other in ended):
                return
        raise Unreachable(
            "Redis does not take the passwords that its secret names: Secret Manager goes on telling older ones.",
            do="Run the same command again in some minutes; it continues.",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Served:
    """`parts` by kind, of every secret that the service holds."""

    wanted: Rotate
    parts: Mapping[str, Part]
    fence: Fence
    outcome: Outcome

    def check_traffic(self) -> None:
        """Before anything is begun. Raises Refused where no new revision could take the place of what serves."""
        found = service.find(self.wanted.service)
        if found is not None:
            service.served_like(found, [self.wanted.secrets[kind] for kind in self.parts])

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
        served = time.monotonic()
        moved = {}
        for change in onward:
            with self.outcome.step(change.kind, "new version in force"):
                self.fence.check()
                moved[change.kind] = change.put_in_force()
        if onward:
            self._end_old(onward, before, served, moved.get("database"))
        self._tidy()

    def rotate_now(self, changes: Sequence[Change]) -> None:
        """End the old passwords first; until the new revision serves, people are shut out."""
        self.check_traffic()
        begun = time.monotonic()
        for change in changes:
            with self.outcome.step(change.kind, "old password ended"):
                self.fence.check()
                self.parts[change.kind].end_at_once(change, self.outcome)
        log.warning("The clinic is interrupted until its new revision serves")
        try:
            self._serve([dataclasses.replace(change, moved=True) for change in changes], back=False)
        finally:
            self.outcome.interruption_seconds = round(time.monotonic() - begun, 2)
        for change in changes:
            change.finish(self.outcome)

    def _serve(self, changes: Sequence[Change], *, back: bool = True) -> dict[str, int]:
        """Have all requests answered with the new versions. Returns what answered them before (revision → percent).

        `back`: that one can answer them again, since its passwords are valid still.
        """
        found = service.find(self.wanted.service)
        if found is None:
            return {}
        pins = {**self._in_force(), **{change.secret: change.new for change in changes}}
        before = found.serving
        if before and all(service.holds(service.revision_pins(found, revision), pins) for revision in before):
            return {}
        who = "+".join(change.kind for change in changes) or "service"
        like = service.served_like(found, pins)
        with self.outcome.step(who, "new revision"):
            found = service.make_revision(found.name, pins, like=like)
        problem = found.problem or self._ask(who, found)
        if not problem:
            with self.outcome.step(who, "traffic"):
                self.fence.check()
                found = service.give_traffic(found, {found.revision: 100}, shown=found.revision)
            problem = self._ask(who, found)
        if problem:
            self._go_back(found, before, changes, problem, can_serve=back)
        if not changes:
            self.outcome.mend(who, "the serving revision was not pinned to the versions in force; a new one serves")
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

    def _go_back(
        self,
        found: Service,
        before: Mapping[str, int],
        changes: Sequence[Change],
        problem: str,
        *,
        can_serve: bool = True,
    ) -> None:
        self.outcome.health = problem
        undone = [change for change in changes if not change.moved]
        if before and can_serve:
            with self.outcome.step("service", "traffic back"):
                service.give_traffic(found, before)
            if undone and found.revision in found.serving:
                self._drain(found, "requests in hand of the new revision", since=time.monotonic())
        for change in undone:
            self._undo(dataclasses.replace(change, back=True))
        self._tidy()
        then = " The old passwords stay." if undone else ""
        then += "" if can_serve else " The old passwords are ended: people are shut out until one is."
        raise Unhealthy(
            f"Revision {found.revision} is not healthy: {problem}.{then}",
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

    def _end_old(
        self, changes: Sequence[Change], before: Mapping[str, int], served: float, moved: datetime | None
    ) -> None:
        """When nobody has the old passwords any more.

        `served` is when the traffic moved, by the monotonic clock, and `moved` when MySQL's password did for jobs.
        """
        left = self._wait_for_jobs(moved, "executions that began before")
        found = service.find(self.wanted.service)
        if found is not None:
            self._drain(found, "requests in hand of the old revision", since=served)
            problem = self._ask("service", found)
            if problem:
                self._go_back(found, before, (), problem)
        # one that began meanwhile may have been told the old version still
        left = left or self._wait_for_jobs(moved, "executions that began meanwhile")
        for change in changes:
            if left and change.kind == "database":
                names = ", ".join(one.rpartition("/")[2] for one in left)
                self.outcome.waiting[change.kind] = f"{names} began before; the old password stays valid for it."
                continue
            with self.outcome.step(change.kind, "old password ended"):
                self.fence.check()
                self.parts[change.kind].keep(change, change.new, self.outcome)
                change.finish(self.outcome)

    def _drain(self, found: Service, which: str, *, since: float) -> None:
        """For as long as a request may take that a revision got before a moment of the monotonic clock."""
        seconds = self.wanted.drain_seconds
        drain = found.request_seconds + _MARGIN_SECONDS if seconds is None else seconds
        with self.outcome.step("service", which):
            self.fence.pause(until=since + drain)

    def _wait_for_jobs(self, moved: datetime | None, which: str) -> list[str]:
        """Of jobs that have MySQL's password, which `moved` then or does not. Returns those that go on for too long."""
        if moved is None:
            return []
        with self.outcome.step("database", which):
            begun = executions.running(self.wanted.jobs, but=self.wanted.execution, moved=moved)
            return executions.wait(begun, seconds=self.wanted.wait_seconds, meanwhile=self.fence.check)
