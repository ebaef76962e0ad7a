"""Which set is meant, what lies between two of them, and what is said of sizes and ages."""

from __future__ import annotations

import datetime
import io
import json
from pathlib import Path
from typing import Any

import pytest

from gcp_openemr import backups
from gcp_openemr.backups import BackupSet
from gcp_openemr.commands import backup, recover
from gcp_openemr.commands.backup import age, size
from gcp_openemr.commands.recover import Old
from gcp_openemr.commands.restore import source_of
from gcp_openemr.console import Console
from gcp_openemr.environment.load import parse_environment
from gcp_openemr.errors import CloudRefused, InputMissing, UsageError
from gcp_openemr.image import Images
from gcp_openemr.variables import Foundation, Platform, clinic_variables
from jobs import sealed as jobs_sealed
from tests.unit import cloud as clouds


def made(day: int, *, state: str = "verified", **changes: object) -> BackupSet:
    begun = datetime.datetime(2026, 11, day, 2, tzinfo=datetime.UTC)
    values = {"set": f"202611{day:02}T020000Z-00{day:02}", "clinic": "main", "state": state, "begun": begun}
    return BackupSet.model_validate({**values, **changes})


def written(one: BackupSet) -> dict[str, Any]:
    """A manifest as the backup job writes it."""
    return jobs_sealed.sealed(json.loads(one.model_dump_json()))


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


def test_what_a_restore_replaced_is_the_latest_for_no_restore_but_can_be_named() -> None:
    replaced = made(23, source={"before": "restore"})
    assert backups.choose_to_restore([replaced, *SETS], "latest").begun.day == 21
    assert backups.choose([replaced, *SETS], "latest").begun.day == 23
    assert [backups.choose_to_restore([replaced, *SETS], one) for one in (replaced.set, "2026-11-24")] == [replaced] * 2
    with pytest.raises(UsageError, match="no verified backup set but those of what restores replaced"):
        backups.choose_to_restore([replaced, SETS[0]], "latest")
    with pytest.raises(UsageError, match="There is no verified backup set"):
        backups.choose_to_restore([SETS[0]], "latest")
    assert "of what a restore replaced" in backup._line(replaced, replaced.begun)


def test_a_moment_of_another_zone_is_told_in_utc() -> None:
    with pytest.raises(UsageError, match="There is no verified backup set from 2026-11-13 23:30 UTC or before"):
        backups.choose(SETS, "2026-11-14T00:30+01:00")


def test_a_clinic_without_sets_is_told_how_to_make_one() -> None:
    with pytest.raises(UsageError) as caught:
        backups.choose([], "latest")
    assert "gcp-openemr backup create" in caught.value.do


def test_archives_are_restored_as_they_are_named() -> None:
    assert source_of("main", "gs://bucket/old.zip", []).variables == {
        "BACKUP_SOURCE": "gcs",
        "BACKUP_FILEID": "gs://bucket/old.zip",
    }
    drive = "1aBcDeFgHiJkLmNoPqRsTuVwXyZ012345"
    assert source_of("main", f"drive:{drive}", []).variables == {"BACKUP_SOURCE": "drive", "BACKUP_FILEID": drive}
    assert source_of("main", "latest", SETS).variables == {
        "BACKUP_SOURCE": "set",
        "BACKUP_FILEID": "20261121T020000Z-0021",
        "BACKUP_CLINIC": "main",
    }


@pytest.mark.parametrize(
    ("wanted", "said", "do"),
    [
        ("gs://bucket", "gs://bucket names a folder; one archive is wanted", "Write gs://BUCKET/OBJECT"),
        ("gs://bucket/", "names a folder", "Write gs://BUCKET/OBJECT"),
        ("gs:///old.zip", "names no possible bucket", "Write gs://BUCKET/OBJECT"),
        ("drive:https://drive.google.com/file/d/1aBcDeFgHiJkLmNoPq/view", "must be the file's id alone", "drive:ID"),
        ("drive:", "is not the id of a file on Google Drive", "drive:ID"),
    ],
)
def test_what_names_no_archive_is_told_before_anything_is_done(wanted: str, said: str, do: str) -> None:
    with pytest.raises(UsageError) as caught:
        source_of("main", wanted, [])
    assert said in caught.value.what
    assert do in caught.value.do


