"""Clinics deployed into a sandbox of their own, by the program itself."""

from __future__ import annotations

import collections
import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gcp_openemr.sandbox import control
from gcp_openemr.sandbox.standin.sample_backup import SampleBackup, make_backup
from tests.rehearsal.place import ARCHIVE, TWO_INSTANCES, Place, beside_an_archive, copied, environment_file

_GLANCES = 100  # two seconds


@pytest.fixture(scope="session")
def backup_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SampleBackup]:
    path = tmp_path_factory.mktemp("archive") / "backup.zip"
    made = make_backup(
        path, documents=5, bytes_per_document=20_000, seed=7, admin_user="admin", admin_password="from-the-backup"
    )
    return path, made


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory, backup_file: tuple[Path, SampleBackup]) -> Iterator[Place]:
    """An environment with two clinics, one to be restored and one to be installed."""
    clinics = f"""
[clinics.main]
[clinics.main.restore]
source = "gcs"
uri = "gs://{ARCHIVE}/backup.zip"

[clinics.north]
"""
    with beside_an_archive(tmp_path_factory.mktemp("place"), environment_file(clinics), backup_file[0]) as made:
        yield made


@pytest.fixture(scope="session")
def shelved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an environment `test` of one clinic in two instances, its sandbox stopped: to be copied.

    Each worker deploys its own: copies that run side by side could not have their clinic at the same address.
    """
    folder = tmp_path_factory.mktemp("shelf")
    (folder / "openemr.toml").write_text(environment_file(TWO_INSTANCES))
    made = Place(folder=folder)
    try:
        made.must("deploy", "-y")
    finally:
        control.stop(made.sandbox)
    return folder


@pytest.fixture(scope="module")
def deployed_copy(shelved: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A deployed environment of the module's own, made in the seconds that a copy takes. Its clinic answers."""
    with copied(shelved, tmp_path_factory.mktemp("copy")) as made:
        yield made


@pytest.fixture(scope="session")
def arguments_seen() -> set[bytes]:
    """Every argument list that any process had while the first deploy ran."""
    return set()


@pytest.fixture(scope="session")
def deployed(place: Place, arguments_seen: set[bytes]) -> dict[str, Any]:
    with arguments_written_down(arguments_seen):
        return place.must("deploy", "-y")


@contextlib.contextmanager
def arguments_written_down(seen: set[bytes]) -> Iterator[None]:
    """Every argument list that a process of this machine has meanwhile goes into `seen`.

    A process is looked at while it is new: later it becomes no other program.
    """
    ended = threading.Event()
    glances: collections.Counter[str] = collections.Counter()

    def watch() -> None:
        while not ended.wait(0.02):
            for process in filter(str.isdigit, os.listdir("/proc")):
                glances[process] += 1
                if glances[process] <= _GLANCES:
                    with contextlib.suppress(OSError), open(f"/proc/{process}/cmdline", "rb") as arguments:
                        seen.add(arguments.read())

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield
    finally:
        ended.set()
        watching.join()
