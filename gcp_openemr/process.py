"""The door to other programs."""

from __future__ import annotations

import dataclasses
import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from gcp_openemr.errors import GcpOpenemrError, ToolMissing

__all__ = ["Completed", "ProgramFailed", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Completed:
    """What a finished program left: exit status and decoded output."""

    status: int
    stdout: str
    stderr: str


class ProgramFailed(GcpOpenemrError):
    """A program ended with a status other than 0."""


def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str | None = None,
    timeout: float | None = None,
    check: bool = True,
) -> Completed:
    """Run a program to its end and return its output.

    `env` is added to this process's environment. Secrets go through `env` or `stdin`, never `argv`.

    Raises:
        ToolMissing: the program is not there.
        ProgramFailed: it ended with a status other than 0 (and `check`), or took longer than `timeout` seconds.
    """
    shown = shlex.join(argv)
    try:
        done = subprocess.run(
            argv,
            env={**os.environ, **env} if env is not None else None,
            cwd=cwd,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as error:
        raise ToolMissing(f"{argv[0]} is not installed.", do=f"Install it, then run again: {shown}") from error
    except subprocess.TimeoutExpired as error:
        raise ProgramFailed(f"{shown} did not end within {timeout:g} s.") from error
    completed = Completed(status=done.returncode, stdout=done.stdout, stderr=done.stderr)
    if check and done.returncode != 0:
        tail = (done.stderr or done.stdout).strip()[-2000:]
        raise ProgramFailed(f"{shown} ended with status {done.returncode}: {tail}")
    return completed
