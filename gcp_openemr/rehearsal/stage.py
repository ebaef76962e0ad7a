"""The stage: a folder of its own beside the environment file, with a copy of it, a sandbox, and the program in it.

The folder is locked as long as its rehearsal lives, so the next rehearsal knows which ones died and takes theirs away.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TextIO

from gcp_openemr.clients import Cloud
from gcp_openemr.commands import sandbox as sandbox_commands
from gcp_openemr.console import Console
from gcp_openemr.environment import Environment, load_environment
from gcp_openemr.sandbox import control
from gcp_openemr.sandbox.remote import Remote, remote

__all__ = ["Stage", "Target", "first_target", "second_target", "stage"]

_FOLDER = "rehearse-"
_PREFIX = "GCP_OPENEMR_"
_PIPELINES = ("CI", "GITHUB_", "GITLAB_")  # the acts' commands speak to us, not to a runner


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    """An environment to act on, and the variables that make it of the user's file."""

    environment: Environment
    variables: Mapping[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """`first` is the user's environment, `second` one to recover it into, in another project of the same cloud.

    `changes` are sentences about what of the file does not hold here.
    """

    folder: Path
    first: Target
    second: Target
    cloud: Cloud
    changes: tuple[str, ...]

    @property
    def file(self) -> Path:
        return self.folder / "openemr.toml"

    @property
    def archive(self) -> tuple[str, str]:
        """Bucket and object of the backup that clinics begin with."""
        return _archive(self.first.environment.project)

    def sandbox(self) -> Remote:
        return remote(_sandbox(self.folder))

    def cloud_of(self, target: Target) -> Cloud:
        return dataclasses.replace(self.cloud, project=target.environment.project)

    def with_version(self, target: Target, version: str) -> Target:
        """The same environment, its file naming another version of OpenEMR."""
        return _target(self.file, {**target.variables, f"{_PREFIX}OPENEMR_VERSION": version})

    def variables(self, target: Target) -> dict[str, str]:
        """The whole environment of a command's process."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith((*_PIPELINES, _PREFIX))}
        ours = {name: value for name, value in os.environ.items() if name.startswith(_PREFIX)}
        return {**kept, **ours, **target.variables}


@contextlib.contextmanager
def stage(file: Path, console: Console) -> Iterator[Stage]:
    """Set the stage, and leave nothing of it, whatever happens.

    Raises:
        What reading the environment file or starting the sandbox raises.
    """
    environment = load_environment(file)
    base = file.absolute().parent / ".gcp-openemr"
    base.mkdir(exist_ok=True)
    folder, held = _settle(base)
    try:
        shutil.copyfile(file, folder / "openemr.toml")
        first, changes = first_target(folder / "openemr.toml", environment)
        second = second_target(folder / "openemr.toml", first)
        cloud = sandbox_commands.connect(_sandbox(folder), console, project=environment.project)
        yield Stage(folder=folder, first=first, second=second, cloud=cloud, changes=changes)
    finally:
        with held, console.step("take the stage down"):
            _remove(folder)


def _settle(base: Path) -> tuple[Path, TextIO]:
    """Take away what dead rehearsals left, and make a folder that is locked before another can take it for dead."""
    alone = os.open(base, os.O_RDONLY)
    try:
        fcntl.flock(alone, fcntl.LOCK_EX)
        for left in base.glob(f"{_FOLDER}*"):
            if (lock := _hold(left)) is not None:
                with lock:
                    _remove(left)
        folder = Path(tempfile.mkdtemp(prefix=_FOLDER, dir=base))
        held = _hold(folder)
    finally:
        os.close(alone)
    if held is None:
        raise AssertionError(f"{folder} was just made, and somebody holds it")
    return folder, held


def _hold(folder: Path) -> TextIO | None:
    """The folder's lock, None when a living rehearsal has it."""
    lock = (folder / "alive.lock").open("w", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock


def _remove(folder: Path) -> None:
    control.stop(_sandbox(folder))
    shutil.rmtree(folder)


def _sandbox(folder: Path) -> Path:
    return folder / ".gcp-openemr" / "sandbox"


def _archive(project: str) -> tuple[str, str]:
    return f"{project}-oe-rehearsal", "backup.zip"


def first_target(file: Path, environment: Environment) -> tuple[Target, tuple[str, ...]]:
    """The user's environment with what this sandbox cannot have exchanged: its backups, closed doors, channels."""
    bucket, name = _archive(environment.project)
    changes = ["Every clinic begins with a backup made for this, in place of what [restore] names."]
    variables: dict[str, str] = {}
    for clinic in environment.clinics.values():
        own = f"{_PREFIX}CLINICS_{clinic.name.upper()}_"
        variables |= {f"{own}RESTORE_SOURCE": "gcs", f"{own}RESTORE_URI": f"gs://{bucket}/{name}"}
        if not clinic.is_reachable:
            variables[f"{own}INGRESS_SETTINGS"] = "all"
            changes.append(
                f"Clinic {clinic.name} takes callers from everywhere, so that it can be looked at from here."
            )
    if environment.alerts.channels:
        variables[f"{_PREFIX}ALERTS_CHANNELS"] = "[]"
        changes.append("The notification channels of [alerts] are left out: they exist in your project only.")
    return _target(file, variables), tuple(changes)


def second_target(file: Path, first: Target) -> Target:
    """The same file's environment by another name in another project."""
    environment = first.environment
    ending = "s" if environment.name.endswith("r") else "r"
    other = {"NAME": f"{environment.name[:9]}{ending}", "PROJECT": f"{environment.project[:26].rstrip('-')}-rec"}
    variables = {f"{_PREFIX}ENVIRONMENT_{key}": value for key, value in other.items()}
    return _target(file, {**first.variables, **variables})


def _target(file: Path, variables: Mapping[str, str]) -> Target:
    return Target(environment=load_environment(file, overrides={**os.environ, **variables}), variables=variables)
