"""Cloud Storage over the wire with Google's client."""

from __future__ import annotations

import base64
import concurrent.futures
import hashlib
import os
import time

import google_crc32c
import pytest
import requests
from google.api_core import exceptions
from google.api_core.client_options import ClientOptions
from google.cloud import storage
from google.oauth2.credentials import Credentials

from tests.sandbox.api.support import PROJECT, Cloud

BUCKET = "my-clinic-oe-prod-backups"


@pytest.fixture
def client(cloud: Cloud, credentials: Credentials) -> storage.Client:
    return storage.Client(
        project=PROJECT, credentials=credentials, client_options=ClientOptions(api_endpoint=cloud.url)
    )


@pytest.fixture
def bucket(client: storage.Client) -> storage.Bucket:
    made = storage.Bucket(client, BUCKET)
    made.iam_configuration.uniform_bucket_level_access_enabled = True
    return client.create_bucket(made, location="europe-west1")


def test_makes_changes_lists_and_removes_buckets(client: storage.Client, bucket: storage.Bucket) -> None:
    found = client.get_bucket(BUCKET)
    assert found.location == "EUROPE-WEST1"
    assert found.location_type == "region"
    assert found.storage_class == "STANDARD"
    assert found.iam_configuration.uniform_bucket_level_access_enabled
    assert found.soft_delete_policy.retention_duration_seconds == 604800
    found.versioning_enabled = True
    found.labels = {"environment": "prod"}
    found.add_lifecycle_delete_rule(age=30)
    found.patch(if_metageneration_match=1)
    again = client.get_bucket(BUCKET)
    assert again.versioning_enabled
    assert again.metageneration == 2
    assert [rule["condition"]["age"] for rule in again.lifecycle_rules] == [30]
    with pytest.raises(exceptions.PreconditionFailed):
        found.patch(if_metageneration_match=1)
    assert [item.name for item in client.list_buckets()] == [BUCKET]
    found.delete()
    with pytest.raises(exceptions.NotFound, match="The specified bucket does not exist"):
        client.get_bucket(BUCKET)


def test_a_bucket_exists_once_and_goes_only_when_empty(client: storage.Client, bucket: storage.Bucket) -> None:
    with pytest.raises(exceptions.Conflict, match="you already own it"):
        client.create_bucket(BUCKET)
    bucket.blob("a").upload_from_string("x")
    with pytest.raises(exceptions.Conflict, match="The bucket you tried to delete is not empty"):
        bucket.delete()
    bucket.blob("a").delete()
    bucket.delete()


@pytest.mark.parametrize(
    "name", ["plain.txt", "deep/er/name", "sp ace?and#more&=+%", "Übergrößenträger-日本", "trailing/", "..", "a\tb"]
)
def test_any_name_can_be_an_object(bucket: storage.Bucket, name: str) -> None:
    if name == "..":
        with pytest.raises(exceptions.BadRequest):
            bucket.blob(name).upload_from_string("x")
        return
    blob = bucket.blob(name)
    blob.metadata = {"clinic": "main"}
    blob.upload_from_string(b"content", content_type="text/plain")
    found = bucket.get_blob(name)
    assert found is not None
    assert (found.name, found.size, found.content_type, found.metadata) == (name, 7, "text/plain", {"clinic": "main"})
    assert found.md5_hash == base64.b64encode(hashlib.md5(b"content", usedforsecurity=False).digest()).decode()
    assert found.crc32c == base64.b64encode(google_crc32c.value(b"content").to_bytes(4, "big")).decode()
    assert found.download_as_bytes() == b"content"
    blob.delete()
    assert bucket.get_blob(name) is None


def test_twenty_megabytes_in_chunks(bucket: storage.Bucket) -> None:
    data = os.urandom(20 * 1024 * 1024 + 17)
    bucket.blob("big", chunk_size=1024 * 1024).upload_from_string(data)
    blob = bucket.get_blob("big")
    assert blob is not None
    assert blob.size == len(data)
    assert blob.download_as_bytes() == data
    assert blob.download_as_bytes(start=10_000_000, end=10_000_099) == data[10_000_000:10_000_100]
    assert blob.download_as_bytes(start=len(data) - 5) == data[-5:]
    with pytest.raises(exceptions.RequestRangeNotSatisfiable):
        blob.download_as_bytes(start=len(data))


