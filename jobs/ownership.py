"""One pass over a site that puts owner and modes right, and touches nothing that is right already.

The job runs as uid 1000 and cannot give files away. What belongs to somebody else (an export that root wrote to, an
older deployment) is taken over by a copy put in its place, which needs no more than the right to read it and to write
its folder; so it works alike on exports that squash root and on those that do not. As root it is given away.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from jobs import log, share, site
from jobs.errors import ShareUnusable
from jobs.workers import Workers

__all__ = ["OWNER", "Ownership", "finish", "put_right"]

OWNER = 1000
_BESIDE = ".taken-over-"
_SHOWN = 3


@dataclasses.dataclass(kw_only=True)
class Ownership:
    """How many entries there are, and how many of them got another mode or another owner."""

    entries: int = 0
    modes: int = 0
    owners: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Wrong:
    path: str
    relative: str
    directory: bool
    ours: bool

    @property
    def wanted_mode(self) -> int:
        return share.DIRECTORY_MODE if self.directory else site.wanted_mode(self.relative)


def finish(root: Path) -> None:
    """Bring back a site's folder that an interrupted pass was about to take over. Raises ShareUnusable."""
    beside = root.with_name(_BESIDE + root.name)
    with share.errors_told(f"{root} cannot be brought back"):
        if beside.exists():
            _finish(beside)


def put_right(root: Path) -> Ownership:
    """Make a site's folder and everything in it uid 1000's, closed to others, and private where it holds keys.

    Raises:
        ShareUnusable: something belongs to others and cannot even be read; everything else was put right.
    """
    seen = Ownership()
    refused: list[str] = []
    progress = log.Progress("Checking owners and modes")
    with share.errors_told(f"Owners and modes below {root} cannot be put right"), Workers() as workers:
        if wrong := _wrong(str(root), os.stat(root), "", seen):
            _put_right(wrong, refused)
        for wrong in _below(str(root), "", seen, progress):
            if wrong.directory:
                _put_right(wrong, refused)  # before its content is looked at
            else:
                workers.do(functools.partial(_put_right, wrong, refused))
    if refused:
        shown = ", ".join(sorted(refused)[:_SHOWN])
        raise ShareUnusable(
            f"{len(refused)} entries of the site belong to another user and cannot be taken over: {shown} …",
            do="On the files VM, chown the clinic's sites folder to 1000:1000; then run the same command again.",
        )
    return seen


def _below(directory: str, prefix: str, seen: Ownership, progress: log.Progress) -> Iterator[_Wrong]:
    """What is wrong, a folder before what it holds. Links are nobody's business: nothing follows them."""
    with os.scandir(directory) as found:
        children = list(found)
    for child in children:
        if child.name.startswith(_BESIDE):
            _finish(Path(child.path))
            yield from _below(directory, prefix, seen, progress)
            return
    for child in children:
        if child.is_symlink():
            continue
        relative = prefix + child.name
        about = child.stat(follow_symlinks=False)
        progress.add(files=1)
        if wrong := _wrong(child.path, about, relative, seen):
            yield wrong
        if stat.S_ISDIR(about.st_mode) and os.access(child.path, os.R_OK | os.X_OK):
            yield from _below(child.path, relative + "/", seen, progress)


def _wrong(path: str, about: os.stat_result, relative: str, seen: Ownership) -> _Wrong | None:
    directory = stat.S_ISDIR(about.st_mode)
    ours, right = about.st_uid == OWNER, site.is_right(relative, about.st_mode, directory=directory)
    seen.entries += 1
    seen.owners += not ours
    seen.modes += not right
    return None if ours and right else _Wrong(path=path, relative=relative, directory=directory, ours=ours)


def _finish(beside: Path) -> None:
    """What an interrupted run put beside: a folder takes its place or gives back what it holds, a copy goes."""
    place = beside.with_name(beside.name.removeprefix(_BESIDE))
    if not beside.is_dir():
        beside.unlink()
    elif not place.exists():
        beside.rename(place)
    else:
        for child in list(beside.iterdir()):
            child.rename(place / child.name)
        beside.rmdir()


def _put_right(wrong: _Wrong, refused: list[str]) -> None:
    try:
        if not wrong.ours:
            _own(wrong)
        os.chmod(wrong.path, wrong.wanted_mode)
    except PermissionError:
        refused.append(wrong.relative or wrong.path)


def _own(wrong: _Wrong) -> None:
    if os.geteuid() == 0:
        os.chown(wrong.path, OWNER, OWNER)
        return
    path = Path(wrong.path)
    beside = path.with_name(_BESIDE + path.name)
    if wrong.directory:
        beside.mkdir(mode=share.DIRECTORY_MODE)
        try:
            for child in list(path.iterdir()):
                child.rename(beside / child.name)
            path.rmdir()
        except PermissionError:
            _finish(beside)  # a clinic may be serving from it
            raise
    else:
        shutil.copyfile(path, beside)
        shutil.copystat(path, beside)
    beside.rename(path)
