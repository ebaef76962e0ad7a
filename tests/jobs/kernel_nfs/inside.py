"""What the jobs do to a share, on real NFS mounts of three exports. Runs inside of User-Mode Linux; see init.sh."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3]))

from jobs import marker, ownership, share, sources, sql_import, unpack
from jobs.errors import ShareUnusable
from jobs.settings import Backup
from tests.jobs.world import DiskRanges

COPIES = "/tmp/clinic"  # noqa: S108  # a tmpfs of the machine's own
KEY = "documents/logs_and_misc/methods/sevena"


def main(out: Path) -> None:
    answers: dict[str, Any] = {}
    for squash in ("root_squash", "no_root_squash", "all_squash"):
        server, mount = Path("/mnt") / squash, Path("/run") / squash
        _left_by_root(server / "taken", everybody=True)
        _left_by_root(server / "closed", everybody=False)
        answers[squash] = {
            "restored": _as(1000, functools.partial(_restore, mount / "sites")),
            "taken over": _as(1000, functools.partial(_put_right, mount / "taken")),
            "owners": _owners(server / "taken"),
            "closed": _as(1000, functools.partial(_put_right, mount / "closed")),
            "root": _as(0, functools.partial(_put_right, mount / "closed")),
            "owners after root": _owners(server / "closed"),
        }
    answers["share"] = {
        f"NFS {version} uid {uid}": _as(uid, functools.partial(_use, Path(f"/run/share{version}") / f"by{uid}"))
        for version in (3, 4)
        for uid in (1000, 0)
    }
    answers["share"]["server"] = _owners(Path("/mnt/share"))
    (out / "answer").write_text(json.dumps(answers))


def _use(place: Path) -> dict[str, Any]:
    """What a client meets in the share: made, read back, whose it is, and whether it can be given away."""
    place = place.with_name(f"{place.parent.name}-{place.name}")
    place.mkdir(mode=0o750)
    (place / "document").write_text("a document")
    (place / "document").chmod(0o640)
    try:
        os.chown(place / "document", 0, 0)
        given = "given away"
    except OSError as error:
        given = os.strerror(error.errno or 0)
    found = (place / "document").stat()
    return {"read": (place / "document").read_text(), "owner": [found.st_uid, found.st_gid], "to root": given}


def _restore(sites: Path) -> dict[str, str]:
    """Unpack as the job does, put it in place by renames with a marker around, and tell the content's hashes."""
    sources.open_backup = lambda backup: sources.RangeFile(DiskRanges(Path(backup.place)))
    sql_import.import_dump = lambda dump, *_: bool(dump.read())
    share.ensure_directory(sites)
    share.check_writable(sites)
    for suffix in (".zip", ".tar.zst"):
        staging = sites / ".staging-1" / "default"
        share.ensure_directory(staging)
        unpack.unpack(Backup(source="gcs", place=f"{COPIES}{suffix}"), staging, None, "")  # type: ignore[arg-type]
        marker.write(sites, marker.Marker(doing="swap", staging=".staging-1", kept=".replaced-1"))
        share.remove_tree(sites / ".replaced-1")
        if (sites / "default").exists():
            (sites / "default").rename(sites / ".replaced-1")
        staging.rename(sites / "default")
        marker.clear(sites)
    files = (path for path in (sites / "default").rglob("*") if path.is_file())
    return {str(path.relative_to(sites)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _put_right(root: Path) -> dict[str, int] | str:
    try:
        seen = ownership.put_right(root)
    except ShareUnusable as error:
        return error.what
    return {"owners": seen.owners, "modes": seen.modes}


def _left_by_root(root: Path, *, everybody: bool) -> None:
    """On the server: a site as root left it, open to everybody or closed."""
    for name in (KEY, "sqlconf.php", "documents/1/report"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    for path in [root, *root.rglob("*")]:
        path.chmod(0o777 if everybody else 0o600 if path.is_file() else 0o755)
    if everybody:
        os.chown(root, 1000, 1000)


def _owners(root: Path) -> dict[str, list[int]]:
    """As the server sees them: path → owner and mode."""
    return {str(path.relative_to(root)): [path.stat().st_uid, path.stat().st_mode & 0o7777] for path in root.rglob("*")}


def _as(uid: int, work: Callable[[], Any]) -> Any:
    """What `work` returns in a child of that user."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        try:
            if uid:
                os.setgroups([])
                os.setresgid(uid, uid, uid)
                os.setresuid(uid, uid, uid)
            answer = work()
        except BaseException:
            answer = traceback.format_exc()
        os.write(writer, json.dumps(answer).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as told:
        answer = json.load(told)
    os.wait()
    return answer


main(Path(sys.argv[1]))
