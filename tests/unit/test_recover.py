"""A recover that is run again: which set the clinic goes on with, and what is told of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.cloud.storage import Blob, Bucket

from gcp_openemr.commands import recover
from gcp_openemr.commands.context import Context
from gcp_openemr.commands.recover import Old
from gcp_openemr.errors import UsageError
from tests.unit import cloud as clouds
from tests.unit.test_backups import made

FIRST, SECOND = made(20), made(21)


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    with clouds.cloud(tmp_path) as cloud:
        yield clouds.context(cloud, tmp_path)


def ran(context: Context, *records: dict[str, Any]) -> None:
    """What nfs-init has left, the oldest first."""
    bucket = context.cloud.storage.create_bucket(context.environment.names.backup_bucket)
    for number, record in enumerate(records):
        name = f"clinics/main/runs/nfs-init/2026112{number}T020000.5Z.json"
        bucket.blob(name).upload_from_string(json.dumps(record))


FILLED = {"ok": True, "decision": "restore", "source": FIRST.set}


def meant(context: Context, wanted: str) -> str:
    return recover._source(context, context.environment.clinic("main"), wanted, [SECOND, FIRST])[1].set


@pytest.mark.parametrize("decision", ["restore", "finish-swap"])
def test_the_latest_is_what_the_clinic_was_filled_with(context: Context, decision: str) -> None:
    assert meant(context, "latest") == SECOND.set
    ran(context, {**FILLED, "decision": decision}, {"ok": True, "decision": "configure"})
    assert meant(context, "latest") == FIRST.set
    assert meant(context, SECOND.set) == SECOND.set


@pytest.mark.parametrize("record", [{**FILLED, "ok": False}, {**FILLED, "source": "gs://b/other.zip"}])
def test_what_failed_or_came_from_elsewhere_is_not_gone_on_with(context: Context, record: dict[str, Any]) -> None:
    ran(context, record)
    assert meant(context, "latest") == SECOND.set


def test_a_backup_that_ends_while_it_is_copied_leaves_no_index_without_its_packs(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Objects are listed by their names, page by page: data, then index."""
    repository = "clinics/main/backups/repository/"
    there = ("config", "data/7f/old", "index/old", "keys/one", "locks/one", "snapshots/old")
    source = context.cloud.storage.create_bucket("unit-tests-1-oe-old-backups")
    target = context.cloud.storage.create_bucket(context.environment.names.backup_bucket)
    for name in there:
        source.blob(f"{repository}{name}").upload_from_string(name)
    original = Bucket.list_blobs

    def listed(bucket: Bucket, prefix: str) -> Iterator[Blob]:
        for blob in original(bucket, prefix=prefix):
            if "/data/" in blob.name and bucket.name == source.name:
                for name in ("data/00/new", "index/new"):
                    source.blob(f"{repository}{name}").upload_from_string(name)
            yield blob
        if prefix == repository:
            yield from (blob for blob in original(bucket, prefix=f"{repository}index/new"))

    with monkeypatch.context() as patched:
        patched.setattr(Bucket, "list_blobs", listed)
        recover._copy(context, Old.of(source.name, "main", None), context.environment.clinic("main"))
    copied = {blob.name.removeprefix(repository) for blob in target.list_blobs()}
    assert copied == {*there} - {"locks/one"}


def test_a_clinic_that_was_filled_with_another_set_is_not_told_as_recovered(context: Context) -> None:
    ran(context, FILLED)
    clinic = context.environment.clinic("main")
    recover._check_filled(context, clinic, FIRST)
    with pytest.raises(UsageError, match=f"serves {FIRST.set}, with which a run before had filled it") as told:
        recover._check_filled(context, clinic, SECOND)
    assert f"restore --clinic main --from {SECOND.set}" in told.value.do


def test_a_clinic_that_no_record_tells_of_is_believed(context: Context) -> None:
    ran(context)
    recover._check_filled(context, context.environment.clinic("main"), SECOND)
