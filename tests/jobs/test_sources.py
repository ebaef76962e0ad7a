"""Backups and secrets over a network that fails: what goes on, what ends, and in which words."""

from __future__ import annotations

import base64
import hashlib
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import google.auth
import google_crc32c
import pytest
import requests
from google.api_core import exceptions, retry
from google.auth.exceptions import TransportError
from google.cloud import secretmanager_v1
from google.oauth2.credentials import Credentials
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from gcp_openemr.sandbox.api.app import App
from gcp_openemr.sandbox.api.server import serve
from gcp_openemr.sandbox.api.serviceusage import enable_apis
from jobs import errors, secrets, sources
from jobs.archives.entries import exactly
from jobs.settings import Backup, SecretVersion
from tests.jobs.google import JOB, Google
from tests.sandbox.api.support import PROJECT, Cloud, RecordingRuntime

CONTENT = hashlib.shake_256(b"a backup").digest(5000)
OBJECT = Backup(source="gcs", place="gs://backups/a.zip")
PASSING = [
    exceptions.ServiceUnavailable("busy"),
    exceptions.RetryError("for two minutes", None),
    requests.ConnectionError("cut"),
    requests.exceptions.ChunkedEncodingError("cut at byte 17"),
    TransportError("no token just now"),
]


@pytest.fixture(autouse=True)
def _small_and_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "RANGE_BYTES", 700)
    monkeypatch.setattr(sources, "_FIRST_DELAY_SECONDS", 0.001)


class Ranges:
    """CONTENT, of which every `lost`-th answer is lost."""

    size = len(CONTENT)
    digest = hashlib.md5(CONTENT, usedforsecurity=False).digest()

    def __init__(self, *, lost: int = 1 << 30) -> None:
        self._lost = lost
        self.answers = 0

    def new_sum(self) -> sources._Sum:
        return hashlib.md5(usedforsecurity=False)

    def read(self, start: int, end: int) -> bytes:
        self.answers += 1
        if self.answers % self._lost == 0:
            raise requests.ConnectionError("cut")
        return CONTENT[start:end]


@hypothesis_settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(CONTENT)), st.integers(0, 2000)), max_size=8), st.integers(2, 5))
def test_however_it_is_read_and_cut_the_bytes_are_those_of_the_source(pieces: list[tuple[int, int]], lost: int) -> None:
    ranges = Ranges(lost=lost)
    with sources.RangeFile(ranges) as file:
        for start, length in pieces:
            file.seek(start)
            wanted = CONTENT[start : start + length]
            assert exactly(file, len(wanted)) == wanted
        assert file.verify() == "verified"


def test_a_cut_costs_one_range(monkeypatch: pytest.MonkeyPatch) -> None:
    ranges = Ranges(lost=4)
    with sources.RangeFile(ranges) as file:
        assert file.read() == CONTENT
    parts = -(-len(CONTENT) // sources.RANGE_BYTES)
    assert ranges.answers <= parts + ranges.answers // 4 + 1


def test_a_byte_that_changed_on_the_way_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ranges, "digest", b"another")
    with sources.RangeFile(Ranges()) as file, pytest.raises(errors.BackupInvalid, match="its checksum is not"):
        file.verify()


def test_a_network_that_stays_away_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_PATIENCE_SECONDS", 0.01)
    with sources.RangeFile(Ranges(lost=1)) as file, pytest.raises(errors.Unreachable, match="to its end: cut"):
        file.read()


class Blob:
    """An object as the client gives it; `problems` are raised by its reads one after the other."""

    size = len(CONTENT)
    generation = 7
    crc32c = base64.b64encode(struct.pack(">I", google_crc32c.value(CONTENT))).decode()

    def __init__(self, problems: Sequence[Exception]) -> None:
        self._problems = list(problems)

    def download_as_bytes(self, *, start: int, end: int, if_generation_match: int, **_: Any) -> bytes:
        assert if_generation_match == self.generation
        if self._problems:
            raise self._problems.pop(0)
        return CONTENT[start : end + 1]


