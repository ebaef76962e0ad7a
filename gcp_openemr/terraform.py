"""The door to Terraform: init, plan, apply, outputs; the only importer of python-terraform.

python-terraform builds the argument lists. Running is our own, because its `apply()` prompts, its `destroy()` sends a
flag that no longer exists, its `plan()` cannot tell changes from failure, and none of them reports progress.
"""

from __future__ import annotations

import ctypes
import dataclasses
import datetime
import functools
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, TypeVar

from python_terraform import IsFlagged
from python_terraform import Terraform as CommandLine

from gcp_openemr import interruption
from gcp_openemr.errors import Interrupted, TerraformFailed
from gcp_openemr.terraform_failures import Passing, StateLocked, failure_of
from gcp_openemr.terraform_messages import Change, Event, Plan, change_of, contents, event_of, parse, with_values

__all__ = ["Terraform", "interrupt_running"]

_PR_SET_PDEATHSIG = 1
_FOLLOW_SECONDS = 0.02
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

_PAUSES = (0.0, 2.0, 8.0)  # seconds
_MOST_LOCKS = 10  # of our own, in one step
_IMPORTS = "adopted.tf"

_Output = int | IO[bytes]
T = TypeVar("T")

_running: set[subprocess.Popen[str]] = set()


class Terraform:
    """One working directory with its own state.

    Every method raises TerraformFailed with the diagnostics and their resource's address, Locked when another run
    holds the state, Interrupted after `interrupt_running()`.
    """

    def __init__(
        self, directory: Path, *, binary: Path, environment: Mapping[str, str], unlock: Callable[[str], None]
    ) -> None:
        """`unlock` takes the lock of that id off the state; Terraform itself cannot before its `init` is through."""
        self._directory = directory
        self._command_line = CommandLine(working_dir=str(directory), terraform_bin_path=str(binary))
        self._since = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
        self._unlock = unlock
        self._environment = {
            **os.environ,
            "CHECKPOINT_DISABLE": "1",
            "TF_IN_AUTOMATION": "1",
            "TF_INPUT": "0",
            **environment,
        }

    def init(self) -> None:
        """Download providers and connect the backend. A state that a former apply could not save is saved now."""
        (self._directory / _IMPORTS).unlink(missing_ok=True)  # of a run that was killed while it planned
        self._must("init", input=False, no_color=IsFlagged, reconfigure=IsFlagged)
        self._save_left_over()

    def plan(
        self,
        *,
        destroy: bool = False,
        lock: bool = True,
        imports: Mapping[str, str] | None = None,
        targets: Collection[str] = (),
        report: Callable[[Event], None] | None = None,
    ) -> Plan:
        """Make and save a plan. `lock=False` only for looking, never before an apply.

        `imports` (address → import id) are adopted when the plan is applied. `targets` are addresses to which it is
        limited, with what depends on them. Updates and replacements come with their values before and after.
        """
        flags: dict[str, Any] = {"input": False, "lock": lock, "destroy": destroy or None}
        flags["target"] = sorted(targets) or None
        blocks = self._directory / _IMPORTS
        try:
            if imports:
                blocks.write_text(
                    "".join(f"import {{\n  to = {a}\n  id = {json.dumps(i)}\n}}\n" for a, i in imports.items())
                )
            plan = self._again(lambda: self._plan(flags, report))
        finally:
            blocks.unlink(missing_ok=True)
        if plan.count("update", "replace"):
            shown = self._shown(plan)
            values, drifts = (
                {one["address"]: one["change"] for one in shown.get(kind, ())}
                for kind in ("resource_changes", "resource_drift")
            )
            changes = (with_values(c, values.get(c.address), drifts.get(c.address)) for c in plan.changes)
            return dataclasses.replace(plan, changes=tuple(changes))
        return plan

    def creations(self) -> dict[str, tuple[str, Mapping[str, Any]]]:
        """What a plan would create: address → type and the values known before it is made."""
        self._save_left_over()
        plan = self._again(lambda: self._plan({"input": False, "refresh": False}, None))
        try:
            shown = self._shown(plan).get("resource_changes", ())
            changes = [one for one in shown if one["change"]["actions"] == ["create"]]
        finally:
            plan.file.unlink()
        return {one["address"]: (one["type"], one["change"]["after"]) for one in changes}

    def _shown(self, plan: Plan) -> dict[str, Any]:
        """A plan as `terraform show` tells it: its changes, and what was found drifted, with their values."""
        shown: dict[str, Any] = json.loads(self._must("show", plan.file.name, json=IsFlagged, no_color=IsFlagged))
        return shown

    def _plan(self, flags: Mapping[str, Any], report: Callable[[Event], None] | None) -> Plan:
        file = self._directory / "tfplan"
        changes: list[Change] = []
        drifted: set[str] = set()
        outputs_change = False
        for message in self._stream("plan", report=report, out=str(file), **flags):
            if message["type"] == "planned_change":
                changes.append(change_of(message["change"], drifted))
            elif message["type"] == "resource_drift":
                drifted.add(message["change"]["resource"]["addr"])
            elif message["type"] == "outputs":
                outputs_change = any(o.get("action", "noop") != "noop" for o in message["outputs"].values())
        file.chmod(0o600)
        return Plan(file=file, changes=tuple(changes), outputs_change=outputs_change)

    def apply(self, plan: Plan, *, report: Callable[[Event], None] | None = None) -> None:
        """Apply exactly that plan, and delete its file.

        It is tried again where nothing had begun. Where all was done but the state could not be saved or its lock not
        be given back, that is made good.
        """
        begun = threading.Event()

        def run() -> None:
            try:
                for message in self._stream("apply", str(plan.file), report=report, input=False):
                    if message["type"] == "apply_start":
                        begun.set()
            except Passing as failure:
                if not (begun.is_set() or failure.afterwards):
                    raise
                self._save_left_over()
                if not failure.afterwards:
                    raise TerraformFailed(failure.what, do=failure.do) from failure
                self._must(
                    "plan", refresh=False, input=False, no_color=IsFlagged
                )  # takes our lock back, if it is there

        try:
            self._again(run)
        finally:
            plan.file.unlink(missing_ok=True)

    def outputs(self) -> dict[str, Any]:
        """Output values by name; empty when nothing was applied yet."""
        told = self._must("output", json=IsFlagged, no_color=IsFlagged)
        return {name: output["value"] for name, output in json.loads(told).items()}

    def _again(self, run: Callable[[], T]) -> T:
        """Try again what failed for a moment. A lock that was taken since this object was made is our own, one that
        nobody could read may be.
        """
        pauses, locks = iter(_PAUSES), itertools.count()
        while True:
            try:
                return run()
            except StateLocked as locked:
                if locked.is_ours(self._since) and next(locks) < _MOST_LOCKS:
                    self._unlock(locked.id)
                    continue
                if locked.id or (pause := next(pauses, None)) is None:
                    raise
            except Passing:
                if (pause := next(pauses, None)) is None:
                    raise
            interruption.pause(pause)

    def _must(self, command: str, *args: str, **flags: Any) -> str:
        """What a command prints. It is tried again."""
        return self._again(lambda: self._run_well(command, *args, **flags))

    def _run_well(self, command: str, *args: str, **flags: Any) -> str:
        done = self._run(command, *args, **flags)
        if done.returncode != 0:
            raise failure_of(self._directory, [], done.stderr or done.stdout)
        return done.stdout

    def _save_left_over(self) -> None:
        """Terraform leaves a state here that it could not save: without it, what was made would be forgotten.

        One that has arrived although no answer told so is newer there, and Terraform refuses to save it again.
        """
        left = self._directory / "errored.tfstate"
        if not left.exists():
            return

        def save() -> None:
            if contents(self._run_well("state pull")) != contents(left.read_text()):
                self._run_well("state push", left.name)

        self._again(save)
        left.unlink()

    def _start(self, command: str, *args: str, stdout: _Output, stderr: _Output, **flags: Any) -> subprocess.Popen[str]:
        interruption.check()
        process = subprocess.Popen(
            self._command_line.generate_cmd_string(command, *args, **flags),
            cwd=self._directory,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            text=True,
            start_new_session=True,
            preexec_fn=functools.partial(_die_with, os.getpid()),  # noqa: PLW1509 - system calls, no locks
        )
        _running.add(process)
        if interruption.is_interrupted():
            process.send_signal(signal.SIGINT)
        return process

    def _run(self, command: str, *args: str, **flags: Any) -> subprocess.CompletedProcess[str]:
        with self._start(command, *args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **flags) as process:
            try:
                stdout, stderr = process.communicate()
            finally:
                process.wait()
                _running.discard(process)
        if interruption.is_interrupted():
            raise Interrupted(f"terraform {command} was interrupted.")
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def _stream(
        self, command: str, *args: str, report: Callable[[Event], None] | None, **flags: Any
    ) -> Iterator[dict[str, Any]]:
        diagnostics: list[dict[str, Any]] = []
        with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
            process = self._start(command, *args, stdout=stdout, stderr=stderr, json=IsFlagged, **flags)
            try:
                for line in _follow(process, stdout.fileno()):
                    message = parse(line)
                    if message.get("type") == "diagnostic":
                        diagnostics.append(message["diagnostic"])
                    elif report is not None and (event := event_of(message)) is not None:
                        report(event)
                    if "type" in message:
                        yield message
            finally:
                process.wait()
                _running.discard(process)
            stderr.seek(0)
            complaint = stderr.read().decode(errors="replace")
        if process.returncode != 0 and interruption.is_interrupted():
            raise Interrupted(f"terraform {command} was interrupted; what it had finished is in the state.")
        if process.returncode != 0:
            raise failure_of(self._directory, diagnostics, complaint)


def interrupt_running() -> None:
    """Ask every running Terraform to stop: it finishes what is under way, saves its state and gives back its lock."""
    interruption.interrupt()
    for process in list(_running):
        process.send_signal(signal.SIGINT)


def _follow(process: subprocess.Popen[str], output: int) -> Iterator[str]:
    """Lines of a file that a process writes, as they come, to its end.

    A file and not a pipe: when this process is killed, Terraform would die of its next line, with its state unsaved and
    locked. So it hears the SIGINT of `_die_with`, ends what is under way and gives its lock back.
    """
    position, rest = 0, b""
    while True:
        ended = process.poll() is not None
        read = os.pread(output, 1 << 16, position)
        position += len(read)
        *lines, rest = (rest + read).split(b"\n")
        yield from (line.decode(errors="replace") for line in lines)
        if ended and not read:
            return
        if not read:
            time.sleep(_FOLLOW_SECONDS)


def _die_with(parent: int) -> None:
    """In the child, before Terraform: hear of the parent's end, also when it came just now."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
        if os.getppid() != parent:
            os._exit(130)
