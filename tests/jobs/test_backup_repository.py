"""A clinic's repository damaged, locked, full, gone, without its password: each is told, and none costs a set."""

from __future__ import annotations

import json
import os
import platform
import random
import shutil
import time
from pathlib import Path

import pymysql
import pytest

from jobs import backup, bucket, dump, keys, manifest, nfs_init, restic, restic_failures, secrets
from jobs.errors import (
    BackupForbidden,
    BackupInvalid,
    BackupMissing,
    Busy,
    CloudRefused,
    JobError,
    SecretUnavailable,
    ShareUnusable,
    Unreachable,
)
from jobs.redacted import Redacted
from jobs.settings import SecretVersion
from tests.jobs.shelf import Shelf
from tests.jobs.test_backup import contents
from tests.jobs.world import BACKUP_PASSWORD, World, secret_named, tree

KINDS = ("config", "keys", "index", "snapshots", "data", "manifests")


def files_of(shelf: Shelf, kind: str) -> list[Path]:
    if kind == "manifests":
        return sorted((shelf.directory / "objects" / shelf.store.sets).iterdir())
    return sorted(path for path in [shelf.repository / kind, *(shelf.repository / kind).rglob("*")] if path.is_file())


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at % len(content)] ^= 0x10
    path.chmod(0o600)
    path.write_bytes(content)


def test_one_flipped_byte_in_each_kind_of_file_is_found(living: World, shelf: Shelf) -> None:
    shelf.back_up(living)
    generator = random.Random(20261122)  # noqa: S311
    for kind in KINDS:
        path = generator.choice(files_of(shelf, kind))
        whole = path.read_bytes()
        flip(path, generator.randrange(len(whole)))
        with pytest.raises((BackupInvalid, SecretUnavailable)):
            shelf.verify()
        path.write_bytes(whole)
    assert shelf.verify()


def test_a_damaged_manifest_is_found_by_all_who_read_it_and_costs_no_set(living: World, shelf: Shelf) -> None:
    """Nightly sets go on; its snapshots are not taken for those of a killed run; a new sum does not hide it."""
    made = shelf.back_up(living)
    file = shelf.manifest_file(made)
    whole = file.read_bytes()
    body = json.loads(whole)
    file.write_text(json.dumps({**body, "documents": {**body["documents"], "found": 29}}))
    before = contents(living), tree(living.site)
    checked = manifest.Checked(when="2026-11-22T00:00:00Z", how="drill")
    for read in (
        shelf.verify,
        lambda: shelf.verify(identity=made.set),
        lambda: shelf.drill(living),
        shelf.prune,
        lambda: nfs_init.run(shelf.named(living, restore_over=True)),
        lambda: manifest.mark_checked(shelf.store, [made], checked),
    ):
        with pytest.raises(BackupInvalid, match=rf"{made.set}.json is damaged: its sum is not that"):
            read()
    assert (contents(living), tree(living.site)) == before
    second = shelf.back_up(living)
    with pytest.raises(BackupInvalid):
        shelf.verify()
    file.write_bytes(whole)
    assert shelf.verify()["sets"] == [made.set, second.set]


def test_sets_of_before_manifests_had_a_sum_stay_readable_and_are_told(living: World, shelf: Shelf) -> None:
    old, new = shelf.back_up(living), shelf.back_up(living)
    shelf.without_sum(old)
    record = shelf.verify()
    assert (record["sets"], record["without_sum"]) == ([old.set, new.set], [old.set])
    assert [one.has_sum for one in manifest.every(shelf.store)] == [False, True]
    assert nfs_init.run(shelf.named(living, old.set, restore_over=True))["decision"] == "restore-over"


def test_a_damaged_pack_stops_a_restore_before_it_changes_anything(living: World, shelf: Shelf) -> None:
    shelf.back_up(living)
    for pack in files_of(shelf, "data"):
        flip(pack, 200)
    before = contents(living), tree(living.site)
    with pytest.raises(BackupInvalid, match=r"restic (restore|dump) failed"):
        nfs_init.run(shelf.named(living, restore_over=True))
    assert (contents(living), tree(living.site)) == before


