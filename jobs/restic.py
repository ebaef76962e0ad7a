"""The door to restic, 0.14 or newer: one repository, its password in the environment only, never in an argument.

restic refreshes the lock of a living run every five minutes. Which container a lock belongs to cannot be told on Cloud
Run, where all have the same host name, so only its age counts: one that was not refreshed for half an hour is stale and
is removed, by its name: `restic unlock` would also take the lock of a living run, whose process it looks for here. For
a younger one a run waits, then ends as busy, unless it can tell that no other run is left that could have made it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import platform
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, TypeVar

from jobs import bucket, log, secrets
from jobs.errors import BackupInvalid, BackupMissing, Busy, CloudRefused, Interrupted, JobError, SecretUnavailable
from jobs.redacted import Redacted
from jobs.restic_failures import WHAT_IS_LOST, AnswerLost, Locked, NotOpened, failure
from jobs.settings import Store

__all__ = ["Restic", "Summary", "age", "opened"]

STALE_SECONDS = 1800
_CACHE = Path("/tmp/restic-cache")  # noqa: S108  # a container's own
_INCOMPLETE = 3
_ENDING_SECONDS = 1.0
_DELAYS = (0.5, 1.0, 2.0, 4.0, 8.0)  # before a repository that did not answer is opened again
_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
    """What `restic backup` made. `unread` are files that it could not read, as paths below the folder."""

    snapshot: str
    bytes: int
    added: int
    unread: tuple[str, ...] = ()


def opened(store: Store, *, lock_seconds: int) -> Restic:
    """The repository, with its password read from Secret Manager.

    Raises:
        SecretUnavailable: it cannot be read. A new one, as a deploy makes for other secrets, would not open it.
    """
    try:
        password = secrets.access(store.password)
    except SecretUnavailable as error:
        granted = "Where only the right is missing, gcp-openemr deploy grants it."
        raise SecretUnavailable(error.what, do=f"{granted} {WHAT_IS_LOST}") from error
    return Restic(store, password, lock_seconds=lock_seconds)


class Restic:
    """All methods raise Busy while another run holds the repository for too long, and the errors of restic_failures.

    `is_alone` tells, after a lock was seen, that none of the containers that could have made it runs any more.
    """

    def __init__(
        self, store: Store, password: Redacted, *, lock_seconds: int, is_alone: Callable[[], bool] = lambda: False
    ) -> None:
        self._store = store
        self._lock_seconds = lock_seconds
        self._is_alone = is_alone
        self._environment = {
            **os.environ,
            "RESTIC_REPOSITORY": store.repository,
            "RESTIC_PASSWORD": password.reveal(),
            "RESTIC_CACHE_DIR": str(_CACHE / store.clinic),
            "RESTIC_PROGRESS_FPS": "0.2",
            "GOGC": "50",
            "LC_ALL": "C",
        }
        self._always = ["--no-lock"] if store.read_only else []

    def exists(self) -> bool:
        """Whether there is a repository, whose password is ours."""
        try:
            self._run("cat", "config", "--no-lock")
        except BackupMissing:
            return False
        return True

    def create(self) -> None:
        self._run("init")

    def save_stream(self, name: str, tags: Sequence[str], write: Callable[[IO[bytes]], _T]) -> tuple[Summary, _T]:
        """Back up what `write` writes as one file `name`. When that fails, so does restic: no snapshot is made of half.

        Where the repository is locked, does not answer, or its answer is lost, `write` is called again.
        """
        return self._waiting(lambda: self._save_stream(name, tags, write))

    def save_folder(self, parent: Path, name: str, tags: Sequence[str], *, excluded: Sequence[str]) -> Summary:
        """Back up the folder `name` of `parent`, whose own path is not part of the snapshot's tree."""
        arguments = [*self._saving(tags), *(f"--exclude={pattern}" for pattern in excluded), name]
        return self._waiting(lambda: self._save_folder(arguments, parent))

    def files(self, snapshot: str) -> dict[str, int]:
        """path → bytes of each file in a snapshot."""
        return self._waiting(lambda: self._files(snapshot))

    def restore(self, snapshot: str, target: Path) -> None:
        """Write a snapshot's files below a folder."""
        self._run("restore", snapshot, "--target", str(target))

    @contextlib.contextmanager
    def stream(self, snapshot: str, name: str) -> Iterator[IO[bytes]]:
        """The content of a file of a snapshot, which has at least a byte.

        Whether it came to its end is told when the block ends. Where it did not, that is why the block failed, too.
        """
        with contextlib.ExitStack() as ended:
            running = self._waiting(lambda: self._begun(ended, "dump", snapshot, name))
            try:
                yield running.output
            except Interrupted:
                raise
            except JobError:
                if running.has_failed():
                    ended.close()
                raise

    def snapshots(self) -> dict[str, dict[str, Any]]:
        """id → what restic tells of each snapshot: `time`, `tags` …"""
        found = json.loads(self._run("snapshots", "--json") or "[]") or []
        return {str(one["id"]): one for one in found}

    def check(self, percent: int) -> None:
        """Look at everything but packs' contents, and at those of so many percent of the packs.

        Raises:
            BackupInvalid: with what restic found.
        """
        part = {0: [], 100: ["--read-data"]}.get(percent, [f"--read-data-subset={percent}%"])
        self._run("check", *part, damaged=True)

    def forget(self, snapshots: Sequence[str]) -> None:
        """Remove snapshots; what only they hold goes with the next `prune`."""
        if snapshots:
            self._run("forget", *snapshots)

    def prune(self) -> None:
        self._run("prune")

    def own_key(self) -> str:
        """The id of the key that this password opens."""
        found = json.loads(self._run("key", "list", "--json"))
        return str(next(one["id"] for one in found if one["current"]))

    def add_key(self, password: Redacted) -> None:
        """Let another password open the repository, too."""
        self._waiting(lambda: self._add_key(password))

    def remove_key(self, key: str) -> None:
        """End the password that opens a key; not our own."""
        self._run("key", "remove", key)

    def _files(self, snapshot: str) -> dict[str, int]:
        with self._started("ls", "--json", snapshot) as running:
            entries = map(_as_json, running.lines())
            files = (entry for entry in entries if entry.get("type") == "file")
            return {str(file["path"]).lstrip("/"): int(file.get("size", 0)) for file in files}

    def _begun(self, ended: contextlib.ExitStack, *arguments: str) -> _Running:
        """restic, which has written its first bytes, and so has opened the repository; `ended` ends it."""
        with contextlib.ExitStack() as opening:
            running = opening.enter_context(self._started(*arguments))
            if not running.output.peek(1):
                opening.close()
                raise BackupInvalid(f"restic {arguments[0]} gave nothing.")
            ended.push(opening.pop_all())
        return running

    def _add_key(self, password: Redacted) -> None:
        arguments = ("key", "add", "--new-password-file", "/dev/stdin")
        with self._started(*arguments, stdin=True) as running, contextlib.suppress(BrokenPipeError):
            running.input.write(password.reveal().encode())
            running.input.close()

    def _saving(self, tags: Sequence[str]) -> list[str]:
        return ["backup", "--json", "--host", self._store.clinic, *(f"--tag={tag}" for tag in tags)]

    def _save_stream(self, name: str, tags: Sequence[str], write: Callable[[IO[bytes]], _T]) -> tuple[Summary, _T]:
        arguments = [*self._saving(tags), "--stdin", "--stdin-filename", name]
        # what it tells meanwhile is read at once: it stops where the pipe is full
        with self._started(*arguments, stdin=True) as running, ThreadPoolExecutor(1, "restic") as reading:
            summary = reading.submit(_summary, running.lines())
            try:
                with contextlib.suppress(BrokenPipeError):
                    written = write(running.input)
                    running.input.close()
                    return summary.result(), written
            except BaseException:
                running.kill()  # before its input ends, which would look like the end of the file
                raise
        raise CloudRefused("restic ended before its input did.")

    def _save_folder(self, arguments: list[str], parent: Path) -> Summary:
        with self._started(*arguments, cwd=parent, allowed=(0, _INCOMPLETE)) as running:
            summary = _summary(running.lines())
        unread = [str(found.get("item", "")) for found in map(_as_json, running.complaints) if "item" in found]
        below = tuple(os.path.relpath(path, parent) if os.path.isabs(path) else path for path in unread)
        if running.status == _INCOMPLETE and not below:
            raise BackupInvalid("restic could not read every file and does not say which.")
        return dataclasses.replace(summary, unread=below)

    def _run(self, *arguments: str, damaged: bool = False) -> str:
        def once() -> str:
            with self._started(*arguments, damaged=damaged) as running:
                return running.output.read().decode()

        return self._waiting(once)

    def _waiting(self, work: Callable[[], _T]) -> _T:
        """`work`, again where another run holds the repository, until that ends, is stale, or took too long.

        Again, too, where the repository did not answer for a moment, and once where the answer to an upload was lost.
        """
        deadline, delays = time.monotonic() + self._lock_seconds, iter(_DELAYS)
        lost: AnswerLost | None = None
        while True:
            try:
                return work()
            except NotOpened as unopened:
                _pause(delays, unopened)
                continue
            except AnswerLost as error:
                if lost:
                    raise
                lost = error
                log.warning("The answer to an upload was lost; what is not stored yet is stored now")
                continue
            except Locked as locked:
                if self._remove_stale_locks():
                    continue
                if time.monotonic() > deadline:
                    raise Busy(
                        f"Another run works on the repository: {locked}.",
                        do="Run the same command again when it has ended. The lock of a run that was killed is removed"
                        f" by the first run after {STALE_SECONDS // 60} minutes.",
                    ) from locked
                log.info("Waiting for another run on the repository", lock=str(locked))
            time.sleep(min(5.0, max(deadline - time.monotonic(), 0.1)))

    def _remove_stale_locks(self) -> bool:
        """True when none is left: those there were are stale, and removed."""
        with self._started("list", "locks", "--no-lock") as listed:
            names = listed.output.read().decode().split()
        is_alone = self._is_alone()  # asked later than the locks were seen: whoever made one had begun
        stale = []
        for name in names:
            try:
                with self._started("cat", "lock", name, "--no-lock") as shown:
                    lock = json.loads(shown.output.read())
            except (BackupMissing, BackupInvalid, CloudRefused):
                continue  # it went meanwhile
            left_by_container = is_alone and lock["hostname"] == platform.node()
            if not left_by_container and age(lock["time"]) < STALE_SECONDS:
                return False
            stale.append(name)
        for name in stale:
            log.warning("Removing the stale lock of a run that was killed", lock=name)
            bucket.remove(self._store.bucket, self._store.lock(name))
        return True

    @contextlib.contextmanager
    def _started(
        self,
        *arguments: str,
        stdin: bool = False,
        cwd: Path | None = None,
        allowed: tuple[int, ...] = (0,),
        damaged: bool = False,
    ) -> Iterator[_Running]:
        program = shutil.which("restic")
        if program is None:
            raise CloudRefused("restic is not in this image.", do="Build the image again.")
        always = [] if "--no-lock" in arguments else self._always
        with tempfile.TemporaryFile() as stderr:
            process = subprocess.Popen(
                [program, *arguments, *always],
                stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=self._environment,
                cwd=cwd,
            )
            running = _Running(process, stderr)
            with process:
                try:
                    yield running
                except BaseException:
                    running.kill()
                    raise
                running.end()
            if running.status not in allowed:
                raise failure(arguments[0], "\n".join(running.complaints), damaged=damaged)


