"""A restic that does not work at once, or not to its end: what is tried again, and what is told."""

from __future__ import annotations

import dataclasses
import functools
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import IO

import pytest

from jobs import restic, restic_failures
from jobs.errors import BackupForbidden, BackupInvalid, Unreachable
from jobs.redacted import Redacted
from tests.jobs.shelf import Shelf
from tests.jobs.world import BACKUP_PASSWORD

_NOT_AT_ONCE = """#!/bin/sh
left=$(cat {here}/left)
case "$left $1" in 0\\ *|*\\ list) exec {restic} "$@" ;; esac
echo $((left - 1)) > {here}/left
cat {here}/out
cat {here}/said >&2
exit 1
"""
_DROPPED = """\
Fatal: unable to open config file: Get "https://storage.googleapis.com/storage/v1/b/b/o/config?alt=json": EOF
Is there a repository at the following location?
"""
_LOCKED = "Fatal: unable to create lock in backend: repository is already locked exclusively by PID 5 on localhost\n"
_CUT = "Fatal: read tcp 10.0.0.2:41142: connection reset by peer\n"

_REPLACED = """\
Save(<data/1f3ab>) returned error, retrying after 552ms: service.Objects.Insert: http2: client connection lost
Fatal: unable to save snapshot: service.Objects.Insert: googleapi: Error 403: o-back@p.iam.gserviceaccount.com\
 does not have storage.objects.delete access to the Google Cloud Storage object., forbidden
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unsteady:
    """A restic that fails before it works, and the snapshot of a folder `sites` with a file `one`, which holds a 1."""

    here: Path
    repository: restic.Restic
    snapshot: str

    def fails(self, times: int, said: str, out: str = "") -> None:
        """From now on, so many times, having written `out` and said that."""
        for name, text in (("left", f"{times}\n"), ("said", said), ("out", out)):
            (self.here / name).write_text(text)

    def read(self) -> bytes:
        with self.repository.stream(self.snapshot, "/sites/one") as out:
            return out.read()


@pytest.fixture
def unsteady(shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Unsteady:
    repository = restic.Restic(shelf.store, Redacted(BACKUP_PASSWORD), lock_seconds=1)
    repository.create()
    (tmp_path / "sites").mkdir()
    (tmp_path / "sites" / "one").write_bytes(b"1")
    saved = repository.save_folder(tmp_path, "sites", ["t"], excluded=[])
    here = tmp_path / "unsteady"
    here.mkdir()
    (here / "restic").write_text(_NOT_AT_ONCE.format(here=here, restic=shutil.which("restic")))
    (here / "restic").chmod(0o700)
    made = Unsteady(here=here, repository=repository, snapshot=saved.snapshot)
    made.fails(0, "")
    monkeypatch.setattr(restic, "_DELAYS", (0.0, 0.0))
    monkeypatch.setenv("PATH", f"{here}:{os.environ['PATH']}")
    return made


@pytest.mark.parametrize("said", [_DROPPED, _LOCKED])
def test_a_repository_that_does_not_open_at_once_is_opened_again(unsteady: Unsteady, said: str, tmp_path: Path) -> None:
    """A connection that is dropped, or another run's lock, does not end a job."""
    unsteady.fails(2, said)
    assert unsteady.repository.save_folder(tmp_path, "sites", ["t"], excluded=[]).bytes == 1
    unsteady.fails(2, said)
    assert unsteady.repository.files(unsteady.snapshot) == {"sites/one": 1}
    unsteady.fails(2, said)
    assert unsteady.read() == b"1"


def test_a_connection_that_is_dropped_is_never_taken_for_a_repository_that_is_not_there(unsteady: Unsteady) -> None:
    unsteady.fails(3, _DROPPED)
    with pytest.raises(Unreachable, match="unable to open config file"):
        unsteady.repository.exists()
    assert unsteady.repository.exists()


@pytest.mark.timeout(60)
def test_what_restic_tells_while_a_long_dump_comes_does_not_stop_it(
    unsteady: Unsteady, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At its usual rate a pipe is full after half an hour."""
    monkeypatch.setattr(subprocess, "Popen", functools.partial(subprocess.Popen, pipesize=4096))
    unsteady.repository._environment["RESTIC_PROGRESS_FPS"] = "60"

    def write(out: IO[bytes]) -> int:
        for _ in range(100):
            out.write(os.urandom(1 << 19))
            time.sleep(0.02)
        return 100 << 19

    saved, written = unsteady.repository.save_stream("dump.sql", ["t"], write)
    assert saved.bytes == written


def test_a_lost_answer_to_an_upload_is_no_missing_right(unsteady: Unsteady, tmp_path: Path) -> None:
    """The object is there, so restic's repetition would replace it, which only the prune job may."""
    unsteady.fails(1, _REPLACED)
    assert unsteady.repository.save_folder(tmp_path, "sites", ["t"], excluded=[]).bytes == 1
    unsteady.fails(2, _REPLACED)
    with pytest.raises(Unreachable, match="The answer to an upload was lost") as told:
        unsteady.repository.save_folder(tmp_path, "sites", ["t"], excluded=[])
    assert "again later" in told.value.do
    for command, said in (("forget", _REPLACED), ("backup", f"Remove(<lock/1f3ab>) returned error\n{_REPLACED}")):
        assert isinstance(restic_failures.failure(command, said, damaged=False), BackupForbidden)


def test_where_restic_failed_in_the_middle_the_reader_is_not_believed(unsteady: Unsteady) -> None:
    def misunderstood() -> None:
        with unsteady.repository.stream(unsteady.snapshot, "/sites/one") as out:
            raise BackupInvalid(f"{out.read()!r} is half a dump.")

    with pytest.raises(BackupInvalid, match="b'1' is half a dump"):
        misunderstood()
    unsteady.fails(1, _CUT, out="half")
    with pytest.raises(Unreachable, match=r"restic dump failed: Fatal: read tcp .* connection reset"):
        misunderstood()
