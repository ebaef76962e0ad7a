"""A clinic whose backup lies in a shared drive, found by no link but by the job's own account once that may see it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.oauth2.credentials import Credentials
from googleapiclient.discovery import build_from_document
from googleapiclient.http import MediaFileUpload

from gcp_openemr.sandbox import control
from gcp_openemr.sandbox.discovery import load
from gcp_openemr.sandbox.standin.sample_backup import SampleBackup
from tests.rehearsal.place import PROJECT, Place, environment_file, started, visit

ACCOUNT = f"oe-test-main-init@{PROJECT}.iam.gserviceaccount.com"
EVERY = {"supportsAllDrives": True}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with started(tmp_path) as made:
        yield made


@pytest.fixture
def drive(place: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Google's client of the person who owns the backup."""
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    info = control.status(place.sandbox)
    assert info is not None
    document = {**load("drive", "v3").document, "rootUrl": f"{info.url}/www.googleapis.com/"}
    with build_from_document(document, credentials=Credentials(info.token.reveal())) as client:
        yield client


@pytest.mark.torture
def test_a_backup_in_a_shared_drive_is_restored_once_the_job_may_see_it(
    place: Place, drive: Any, backup_file: tuple[Path, SampleBackup]
) -> None:
    top = drive.drives().create(requestId="once", body={"name": "Old clinic"}).execute()["id"]
    media = MediaFileUpload(str(backup_file[0]), mimetype="application/zip")
    put = drive.files().create(body={"name": "backup.zip", "parents": [top]}, media_body=media, **EVERY).execute()
    restore = f'\n[restore]\nsource = "drive"\nuri = "{put["id"]}"\n'
    (place.folder / "openemr.toml").write_text(environment_file() + restore)
    refused = place.run("deploy", "-y")
    assert refused.status != 0
    assert f"Share it, or its shared drive, with {ACCOUNT} as a viewer." in refused.stderr
    reader = {"type": "user", "role": "reader", "emailAddress": ACCOUNT}
    drive.permissions().create(fileId=top, body=reader, sendNotificationEmail=False, **EVERY).execute()
    deployed = place.must("deploy", "-y")
    assert deployed["clinics"]["main"]["storage"] == "restore"
    browser = visit(place, "main")
    for document in backup_file[1].documents:
        assert browser.document(document.patient_id, document.id) == document.sha256
    assert place.run("plan").status == 0
