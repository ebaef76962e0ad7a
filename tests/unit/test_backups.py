"""Which set is meant, what lies between two of them, and what is said of sizes and ages."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest

from gcp_openemr import backups
from gcp_openemr.backups import BackupSet
from gcp_openemr.commands.backup import age, size
from gcp_openemr.commands.restore import source_of
from gcp_openemr.errors import InputMissing, UsageError
from tests.unit import cloud as clouds


def made(day: int, *, state: str = "verified", **changes: object) -> BackupSet:
    begun = datetime.datetime(2026, 11, day, 2, tzinfo=datetime.UTC)
    values = {"set": f"202611{day:02}T020000Z-00{day:02}", "clinic": "main", "state": state, "begun": begun}
    return BackupSet.model_validate({**values, **changes})


SETS = [made(22, state="failed", problems=("a document is missing",)), made(21), made(20), made(14)]


@pytest.mark.parametrize(
    ("wanted", "day"),
    [
        ("latest", 21),
        ("20261120T020000Z-0020", 20),
        ("2026-11-20", 14),
        ("2026-11-20T02:00", 20),
        ("2026-11-20T03:30+01:00", 20),
        ("2026-11-20T02:30+01:00", 14),
        ("2030-01-01", 21),
    ],
)
def test_latest_an_id_or_a_moment_means_a_set(wanted: str, day: int) -> None:
    assert backups.choose(SETS, wanted).begun.day == day


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("20261122T020000Z-0022", "failed its own checks: a document is missing"),
        ("20261119T020000Z-0019", "There is no backup set"),
        ("2026-11-13", "There is no verified backup set from 2026-11-13"),
        ("monday", "is no backup set, moment or address"),
    ],
)
def test_what_means_no_set_is_told(wanted: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        backups.choose(SETS, wanted)


def test_a_clinic_without_sets_is_told_how_to_make_one() -> None:
    with pytest.raises(UsageError) as caught:
        backups.choose([], "latest")
    assert "gcp-openemr backup create" in caught.value.do


def test_archives_are_restored_as_they_are_named() -> None:
    assert source_of("main", "gs://bucket/old.zip", []).variables == {
        "BACKUP_SOURCE": "gcs",
        "BACKUP_FILEID": "gs://bucket/old.zip",
    }
    assert source_of("main", "drive:1a2b3c", []).variables == {"BACKUP_SOURCE": "drive", "BACKUP_FILEID": "1a2b3c"}
    assert source_of("main", "latest", SETS).variables == {
        "BACKUP_SOURCE": "set",
        "BACKUP_FILEID": "20261121T020000Z-0021",
        "BACKUP_CLINIC": "main",
    }


def test_growth_names_the_tables_that_changed_most() -> None:
    older, newer = (
        made(20, tables={"log": 5, "forms": 2, "users": 3}),
        made(21, tables={"log": 9, "users": 3, "new": 1}),
    )
    assert backups.growth(older, newer) == {"log": 4, "forms": -2, "new": 1}


def test_sizes_and_ages_are_in_the_largest_unit() -> None:
    assert [size(0), size(999), size(1500), size(234_567_890)] == ["0 B", "999 B", "1.5 KB", "235 MB"]
    assert [age(-5), age(40), age(180), age(7200), age(3 * 86_400)] == ["0 s", "40 s", "3 min", "2 h", "3 days"]


def test_manifests_are_read_newest_first_and_damaged_ones_named(tmp_path: Path) -> None:
    with clouds.cloud(tmp_path) as cloud:
        with pytest.raises(InputMissing, match="There is no bucket no-such-bucket"):
            backups.read_sets(cloud, "no-such-bucket", "main")
        bucket = cloud.storage.create_bucket("unit-tests-1-sets")
        folder = "clinics/main/backups/sets"
        for one in (made(20), made(21)):
            bucket.blob(f"{folder}/{one.set}.json").upload_from_string(one.model_dump_json())
        bucket.blob(f"{folder}/20261119T020000Z-0019.json").upload_from_string(json.dumps({"set": 1}))
        bucket.blob("clinics/other/backups/sets/20261122T020000Z-0000.json").upload_from_string("{}")
        sets, unreadable = backups.read_sets(cloud, bucket.name, "main")
        assert [one.begun.day for one in sets] == [21, 20]
        assert len(unreadable) == 1
        assert f"gs://{bucket.name}/{folder}/20261119T020000Z-0019.json is no manifest" in unreadable[0]
        newest = backups.newest(cloud, bucket.name, "main")
        assert newest is not None
        assert newest.begun.day == 21
        assert backups.newest(cloud, bucket.name, "nobody") is None


def test_the_last_run_of_a_job_is_found_with_its_time(tmp_path: Path) -> None:
    with clouds.cloud(tmp_path) as cloud:
        bucket = cloud.storage.create_bucket("unit-tests-1-runs")
        assert backups.latest_run(cloud, bucket.name, "main", "drill") is None
        for moment, record in (("20261120T020000.5Z", {"ok": False}), ("20261121T020000.5Z", {"ok": True})):
            bucket.blob(f"clinics/main/runs/drill/{moment}.json").upload_from_string(json.dumps(record))
        found = backups.latest_run(cloud, bucket.name, "main", "drill")
        assert found is not None
        assert (found["ok"], found["at"].day) == (True, 21)
