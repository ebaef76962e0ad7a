"""Ctrl-C for every thread: a waiting step ends when a person asked to stop.

A signal reaches the main thread alone; steps that run side by side wait through `pause` instead of sleeping.
"""

from __future__ import annotations

import threading

from gcp_openemr.errors import Interrupted

__all__ = ["check", "interrupt", "is_interrupted", "pause", "reset"]

_asked = threading.Event()


def interrupt() -> None:
    """Ask every step to stop."""
    _asked.set()


def reset() -> None:
    """Forget that it was asked; for tests, where one process lives through several runs."""
    _asked.clear()


def is_interrupted() -> bool:
    return _asked.is_set()


def check() -> None:
    """Raises Interrupted when it was asked to stop."""
    if _asked.is_set():
        raise Interrupted("Interrupted. What was finished stays.", do="Run the same command again: it continues.")


def pause(seconds: float) -> None:
    """Wait, or raise Interrupted as soon as it is asked to stop."""
    _asked.wait(seconds)
    check()