def test_a_lost_password_says_what_is_lost(living: World, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.back_up(living)

    def another(version: SecretVersion) -> Redacted:
        return Redacted("another") if version.secret.endswith("backup") else secret_named(version)

    monkeypatch.setattr(secrets, "access", another)
    with pytest.raises(SecretUnavailable, match="wrong password") as caught:
        shelf.verify()
    assert "nothing in the repository can be read" in caught.value.do
    with pytest.raises(SecretUnavailable):
        shelf.back_up(living)


def test_a_secret_that_is_gone_says_what_is_lost_and_not_to_make_another(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(version: SecretVersion) -> Redacted:
        raise SecretUnavailable(f"{version.name} does not exist.", do="Run gcp-openemr deploy, which makes it.")

    monkeypatch.setattr(secrets, "access", gone)
    with pytest.raises(SecretUnavailable, match="secrets/backup/versions/1 does not exist") as caught:
        restic.opened(shelf.store, lock_seconds=1)
    assert "nothing in the repository can be read" in caught.value.do
    assert "makes it" not in caught.value.do


def test_a_repository_that_is_gone_is_not_begun_anew(living: World, shelf: Shelf) -> None:
    shelf.back_up(living)
    shutil.rmtree(shelf.repository)
    with pytest.raises(BackupInvalid, match="repository of the sets is gone"):
        shelf.back_up(living)
    assert not shelf.repository.exists()


def test_a_repository_that_was_only_begun_says_what_to_remove(living: World, shelf: Shelf) -> None:
    """restic would make a second key, and later take either for the one of the config."""
    repository = restic.opened(shelf.store, lock_seconds=1)
    repository.create()
    (shelf.repository / "config").unlink()
    with pytest.raises(BackupInvalid, match="there is a key, and nothing that it opens") as told:
        shelf.back_up(living)
    assert told.value.do.endswith("gcloud storage rm 'gs://backups/clinics/main/backups/repository/keys/**'")
    assert len(files_of(shelf, "keys")) == 1
    shutil.rmtree(shelf.repository)
    assert shelf.back_up(living).verified
    shelf.manifest_file(shelf.back_up(living)).parent.rename(shelf.directory / "aside")
    (shelf.repository / "config").unlink()
    with pytest.raises(BackupInvalid, match=r"config is gone from gs://backups/clinics/main/backups/repository/, what"):
        shelf.back_up(living)


def test_a_repository_that_goes_while_a_set_is_made_is_told(
    living: World, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    def between(_site: Path) -> str:
        shutil.rmtree(shelf.repository)
        return ""

    monkeypatch.setattr(keys, "on_share", between)
    with pytest.raises(BackupInvalid, match="repository of the sets is gone") as caught:
        shelf.back_up(living)
    assert "soft delete" in caught.value.do
    assert manifest.every(shelf.store) == []


_ON_A_SMALL_DISK = """\
#!/bin/sh
exec unshare --mount --propagation private sh -c '
  cp -a "$RESTIC_REPOSITORY" "$0.copy" && mount -t tmpfs -o size=4m tmpfs "$RESTIC_REPOSITORY" &&
  cp -a "$0.copy/." "$RESTIC_REPOSITORY" && rm -r "$0.copy" && exec {restic} "$@"' "$0" "$@"
"""


def test_a_place_without_room_leaves_the_sets_as_they_are(
    living: World, shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = shelf.back_up(living)
    (living.site / "documents/1/large").write_bytes(os.urandom(6 << 20))
    program = tmp_path / "small" / "restic"
    program.parent.mkdir()
    program.write_text(_ON_A_SMALL_DISK.format(restic=shutil.which("restic")))
    program.chmod(0o700)
    with monkeypatch.context() as patched:
        patched.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
        with pytest.raises(ShareUnusable, match="no space left on device"):
            shelf.back_up(living)
    assert [one.set for one in manifest.every(shelf.store)] == [made.set]
    shelf.back_up(living)
    assert len(shelf.verify()["sets"]) == 2


@pytest.mark.parametrize(
    ("said", "kind", "do"),
    [
        (
            "Fatal: unable to open config file: googleapi: Error 403: oe-prod-main-back@p.iam.gserviceaccount.com does"
            " not have storage.objects.get access to the Google Cloud Storage object., forbidden\n"
            "Is there a repository at the following location?\ngs:b:/clinics/main/backups/repository",
            BackupForbidden,
            "gcp-openemr deploy",
        ),
        (
            "Fatal: unable to save snapshot: googleapi: Error 429: Quota exceeded., rateLimitExceeded",
            Unreachable,
            "later",
        ),
        ("Fatal: unable to save snapshot: googleapi: got HTTP response code 503", Unreachable, "again later"),
        ("Fatal: googleapi: Error 404: The specified bucket does not exist., notFound", BackupMissing, "soft delete"),
        ("dial tcp: lookup storage.googleapis.com: i/o timeout", Unreachable, "again later"),
        (
            'Fatal: unable to open config file: service.Objects.Get: Get "https://storage.googleapis.com/storage/v1/b/b/o/'
            'config?alt=json": EOF\nIs there a repository at the following location?\ngs:b:/clinics/main',
            restic_failures.NotOpened,
            "again later",
        ),
        (
            "Fatal: unable to open config file: service.Objects.Get: storage: object doesn't exist\n"
            "Is there a repository at the following location?\ngs:b:/clinics/main",
            BackupMissing,
            "soft delete",
        ),
        (
            "Fatal: unable to open config file: something new\nIs there a repository at the following location?\ngs:b",
            CloudRefused,
            "",
        ),
        ("Fatal: load(<data/1f3ab>) returned error: ciphertext verification failed", BackupInvalid, "backup verify"),
        ("Fatal: something new", CloudRefused, ""),
    ],
)
def test_what_restic_says_becomes_a_failure_of_its_kind(said: str, kind: type[JobError], do: str) -> None:
    found = restic_failures.failure("backup", said, damaged=False)
    assert isinstance(found, kind)
    assert do in found.do
    assert said.partition("\n")[0] in found.what


@pytest.fixture
def locked(living: World, shelf: Shelf) -> Shelf:
    """A repository with the lock of a run that was killed."""
    shelf.back_up(living)
    original = dump._Sink.write

    def die(sink: dump._Sink, content: bytes) -> None:
        while not any("-tmp-" not in lock.name for lock in files_of(shelf, "locks")):
            time.sleep(0.05)
        os.killpg(0, 9)

    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        dump._Sink.write = die  # type: ignore[method-assign,assignment]
        backup.run(shelf.wanted(living))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9
    assert dump._Sink.write is original
    return shelf


def test_a_young_lock_is_respected_and_a_stale_one_removed(locked: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    assert files_of(locked, "locks")
    with pytest.raises(Busy, match=r"already locked by PID .*") as caught:
        locked.verify()
    assert "30 minutes" in caught.value.do
    monkeypatch.setattr(restic, "STALE_SECONDS", 0)
    assert locked.verify()["sets"]
    assert not files_of(locked, "locks")


def test_a_young_lock_is_removed_where_no_other_container_is_left(
    locked: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless it was made on another machine, by somebody's own restic."""
    password = Redacted(BACKUP_PASSWORD)
    assert not restic.Restic(locked.store, password, lock_seconds=0)._remove_stale_locks()
    repository = restic.Restic(locked.store, password, lock_seconds=0, is_alone=lambda: True)
    with monkeypatch.context() as patch:
        patch.setattr(platform, "node", lambda: "a-laptop")
        assert not repository._remove_stale_locks()
    assert repository._remove_stale_locks()
    assert not files_of(locked, "locks")


def test_the_lock_of_a_living_run_is_never_removed_with_a_stale_one(
    locked: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All containers on Cloud Run have one host name, so restic would take the process of another for dead."""
    repository = restic.opened(locked.store, lock_seconds=0)
    original, (stale,) = bucket.remove, files_of(locked, "locks")
    living = stale.with_name("0" * 64)

    def meanwhile(holder: str, name: str) -> None:
        shutil.copy(stale, living)
        original(holder, name)

    monkeypatch.setattr(restic, "STALE_SECONDS", 0)
    monkeypatch.setattr(bucket, "remove", meanwhile)
    assert repository._remove_stale_locks()
    assert files_of(locked, "locks") == [living]


def test_restic_killed_in_the_middle_leaves_no_half_set(
    living: World, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.back_up(living)
    original = dump._Sink.write
    sizes = []

    def fail(sink: dump._Sink, content: bytes) -> None:
        sizes.append(len(content))
        if len(sizes) == 20:
            raise pymysql.OperationalError(2013, "Lost connection")
        original(sink, content)

    monkeypatch.setattr(dump._Sink, "write", fail)
    with pytest.raises(pymysql.OperationalError):
        shelf.back_up(living)
    assert len(restic.opened(shelf.store, lock_seconds=1).snapshots()) == 2
    assert len(manifest.every(shelf.store)) == 1