def stored(monkeypatch: pytest.MonkeyPatch, found: Callable[[], Blob]) -> None:
    class Client:
        def bucket(self, _name: str) -> Client:
            return self

        def get_blob(self, _name: str, **_: Any) -> Blob:
            return found()

    monkeypatch.setattr(sources, "Client", Client)


def test_an_object_is_read_on_after_what_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    stored(monkeypatch, lambda: Blob(PASSING))
    with sources.open_backup(OBJECT) as file:
        assert file.read() == CONTENT
        assert file.verify() == "verified"


@pytest.mark.parametrize(
    ("problem", "expected", "words"),
    [
        (exceptions.NotFound("gone"), errors.BackupMissing, "removed or replaced while it was read"),
        (exceptions.PreconditionFailed("newer"), errors.BackupMissing, "removed or replaced"),
        (exceptions.Forbidden("no more"), errors.BackupForbidden, "may not read"),
        (exceptions.BadRequest("what"), errors.CloudRefused, "refused gs://backups/a.zip"),
    ],
)
def test_an_object_that_cannot_be_read_any_more_says_why(
    monkeypatch: pytest.MonkeyPatch, problem: Exception, expected: type[errors.JobError], words: str
) -> None:
    stored(monkeypatch, lambda: Blob([problem]))
    with sources.open_backup(OBJECT) as file, pytest.raises(expected, match=words):
        file.read()


def test_cloud_storage_that_does_not_answer_is_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent() -> Blob:
        raise exceptions.RetryError("for two minutes", None)

    stored(monkeypatch, silent)
    with pytest.raises(errors.Unreachable, match="does not answer"):
        sources.open_backup(OBJECT)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Google]:
    """The sandbox's Drive, which the job calls as its account."""
    app = App(tmp_path / "state")
    enable_apis(app.store, PROJECT)
    server = serve(socket.create_server(("127.0.0.1", 0)), app)
    cloud = Cloud(app=app, runtime=RecordingRuntime(), url=f"http://127.0.0.1:{server.port}")
    made = Google(cloud=cloud, address="", metadata="")
    made.call("POST", "iam", f"v1/projects/{PROJECT}/serviceAccounts", {"accountId": JOB.partition("@")[0]})

    def default(*, scopes: Sequence[str]) -> tuple[Credentials, str]:
        return Credentials(app.mint_token(JOB, scopes)), PROJECT

    monkeypatch.setattr(google.auth, "default", default)
    monkeypatch.setattr(sources, "_DRIVE", f"{cloud.url}/www.googleapis.com/drive/v3/files")
    yield made
    server.close()
    app.close()


def bad_day(place: Google, **wish: object) -> None:
    place.cloud.app.faults.add({"effect": "status", "method": "drive.files.get", **wish})


def test_a_file_of_a_shared_drive_is_read_on_after_what_passes(place: Google) -> None:
    bad_day(place, nth=1, status=500)
    bad_day(place, nth=2, refusal="drive.user-rate")
    bad_day(place, nth=3, status=429)
    bad_day(place, nth=6, effect="truncate", bytes=17)
    bad_day(place, nth=7, effect="drop")
    with sources.open_backup(Backup(source="drive", place=place.put_on_drive(CONTENT))) as file:
        assert file.read() == CONTENT
        assert file.verify() == "verified"
    assert {fault.hits for fault in place.cloud.app.faults.all()} == {1}


def disabled(place: Google) -> None:
    place.call("POST", "serviceusage", f"v1/projects/{PROJECT}/services/drive.googleapis.com:disable", {})