def test_a_broken_upload_goes_on_where_it_stood(cloud: Cloud, bucket: storage.Bucket) -> None:
    data = os.urandom(1024 * 1024)
    headers = {"Authorization": f"Bearer {cloud.app.operator_token}"}
    begun = requests.post(
        f"{cloud.url}/upload/storage/v1/b/{BUCKET}/o",
        params={"uploadType": "resumable", "name": "r"},
        headers=headers,
        timeout=10,
    )
    place = begun.headers["Location"]
    half = len(data) // 2
    part = requests.put(
        place,
        data=data[: half + 100],
        headers={**headers, "Content-Range": f"bytes 0-{half + 99}/{len(data)}"},
        timeout=10,
    )
    assert (part.status_code, part.headers["Range"]) == (308, f"bytes=0-{half - 1}")
    asked = requests.put(place, headers={**headers, "Content-Range": f"bytes */{len(data)}"}, timeout=10)
    assert (asked.status_code, asked.headers["Range"]) == (308, f"bytes=0-{half - 1}")
    late = {**headers, "Content-Range": f"bytes {half + 500}-{half + 509}/{len(data)}"}
    assert requests.put(place, data=b"0123456789", headers=late, timeout=10).status_code == 400
    rest = requests.put(
        place,
        data=data[half:],
        headers={**headers, "Content-Range": f"bytes {half}-{len(data) - 1}/{len(data)}"},
        timeout=10,
    )
    assert rest.status_code == 200
    assert bucket.blob("r").download_as_bytes() == data
    assert requests.put(place, headers={**headers, "Content-Range": "bytes */*"}, timeout=10).status_code == 200


def test_a_cancelled_or_unknown_upload_is_gone(cloud: Cloud, bucket: storage.Bucket) -> None:
    path = f"upload/storage/v1/b/{BUCKET}/o?uploadType=resumable"
    begun = cloud.call("POST", "storage", f"{path}&name=x", {})
    upload = begun.headers["X-GUploader-UploadID"]
    assert cloud.call("DELETE", "storage", f"{path}&upload_id={upload}").status == 499
    assert cloud.call("PUT", "storage", f"{path}&upload_id={upload}", b"x").status == 404
    assert list(cloud.app.objects.uploads.iterdir()) == []


def test_wrong_checksums_are_refused_and_leave_nothing(cloud: Cloud, bucket: storage.Bucket) -> None:
    for header, value in (("crc32c", "AAAAAA=="), ("md5", "AAAAAAAAAAAAAAAAAAAAAA==")):
        path = f"upload/storage/v1/b/{BUCKET}/o?uploadType=media&name=x"
        answer = cloud.call("POST", "storage", path, b"content", **{"X-Goog-Hash": f"{header}={value}"})
        assert answer.status == 400
        assert "doesn't match calculated" in answer.message
    assert [path.name for path in (cloud.app.state_dir / "objects").iterdir()] == ["uploads"]


def test_versions_are_kept_and_can_be_read_and_removed(client: storage.Client, bucket: storage.Bucket) -> None:
    bucket.versioning_enabled = True
    bucket.patch()
    blob = bucket.blob("state")
    for content in ("one", "two", "three"):
        blob.upload_from_string(content)
    bucket.delete_blob("state")
    assert bucket.get_blob("state") is None
    found = list(client.list_blobs(bucket, versions=True))
    assert [item.name for item in found] == ["state"] * 3
    assert all(item.time_deleted for item in found)
    assert found[1].download_as_bytes() == b"two"
    bucket.copy_blob(found[1], bucket, "state", source_generation=found[1].generation)
    assert bucket.blob("state").download_as_bytes() == b"two"
    for item in client.list_blobs(bucket, versions=True):
        bucket.blob("state", generation=item.generation).delete()
    assert list(client.list_blobs(bucket, versions=True)) == []


