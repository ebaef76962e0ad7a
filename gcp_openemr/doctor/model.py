"""What is examined, what a check is, and what it finds."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from gcp_openemr.clients import Cloud
from gcp_openemr.commands.context import Context
from gcp_openemr.console import Console
from gcp_openemr.environment import Environment
from gcp_openemr.errors import GcpOpenemrError

__all__ = ["Absent", "Check", "Finding", "Level", "Subject", "failed", "not_visible", "ok", "warning"]


class Level(enum.StrEnum):
    """How a finding is to be taken. Only `FAILED` is something to mend."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    NOT_VISIBLE = "not visible"
    SKIPPED = "skipped"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """`what` was looked at and found; `do` is the command or page that mends it; `items` are named one by one."""

    level: Level
    what: str
    do: str = ""
    items: Sequence[str] = ()


def ok(what: str) -> Finding:
    return Finding(level=Level.OK, what=what)


def warning(what: str, *, do: str, items: Sequence[str] = ()) -> Finding:
    return Finding(level=Level.WARNING, what=what, do=do, items=items)


def failed(what: str, *, do: str, items: Sequence[str] = ()) -> Finding:
    return Finding(level=Level.FAILED, what=what, do=do, items=items)


def not_visible(what: str, *, do: str = "") -> Finding:
    return Finding(level=Level.NOT_VISIBLE, what=what, do=do)


class Absent(Exception):
    """What a check needs is not there, so it is skipped; the message says why."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Subject:
    """What is examined, as far as it could be had.

    `environment_or` is the environment, or what is wrong with its file; `cloud_or` the cloud, or why there is no way to
    it. `project` and `region` are known from a wrong file too, where it holds them. `verbs` are the commands that the
    caller wants to run.
    """

    file: Path
    workspace: Path
    console: Console
    environment_or: Environment | GcpOpenemrError
    cloud_or: Cloud | GcpOpenemrError
    project: str
    region: str
    verbs: Sequence[str]

    @property
    def environment(self) -> Environment:
        """Raises Absent without one."""
        if isinstance(self.environment_or, GcpOpenemrError):
            raise Absent("needs an environment file that is right")
        return self.environment_or

    @property
    def cloud(self) -> Cloud:
        """Raises Absent without a way to it, or without a project."""
        if isinstance(self.cloud_or, GcpOpenemrError):
            raise Absent("needs credentials")
        if not self.project:
            raise Absent("needs the name of a project")
        return self.cloud_or

    @property
    def context(self) -> Context:
        """What the steps of other commands work with. Raises Absent."""
        return Context(
            environment=self.environment,
            cloud=self.cloud,
            console=self.console,
            workspace=self.workspace / self.environment.name,
            terraform=Path(),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Check:
    """One row of the table. `look` may raise anything; what it found until then counts. `seconds` is its time limit."""

    name: str
    look: Callable[[Subject], Iterable[Finding]]
    seconds: float = 30.0
