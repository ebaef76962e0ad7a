"""How the program ends: signals, the time limit, and each failure as a sentence with its exit code."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from gcp_openemr import interruption
from gcp_openemr.errors import GcpOpenemrError, InputMissing, Interrupted, NotPermitted
from gcp_openemr.pipeline import Pipeline

if TYPE_CHECKING:
    from types import FrameType

    from gcp_openemr.clients import Cloud

__all__ = ["caller_is", "fail", "interrupted", "limit", "listen", "show", "unexpected"]

_PATIENCE = 3  # signals: a cancelled pipeline sends SIGINT, SIGTERM some seconds later, and then kills


@dataclasses.dataclass(kw_only=True)
class _Shown:
    """To whom failures are told, known once the command line is read; and why the program was asked to stop."""

    as_json: bool
    pipeline: Pipeline
    reason: str = "Interrupted."
    signals: int = 0
    cloud: Cloud | None = None


_shown = _Shown(as_json=False, pipeline=Pipeline())


def listen() -> None:
    """Stop in order on Ctrl-C, on SIGTERM, and when the time is up. What libraries log is for nobody here."""
    logging.getLogger().addHandler(logging.NullHandler())  # else their warnings land among people's lines
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, _stop)


def show(*, as_json: bool, pipeline: Pipeline) -> None:
    """How failures are told from here on."""
    _shown.as_json, _shown.pipeline = as_json, pipeline


def caller_is(cloud: Cloud) -> None:
    """As whom the clouds are called from here on, for failures that come of it."""
    _shown.cloud = cloud


def limit(minutes: float) -> None:
    """Stop as if interrupted after so many minutes."""
    signal.setitimer(signal.ITIMER_REAL, minutes * 60)


def fail(what: str, do: str, code: int) -> int:
    """Tell a failure: people on stderr, machines on stdout with --json, a pipeline as it wants it. Returns `code`."""
    pipeline = _shown.pipeline
    told = f"gcp-openemr: {what}" + (f"\n{do}" if do else "")
    print(pipeline.failed(told), file=sys.stderr)
    if annotation := pipeline.error(what, do):
        print(annotation, file=sys.stderr)
    with contextlib.suppress(OSError):  # that very file may be what failed
        pipeline.summarise(f"gcp-openemr failed (exit code {code})", f"{what}\n{do}")
    if _shown.as_json:
        print(pipeline.harmless_json(json.dumps({"error": {"what": what, "do": do, "exit_code": code}})))
    return code


def interrupted() -> int:
    """Tell that a signal or the time limit ended it; returns the exit code."""
    return fail(
        f"{_shown.reason} What was finished stays.", "Run the same command again: it continues.", Interrupted.exit_code
    )


def unexpected(error: Exception) -> int:
    """Tell any other failure; what nobody foresaw leaves a trace in a file. Returns the exit code."""
    known = error if isinstance(error, GcpOpenemrError) else _understood(error)
    if known is None:
        trace = Path("gcp-openemr-error.log")
        trace.write_text(traceback.format_exc())
        known = GcpOpenemrError(
            f"A defect of this program: {type(error).__name__}: {error}", do=f"Please report it with {trace}."
        )
    from gcp_openemr.refused import told_of

    known = told_of(known, _shown.cloud)
    return fail(known.what, known.do, known.exit_code)


def _stop(number: int, _frame: FrameType | None) -> None:
    """Tell every thread, and a running Terraform: it has a session of its own and hears no Ctrl-C.

    A second signal changes nothing: it would break into the giving back of locks, and Terraform would leave its state
    unsaved. Who insists a third time is obeyed.
    """
    _shown.signals += 1
    if 1 < _shown.signals < _PATIENCE:
        print("gcp-openemr: stopping already: what is under way is ended and locks are given back.", file=sys.stderr)
        return
    if number == signal.SIGALRM:
        _shown.reason = "The time limit was reached."
    interruption.interrupt()
    running = sys.modules.get("gcp_openemr.terraform")
    if running is not None:
        running.interrupt_running()
    raise KeyboardInterrupt


def _understood(error: Exception) -> GcpOpenemrError | None:
    """Our error for one of Google's libraries or of the operating system, or None for a defect of ours."""
    from gcp_openemr.clients import translate

    if isinstance(error, PermissionError):
        return NotPermitted(
            f"{error.filename}: {error.strerror}.", do="Choose another place, or get the right to use it."
        )
    if isinstance(error, OSError) and error.filename:
        return InputMissing(f"{error.filename}: {error.strerror}.", do="Choose another place, or make room for it.")
    return translate(error)
