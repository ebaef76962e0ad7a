"""COPY: files from a context or a stage into a stage, with owner and mode."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from gcp_openemr.sandbox.interfaces import Refused

__all__ = ["copy", "owner_of"]


def copy(source: Path, target: Path, *, owner: tuple[int, int] | None, mode: int | None) -> None:
    """Copy a file, link or the content of a directory. `owner` None keeps the source's, `mode` None too."""
    status = source.lstat()
    if stat.S_ISDIR(status.st_mode):
        made = not target.is_dir()
        target.mkdir(parents=True, exist_ok=True)
        for entry in sorted(source.iterdir()):
            copy(entry, target / entry.name, owner=owner, mode=mode)
        if not made:
            return
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_symlink() or target.is_file():
            target.unlink()
        if stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(source), target)
        else:
            shutil.copyfile(source, target)
    uid, gid = owner or (status.st_uid, status.st_gid)
    os.chown(target, uid, gid, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        target.chmod(stat.S_IMODE(status.st_mode) if mode is None else mode)


def owner_of(root: Path, text: str) -> tuple[int, int]:
    """(uid, gid) of `USER[:GROUP]`, names looked up in the image.

    Raises:
        Refused: the image has no such user or group.
    """
    user, _, group = text.partition(":")
    users = _accounts(root / "etc/passwd")
    groups = _accounts(root / "etc/group")
    if user.isdigit():
        uid = int(user)
        primary = next((int(entry[3]) for entry in users.values() if int(entry[2]) == uid), 0)
    elif user in users:
        uid, primary = int(users[user][2]), int(users[user][3])
    else:
        raise Refused(f"unable to find user {user}: no matching entries in passwd file", code=3)
    if not group:
        return uid, primary
    if group.isdigit():
        return uid, int(group)
    if group not in groups:
        raise Refused(f"unable to find group {group}: no matching entries in group file", code=3)
    return uid, int(groups[group][2])


def _accounts(path: Path) -> dict[str, list[str]]:
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return {line.split(":")[0]: line.split(":") for line in lines if line.count(":") >= 3}
