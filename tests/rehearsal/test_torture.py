"""Every step of a first deploy killed at its start and a moment later; the next run reaches the end state."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gcp_openemr.sandbox.standin.sample_backup import SampleBackup
from tests.rehearsal.place import (
    RESTORE,
    Place,
    begin,
    beside_an_archive,
    environment_file,
    terraform_processes,
    visit,
    wait_for,
)

STEPS = (
    "APIs and state bucket",
    "foundation: plan",
    "foundation: apply",
    "platform: plan",
    "platform: apply",
    "image: build",
    "clinics/main: plan",
    "clinics/main: apply",
    "clinics/main: secrets",
    "clinics/main: provision",
    "clinics/main: nfs-init",
    "clinics/main: traffic",
)


@pytest.fixture
def restoring(tmp_path: Path, backup_file: tuple[Path, SampleBackup]) -> Iterator[Place]:
    with beside_an_archive(tmp_path, environment_file(RESTORE), backup_file[0]) as place:
        yield place


@pytest.mark.torture
@pytest.mark.parametrize(("sign", "seconds"), [(signal.SIGKILL, 0.0), (signal.SIGKILL, 0.4), (signal.SIGINT, 0.2)])
@pytest.mark.parametrize("step", STEPS)
def test_a_deploy_killed_at_any_step_is_continued_by_the_next(
    restoring: Place, backup_file: tuple[Path, SampleBackup], step: str, seconds: float, sign: signal.Signals
) -> None:
    run = begin(restoring, "deploy", "-y")
    wait_for(run, f"→ {step}")
    time.sleep(seconds)
    run.send_signal(sign)
    run.communicate(timeout=120)
    deadline = time.monotonic() + 60
    while terraform_processes(restoring) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert terraform_processes(restoring) == []
    restoring.must("deploy", "-y")
    browser = visit(restoring, "main")
    for document in backup_file[1].documents:
        assert browser.document(document.patient_id, document.id) == document.sha256
    secrets = restoring.cloud().secrets
    for secret in secrets.list_secrets(parent="projects/rehearsal-1"):
        assert len(list(secrets.list_secret_versions(parent=secret.name))) == 1
    assert restoring.run("plan").status == 0
