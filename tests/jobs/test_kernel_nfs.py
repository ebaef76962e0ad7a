"""The jobs on a real kernel's NFS, whatever the export does to root. The kernel runs as User-Mode Linux."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gcp_openemr.assets import asset
from gcp_openemr.sandbox.standin.sample_backup import SampleBackup

HERE = Path(__file__).parent / "kernel_nfs"
SCRIPT = asset("terraform") / "modules" / "files" / "startup.sh"
SECONDS = 240
RIGHT = {
    "documents": [1000, 0o750],
    "documents/1": [1000, 0o750],
    "documents/1/report": [1000, 0o640],
    "documents/logs_and_misc": [1000, 0o750],
    "documents/logs_and_misc/methods": [1000, 0o750],
    "documents/logs_and_misc/methods/sevena": [1000, 0o600],
    "sqlconf.php": [1000, 0o600],
}

pytestmark = pytest.mark.torture


@pytest.fixture(scope="module")
def answers(backups: dict[str, SampleBackup], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What was found in the three exports and in the files machine's own."""
    linux = shutil.which("linux.uml")
    if linux is None:
        pytest.fail("User-Mode Linux is not on this machine. Run: make kernel-nfs")
    work = tmp_path_factory.mktemp("nfs")
    for suffix in (".zip", ".tar.zst"):
        shutil.copy(backups[suffix].path, work / f"clinic{suffix}")
    machine = [linux, "mem=768M", "rootfstype=hostfs", "rootflags=/", "ro", "con=null", "con0=null,fd:1", "con1=null"]
    shutil.copy(SCRIPT, work)
    with (work / "disk").open("wb") as disk:
        disk.truncate(64 << 20)
    words = [f"init={HERE / 'init.sh'}", f"python={sys.executable}", f"inside={HERE / 'inside.py'}", f"work={work}"]
    place = [f"uml_dir={work}", "umid=nfs", f"ubd0={work / 'disk'}"]
    with (work / "console").open("wb") as console:
        subprocess.run(
            [*machine, *place, *words],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            timeout=SECONDS,
            check=False,
            env={**os.environ, "TMPDIR": str(work)},
        )
    assert (work / "answer").is_file(), (work / "console").read_text(errors="replace")[-3000:]
    found: dict[str, Any] = json.loads((work / "answer").read_text())
    return found


@pytest.mark.parametrize("squash", ["root_squash", "no_root_squash", "all_squash"])
def test_a_restore_by_the_jobs_user_is_whole(
    answers: dict[str, Any], backups: dict[str, SampleBackup], squash: str
) -> None:
    restored = answers[squash]["restored"]
    assert isinstance(restored, dict), restored
    assert len([name for name in restored if "/documents/" in name]) >= len(backups[".zip"].documents)
    assert restored == answers["root_squash"]["restored"]


@pytest.mark.parametrize("squash", ["root_squash", "no_root_squash", "all_squash"])
def test_what_root_left_is_taken_over(answers: dict[str, Any], squash: str) -> None:
    assert answers[squash]["taken over"]["owners"] == len(RIGHT), answers[squash]["taken over"]
    assert answers[squash]["owners"] == RIGHT


@pytest.mark.parametrize("squash", ["root_squash", "no_root_squash", "all_squash"])
def test_what_cannot_be_read_is_told_not_broken(answers: dict[str, Any], squash: str) -> None:
    assert "belong to another user and cannot be taken over" in answers[squash]["closed"]


def test_root_gives_everything_away_where_the_export_lets_it(answers: dict[str, Any]) -> None:
    assert answers["no_root_squash"]["owners after root"] == RIGHT


@pytest.mark.parametrize("uid", [1000, 0])
@pytest.mark.parametrize("version", [3, 4])
def test_the_files_machines_share_is_one_users_whoever_writes(answers: dict[str, Any], version: int, uid: int) -> None:
    """On the disk and with the export that its start-up script made."""
    found = answers["share"][f"NFS {version} uid {uid}"]
    refused = {"read": "a document", "owner": [1000, 1000], "to root": "Operation not permitted"}
    assert found == refused, found
    assert answers["share"]["server"][f"share{version}-by{uid}/document"] == [1000, 0o640]
    assert answers["share"]["server"][f"share{version}-by{uid}"] == [1000, 0o750]
