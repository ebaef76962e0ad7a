"""The program in forks of a process that has imported it: to import it takes longer than most commands then work.

What users start, `python -m gcp_openemr.cli`, is what `Place.begin` and the documentation's commands run.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["run"]

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tests.rehearsal.imported"])


def run(
    arguments: Sequence[str], *, folder: Path, environment: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """`gcp-openemr arguments`, run in a folder. Raises TimeoutExpired after killing it."""
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        streams = [f"/proc/{os.getpid()}/fd/{file.fileno()}" for file in (stdout, stderr)]
        process = _FORKS.Process(target=_program, args=(arguments, str(folder), dict(environment), streams))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(list(arguments), timeout)
        said = []
        for file in (stdout, stderr):
            file.seek(0)
            said.append(file.read().decode())
        return subprocess.CompletedProcess(list(arguments), process.exitcode, *said)


def _program(arguments: Sequence[str], folder: str, environment: Mapping[str, str], streams: Sequence[str]) -> None:
    for stream, ours in zip(streams, (1, 2), strict=True):
        os.dup2(os.open(stream, os.O_WRONLY), ours)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[:] = ["gcp-openemr", *arguments]
    from gcp_openemr.cli import main

    main()
