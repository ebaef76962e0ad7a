"""Backups as files that are read where they lie: an object of Cloud Storage or a file of Google Drive.

Both are read in ranges, so that nothing is staged and a cut connection costs one range; a .zip is read from its end.
What is read from front to back is checked against the checksum that the source keeps.
"""

from __future__ import annotations

import base64
import collections
import contextlib
import hashlib
import io
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

import google.auth
import google_crc32c
import requests
from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import AuthorizedSession
from google.cloud.storage import Client
from requests.exceptions import RequestException

from jobs import log
from jobs.errors import BackupForbidden, BackupInvalid, BackupMissing, CloudRefused, Unreachable
from jobs.settings import Backup

__all__ = ["RangeFile", "open_backup"]

RANGE_BYTES = 8 << 20
# the range that is read, the next one, a .zip's table of contents, and one that ends
_WINDOWS = 4
_PATIENCE_SECONDS = 300.0
_FIRST_DELAY_SECONDS = 0.5
_DRIVE = "https://www.googleapis.com/drive/v3/files"
_DRIVE_SCOPE = "https://www.googleapis.com/auth/drive.readonly"
_TOO_FAST = {"rateLimitExceeded", "userRateLimitExceeded"}
_USED_UP = {"downloadQuotaExceeded", "dailyLimitExceeded", "quotaExceeded"}
_WAYS_OUT = {
    "accessNotConfigured": "Enable the Drive API: gcloud services enable drive.googleapis.com",
    "cannotDownloadFile": "Let viewers download the file, in its sharing settings.",
}
_T = TypeVar("_T")


class _Sum(Protocol):
    def update(self, data: bytes, /) -> Any: ...

    def digest(self) -> bytes: ...


class _Ranges(Protocol):
    """Something with a size, a checksum and bytes by range."""

    size: int
    digest: bytes

    def new_sum(self) -> _Sum: ...

    def read(self, start: int, end: int) -> bytes: ...


def open_backup(backup: Backup) -> RangeFile:
    """Open a backup for reading.

    Raises:
        BackupMissing: there is no such object or file.
        BackupForbidden: the job's identity may not read it.
        CloudRefused, Unreachable: for any other reason.
    """
    ranges: _Ranges = _StorageObject(backup.place) if backup.source == "gcs" else _DriveFile(backup.place)
    if ranges.size == 0:
        raise BackupInvalid(f"{backup.place} is empty.")
    log.info("The backup is there", place=backup.place, bytes=ranges.size)
    return RangeFile(ranges)


class RangeFile(io.RawIOBase):
    """A seekable file over ranges of RANGE_BYTES, of which the next is fetched while one is read.

    `verify` tells whether all of it is what the source holds.
    """

    def __init__(self, ranges: _Ranges) -> None:
        self._ranges = ranges
        self.size = ranges.size
        self._at = 0
        self._windows: collections.OrderedDict[int, Future[bytes]] = collections.OrderedDict()
        self._fetching = ThreadPoolExecutor(2, thread_name_prefix="fetch")
        self._sum = ranges.new_sum()
        self._summed = 0
        self._closing = threading.Event()

    def close(self) -> None:
        self._closing.set()
        self._fetching.shutdown(wait=False, cancel_futures=True)
        super().close()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence])
        return self._at

    def readinto(self, buffer: Any) -> int:
        target = memoryview(buffer).cast("B")
        if self._at >= self.size or not target:
            return 0
        number, skip = divmod(self._at, RANGE_BYTES)
        held = self._window(number)
        length = min(len(target), len(held) - skip)
        target[:length] = memoryview(held)[skip : skip + length]
        self._at += length
        return length

    def verify(self) -> str:
        """Read what was not read yet, and return `verified`, or `no checksum` where the source keeps none.

        Raises:
            BackupInvalid: the bytes are not those the source keeps the checksum of.
        """
        if not self._ranges.digest:
            return "no checksum"
        while self._summed * RANGE_BYTES < self.size:
            self._window(self._summed)
        if self._sum.digest() != self._ranges.digest:
            raise BackupInvalid("The backup arrived damaged: its checksum is not the source's.", do="Run it again.")
        return "verified"

    def _window(self, number: int) -> bytes:
        """One range's bytes; in passing, the next is asked for and the sum goes on."""
        fetched = self._ask(number)
        if number == self._summed:
            self._ask(number + 1)
        held = fetched.result()
        if number == self._summed:
            self._sum.update(held)
            self._summed += 1
        return held

    def _ask(self, number: int) -> Future[bytes]:
        if number not in self._windows:
            self._windows[number] = self._fetching.submit(self._fetch, number)
            while len(self._windows) > _WINDOWS:
                self._windows.popitem(last=False)
        self._windows.move_to_end(number)
        return self._windows[number]

    def _fetch(self, number: int) -> bytes:
        start, end = number * RANGE_BYTES, min((number + 1) * RANGE_BYTES, self.size)
        if start >= end:
            return b""
        held = _patiently(lambda: self._ranges.read(start, end), self._closing)
        if len(held) != end - start:
            raise Unreachable(f"Bytes {start}–{end} of the backup came short.", do="Run the same command again.")
        return held


