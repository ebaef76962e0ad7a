"""The maintenance page: while its file is on the share, the service answers 503 and Retry-After, health excepted."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from jobs import log, share

__all__ = ["end", "is_shown", "until_announced", "until_upgraded"]

_NAME = ".maintenance"


@contextlib.contextmanager
def until_announced(sites: Path, *, drain_seconds: int) -> Iterator[None]:
    """Show the page, and give every instance time to see it and to answer the requests it has in hand.

    NFS clients remember for a minute what was not there. The block announces the swap, which ends the page; should the
    block fail, the page goes.
    """
    _show(sites, drain_seconds)
    try:
        time.sleep(drain_seconds)
        yield
    except BaseException:
        end(sites)
        raise


@contextlib.contextmanager
def until_upgraded(sites: Path, *, drain_seconds: int) -> Iterator[None]:
    """Show the page, and leave it when the block has ended, well or not: code and data may not fit each other then.

    One that is shown already has to stand for the rest of its time only.
    """
    stood = _stood(sites)
    if not stood:
        _show(sites, drain_seconds)
    time.sleep(max(drain_seconds - stood, 0))
    yield


def _stood(sites: Path) -> float:
    """For how many seconds the page is shown; 0 where it is not."""
    with contextlib.suppress(FileNotFoundError):
        return max(time.time() - (sites / _NAME).stat().st_mtime, 0)
    return 0


def _show(sites: Path, drain_seconds: int) -> None:
    with share.errors_told("the maintenance page cannot be shown"):
        (sites / _NAME).touch(mode=share.FILE_MODE)
    log.info("The maintenance page is shown", drain_seconds=drain_seconds)


def end(sites: Path) -> None:
    share.remove_file(sites / _NAME)


def is_shown(sites: Path) -> bool:
    return (sites / _NAME).exists()