def test_growth_names_the_tables_that_changed_most() -> None:
    older, newer = (
        made(20, tables={"log": 5, "forms": 2, "users": 3}),
        made(21, tables={"log": 9, "users": 3, "new": 1}),
    )
    assert backups.growth(older, newer) == {"log": 4, "forms": -2, "new": 1}


def test_sizes_and_ages_are_in_the_largest_unit() -> None:
    assert [size(0), size(999), size(1500), size(234_567_890)] == ["0 B", "999 B", "1.5 KB", "235 MB"]
    assert [age(-5), age(40), age(180), age(7200), age(3 * 86_400)] == ["0 s", "40 s", "3 min", "2 h", "3 days"]


def test_jobs_start_by_themselves_where_asked_and_once_the_clinic_serves() -> None:
    text = (Path(__file__).parents[1] / "terraform/golden/plans/default.toml").read_text()
    environment = parse_environment(text, file="openemr.toml", overrides={})
    clinic = next(iter(environment.clinics.values()))
    foundation = Foundation(registry="r", build_account="a", build_bucket="b", backup_bucket="c", roles={})
    images = Images(service="s", job="j")

    def schedules(*, serve: bool) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = clinic_variables(
            environment, clinic, foundation, Platform(outputs={}), images, versions=None, serve=serve, protect=True
        )["schedules"]
        return found

    assert schedules(serve=False) == {}
    assert set(schedules(serve=True)) == {"background", "backup", "verify", "drill", "prune", "rotate"}
    assert schedules(serve=True)["background"] == {"cron": "*/15 * * * *", "time_zone": "Etc/UTC"}
    assert schedules(serve=True)["backup"] == {"cron": "30 1 * * *", "time_zone": "Etc/UTC"}


@pytest.mark.parametrize(
    ("bucket", "password", "found"),
    [
        ("gs://my-clinic-oe-prod-backups", None, "projects/my-clinic/secrets/oe-prod-main-backup-password 0"),
        ("somewhere", "projects/p/secrets/s/versions/3", "projects/p/secrets/s 3"),
        ("my-clinic-oe-prod-backups", "projects/p/secrets/s", "projects/p/secrets/s 0"),
    ],
)
def test_the_password_of_old_backups_is_found_by_the_buckets_name(
    bucket: str, password: str | None, found: str
) -> None:
    old = Old.of(bucket, "main", password)
    assert f"{old.password} {old.version}" == found


@pytest.mark.parametrize(("bucket", "password"), [("somewhere", None), ("my-clinic-oe-prod-backups", "hunter2")])
def test_a_password_that_is_not_named_by_its_secret_is_refused_and_not_shown(bucket: str, password: str | None) -> None:
    with pytest.raises(UsageError, match="Which secret holds the password") as caught:
        Old.of(bucket, "main", password)
    assert "hunter2" not in f"{caught.value.what}{caught.value.do}"


def test_who_may_not_read_the_old_backups_is_told_which_role_to_ask_for(tmp_path: Path) -> None:
    old = Old.of("unit-tests-1-oe-old-backups", "main", None)
    with clouds.cloud(tmp_path) as owner:
        owner.storage.create_bucket(old.bucket)
    with clouds.cloud(tmp_path, caller="nobody") as cloud:
        context = clouds.context(cloud, tmp_path, yes=True)
        with pytest.raises(CloudRefused, match="may not read projects/unit-tests-1/secrets/oe-old-main-backup") as told:
            recover.recover(context, old, clinic=None, wanted="latest")
        assert "roles/secretmanager.secretAccessor" in told.value.do
        with pytest.raises(CloudRefused, match="may not read gs://unit-tests-1-oe-old-backups") as told:
            recover._old_sets(context, old)
        assert "roles/storage.objectViewer" in told.value.do


