"""Resumable uploads: in parts of a batch, and cut short by a kill."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gcp_openemr.sandbox.api.app import App
from gcp_openemr.sandbox.api.store import Store
from tests.sandbox.api.support import PROJECT, Cloud


@pytest.fixture
def bucket(cloud: Cloud) -> str:
    name = "my-clinic-oe-prod-uploads"
    assert cloud.call("POST", "storage", f"storage/v1/b?project={PROJECT}", {"name": name}).status == 200
    return name


def test_an_upload_goes_on_and_is_given_up_in_a_batch(cloud: Cloud, bucket: str) -> None:
    root = f"upload/storage/v1/b/{bucket}/o?uploadType=resumable"
    upload = cloud.call("POST", "storage", f"{root}&name=x", {}).headers["X-GUploader-UploadID"]
    calls = (
        f"PUT /{root}&upload_id={upload}\r\ncontent-length: x\r\n\r\nab",
        f"DELETE /{root}&upload_id={upload}\r\n\r\n",
    )
    parts = "".join(f"--part\r\nContent-Type: application/http\r\n\r\n{call}\r\n" for call in calls)
    kind = {"Content_Type": "multipart/mixed; boundary=part"}
    answer = cloud.call("POST", "storage", "batch/storage/v1", f"{parts}--part--".encode(), **kind)
    assert answer.status == 200
    assert re.findall(rb"HTTP/1.1 (\d+)", answer.body) == [b"200", b"499"]
    assert cloud.call("GET", "storage", f"storage/v1/b/{bucket}/o/x?alt=media").body == b"ab"


def test_an_upload_is_done_exactly_when_its_object_is_there(
    cloud: Cloud, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"upload/storage/v1/b/{bucket}/o?uploadType=resumable"
    upload = cloud.call("POST", "storage", f"{path}&name=x", {}).headers["X-GUploader-UploadID"]
    change = Store.change

    def dies(self: Store, sql: str, values: Sequence[Any] = ()) -> int:
        if sql.startswith("UPDATE uploads"):
            raise MemoryError("killed")
        return change(self, sql, values)

    with monkeypatch.context() as patched:
        patched.setattr(Store, "change", dies)
        assert cloud.call("PUT", "storage", f"{path}&upload_id={upload}", b"x").status == 500
    assert cloud.call("GET", "storage", f"storage/v1/b/{bucket}/o/x").status == 404
    assert cloud.call("PUT", "storage", f"{path}&upload_id={upload}", b"x").status == 404


def test_an_upload_that_a_kill_took_the_file_of_is_forgotten(tmp_path: Path) -> None:
    app = App(tmp_path)
    rows = [("lost", '{"done": null}'), ("going", '{"done": null}'), ("done", '{"done": 1}')]
    for upload, body in rows:
        app.store.change("INSERT INTO uploads VALUES (?, ?, ?)", (upload, body, upload))
    (app.objects.uploads / "going").touch()
    (app.objects.uploads / "nobody's").touch()
    app.close()
    again = App(tmp_path)
    assert again.store.query("SELECT id FROM uploads ORDER BY id") == [("done",), ("going",)]
    assert [path.name for path in again.objects.uploads.iterdir()] == ["going"]
    again.close()