def test_preconditions_decide(bucket: storage.Bucket) -> None:
    blob = bucket.blob("lock")
    blob.upload_from_string("mine", if_generation_match=0)
    with pytest.raises(exceptions.PreconditionFailed):
        blob.upload_from_string("yours", if_generation_match=0)
    generation = blob.generation
    blob.metadata = {"a": "b"}
    blob.patch(if_metageneration_match=1)
    assert (blob.generation, blob.metageneration) == (generation, 2)
    with pytest.raises(exceptions.PreconditionFailed):
        blob.delete(if_generation_match=generation + 1)
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.copy_blob(blob, bucket, "other", if_source_generation_match=1)
    fresh = bucket.blob("lock")
    with pytest.raises(Exception, match="304"):
        fresh.reload(if_generation_not_match=generation)
    blob.delete(if_generation_match=generation)
    with pytest.raises(exceptions.NotFound, match=f"No such object: {BUCKET}/lock"):
        blob.delete()


def test_of_two_writers_who_want_to_be_first_one_is(
    cloud: Cloud, client: storage.Client, bucket: storage.Bucket
) -> None:
    def take(number: int) -> int:
        path = f"upload/storage/v1/b/{BUCKET}/o?uploadType=media&name=lock{number % 8}&ifGenerationMatch=0"
        return cloud.call("POST", "storage", path, str(number).encode()).status

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(take, range(64)))
    assert sorted(set(statuses)) == [200, 412]
    assert statuses.count(200) == 8


def test_lists_by_prefix_delimiter_and_page(client: storage.Client, bucket: storage.Bucket) -> None:
    names = ["a/1", "a/2", "a/b/3", "a/b/4", "b", "c/5", "Z"]
    for name in names:
        bucket.blob(name).upload_from_string("x")
    assert [item.name for item in client.list_blobs(bucket)] == sorted(names)
    for size in (1, 2, 3, 10):
        pages = client.list_blobs(bucket, delimiter="/", page_size=size)
        found = [item.name for item in pages]
        assert (found, set(pages.prefixes)) == (["Z", "b"], {"a/", "c/"})
        assert [item.name for item in client.list_blobs(bucket, prefix="a/", page_size=size)] == names[:4]
    below = client.list_blobs(bucket, prefix="a/", delimiter="/")
    assert ([item.name for item in below], set(below.prefixes)) == (["a/1", "a/2"], {"a/b/"})
    assert [item.name for item in client.list_blobs(bucket, start_offset="a/2", end_offset="b")] == names[1:4]


def test_copies_and_composes(bucket: storage.Bucket) -> None:
    bucket.blob("one").upload_from_string("one,", content_type="text/plain")
    bucket.blob("two").upload_from_string("two")
    copy = bucket.copy_blob(bucket.blob("one"), bucket, "copy")
    assert (copy.size, copy.content_type) == (4, "text/plain")
    bucket.blob("one").delete()
    assert copy.download_as_bytes() == b"one,"
    token, done, total = bucket.blob("rewritten").rewrite(copy)
    assert (token, done, total) == (None, 4, 4)
    whole = bucket.blob("whole")
    whole.content_type = "text/csv"
    whole.compose([copy, bucket.blob("two")])
    assert (whole.download_as_bytes(), whole.component_count, whole.md5_hash) == (b"one,two", 2, None)
    with pytest.raises(exceptions.NotFound):
        whole.compose([bucket.blob("none")])


def test_a_batch_answers_each_call_for_itself(client: storage.Client, bucket: storage.Bucket) -> None:
    for number in range(5):
        bucket.blob(f"{number} ö").upload_from_string("x")
    with client.batch(raise_exception=False) as batch:
        for number in range(6):
            bucket.blob(f"{number} ö").delete()
    assert [response.status_code for response in batch._responses] == [204] * 5 + [404]
    assert list(client.list_blobs(bucket)) == []


