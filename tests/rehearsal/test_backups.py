"""Backups as people use them: made while the clinic works, listed, read back, restored over it, and taken back."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import itertools
import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests

from gcp_openemr.errors import Unhealthy
from gcp_openemr.redacted import Redacted
from gcp_openemr.sandbox.standin.sample_backup import SampleBackup
from gcp_openemr.sandbox.visitor import Visitor
from tests.rehearsal.place import ARCHIVE, PROJECT, Place, begin, empty, environment_file, visit, wait_for

PATIENT = 1
NOW = ("--drain", "0")


def restore(place: Place, *arguments: str) -> dict[str, Any]:
    return place.must("restore", "-y", "--clinic", "main", *NOW, *arguments)


def opens(visitor: Visitor, document: int, content: bytes) -> bool:
    try:
        return visitor.document(PATIENT, document) == hashlib.sha256(content).hexdigest()
    except Unhealthy:
        return False


@pytest.fixture(scope="module")
def first_set(place: Place, deployed: dict[str, Any]) -> str:
    return str(place.must("backup", "create", "--clinic", "main")["clinics"]["main"]["set"])


def test_a_set_is_listed_read_back_and_tried(place: Place, first_set: str) -> None:
    place.must("backup", "verify", "--clinic", "main", "--set", first_set, "--data", "all")
    place.must("backup", "drill", "--clinic", "main")
    listed = place.must("backup", "list")
    (one,) = listed["clinics"]["main"]["sets"]
    assert (one["set"], one["state"], one["openemr"], one["documents"]) == (first_set, "verified", "7.0.4", 5)
    assert one["checked"]["how"] == "drill"
    assert listed["clinics"]["north"]["sets"] == []
    assert listed["cloud_sql"] == {"backups": [], "point_in_time_since": None}
    seen = place.must("status")["clinics"]["main"]
    assert (seen["backup"]["set"], seen["drill"]["set"], seen["drill"]["ok"]) == (first_set, first_set, True)


@pytest.mark.torture
def test_a_restore_replaces_what_is_there_and_undo_brings_it_back(place: Place, first_set: str) -> None:
    browser = visit(place, "main")
    later = browser.upload(PATIENT, "later.txt", b"written after the set")
    assert opens(browser, later, b"written after the set")
    answer = place.run("restore", "-y", "--clinic", "main", "--from", first_set, *NOW)
    assert answer.status == 0, answer.stderr
    assert f"is replaced by set {first_set}" in answer.stderr
    assert answer.json["decision"] == "restore-over"
    assert not opens(visit(place, "main"), later, b"written after the set")
    assert place.must("status", "--clinic", "main")["clinics"]["main"]["healthy"]
    back = restore(place, "--undo")
    assert back["decision"] == "undo"
    assert opens(visit(place, "main"), later, b"written after the set")
    # The state that the restore replaced is a set as well.
    lost = place.run("backup", "list", "--clinic", "main").json["clinics"]["main"]["sets"]
    assert {answer.json["set_before"], back["set_before"], first_set} <= {one["set"] for one in lost}


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("--from", "20200101T000000Z-abcd"), 64, "There is no backup set 20200101T000000Z-abcd"),
        ((), 64, "Say --from WHAT, or --undo."),
    ],
)
def test_what_cannot_be_restored_is_told_before_anything_is_replaced(
    place: Place, first_set: str, arguments: tuple[str, ...], status: int, said: str
) -> None:
    answer = place.run("restore", "-y", "--clinic", "main", *arguments, *NOW)
    assert (answer.status, said in answer.json["error"]["what"]) == (status, True), answer.stdout
    visit(place, "main")


@pytest.mark.parametrize(
    ("bucket", "status", "said"),
    [
        (f"{PROJECT}-no-such-bucket", 66, f"There is no bucket {PROJECT}-no-such-bucket"),
        (ARCHIVE, 64, "There is no verified backup set"),
    ],
)
def test_recover_from_the_wrong_bucket_makes_nothing(
    place: Place, first_set: str, bucket: str, status: int, said: str
) -> None:
    file = second_file(place)
    secret = f"projects/{PROJECT}/secrets/oe-test-main-backup-password"
    answer = place.run("-e", str(file), "recover", "-y", "--from-bucket", bucket, "--password", secret)
    assert (answer.status, said in answer.json["error"]["what"]) == (status, True), answer.stdout
    assert list(dataclasses.replace(place.cloud(), project="rehearsal-2").storage.list_buckets()) == []


def test_a_restore_that_failed_is_told_by_status_with_the_command_that_goes_on(place: Place, first_set: str) -> None:
    wrong = "gs://no-such-bucket-here/backup.zip"
    answer = place.run("restore", "-y", "--clinic", "main", "--from", wrong, "--without-set", *NOW)
    assert (answer.status, "no-such-bucket-here" in answer.json["error"]["what"]) == (5, True), answer.stdout
    seen = place.must("status", "--clinic", "main")
    (left,) = seen["unfinished"]
    assert left["command"] == f"gcp-openemr restore --from {wrong} --clinic main"
    assert (seen["healthy"], "clinic main: job nfs-init failed" in left["what"]) == (True, True)


def test_a_restore_wants_the_clinic_named(place: Place, first_set: str) -> None:
    answer = place.run("restore", "-y", "--from", "latest", *NOW)
    assert (answer.status, answer.json["error"]["do"]) == (64, "Name one: --clinic NAME")


def test_without_its_right_to_the_folder_a_backup_says_which_one_it_lacks(place: Place, first_set: str) -> None:
    folder = f"b/{PROJECT}-oe-test-backups/managedFolders/{quote('clinics/main/backups/', safe='')}/iam"
    address = f"{place.cloud().base}/storage.googleapis.com/storage/v1/{folder}"
    headers = {"Authorization": f"Bearer {place.cloud().credentials.token}"}
    policy = requests.get(address, headers=headers, timeout=20).json()
    assert requests.put(address, json={"bindings": []}, headers=headers, timeout=20).ok
    try:
        answer = place.run("backup", "create", "--clinic", "main")
    finally:
        assert requests.put(address, json={"bindings": policy["bindings"]}, headers=headers, timeout=20).ok
    assert answer.status == 5, answer.stdout
    assert "does not have storage.objects." in answer.json["error"]["what"]
    assert "Run gcp-openemr deploy, which grants it." in answer.json["error"]["do"]


@pytest.mark.torture
@pytest.mark.timeout(900)
@pytest.mark.parametrize("turn", range(3))
def test_every_document_of_a_set_made_while_the_clinic_works_opens(place: Place, first_set: str, turn: int) -> None:
    before: dict[int, bytes] = {}
    with uploading(place, before):
        while len(before) < 5:
            time.sleep(0.05)
        known = dict(before)
        made = place.must("backup", "create", "--clinic", "main")["clinics"]["main"]["set"]
    restore(place, "--from", made)
    browser = visit(place, "main")
    assert [number for number, content in known.items() if not opens(browser, number, content)] == []
    restore(place, "--undo")
    browser = visit(place, "main")
    assert [number for number, content in before.items() if not opens(browser, number, content)] == []


@contextlib.contextmanager
def uploading(place: Place, done: dict[int, bytes]) -> Iterator[None]:
    """Upload document after document, as a clinic at work would; `done` gets those that were taken."""
    ended = threading.Event()
    browser = visit(place, "main")

    def work() -> None:
        for number in itertools.count():
            if ended.is_set():
                return
            content = b"%d\n" % number * 500
            done[browser.upload(PATIENT, f"{number}.txt", content)] = content

    worker = threading.Thread(target=work)
    worker.start()
    try:
        yield
    finally:
        ended.set()
        worker.join()


STEPS = ("look at its sets", "clinics/main: backup", "clinics/main: nfs-init", "clinics/main: health")


@pytest.mark.torture
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seconds", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("step", STEPS)
def test_a_restore_killed_at_any_step_is_finished_by_the_same_command(
    place: Place, first_set: str, step: str, seconds: float
) -> None:
    kept = visit(place, "main").upload(PATIENT, "kept.txt", b"before the killed restore")
    command = ("restore", "-y", "--clinic", "main", "--from", first_set, *NOW)
    run = begin(place, *command)
    wait_for(run, step)
    time.sleep(seconds)
    run.send_signal(signal.SIGKILL)
    run.communicate(timeout=60)
    again = place.run(*command)
    assert again.status == 0, again.stderr
    assert not opens(visit(place, "main"), kept, b"before the killed restore")
    assert place.must("status", "--clinic", "main")["clinics"]["main"]["healthy"]


@pytest.mark.torture
@pytest.mark.timeout(900)
def test_a_new_environment_is_recovered_from_the_old_ones_bucket_and_the_old_one_stays_as_it_is(
    place: Place, first_set: str, backup_file: tuple[Path, SampleBackup]
) -> None:
    new = ("-e", str(second_file(place)))
    old = f"{PROJECT}-oe-test-backups"
    as_it_was = set_of_now(place)
    before = everything_of(place, PROJECT)
    recovered = ("recover", "-y", "--from-bucket", old, "--set", first_set)
    wrong = place.run(*new, *recovered, "--password", f"projects/{PROJECT}/secrets/no-such-secret")
    assert wrong.status == 7
    assert "are encrypted with it and cannot be read without" in wrong.json["error"]["what"]
    made = place.must(*new, *recovered)
    assert made["clinics"]["south"]["storage"] == "restore"
    assert everything_of(place, PROJECT) == before
    now = set_of_now(place)
    assert now["database"]["sha256"] == as_it_was["database"]["sha256"]
    assert (now["files"]["added"], now["files"]["bytes"]) == (0, as_it_was["files"]["bytes"])
    account = place.must(*new, "credentials")
    browser = Visitor(made["clinics"]["south"]["url"])
    browser.login(account["user"], Redacted(account["password"]))
    for document in backup_file[1].documents:
        assert browser.document(document.patient_id, document.id) == document.sha256
    assert account["password"] != place.must("credentials", "--clinic", "main")["password"]
    passwords = [
        dataclasses.replace(place.cloud(), project=project).secrets.access_secret_version(
            name=f"projects/{project}/secrets/{name}-backup-password/versions/latest"
        )
        for project, name in ((PROJECT, "oe-test-main"), ("rehearsal-2", "oe-again-south"))
    ]
    assert passwords[0].payload.data != passwords[1].payload.data
    place.must(*new, "backup", "create")
    assert place.must(*new, "backup", "verify", "--data", "all")["clinics"]["south"]["ok"]
    assert place.must(*new, *recovered)["clinics"]["south"]["storage"] == ""
    goes_back_to_a_moment(place, new, browser)
    newer = place.must("backup", "create", "--clinic", "main")["clinics"]["main"]["set"]
    refused = place.run(*new, "recover", "-y", "--from-bucket", old, "--set", newer)
    assert (refused.status, "serves already" in refused.json["error"]["what"]) == (64, True)


def goes_back_to_a_moment(place: Place, new: tuple[str, ...], browser: Visitor) -> None:
    """Between two sets, by a copy of the instance; the files are those of the set that is nearer."""
    before = browser.upload(PATIENT, "before.txt", b"before the mistake")
    time.sleep(1.1)
    moment = datetime.datetime.now(datetime.UTC).isoformat()
    time.sleep(1.1)
    later = browser.upload(PATIENT, "later.txt", b"after it")
    made = place.must(*new, "backup", "create")["clinics"]["south"]["set"]
    wanted = ("restore", "-y", "--clinic", "south", "--from", moment, "--point-in-time", *NOW)
    answer = place.must(*new, *wanted)
    assert answer["restored"].endswith(f"UTC with the files of set {made}")
    assert (answer["decision"], answer["documents_without_file"]) == ("restore-over", [])
    account = place.must(*new, "credentials")
    browser.login(account["user"], Redacted(account["password"]))
    assert opens(browser, before, b"before the mistake")
    assert not opens(browser, later, b"after it")
    assert place.must(*new, "status")["unfinished"] == []


OF_A_MOMENT = (
    "copy the instance",
    "write it to the bucket",
    "clinics/main: backup",
    "clinics/main: nfs-init",
    "clinics/main: health",
    "remove the copy of the database",
)


@pytest.mark.torture
@pytest.mark.timeout(1800)
def test_a_restore_to_a_moment_killed_at_any_step_is_finished_by_the_same_command(tmp_path: Path) -> None:
    with empty(tmp_path, environment_file("\n[database]\nbackups = true\n\n[clinics.main]\n")) as place:
        place.must("deploy", "-y")
        before = visit(place, "main").upload(PATIENT, "before.txt", b"before the mistake")
        time.sleep(1.1)
        moment = datetime.datetime.now(datetime.UTC).isoformat()
        place.must("backup", "create")
        command = ("restore", "-y", "--clinic", "main", "--from", moment, "--point-in-time", *NOW)
        for step in OF_A_MOMENT:
            later = visit(place, "main").upload(PATIENT, "later.txt", b"after it")
            run = begin(place, *command)
            wait_for(run, step)
            time.sleep(0.1)
            run.send_signal(signal.SIGKILL)
            run.communicate(timeout=60)
            assert place.must("status")["unfinished"], step
            place.must(*command)
            browser = visit(place, "main")
            assert opens(browser, before, b"before the mistake"), step
            assert not opens(browser, later, b"after it"), step
            assert place.must("status")["unfinished"] == [], step
            assert place.must("backup", "verify")["clinics"]["main"]["ok"], step


def second_file(place: Place) -> Path:
    """The environment file of a clinic in another project and region."""
    file = place.folder / "second.toml"
    text = (
        environment_file("\n[database]\nbackups = true\n\n[clinics.south]\n")
        .replace(PROJECT, "rehearsal-2")
        .replace('"test"', '"again"')
    )
    file.write_text(text.replace("europe-west1", "europe-west3"))
    return file


def set_of_now(place: Place) -> dict[str, Any]:
    """The manifest of a new set: the dump's sum changes with any row, and files that changed are added."""
    made = place.must("backup", "create", "--clinic", "main")["clinics"]["main"]["manifest"]
    bucket, _, name = made.removeprefix("gs://").partition("/")
    found: dict[str, Any] = json.loads(place.cloud().storage.bucket(bucket).blob(name).download_as_bytes())
    return found


def everything_of(place: Place, project: str) -> dict[str, Any]:
    """Each object with its generations and sums, and each secret with its versions."""
    cloud = dataclasses.replace(place.cloud(), project=project)
    objects = {
        f"{bucket.name}/{blob.name}": (blob.generation, blob.metageneration, blob.crc32c)
        for bucket in cloud.storage.list_buckets()
        for blob in bucket.list_blobs(versions=True)
    }
    secrets = {
        secret.name: (secret.etag, [v.etag for v in cloud.secrets.list_secret_versions(parent=secret.name)])
        for secret in cloud.secrets.list_secrets(parent=f"projects/{project}")
    }
    return {**objects, **secrets}
