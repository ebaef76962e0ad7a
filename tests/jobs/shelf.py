"""Backup sets on the disk: a directory for the bucket's objects, and a restic repository as real as in a bucket."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs import backup, backup_settings, bucket, drill, manifest, prune, settings, verify
from jobs.errors import BackupMissing
from jobs.manifest import Manifest
from tests.jobs.world import BACKUP_PASSWORD, World

_REPOSITORY = "clinics/main/backups/repository/"
SECRET = settings.SecretVersion(secret="projects/p/secrets/backup", version=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shelf:
    """Where one clinic's sets lie."""

    directory: Path
    store: settings.Store

    @property
    def repository(self) -> Path:
        return self.directory / "repository"

    @property
    def newest(self) -> str:
        """The id of the newest set."""
        return manifest.names(self.store)[-1]

    def wanted(self, world: World) -> backup_settings.MakeSet:
        clinic = backup_settings.Clinic(
            server=world.wanted.server,
            schema=world.wanted.schema,
            user=world.wanted.user,
            password=world.wanted.password,
            application=world.wanted.application,
            project="",
            environment="test",
        )
        return backup_settings.MakeSet(store=self.store, clinic=clinic, lock_seconds=2, result_uri="")

    def back_up(self, world: World) -> Manifest:
        """Make a set and return its manifest."""
        record = backup.run(self.wanted(world))
        return manifest.choose(self.store, str(record["set"]))

    def named(self, world: World, identity: str = "latest", **changes: Any) -> settings.NfsInit:
        """nfs-init's settings that restore a set."""
        source = settings.Backup(source="set", place=identity, store=self.store)
        return dataclasses.replace(world.wanted, backup=source, **changes)

    def verify(self, read_data: int = 100, identity: str = "") -> dict[str, Any]:
        wanted = backup_settings.Verify(
            store=self.store, read_data=read_data, set=identity, lock_seconds=2, result_uri=""
        )
        return verify.run(wanted)

    def drill(self, world: World) -> dict[str, Any]:
        wanted = backup_settings.Drill(
            store=self.store,
            clinic=self.wanted(world).clinic,
            scratch_schema=f"{world.wanted.schema}_scratch",
            lock_seconds=2,
            result_uri="",
        )
        return drill.run(wanted)

    def prune(self, **keep: int) -> dict[str, Any]:
        kept = backup_settings.Keep(**keep)
        return prune.run(backup_settings.Prune(store=self.store, keep=kept, lock_seconds=2, result_uri=""))

    def manifest_changed(self, made: Manifest, **changes: Any) -> None:
        manifest.remove(self.store, made)
        manifest.write(self.store, dataclasses.replace(made, **changes))

    def manifest_file(self, made: Manifest) -> Path:
        return self.directory / "objects" / self.store.manifest(made.set)

    def without_sum(self, made: Manifest) -> None:
        """As the manifests were that had none."""
        file = self.manifest_file(made)
        body = json.loads(file.read_text())
        body.pop("sum")
        file.write_text(json.dumps({**body, "format": 1}))

    def restic(self, *arguments: str) -> str:
        """restic by hand."""
        command = ["restic", "--repo", str(self.repository), "--no-cache", *arguments]
        environment = {"RESTIC_PASSWORD": BACKUP_PASSWORD, "PATH": "/usr/bin:/bin"}
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


def on_disk(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """A shelf whose bucket is a directory."""
    objects = directory / "objects"

    def read(_bucket: str, name: str) -> dict[str, Any]:
        try:
            content = (objects / name).read_bytes()
        except FileNotFoundError as error:
            raise BackupMissing(f"gs://{_bucket}/{name} does not exist.") from error
        return bucket._object(name, content)

    def create(_bucket: str, name: str, content: dict[str, Any]) -> None:
        assert not (objects / name).exists()
        write(name, content)

    def write(name: str, content: dict[str, Any]) -> None:
        beside = objects / f"{name}.new"
        beside.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(json.dumps(content))
        beside.rename(objects / name)

    def names(_bucket: str, prefix: str) -> list[str]:
        stored = (path for path in (directory / "repository").rglob("*") if path.is_file())
        found = [str(path.relative_to(objects)) for path in objects.rglob("*.json")]
        found += [f"{_REPOSITORY}{path.relative_to(directory / 'repository')}" for path in stored]
        return sorted(name for name in found if name.startswith(prefix))

    def remove(_bucket: str, name: str) -> None:
        holder, below = objects, name
        if name.startswith(_REPOSITORY):
            holder, below = directory / "repository", name.removeprefix(_REPOSITORY)
        (holder / below).unlink(missing_ok=True)

    def change(_bucket: str, name: str, changed: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        with contextlib.suppress(BackupMissing):
            write(name, changed(read(_bucket, name)))

    for function in (change, create, read, names, remove):
        monkeypatch.setattr(bucket, function.__name__, function)
    store = settings.Store(bucket="backups", clinic="main", password=SECRET, place=str(directory / "repository"))
    return Shelf(directory=directory, store=store)