@pytest.mark.parametrize(
    ("fields", "trouble", "expected", "words"),
    [
        ({"shared": False}, None, errors.BackupMissing, "Share it"),
        ({}, disabled, errors.BackupForbidden, "gcloud services enable drive.googleapis.com"),
        ({"copyRequiresWriterPermission": True}, None, errors.BackupForbidden, "Let viewers download"),
        ({}, "drive.file-permission", errors.BackupForbidden, "Share it"),
        ({}, "drive.download-quota", errors.Unreachable, "again later"),
        ({}, "google.json", errors.CloudRefused, ""),
    ],
)
def test_drives_refusals_are_told_apart(
    place: Google,
    fields: dict[str, Any],
    trouble: str | Callable[[Google], None] | None,
    expected: type[errors.JobError],
    words: str,
) -> None:
    file = place.put_on_drive(CONTENT, **fields)
    if isinstance(trouble, str):
        bad_day(place, refusal=trouble)
    elif trouble is not None:
        trouble(place)
    with pytest.raises(expected) as caught, sources.open_backup(Backup(source="drive", place=file)) as opened:
        opened.read()
    assert words in caught.value.do


def test_a_document_of_googles_own_is_no_archive(place: Google) -> None:
    wanted = {"name": "Notes", "mimeType": "application/vnd.google-apps.document"}
    file = place.call("POST", "www", "drive/v3/files", wanted)["id"]
    reader = {"type": "user", "role": "reader", "emailAddress": JOB}
    place.call("POST", "www", f"drive/v3/files/{file}/permissions", reader)
    with pytest.raises(errors.BackupInvalid, match="a document of Google's"):
        sources.open_backup(Backup(source="drive", place=file))


SECRET = SecretVersion(secret="projects/p/secrets/db", version=1)


def secret(
    monkeypatch: pytest.MonkeyPatch, data: bytes, *, crc: int | None = None, problems: Sequence[Exception] = ()
) -> None:
    left = list(problems)

    class Client:
        def __init__(self, *, transport: str) -> None:
            assert transport == "rest"

        def access_secret_version(
            self, *, name: str, timeout: float, retry: retry.Retry
        ) -> secretmanager_v1.AccessSecretVersionResponse:
            def once() -> secretmanager_v1.AccessSecretVersionResponse:
                if left:
                    raise left.pop(0)
                payload = {"data": data, "data_crc32c": google_crc32c.value(data) if crc is None else crc}
                return secretmanager_v1.AccessSecretVersionResponse(name=name, payload=payload)

            assert timeout
            return retry(once)()

    monkeypatch.setattr(secretmanager_v1, "SecretManagerServiceClient", Client)
    monkeypatch.setattr(
        secrets, "_PATIENCE", secrets._PATIENCE.with_delay(initial=0.001, maximum=0.002).with_timeout(0.5)
    )


def test_a_secret_is_read_on_after_what_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    passing = [
        one for one in PASSING if not isinstance(one, exceptions.RetryError | requests.exceptions.ChunkedEncodingError)
    ]
    secret(monkeypatch, "pässword".encode(), problems=passing)
    assert secrets.access(SECRET).reveal() == "pässword"


@pytest.mark.parametrize(
    ("data", "crc", "problems", "expected", "words"),
    [
        (b"x", 1, [], errors.SecretUnavailable, "arrived damaged"),
        (b"hunter\xff", None, [], errors.SecretUnavailable, "no text in UTF-8"),
        (b"x", None, [exceptions.FailedPrecondition("disabled")], errors.SecretUnavailable, "disabled"),
        (b"x", None, [requests.ConnectionError("cut")] * 10_000, errors.Unreachable, "does not answer"),
    ],
)
def test_a_secret_that_cannot_be_had_says_why_and_shows_nothing(
    monkeypatch: pytest.MonkeyPatch,
    data: bytes,
    crc: int | None,
    problems: Sequence[Exception],
    expected: type[errors.JobError],
    words: str,
) -> None:
    secret(monkeypatch, data, crc=crc, problems=problems)
    with pytest.raises(expected, match=words) as caught:
        secrets.access(SECRET)
    assert "hunter" not in str(caught.value)
