"""Google Drive by Google's own client: put there, shared, found by those who may, read in ranges."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from google.oauth2.credentials import Credentials
from googleapiclient.discovery import build_from_document
from googleapiclient.errors import HttpError
from googleapiclient.http import MediaIoBaseDownload, MediaIoBaseUpload

from gcp_openemr.sandbox.api.storage.objects import Objects
from gcp_openemr.sandbox.discovery import load
from tests.sandbox.api.support import PROJECT, Cloud

CONTENT = hashlib.shake_256(b"a backup").digest(300_000)
READONLY = "https://www.googleapis.com/auth/drive.readonly"


Drive = Callable[..., Any]


@pytest.fixture
def drive(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[Drive]:
    """Google's client of the operator, or of whose token is given."""
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    document = {**load("drive", "v3").document, "rootUrl": f"{cloud.url}/www.googleapis.com/"}
    with contextlib.ExitStack() as opened:

        def client(token: str = cloud.app.operator_token) -> Any:
            return opened.enter_context(build_from_document(document, credentials=Credentials(token)))

        yield client


def put(drive: Drive, **body: object) -> str:
    media = MediaIoBaseUpload(io.BytesIO(CONTENT), mimetype="application/zip")
    made = drive().files().create(body={"name": "b.zip", **body}, media_body=media, supportsAllDrives=True)
    return str(made.execute()["id"])


def share(drive: Drive, file: str, address: str, role: str = "reader") -> None:
    given = {"type": "user", "role": role, "emailAddress": address}
    told = drive().permissions().create(fileId=file, body=given, supportsAllDrives=True, sendNotificationEmail=False)
    assert told.execute() == {"kind": "drive#permission", "id": told.execute()["id"], "type": "user", "role": role}


def reason(call: Any) -> str:
    with pytest.raises(HttpError) as caught:
        call.execute()
    return f"{caught.value.status_code} {json.loads(caught.value.content)['error']['errors'][0]['reason']}"


def test_a_file_is_put_there_told_and_read_in_ranges(cloud: Cloud, drive: Drive) -> None:
    file = put(drive, description="of the clinic")
    files = drive().files()
    usual = {"kind": "drive#file", "id": file, "name": "b.zip", "mimeType": "application/zip"}
    assert files.get(fileId=file).execute() == usual
    told = files.get(fileId=file, fields="size,md5Checksum,trashed").execute()
    md5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
    assert told == {"size": str(len(CONTENT)), "md5Checksum": md5, "trashed": False}
    assert files.get(fileId=file, fields="*").execute()["description"] == "of the clinic"
    read = io.BytesIO()
    download = MediaIoBaseDownload(read, files.get_media(fileId=file), chunksize=70_000)
    while not download.next_chunk()[1]:
        pass
    assert read.getvalue() == CONTENT
    beyond = cloud.call("GET", "www", f"drive/v3/files/{file}?alt=media", Range="bytes=300000-")
    assert (beyond.status, beyond.headers["Content-Range"]) == (416, "bytes */300000")


def test_an_error_looks_like_drives(cloud: Cloud) -> None:
    problem = {"message": "File not found: 1x.", "domain": "global", "reason": "notFound"}
    where = {"locationType": "parameter", "location": "fileId"}
    told = {"code": 404, "message": "File not found: 1x.", "errors": [problem | where]}
    assert cloud.call("GET", "www", "drive/v3/files/1x").body == {"error": told}


def test_a_file_is_there_for_those_whom_it_is_shared_with(cloud: Cloud, drive: Drive, account: str) -> None:
    file, token = put(drive), cloud.app.mint_token(account, [READONLY])
    wanted = drive(token).files().get(fileId=file)
    assert reason(wanted) == "404 notFound"
    share(drive, file, account.upper())
    assert wanted.execute()["id"] == file
    assert reason(drive(cloud.app.mint_token(account)).files().get(fileId=file)) == "403 insufficientPermissions"
    cloud.call("POST", "serviceusage", f"v1/projects/{PROJECT}/services/drive.googleapis.com:disable", {})
    assert reason(wanted) == "403 accessNotConfigured"


def test_what_lies_in_a_shared_drive_is_its_members_who_know_of_such(cloud: Cloud, drive: Drive, account: str) -> None:
    made = drive().drives().create(requestId="r", body={"name": "Backups"})
    top = made.execute()["id"]
    assert reason(made) == "409 alreadyExists"
    folder = {"name": "2026", "mimeType": "application/vnd.google-apps.folder", "parents": [top]}
    within = drive().files().create(body=folder, supportsAllDrives=True).execute()["id"]
    file, token = put(drive, parents=[within]), cloud.app.mint_token(account, [READONLY])
    files = drive(token).files()
    assert reason(files.get(fileId=file, supportsAllDrives=True)) == "404 notFound"
    share(drive, top, account)
    assert files.get(fileId=file, supportsAllDrives=True, fields="driveId").execute() == {"driveId": top}
    assert files.get_media(fileId=file, supportsAllDrives=True).execute() == CONTENT
    assert reason(files.get(fileId=file)) == "404 notFound"


def test_whoever_may_write_in_a_shared_drive_puts_files_there(cloud: Cloud, drive: Drive, account: str) -> None:
    top = drive().drives().create(requestId="r", body={"name": "Backups"}).execute()["id"]
    token = cloud.app.mint_token(account, ["https://www.googleapis.com/auth/drive"])
    path = "upload/drive/v3/files?uploadType=multipart&supportsAllDrives=true"
    head = b"--x\r\nContent-Type: application/json\r\n\r\n"
    tail = b"\r\n--x\r\nContent-Type: text/plain\r\n\r\nbytes\r\n--x--"
    body = head + json.dumps({"parents": [top]}).encode() + tail
    kind = "multipart/related; boundary=x"
    share(drive, top, account, "commenter")
    refused = cloud.call("POST", "www", path, body, token=token, Content_Type=kind)
    assert refused.body["error"]["errors"][0]["reason"] == "insufficientParentPermissions"
    share(drive, top, account, "fileOrganizer")
    done = cloud.call("POST", "www", path, body, token=token, Content_Type=kind)
    assert (done.status, done.body["name"], done.body["mimeType"]) == (200, "Untitled", "text/plain")


def test_files_outlive_a_start_and_no_bucket_shows_them(cloud: Cloud, drive: Drive) -> None:
    file = put(drive)
    assert cloud.call("GET", "storage", "storage/v1/b/%2Fdrive/o").status == 404
    swept = Objects(cloud.app.store, cloud.app.state_dir / "objects")
    kept = swept.live("/drive", file)
    assert kept is not None
    assert swept.path(kept).read_bytes() == CONTENT


def test_what_the_sandbox_does_not_do_in_drive_it_says(cloud: Cloud, drive: Drive) -> None:
    file = put(drive)
    for path, body in (
        ("upload/drive/v3/files?uploadType=resumable", {}),
        ("upload/compute/v1/projects/x", {}),
        (f"drive/v3/files/{file}/permissions", {"type": "group", "role": "reader", "emailAddress": "a@example.com"}),
        (f"drive/v3/files/{file}/permissions", {"type": "user", "role": "owner", "emailAddress": "a@example.com"}),
        ("drive/v3/files", {"parents": ["a", "b"]}),
    ):
        assert cloud.call("POST", "www", path, body).status in {404, 501}, path
