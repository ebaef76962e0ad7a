"""Directories and files on the share. Everything belongs to uid 1000, which the job runs as; nothing is chowned."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from jobs.errors import ShareUnusable

__all__ = [
    "DIRECTORY_MODE",
    "FILE_MODE",
    "PRIVATE_MODE",
    "check_writable",
    "copy_tree",
    "ensure_directory",
    "errors_told",
    "remove_file",
    "remove_tree",
    "require_mount",
    "write_atomically",
]

DIRECTORY_MODE = 0o750
FILE_MODE = 0o640
PRIVATE_MODE = 0o600
_ESCAPED = re.compile(r"\\([0-7]{3})")


@contextlib.contextmanager
def errors_told(what: str) -> Iterator[None]:
    """Turn the system's errors on the share into ours.

    Raises:
        ShareUnusable: with the reason, and what to do about a full disk.
    """
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        do = "Make the files disk larger, then run the same command again." if full else ""
        raise ShareUnusable(f"{what}: {error.strerror or error} ({error.filename or 'the share'})", do=do) from error


def require_mount(directory: Path) -> None:
    """Make sure that a share is mounted here: what is written to the image's own folder is gone with the container.

    Raises:
        ShareUnusable: nothing is.
    """
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    places = {_ESCAPED.sub(lambda found: chr(int(found[1], 8)), line.split(" ")[4]) for line in lines}
    if os.path.realpath(directory) not in places:
        raise ShareUnusable(f"No share is mounted at {directory}.", do="Run gcp-openemr deploy, which mounts it.")


def check_writable(directory: Path) -> None:
    """Prove by a file that this directory can be written.

    Raises:
        ShareUnusable: it is absent or not writable.
    """
    with errors_told(f"{directory} is not a writable share for uid {os.getuid()}"):
        probe = directory / ".write-check"
        probe.touch(mode=PRIVATE_MODE)
        probe.unlink(missing_ok=True)  # two jobs may check at once


def ensure_directory(path: Path, *, mode: int = DIRECTORY_MODE) -> bool:
    """Make a directory with its parents; give an existing one its mode. True when it was made."""
    with errors_told(f"{path} cannot be made"):
        for directory in reversed([parent for parent in path.parents if not parent.exists()]):
            directory.mkdir(mode=mode, exist_ok=True)
        made = not path.exists()
        path.mkdir(mode=mode, exist_ok=True)
        if path.stat().st_mode & 0o7777 != mode:
            path.chmod(mode)
        return made


def copy_tree(source: Path, target: Path) -> None:
    """Copy a tree of plain files and directories with our modes, whatever theirs are."""
    with errors_told(f"{source} cannot be copied to {target}"):
        target.mkdir(mode=DIRECTORY_MODE)
        for entry in sorted(os.scandir(source), key=lambda entry: entry.name):
            if entry.is_dir(follow_symlinks=False):
                copy_tree(Path(entry.path), target / entry.name)
            elif entry.is_file(follow_symlinks=False):
                shutil.copyfile(entry.path, target / entry.name)
                os.chmod(target / entry.name, FILE_MODE)


def remove_tree(path: Path) -> None:
    """Remove a tree that is no longer wanted; absent is fine."""
    with errors_told(f"{path} cannot be removed"), contextlib.suppress(FileNotFoundError):
        shutil.rmtree(path)


def write_atomically(path: Path, content: str, *, mode: int = FILE_MODE) -> bool:
    """Write a file whole or not at all. False when it had this content and mode already.

    Of two writers at once, which the clinic's lock keeps apart, one would fail.
    """
    beside = _beside(path)
    with errors_told(f"{path} cannot be written"):
        beside.unlink(missing_ok=True)  # of a run that was killed
        if path.is_file() and path.read_text() == content and path.stat().st_mode & 0o7777 == mode:
            return False
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "w") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        beside.chmod(mode)
        beside.rename(path)
        return True


def remove_file(path: Path) -> None:
    """Remove a file that `write_atomically` wrote, and what a killed one left; absent is fine."""
    with errors_told(f"{path} cannot be removed"):
        _beside(path).unlink(missing_ok=True)
        path.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.new")
