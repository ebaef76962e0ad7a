"""What every command works with."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from gcp_openemr import cloud_run, lock, state_locks
from gcp_openemr.clients import Cloud
from gcp_openemr.console import Console
from gcp_openemr.environment import Clinic, Environment
from gcp_openemr.errors import UsageError
from gcp_openemr.reviewed import Reviewed

__all__ = ["Context", "changing", "typed"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Context:
    """An environment, the cloud it lives in, and how to talk to the person in front.

    `workspace` holds the rendered working directories; `terraform` is the program that applies them. With `reviewed`,
    a deploy does what was reviewed or nothing.
    """

    environment: Environment
    cloud: Cloud
    console: Console
    workspace: Path
    terraform: Path
    yes: bool = False
    reviewed: Reviewed | None = None

    def clinics(self, name: str | None) -> Sequence[Clinic]:
        """One clinic by name, or all. Raises UsageError when there is no such clinic."""
        return [self.environment.clinic(name)] if name else list(self.environment.clinics.values())

    def service_name(self, clinic: Clinic) -> str:
        return self._run_name("services", self.environment.clinic_names(clinic.name).service)

    def job_name(self, job: str) -> str:
        return self._run_name("jobs", job)

    def agree(self, question: str) -> None:
        """Ask before a change, unless -y was given. Raises UsageError when the answer is no or nobody can answer."""
        if self.yes:
            return
        if not self.console.asks:
            raise UsageError("Nobody can be asked here.", do="Add -y to go ahead without being asked.")
        if not self.console.confirm(question):
            raise UsageError("Stopped as you said; nothing more was changed.")

    def _run_name(self, collection: str, name: str) -> str:
        return f"projects/{self.environment.project}/locations/{self.environment.region}/{collection}/{name}"


@contextlib.contextmanager
def changing(context: Context, command: str) -> Iterator[lock.Held]:
    """Hold the environment's lock while a command changes it. Raises Locked when another run does.

    `command` is what goes on with it should this run die, as `typed` gives it.
    """
    bucket = context.cloud.storage.bucket(context.environment.names.state_bucket)
    is_over = functools.partial(cloud_run.is_over, context.cloud)
    with lock.hold(bucket, context.environment.name, command, is_over=is_over) as (held, dead):
        if dead is not None:
            context.console.warn(
                f"Took over the lock of a run that died: {dead.who}, `{dead.command}`, "
                f"{dead.acquired:%Y-%m-%d %H:%M} UTC."
            )
            for told in state_locks.release(bucket, context.environment.name, dead, context.workspace):
                context.console.warn(told)
        try:
            yield held
        except BaseException:
            state_locks.give_back(bucket, held, context.environment.name, context.workspace)
            raise


def typed(verb: str, options: Mapping[str, object]) -> str:
    """A command as it is typed behind `gcp-openemr`, with those options that are true or have a value."""
    words = [verb]
    for option, value in options.items():
        if value:
            words += [option] if value is True else [option, str(value)]
    return shlex.join(words)