def test_the_xml_api_reads_as_gos_client_does(cloud: Cloud, bucket: storage.Bucket) -> None:
    bucket.blob("prod/default.tfstate").upload_from_string("state")
    headers = {"Authorization": f"Bearer {cloud.app.operator_token}"}
    got = requests.get(f"{cloud.url}/{BUCKET}/prod/default.tfstate", headers=headers, timeout=10)
    assert got.content == b"state"
    assert got.headers["X-Goog-Stored-Content-Length"] == "5"
    assert "crc32c=" in got.headers["X-Goog-Hash"]
    assert requests.head(f"{cloud.url}/{BUCKET}/prod/default.tfstate", headers=headers, timeout=10).status_code == 200
    gone = requests.get(f"{cloud.url}/{BUCKET}/none", headers=headers, timeout=10)
    assert gone.status_code == 404
    assert "<Code>NoSuchKey</Code>" in gone.text
    assert requests.get(f"{cloud.url}/{BUCKET}/none", timeout=10).status_code == 401


def test_bindings_on_bucket_and_managed_folder_decide(cloud: Cloud, bucket: storage.Bucket, account: str) -> None:
    bucket.blob("clinics/main/backup").upload_from_string("x")
    bucket.blob("clinics/other/backup").upload_from_string("x")
    token = cloud.app.mint_token(account)
    objects = f"storage/v1/b/{BUCKET}/o"
    refused = cloud.call("GET", "storage", f"{objects}/clinics%2Fmain%2Fbackup", token=token)
    assert refused.status == 403
    assert refused.message.startswith(f"{account} does not have storage.objects.get access to the Google Cloud Storage")
    folder = f"storage/v1/b/{BUCKET}/managedFolders"
    assert cloud.call("POST", "storage", folder, {"name": "clinics/main/"}).status == 200
    policy = {"bindings": [{"role": "roles/storage.objectUser", "members": [f"serviceAccount:{account}"]}]}
    assert cloud.call("PUT", "storage", f"{folder}/clinics%2Fmain%2F/iam", policy).status == 200
    assert cloud.call("GET", "storage", f"{objects}/clinics%2Fmain%2Fbackup", token=token).status == 200
    assert cloud.call("GET", "storage", f"{objects}/clinics%2Fother%2Fbackup", token=token).status == 403
    assert cloud.call("GET", "storage", f"{objects}?prefix=clinics/main/", token=token).status == 200
    assert cloud.call("GET", "storage", f"{objects}?prefix=clinics/", token=token).status == 403
    upload = f"upload/storage/v1/b/{BUCKET}/o?uploadType=media&name=clinics/"
    assert cloud.call("POST", "storage", f"{upload}main/new", b"x", token=token).status == 200
    assert cloud.call("POST", "storage", f"{upload}other/new", b"x", token=token).status == 403
    assert cloud.call("DELETE", "storage", f"{folder}/clinics%2Fmain%2F").status == 409


def test_who_may_not_list_is_not_told_that_an_object_is_missing(
    cloud: Cloud, bucket: storage.Bucket, account: str
) -> None:
    bucket.blob("lock").upload_from_string("held")
    member, lock = f"serviceAccount:{account}", f"projects/_/buckets/{BUCKET}/objects/lock"
    policy = bucket.get_iam_policy(requested_policy_version=3)
    policy.version = 3
    condition = {"title": "lock", "expression": f'resource.name == "{lock}"'}
    policy.bindings.append({"role": "roles/storage.objectUser", "members": {member}, "condition": condition})
    bucket.set_iam_policy(policy)
    token, read = cloud.app.mint_token(account), f"storage/v1/b/{BUCKET}/o/lock"
    assert cloud.call("GET", "storage", read, token=token).status == 200
    assert cloud.call("GET", "storage", f"storage/v1/b/{BUCKET}/o?prefix=lock", token=token).status == 403
    assert cloud.call("DELETE", "storage", read, token=token).status == 204
    for path in (read, f"{read}?alt=media"):
        hidden = cloud.call("GET", "storage", path, token=token)
        assert hidden.status == 403
        assert f"{account} does not have storage.objects.list access to the Google Cloud Storage" in hidden.message
    assert cloud.call("GET", "storage", f"{BUCKET}/lock", token=token).status == 403
    folder = f"storage/v1/b/{BUCKET}/managedFolders"
    assert cloud.call("POST", "storage", folder, {"name": "sets/"}).status == 200
    viewers = {"bindings": [{"role": "roles/storage.objectViewer", "members": [member]}]}
    assert cloud.call("PUT", "storage", f"{folder}/sets%2F/iam", viewers).status == 200
    assert cloud.call("GET", "storage", f"storage/v1/b/{BUCKET}/o/sets%2Fnone", token=token).status == 404


