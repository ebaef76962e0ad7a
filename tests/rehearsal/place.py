"""A folder with an environment file and a sandbox, and the program run in it."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.oauth2.credentials import Credentials

from gcp_openemr import cloud_run
from gcp_openemr.clients import Cloud
from gcp_openemr.environment import load_environment
from gcp_openemr.redacted import Redacted
from gcp_openemr.sandbox import control
from gcp_openemr.sandbox.remote import remote
from gcp_openemr.sandbox.visitor import Visitor
from tests import bad_days
from tests.rehearsal import warm

PROJECT = "rehearsal-1"
ARCHIVE = f"{PROJECT}-archive"
RESTORE = f'\n[restore]\nsource = "gcs"\nuri = "gs://{ARCHIVE}/backup.zip"\n'
TWO_INSTANCES = "min_instances = 2\nmax_instances = 2"
_CHANCE = 0.01  # of each kind of fault with `--faults`: a deploy makes more than a thousand calls
_RUNS = itertools.count()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """What the program answered: exit status, stdout, and what people read."""

    status: int
    stdout: str
    stderr: str

    @property
    def json(self) -> dict[str, Any]:
        value = json.loads(self.stdout)
        assert isinstance(value, dict)
        return value


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """A folder with an environment file and a sandbox."""

    folder: Path

    def arguments(self, *arguments: str) -> list[str]:
        return ["-e", str(self.folder / "openemr.toml"), "--sandbox", "--json", *arguments]

    def run(self, *arguments: str, timeout: float = 240) -> Answer:
        with spoiled(self.sandbox):
            done = warm.run(self.arguments(*arguments), folder=self.folder, environment=os.environ, timeout=timeout)
        return Answer(status=done.returncode, stdout=done.stdout, stderr=done.stderr)

    def must(self, *arguments: str) -> dict[str, Any]:
        answer = self.run(*arguments)
        assert answer.status == 0, answer.stderr
        return answer.json

    def wait_until_healthy(self) -> None:
        """After a start of the sandbox: its machines come up behind its answers."""
        deadline = time.monotonic() + 120
        environment, cloud = load_environment(self.folder / "openemr.toml"), self.cloud()
        for name in environment.clinics:
            parent = f"projects/{environment.project}/locations/{environment.region}"
            seen = cloud_run.service_state(cloud, f"{parent}/services/{environment.clinic_names(name).service}")
            assert seen is not None
            while not cloud_run.ask_health(cloud, seen.uri).healthy:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        while (told := self.run("status")).status:
            assert time.monotonic() < deadline, told.stdout
            time.sleep(0.2)

    @property
    def sandbox(self) -> Path:
        return self.folder / ".gcp-openemr" / "sandbox"

    def cloud(self) -> Cloud:
        info = control.status(self.sandbox)
        assert info is not None
        return Cloud(project=PROJECT, credentials=Credentials(token=info.token.reveal()), base=info.url)


@contextlib.contextmanager
def spoiled(sandbox: Path) -> Iterator[None]:
    """With `--faults` a sandbox that runs answers badly meanwhile, each time at other calls."""
    made: list[str] = []
    run = next(_RUNS)
    if bad_days.SEED.value is not None and control.status(sandbox) is not None:
        there = remote(sandbox)
        seed = bad_days.SEED.value + 1000 * run
        bad_days.spoil(lambda fault: made.append(there.add_fault(**fault).id), seed=seed, chance=_CHANCE)
    try:
        yield
    finally:
        for fault in made:
            remote(sandbox).clear_faults(fault)


def environment_file(clinics: str = "") -> str:
    return f"""
[environment]
name = "test"
project = "{PROJECT}"
region = "europe-west1"
profile = "developer"

[openemr]
version = "7.0.4"
acknowledge_end_of_support = true

[service]
public_access = true
{clinics}
"""


@contextlib.contextmanager
def started(folder: Path) -> Iterator[Place]:
    """A folder's sandbox, until the end of the block."""
    made = Place(folder=folder)
    control.start(made.sandbox)
    try:
        yield made
    finally:
        control.stop(made.sandbox)


@contextlib.contextmanager
def empty(folder: Path, file: str) -> Iterator[Place]:
    """An environment's file, in which nothing is deployed, and a sandbox."""
    (folder / "openemr.toml").write_text(file)
    with started(folder) as made:
        yield made


@contextlib.contextmanager
def beside_an_archive(folder: Path, file: str, archive: Path) -> Iterator[Place]:
    """An environment's file, in which nothing is deployed, and a sandbox whose bucket holds an archive."""
    with empty(folder, file) as made:
        bucket = made.cloud().storage.create_bucket(ARCHIVE, location="europe-west1")
        bucket.blob("backup.zip").upload_from_filename(str(archive))
        yield made


@contextlib.contextmanager
def copied(shelf: Path, folder: Path) -> Iterator[Place]:
    """What is deployed on a shelf, its sandbox stopped, in another folder, in the seconds that a copy takes."""
    subprocess.run(["cp", "-a", "--sparse=always", f"{shelf}/.", str(folder)], check=True)
    with started(folder) as made:
        made.wait_until_healthy()
        yield made


def begin(place: Place, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "gcp_openemr.cli", *place.arguments(*arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=place.folder)


def wait_for(process: subprocess.Popen[str], words: str) -> None:
    """Read people's output up to a line with these words."""
    assert process.stderr is not None
    for line in process.stderr:
        if words in line:
            return
    raise AssertionError(f"never said {words!r}")


def terraform_processes(place: Place) -> list[str]:
    listed = subprocess.run(["ps", "-ewwo", "pid,args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if str(place.folder / ".gcp-openemr" / "rehearsal") in line]


def visit(place: Place, clinic: str) -> Visitor:
    """A browser that is logged in as the clinic's administrator."""
    account = place.must("credentials", "--clinic", clinic)
    visiting = Visitor(account["url"])
    visiting.login(account["user"], Redacted(account["password"]))
    return visiting