def _patiently(read: Callable[[], _T], closing: threading.Event) -> _T:
    """What `read` returns, tried again for minutes while network, service or token fail in passing."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    delay = _FIRST_DELAY_SECONDS
    while True:
        try:
            return read()
        except _PASSING as error:
            if time.monotonic() + delay > deadline or closing.is_set():
                raise Unreachable(
                    f"The backup cannot be read to its end: {error}", do="Run the same command again later."
                ) from error
            log.warning("Reading the backup was interrupted; it goes on from there", reason=str(error))
        closing.wait(delay)
        delay = min(delay * 2, 20.0)


class _Again(Exception):
    """An answer that may be better the next time."""


_PASSING = (
    RequestException,
    GoogleAuthError,
    exceptions.ServerError,
    exceptions.TooManyRequests,
    exceptions.RetryError,
    _Again,
)


class _StorageObject:
    def __init__(self, place: str) -> None:
        self._place = place
        bucket, _, name = place.removeprefix("gs://").partition("/")
        with _refusals_told(place):
            self._blob = Client().bucket(bucket).get_blob(name, timeout=60)
        if self._blob is None:
            raise BackupMissing(f"{place} does not exist.", do="Name an existing object in [restore] uri.")
        self.size = int(self._blob.size)
        self.digest = base64.b64decode(self._blob.crc32c or "")

    def new_sum(self) -> _Sum:
        checksum: _Sum = google_crc32c.Checksum()  # type: ignore[no-untyped-call]
        return checksum

    def read(self, start: int, end: int) -> bytes:
        try:
            return bytes(
                self._blob.download_as_bytes(
                    start=start,
                    end=end - 1,
                    raw_download=True,
                    checksum=None,
                    timeout=120,
                    if_generation_match=self._blob.generation,
                )
            )
        except _PASSING:
            raise
        except (exceptions.NotFound, exceptions.PreconditionFailed) as error:
            raise BackupMissing(
                f"{self._place} was removed or replaced while it was read.", do="Run the same command again."
            ) from error
        except exceptions.GoogleAPICallError:
            with _refusals_told(self._place):
                raise


@contextlib.contextmanager
def _refusals_told(place: str) -> Iterator[None]:
    try:
        yield
    except exceptions.Forbidden as error:
        bucket = place.removeprefix("gs://").partition("/")[0]
        raise BackupForbidden(
            f"The job's service account may not read {place}, or there is no such object: who may not list the bucket"
            " is told the same of both.",
            do=f"Look for it: gcloud storage ls {place}. If it is there, grant roles/storage.objectViewer on gs://{bucket}.",
        ) from error
    except (exceptions.GoogleAPICallError, GoogleAuthError) as error:
        raise CloudRefused(f"Cloud Storage refused {place}: {error}") from error
    except (exceptions.RetryError, RequestException) as error:
        raise Unreachable(f"Cloud Storage does not answer: {error}", do="Run the same command again later.") from error


class _DriveFile:
    def __init__(self, file_id: str) -> None:
        self._address = f"{_DRIVE}/{file_id}"
        self._id = file_id
        try:
            credentials, _ = google.auth.default(scopes=[_DRIVE_SCOPE])
        except GoogleAuthError as error:
            raise CloudRefused(f"The job has no identity for Google Drive: {error}") from error
        self._credentials = credentials
        self._session = AuthorizedSession(credentials)
        fields = {"fields": "size,md5Checksum,name"}
        body = _patiently(lambda: self._ask(fields, timeout=60), threading.Event()).json()
        if "md5Checksum" not in body:
            raise BackupInvalid(f"The Drive file {file_id} is a document of Google's, not an archive.")
        self.size = int(body["size"])
        self.digest = bytes.fromhex(body["md5Checksum"])

    def new_sum(self) -> _Sum:
        return hashlib.md5(usedforsecurity=False)

    def read(self, start: int, end: int) -> bytes:
        answer = self._ask({"alt": "media"}, timeout=120, Range=f"bytes={start}-{end - 1}")
        return bytes(answer.content if answer.status_code == 206 else answer.content[start:end])

    def _ask(self, parameters: Mapping[str, str], *, timeout: int, **headers: str) -> requests.Response:
        answer = self._session.get(
            self._address,
            params={"supportsAllDrives": "true", **parameters},
            headers=headers,
            timeout=timeout,
        )
        _check_drive(answer, self._id, getattr(self._credentials, "service_account_email", ""))
        return answer


def _check_drive(answer: requests.Response, file_id: str, account: str) -> None:
    """404, missing rights and quota are three things, though two of them share a status.

    Raises:
        _Again: it is better in a moment.
    """
    if answer.status_code < 300:
        return
    try:
        problem = answer.json()["error"]
        reasons = {error.get("reason", "") for error in problem.get("errors", [])}
        message = problem.get("message", "")
    except (ValueError, KeyError, TypeError):
        reasons, message = set(), f"status {answer.status_code}"
    if answer.status_code >= 500 or answer.status_code == 429 or reasons & _TOO_FAST:
        raise _Again(f"Google Drive answers {answer.status_code}: {message}")
    if answer.status_code == 404:
        raise BackupMissing(
            f"Google Drive has no file {file_id} that {account or 'the job'} can see.",
            do=f"Share it, or its shared drive, with {account or 'the account of the job'} as a viewer.",
        )
    if reasons & _USED_UP:
        raise Unreachable(f"Google Drive's quota is used up: {message}", do="Run the same command again later.")
    if answer.status_code in (401, 403):
        ways = [way for reason, way in _WAYS_OUT.items() if reason in reasons]
        raise BackupForbidden(
            f"{account or 'The job'} may not download {file_id}: {message}",
            do=ways[0] if ways else f"Share it, or its shared drive, with {account or 'the account of the job'}.",
        )
    raise CloudRefused(f"Google Drive refused {file_id}: {message}")
