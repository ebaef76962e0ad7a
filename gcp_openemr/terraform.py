"""The door to Terraform: init, plan, apply, outputs; the only importer of python-terraform.

python-terraform builds the argument lists. Running is our own, because its `apply()` prompts, its `destroy()` sends a
flag that no longer exists, its `plan()` cannot tell changes from failure, and none of them reports progress.
"""

from __future__ import annotations

import ctypes
import dataclasses
import functools
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from python_terraform import IsFlagged
from python_terraform import Terraform as CommandLine

from gcp_openemr import interruption
from gcp_openemr.errors import Interrupted, Locked, TerraformFailed

__all__ = ["Change", "Event", "Plan", "Terraform", "interrupt_running"]

_PR_SET_PDEATHSIG = 1
_FOLLOW_SECONDS = 0.02
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

_Output = int | IO[bytes]

_running: set[subprocess.Popen[str]] = set()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """One planned change. `action` is create, update, delete or replace; `reason` is Terraform's word for it."""

    address: str
    type: str
    action: str
    reason: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """A saved plan. Applying it applies exactly these changes."""

    file: Path
    changes: tuple[Change, ...]
    outputs_change: bool = False

    @property
    def empty(self) -> bool:
        return not self.changes and not self.outputs_change

    def count(self, *actions: str) -> int:
        return sum(change.action in actions for change in self.changes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Event:
    """What Terraform reports while it works. `kind` is started, completed or failed; `seconds` since its start."""

    kind: str
    address: str
    action: str
    seconds: float = 0.0


class Terraform:
    """One working directory with its own state.

    Every method raises TerraformFailed with the diagnostics and their resource's address, Locked when another run
    holds the state, Interrupted after `interrupt_running()`.
    """

    def __init__(self, directory: Path, *, binary: Path, environment: Mapping[str, str]) -> None:
        self._directory = directory
        self._command_line = CommandLine(working_dir=str(directory), terraform_bin_path=str(binary))
        self._environment = {
            **os.environ,
            "CHECKPOINT_DISABLE": "1",
            "TF_IN_AUTOMATION": "1",
            "TF_INPUT": "0",
            **environment,
        }

    def init(self) -> None:
        """Download providers and connect the backend."""
        done = self._run("init", input=False, no_color=IsFlagged, reconfigure=IsFlagged)
        if done.returncode != 0:
            raise _failure(self._directory, [], done.stderr or done.stdout)

    def plan(self, *, destroy: bool = False, lock: bool = True, report: Callable[[Event], None] | None = None) -> Plan:
        """Make and save a plan. `lock=False` only for looking, never before an apply."""
        file = self._directory / "tfplan"
        flags: dict[str, Any] = {"out": str(file), "input": False, "lock": lock, "destroy": destroy or None}
        changes: list[Change] = []
        outputs_change = False
        for message in self._stream("plan", report=report, **flags):
            if message["type"] == "planned_change":
                changes.append(_change(message["change"]))
            elif message["type"] == "outputs":
                outputs_change = any(o.get("action", "noop") != "noop" for o in message["outputs"].values())
        file.chmod(0o600)
        return Plan(file=file, changes=tuple(changes), outputs_change=outputs_change)

    def apply(self, plan: Plan, *, report: Callable[[Event], None] | None = None) -> None:
        """Apply exactly that plan, and delete its file."""
        try:
            for _ in self._stream("apply", str(plan.file), report=report, input=False):
                pass
        finally:
            plan.file.unlink(missing_ok=True)

    def outputs(self) -> dict[str, Any]:
        """Output values by name; empty when nothing was applied yet."""
        done = self._run("output", json=IsFlagged, no_color=IsFlagged)
        if done.returncode != 0:
            raise _failure(self._directory, [], done.stderr)
        return {name: output["value"] for name, output in json.loads(done.stdout).items()}

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

    def _run(self, command: str, **flags: Any) -> subprocess.CompletedProcess[str]:
        with self._start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **flags) as process:
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
                    message = _parse(line)
                    if message.get("type") == "diagnostic":
                        diagnostics.append(message["diagnostic"])
                    elif report is not None and (event := _event(message)) is not None:
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
            raise _failure(self._directory, diagnostics, complaint)


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


def _parse(line: str) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}


def _change(change: Mapping[str, Any]) -> Change:
    resource = change["resource"]
    return Change(
        address=resource["addr"],
        type=resource["resource_type"],
        action=change["action"],
        reason=change.get("reason", "").replace("_", " "),
    )


_KINDS = {"apply_start": "started", "apply_complete": "completed", "apply_errored": "failed"}


def _event(message: Mapping[str, Any]) -> Event | None:
    kind = _KINDS.get(message.get("type", ""))
    if kind is None:
        return None
    hook = message["hook"]
    return Event(
        kind=kind,
        address=hook["resource"]["addr"],
        action=hook.get("action", ""),
        seconds=float(hook.get("elapsed_seconds", 0)),
    )


def _failure(directory: Path, diagnostics: list[dict[str, Any]], stderr: str) -> TerraformFailed | Locked:
    errors = [d for d in diagnostics if d.get("severity") == "error"]
    text = "\n".join(_describe(diagnostic) for diagnostic in errors) or stderr.strip()[-3000:]
    if "acquiring the state lock" in text:
        return _state_locked(directory, text)
    return TerraformFailed(
        f"Terraform failed in {directory.name}:\n{text}",
        do="Mend what it names, then run the same command again: it continues.",
    )


def _describe(diagnostic: Mapping[str, Any]) -> str:
    where = diagnostic.get("address") or diagnostic.get("range", {}).get("filename", "")
    detail = diagnostic.get("detail", "")
    return "  " + ": ".join(part for part in (where, diagnostic["summary"], detail) if part)


def _state_locked(directory: Path, text: str) -> Locked:
    fields = {key: re.search(rf"{key}:\s+(\S.*)", text) for key in ("ID", "Who", "Created")}
    found = {key: match.group(1).strip() for key, match in fields.items() if match}
    return Locked(
        f"Terraform's state of {directory.name} is locked by {found.get('Who', 'another run')} "
        f"since {found.get('Created', 'an unknown time')}.",
        do="Wait for that run. If you are sure it is dead: "
        f"terraform -chdir={directory} force-unlock {found.get('ID', 'LOCK_ID')}",
    )