def test_what_is_held_or_retained_stays(bucket: storage.Bucket) -> None:
    blob = bucket.blob("kept")
    blob.upload_from_string("x")
    blob.temporary_hold = True
    blob.patch()
    with pytest.raises(exceptions.Forbidden, match="under active hold"):
        bucket.delete_blob("kept")
    with pytest.raises(exceptions.Forbidden, match="under active hold"):
        bucket.blob("kept").upload_from_string("y")
    blob.temporary_hold = False
    blob.patch()
    bucket.retention_period = 3600
    bucket.patch()
    with pytest.raises(exceptions.Forbidden, match="subject to bucket's retention policy"):
        bucket.delete_blob("kept")
    bucket.retention_period = None
    bucket.patch()
    bucket.delete_blob("kept")


def test_who_may_create_but_not_delete_cannot_overwrite(cloud: Cloud, bucket: storage.Bucket, account: str) -> None:
    policy = bucket.get_iam_policy(requested_policy_version=3)
    policy.bindings.append({"role": "roles/storage.objectCreator", "members": {f"serviceAccount:{account}"}})
    bucket.set_iam_policy(policy)
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.set_iam_policy(policy)
    token = cloud.app.mint_token(account)
    path = f"upload/storage/v1/b/{BUCKET}/o?uploadType=media&name=x"
    assert cloud.call("POST", "storage", path, b"1", token=token).status == 200
    again = cloud.call("POST", "storage", path, b"2", token=token)
    assert again.status == 403
    assert "storage.objects.delete" in again.message


def test_what_is_deleted_softly_comes_back_for_a_while(
    cloud: Cloud, client: storage.Client, bucket: storage.Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = bucket.blob("backup")
    blob.upload_from_string("precious", content_type="text/plain")
    generation = blob.generation
    blob.delete()
    assert list(client.list_blobs(bucket)) == []
    (gone,) = client.list_blobs(bucket, soft_deleted=True)
    assert (gone.generation, gone.soft_delete_time is None, gone.hard_delete_time is None) == (generation, False, False)
    restored = bucket.restore_blob("backup", generation=generation)
    assert (restored.download_as_bytes(), restored.content_type) == (b"precious", "text/plain")
    assert restored.generation > generation
    bucket.delete_blob("backup")
    later = time.time() + 8 * 86400
    monkeypatch.setattr(time, "time", lambda: later)
    assert list(client.list_blobs(bucket, soft_deleted=True)) == []
    assert [path.name for path in (cloud.app.state_dir / "objects").iterdir()] == ["uploads"]


def test_a_bucket_deleted_softly_comes_back_with_what_was_in_it(client: storage.Client, bucket: storage.Bucket) -> None:
    blob = bucket.blob("backup")
    blob.upload_from_string("precious")
    generation = blob.generation
    blob.delete()
    bucket.labels = {"a": "b"}
    bucket.patch()
    bucket.delete()
    (gone,) = client.list_buckets(soft_deleted=True)
    client.restore_bucket(BUCKET, generation=gone.generation)
    assert client.get_bucket(BUCKET).labels == {"a": "b"}
    assert bucket.restore_blob("backup", generation=generation).download_as_bytes() == b"precious"


@pytest.mark.parametrize(
    ("glob", "found"),
    [("*", ["a"]), ("**", ["a", "b/c", "b/d/e"]), ("b/*", ["b/c"]), ("b/{c,d/?}", ["b/c", "b/d/e"]), ("[ab]", ["a"])],
)
def test_lists_by_glob(client: storage.Client, bucket: storage.Bucket, glob: str, found: list[str]) -> None:
    for name in ("a", "b/c", "b/d/e"):
        bucket.blob(name).upload_from_string("x")
    assert [item.name for item in client.list_blobs(bucket, match_glob=glob)] == found