class _Running:
    """A restic that runs, or ran: then with its exit status and what it said on stderr."""

    def __init__(self, process: subprocess.Popen[bytes], stderr: IO[bytes]) -> None:
        self._process = process
        self._stderr = stderr
        self.status = 0
        self.complaints: list[str] = []

    @property
    def input(self) -> IO[bytes]:
        assert self._process.stdin is not None  # noqa: S101  # asked for
        return self._process.stdin

    @property
    def output(self) -> io.BufferedReader:
        assert isinstance(self._process.stdout, io.BufferedReader)  # noqa: S101  # always asked for
        return self._process.stdout

    def lines(self) -> Iterator[str]:
        for line in self.output:
            yield line.decode("utf-8", "replace")

    def has_failed(self) -> bool:
        """Whether it has ended with an error, or is about to, since its output has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(_ENDING_SECONDS) != 0
        return False

    def kill(self) -> None:
        self._process.kill()
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()

    def end(self) -> None:
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        for _ in iter(lambda: self.output.read(1 << 20), b""):
            pass  # a full pipe would keep it from ending
        self.status = self._process.wait()
        self._stderr.seek(0)
        self.complaints = self._stderr.read().decode("utf-8", "replace").splitlines()


def _pause(delays: Iterator[float], unopened: NotOpened) -> None:
    """Wait before the next try. Raises the failure when there were enough."""
    delay = next(delays, None)
    if delay is None:
        raise unopened
    log.info("The repository does not answer yet", reason=unopened.what)
    time.sleep(delay)


def _summary(lines: Iterator[str]) -> Summary:
    """The last message of `restic backup --json`; how far it is goes to the log."""
    found: dict[str, Any] = {}
    for message in map(_as_json, lines):
        if message.get("message_type") == "status" and message.get("bytes_done"):
            log.info("Backing up", bytes=message["bytes_done"], files=message.get("files_done", 0))
        if message.get("message_type") == "summary":
            found = message
    return Summary(
        snapshot=str(found.get("snapshot_id", "")),
        bytes=int(found.get("total_bytes_processed", 0)),
        added=int(found.get("data_added", 0)),
    )


def _as_json(line: str) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        found = json.loads(line)
        if isinstance(found, dict):
            return found
    return {}


def age(moment: str) -> float:
    """Seconds since a time that restic tells; it has nine digits of a second, which Python does not read."""
    made = datetime.fromisoformat(re.sub(r"\.\d+", "", moment).replace("Z", "+00:00"))
    return (datetime.now(UTC) - made).total_seconds()