def test_manifests_are_read_newest_first_and_damaged_ones_named(tmp_path: Path) -> None:
    with clouds.cloud(tmp_path) as cloud:
        with pytest.raises(InputMissing, match="There is no bucket no-such-bucket"):
            backups.read_sets(cloud, "no-such-bucket", "main")
        bucket = cloud.storage.create_bucket("unit-tests-1-sets")
        folder = "clinics/main/backups/sets"
        for one in (made(20), made(21)):
            bucket.blob(f"{folder}/{one.set}.json").upload_from_string(json.dumps(written(one)))
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


def test_a_recovered_manifest_has_its_new_clinic_under_a_sum_and_a_damaged_one_stays_behind(tmp_path: Path) -> None:
    old = Old.of("unit-tests-1-oe-old-backups", "north", None)
    with clouds.cloud(tmp_path) as cloud:
        context = clouds.context(cloud, tmp_path)
        source = cloud.storage.create_bucket(old.bucket)
        target = cloud.storage.create_bucket(context.environment.names.backup_bucket)
        folder = "clinics/north/backups/sets"
        good, damaged = ({**written(made(day)), "clinic": "north"} for day in (20, 21))
        source.blob(f"{folder}/20.json").upload_from_string(json.dumps(jobs_sealed.sealed(good)))
        source.blob(f"{folder}/21.json").upload_from_string(json.dumps(damaged))
        recover._copy(context, old, context.environment.clinic("main"))
        assert [blob.name for blob in target.list_blobs()] == ["clinics/main/backups/sets/20.json"]
        ((copied,), unreadable) = backups.read_sets(cloud, target.name, "main")
    assert (copied.set, copied.clinic, copied.has_sum, unreadable) == (good["set"], "main", True, [])


def test_sets_of_a_clinic_that_the_file_names_no_more_are_listed(tmp_path: Path) -> None:
    said = io.StringIO()
    with clouds.cloud(tmp_path) as cloud:
        context = clouds.context(cloud, tmp_path, console=Console(people=io.StringIO(), results=said))
        bucket = cloud.storage.create_bucket(context.environment.names.backup_bucket)
        old = {**json.loads(made(20).model_dump_json()), "clinic": "north", "format": 1}
        bucket.blob(f"clinics/north/backups/sets/{old['set']}.json").upload_from_string(json.dumps(old))
        bucket.blob("clinics/south/runs/backup/20261120T020000.5Z.json").upload_from_string("{}")
        backup.listing(context, clinic=None)
        backup.listing(context, clinic="north")
        with pytest.raises(UsageError, match="has no clinic 'south'"):
            backup.listing(context, clinic="south")
    lines = [line for line in said.getvalue().splitlines() if not line.startswith("Cloud SQL")]
    assert lines[:2] == ["main: 0 backup sets", "north: 1 backup sets, of a clinic that the file names no more"]
    assert lines[2] == lines[4]
    assert (lines[2].split()[0], lines[2].endswith("  manifest without a sum")) == (old["set"], True)


def test_what_a_job_wrote_is_believed_only_as_it_was_written() -> None:
    body = written(made(20))
    assert backups.whole(json.dumps(jobs_sealed.sealed(body)).encode()) == body
    old = {**body, "format": 1}
    old.pop("sum")
    assert [backups.whole(json.dumps(one).encode())["format"] for one in (body, old)] == [2, 1]
    assert [BackupSet.model_validate(one).has_sum for one in (body, old)] == [True, False]
    damages: list[Any] = [{**body, "state": "failed"}, {**body, "format": 1}, {**old, "format": 2}, {}, []]
    for damaged in damages:
        with pytest.raises(ValueError, match="its sum is not that of what it says"):
            backups.whole(json.dumps(damaged).encode())


def test_the_last_run_of_a_job_is_found_with_its_time(tmp_path: Path) -> None:
    with clouds.cloud(tmp_path) as cloud:
        bucket = cloud.storage.create_bucket("unit-tests-1-runs")
        assert backups.latest_run(cloud, bucket.name, "main", "drill") is None
        for moment, record in (("20261120T020000.5Z", {"ok": False}), ("20261121T020000.5Z", {"ok": True})):
            bucket.blob(f"clinics/main/runs/drill/{moment}.json").upload_from_string(json.dumps(record))
        found = backups.latest_run(cloud, bucket.name, "main", "drill")
        assert found is not None
        assert (found["ok"], found["at"].day) == (True, 21)
