"""Objects: bytes in files, everything else in the store.

A file is complete and synced before the row that names it exists, and is removed after its row is gone; what a killed
process left between the two is swept at the next start.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import json
import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import google_crc32c

from gcp_openemr.sandbox.api.names import bucket_name, timestamp
from gcp_openemr.sandbox.api.rules import Json, Store
from gcp_openemr.sandbox.api.shapes import shape

__all__ = ["LIVE", "NONCURRENT", "SOFT_DELETED", "Content", "Keeping", "Objects", "StoredObject"]

_CHUNK = 1024 * 1024
# The column `live` of the store.
NONCURRENT, LIVE, SOFT_DELETED = 0, 1, 2
_SELECT = "SELECT bucket, name, generation, live, body, file FROM objects WHERE bucket = ?"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Content:
    """Bytes that lie in a file without a row yet. Hashes as Cloud Storage writes them (base64, crc32c big-endian)."""

    file: str
    size: int
    crc32c: str
    md5: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Keeping:
    """What stays of an object that is replaced or deleted: a noncurrent version, or for a while a soft-deleted one."""

    versions: bool
    soft_seconds: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredObject:
    """One generation of an object. `state` is one of LIVE, NONCURRENT and SOFT_DELETED; `body` the resource as the API
    shows it without its links."""

    bucket: str
    name: str
    generation: int
    state: int
    body: Json
    file: str


class Objects:
    """All objects of all buckets."""

    def __init__(self, store: Store, directory: Path) -> None:
        self._store = store
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.uploads = directory / "uploads"
        self.uploads.mkdir(exist_ok=True)
        self._sweep()

    def path(self, found: StoredObject) -> Path:
        return self._directory / found.file

    def live(self, bucket: str, name: str) -> StoredObject | None:
        rows = self._store.query(f"{_SELECT} AND name = ? AND live = 1", (bucket, name))
        return _stored(rows[0]) if rows else None

    def get(self, bucket: str, name: str, generation: int | None, *, soft: bool = False) -> StoredObject | None:
        """A certain generation, or the live one; `soft`: one that is soft-deleted."""
        if generation is None:
            return self.live(bucket, name)
        rows = self._store.query(f"{_SELECT} AND name = ? AND generation = ?", (bucket, name, generation))
        found = _stored(rows[0]) if rows else None
        return found if found is not None and (found.state == SOFT_DELETED) == soft else None

    def list(
        self, bucket: str, *, prefix: str = "", states: Sequence[int] = (LIVE,), start: str = ""
    ) -> Iterator[StoredObject]:
        """By name, then generation; from `start` on. What was soft-deleted long enough ago is gone."""
        if SOFT_DELETED in states:
            self.forget_soft_deleted(bucket, timestamp(time.time()))
        wanted = ",".join(map(str, states))
        rows = self._store.query(
            f"{_SELECT} AND name >= ? AND name < ? AND live IN ({wanted}) ORDER BY name, generation",
            (bucket, max(prefix, start), prefix + "\U0010ffff"),
        )
        return map(_stored, rows)

    def is_empty(self, bucket: str) -> bool:
        """Whether no live or noncurrent object is left."""
        return not self._store.query("SELECT 1 FROM objects WHERE bucket = ? AND live < 2 LIMIT 1", (bucket,))

    def receive(self, chunks: Iterable[bytes]) -> Content:
        """Write bytes to a file of their own."""
        file = uuid.uuid4().hex
        partial = self._directory / f"{file}.part"
        hashes = _Hashes()
        try:
            with partial.open("wb") as stream:
                for chunk in chunks:
                    stream.write(chunk)
                    hashes.update(chunk)
                stream.flush()
                os.fsync(stream.fileno())
            partial.rename(self._directory / file)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        return hashes.content(file)

    def adopt(self, uploaded: Path) -> Content:
        """Take over the finished file of a resumable upload."""
        file = uuid.uuid4().hex
        hashes = _Hashes()
        with uploaded.open("rb+") as stream:
            while chunk := stream.read(_CHUNK):
                hashes.update(chunk)
            os.fsync(stream.fileno())
        uploaded.rename(self._directory / file)
        return hashes.content(file)

    def duplicate(self, source: StoredObject) -> str:
        """The same bytes under a file name of their own."""
        file = uuid.uuid4().hex
        os.link(self.path(source), self._directory / file)
        return file

    def discard(self, file: str) -> None:
        (self._directory / file).unlink(missing_ok=True)

    def insert(self, bucket: str, name: str, body: Json, file: str, keeping: Keeping) -> tuple[StoredObject, str]:
        """Make a new live generation, inside the caller's transaction. The former one becomes noncurrent or goes.

        Returns the object and the file that is free to be discarded after the commit ("" when there is none).
        """
        old = self.live(bucket, name)
        free = self.retire(old, keeping) if old else ""
        generation = self._store.next_number("generation", at_least=time.time_ns() // 1000)
        etag = base64.b64encode(generation.to_bytes(8, "big")).decode()
        own = {"bucket": bucket, "object": name, "generation": str(generation), "etag": etag}
        full = body | shape("storage.object", bucket_name(bucket), **own)
        self._store.change(
            "INSERT INTO objects VALUES (?, ?, ?, 1, ?, ?)", (bucket, name, generation, json.dumps(full), file)
        )
        made = StoredObject(bucket=bucket, name=name, generation=generation, state=LIVE, body=full, file=file)
        return made, free

    def retire(self, found: StoredObject, keeping: Keeping) -> str:
        """Make a live object noncurrent or soft-deleted, or remove its row.

        Returns the file to discard after the commit ("" when it stays).
        """
        moment = time.time()
        if keeping.versions:
            state, marks = NONCURRENT, {"timeDeleted": timestamp(moment)}
        elif keeping.soft_seconds:
            hard = timestamp(moment + keeping.soft_seconds)
            state, marks = SOFT_DELETED, {"softDeleteTime": timestamp(moment), "hardDeleteTime": hard}
        else:
            return self.remove(found)
        self._store.change(
            "UPDATE objects SET live = ?, body = ? WHERE bucket = ? AND name = ? AND generation = ?",
            (state, json.dumps(found.body | marks), found.bucket, found.name, found.generation),
        )
        return ""

    def forget_soft_deleted(self, bucket: str, until: str = "~") -> None:
        """Remove what was soft-deleted and should be gone by a moment (RFC 3339; "~" is after all of them)."""
        for found in map(_stored, self._store.query(f"{_SELECT} AND live = 2", (bucket,))):
            if found.body["hardDeleteTime"] <= until:
                self.discard(self.remove(found))

    def remove(self, found: StoredObject) -> str:
        self._store.change(
            "DELETE FROM objects WHERE bucket = ? AND name = ? AND generation = ?",
            (found.bucket, found.name, found.generation),
        )
        return found.file

    def rewrite_body(self, found: StoredObject, change: Callable[[Json], None]) -> StoredObject:
        """Change an object's metadata: a new metageneration of the same generation."""
        body = dict(found.body)
        change(body)
        body["metageneration"] = str(int(body["metageneration"]) + 1)
        body["updated"] = timestamp(time.time())
        body["etag"] = base64.b64encode(f"{found.generation}/{body['metageneration']}".encode()).decode()
        self._store.change(
            "UPDATE objects SET body = ? WHERE bucket = ? AND name = ? AND generation = ?",
            (json.dumps(body), found.bucket, found.name, found.generation),
        )
        return dataclasses.replace(found, body=body)

    def read(self, found: StoredObject, start: int, length: int) -> Iterator[bytes]:
        """Bytes of an object; the file is open before the first chunk, so that a delete meanwhile does no harm."""
        stream = self.path(found).open("rb")
        return _chunks(stream.fileno(), stream, start, length)

    def _sweep(self) -> None:
        for (bucket,) in self._store.query("SELECT DISTINCT bucket FROM objects WHERE live = 2"):
            self.forget_soft_deleted(bucket, timestamp(time.time()))
        known = {row[0] for row in self._store.query("SELECT file FROM objects")}
        for path in self._directory.iterdir():
            if path.is_file() and path.name not in known:
                path.unlink()
        self._sweep_uploads()

    def _sweep_uploads(self) -> None:
        """An unfinished upload goes with its file: it was taken over for an object that then did not come to be."""
        rows = self._store.query("SELECT file, body FROM uploads")
        there = {path.name for path in self.uploads.iterdir()}
        lost = [file for file, body in rows if file not in there and json.loads(body)["done"] is None]
        for file in lost:
            self._store.change("DELETE FROM uploads WHERE file = ?", (file,))
        for file in there - {file for file, _ in rows}:
            (self.uploads / file).unlink()


class _Hashes:
    """Size and both checksums of bytes as they pass."""

    def __init__(self) -> None:
        self._size = 0
        self._crc: Any = google_crc32c.Checksum()  # type: ignore[no-untyped-call]
        self._md5 = hashlib.md5(usedforsecurity=False)

    def update(self, chunk: bytes) -> None:
        self._size += len(chunk)
        self._crc.update(chunk)
        self._md5.update(chunk)

    def content(self, file: str) -> Content:
        return Content(
            file=file,
            size=self._size,
            crc32c=base64.b64encode(self._crc.digest()).decode(),
            md5=base64.b64encode(self._md5.digest()).decode(),
        )


def _chunks(number: int, stream: contextlib.AbstractContextManager[object], start: int, length: int) -> Iterator[bytes]:
    with stream:
        while length > 0:
            chunk = os.pread(number, min(_CHUNK, length), start)
            if not chunk:
                return
            start += len(chunk)
            length -= len(chunk)
            yield chunk


def _stored(row: tuple[str, str, int, int, str, str]) -> StoredObject:
    return StoredObject(
        bucket=row[0], name=row[1], generation=row[2], state=row[3], body=json.loads(row[4]), file=row[5]
    )
