"""The main job, end to end: one command brings clinics up, restored or installed, and a second one changes nothing."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import requests

from gcp_openemr import cloud_run
from gcp_openemr.environment.names import ClinicNames
from gcp_openemr.redacted import Redacted
from gcp_openemr.sandbox.remote import remote
from gcp_openemr.sandbox.standin.sample_backup import SampleBackup
from gcp_openemr.sandbox.visitor import Visitor
from tests import bad_days
from tests.rehearsal.place import PROJECT, Place, begin, visit
from tests.searched import shapes

STRIKES_SOON = 43  # each kind of fault among the first thirty calls


def test_deploy_prints_the_address_of_each_clinic(deployed: dict[str, Any]) -> None:
    assert set(deployed["clinics"]) == {"main", "north"}
    for clinic in deployed["clinics"].values():
        assert requests.get(f"{clinic['url']}/health/ready", timeout=10).status_code == 200
    assert (deployed["clinics"]["main"]["storage"], deployed["clinics"]["north"]["storage"]) == ("restore", "install")


def test_the_restored_documents_open_for_the_administrator(
    place: Place, deployed: dict[str, Any], backup_file: tuple[Path, SampleBackup]
) -> None:
    browser = visit(place, "main")
    documents = backup_file[1].documents
    assert len(documents) == 5
    for document in documents:
        assert browser.document(document.patient_id, document.id) == document.sha256


def test_the_installed_clinic_lets_its_own_administrator_in_and_not_the_other_ones(
    place: Place, deployed: dict[str, Any]
) -> None:
    visit(place, "north")
    other = place.must("credentials", "--clinic", "main")["password"]
    with pytest.raises(Exception, match="could not log in"):
        Visitor(deployed["clinics"]["north"]["url"]).login("admin", Redacted(other))


def test_a_second_deploy_changes_nothing(place: Place, deployed: dict[str, Any]) -> None:
    again = place.run("deploy", "-y")
    assert again.status == 0, again.stderr
    assert "apply" not in " ".join(again.json["seconds"])
    assert "nfs-init" not in again.stderr
    assert {name: c["revision"] for name, c in again.json["clinics"].items()} == {
        name: c["revision"] for name, c in deployed["clinics"].items()
    }


def test_plan_after_deploy_is_empty(place: Place, deployed: dict[str, Any]) -> None:
    planned = place.run("plan")
    assert planned.status == 0, planned.stdout
    assert planned.json["notes"] == []
    assert all(root["changes"] == [] for root in planned.json["roots"].values())


def test_status_tells_all_that_there_is_to_know_though_the_cloud_answers_badly(
    place: Place, deployed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sample of a run with `--faults`, whose seed strikes soon."""
    monkeypatch.setattr(bad_days.SEED, "value", STRIKES_SOON)
    monkeypatch.setattr("tests.rehearsal.place._RUNS", itertools.count())
    sandbox = remote(place.sandbox)
    since = sandbox.calls()[-1].number
    seen = place.must("status")
    assert len([entry for entry in sandbox.calls(since) if entry.fault]) >= 3
    assert sandbox.faults() == []
    assert (seen["healthy"], seen["lock"]) == (True, None)
    for name, clinic in seen["clinics"].items():
        assert clinic["healthy"] is True, clinic
        assert clinic["traffic"] == {deployed["clinics"][name]["revision"]: 100}
        assert clinic["openemr"] == "7.0.4"
        assert {kind: one["version"] for kind, one in clinic["secrets"].items()} == dict.fromkeys(
            ("database", "redis", "admin", "backup"), 1
        )
    assert {part["part"]: part["level"] for part in seen["platform"]} == dict.fromkeys(
        ("database", "files machine", "pinned versions"), "ok"
    )
    assert seen["alerts"]["policies"] > 0
    assert (seen["alerts"]["open"], seen["alerts"]["disabled"]) == ([], [])
    assert all(seen["versions"].values())


def test_the_logs_are_those_of_the_clinic_s_service_and_jobs(place: Place, deployed: dict[str, Any]) -> None:
    every = place.must("logs")["entries"]
    assert {(e["clinic"], e["writer"]) for e in every} >= {(None, "provision"), ("main", "web"), ("north", "nfs-init")}
    assert [entry["at"] for entry in every] == sorted(entry["at"] for entry in every)
    of_one = place.must("logs", "--clinic", "main", "--job", "nfs-init")["entries"]
    assert of_one == [e for e in every if (e["clinic"], e["writer"]) == ("main", "nfs-init")]
    assert any(entry["text"].startswith("Decision: restore") for entry in of_one)
    assert place.must("logs", "--since", "2099-01-01")["entries"] == []


def test_following_shows_what_is_there_and_ends_with_a_signal(place: Place, deployed: dict[str, Any]) -> None:
    run = begin(place, "logs", "--follow", "--job", "provision")
    assert run.stdout is not None
    first = json.loads(run.stdout.readline())
    assert first["writer"] == "provision"
    run.send_signal(signal.SIGINT)
    rest, stderr = run.communicate(timeout=60)
    assert (run.returncode, "Traceback" in stderr) == (0, False)
    assert all(json.loads(line)["writer"] == "provision" for line in rest.splitlines())


def test_no_secret_stands_in_any_file_object_log_or_argument(
    place: Place, deployed: dict[str, Any], arguments_seen: set[bytes]
) -> None:
    values = secret_values(place)
    assert len(values) == 9
    haystacks = dict(files_below(place))
    haystacks |= objects(place)
    assert any(b"nfs-init" in seen for seen in arguments_seen)
    haystacks["argument lists"] = b"\n".join(arguments_seen)
    assert any(name.endswith("default.tfstate") for name in haystacks)
    assert any("logs/" in name for name in haystacks)
    for name, content in haystacks.items():
        for secret, value in values.items():
            assert not any(shape in content for shape in shapes(value)), f"{secret} stands in {name}"


def secret_values(place: Place) -> dict[str, bytes]:
    client = place.cloud().secrets
    found = {}
    for secret in client.list_secrets(parent="projects/rehearsal-1"):
        found[secret.name] = client.access_secret_version(name=f"{secret.name}/versions/1").payload.data
    return found


def files_below(place: Place) -> dict[str, bytes]:
    """Every file that a deploy wrote, among them the share's and Redis's disk, but for Secret Manager's and MySQL's."""
    folder = place.folder / ".gcp-openemr"
    found = {}
    for path in folder.rglob("*"):
        inside = path.relative_to(folder).as_posix()
        own = inside.startswith(("sandbox/state.sqlite3", "sandbox/sql/"))
        if path.is_file() and not path.is_symlink() and not own:
            found[inside] = written(path)
    return found


def written(path: Path) -> bytes:
    """What a file holds, without the holes of a disk's."""
    pieces, end = [], 0
    with path.open("rb") as file, contextlib.suppress(OSError):  # no more data
        while True:
            start = os.lseek(file.fileno(), end, os.SEEK_DATA)
            end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            pieces.append(os.pread(file.fileno(), end - start, start))
    return b"".join(pieces)


def objects(place: Place) -> dict[str, bytes]:
    storage = place.cloud().storage
    return {
        f"gs://{bucket.name}/{blob.name}": blob.download_as_bytes()
        for bucket in storage.list_buckets()
        for blob in bucket.list_blobs()
    }


def test_a_changed_setting_makes_a_new_revision_that_serves(place: Place, deployed: dict[str, Any]) -> None:
    file = place.folder / "openemr.toml"
    before = file.read_text()
    file.write_text(before.replace("public_access = true", "public_access = true\nconcurrency = 17"))
    try:
        planned = place.run("plan")
        assert planned.status == 2
        changed = planned.json["roots"]["clinics/main"]["changes"]
        assert [c["action"] for c in changed] == ["update"]
        assert changed[0]["values"] == ["template.max_instance_request_concurrency: 20 → 17"]
        assert (planned.json["interrupts"], planned.json["seconds"], planned.json["drifted"]) == ([], 120, [])
        after = place.must("deploy", "-y")
        old, new = (found["clinics"]["main"]["revision"] for found in (deployed, after))
        assert new != old
        assert place.must("status")["clinics"]["main"]["traffic"] == {new: 100}
        job = ClinicNames(environment="test", clinic="main").nfs_init_job
        job = f"projects/{PROJECT}/locations/europe-west1/jobs/{job}"
        assert cloud_run.last_told(place.cloud(), job, "ANSWERED", "yes"), "what a restore kept has days that begin"
    finally:
        file.write_text(before)


@pytest.mark.torture
def test_drift_is_what_a_plan_says_and_traffic_that_an_ended_deploy_left_is_some(
    place: Place, deployed: dict[str, Any]
) -> None:
    """The deploy came to its end but for the traffic."""
    file = place.folder / "openemr.toml"
    before = file.read_text()
    old = place.must("status")["clinics"]["main"]["traffic"].popitem()[0]
    file.write_text(before.replace("public_access = true", "public_access = true\nconcurrency = 16"))
    try:
        planned, drifted = place.run("plan"), place.run("status", "--drift")
        assert planned.status == 2
        assert (drifted.status, drifted.json["drift"]["roots"], drifted.json["healthy"]) == (
            2,
            planned.json["roots"],
            True,
        )
        new = place.must("deploy", "-y")["clinics"]["main"]["revision"]
        service = ClinicNames(environment="test", clinic="main").service
        name = f"projects/{PROJECT}/locations/europe-west1/services/{service}"
        cloud_run.move_traffic(place.cloud(), name, old)
        waiting = place.run("plan")
        assert waiting.status == 2
        assert waiting.json["notes"] == [
            f"Clinic 'main': revision {new} would get the traffic, which it does not have."
        ]
        assert place.must("deploy", "-y")["clinics"]["main"]["revision"] == new
    finally:
        file.write_text(before)


def test_what_no_deploy_can_change_is_refused_before_terraform_is_asked(place: Place, deployed: dict[str, Any]) -> None:
    file = place.folder / "openemr.toml"
    before = file.read_text()
    file.write_text(before.replace("europe-west1", "europe-west3"))
    try:
        for command in (("plan",), ("deploy", "-y")):
            answer = place.run(*command)
            assert answer.status == 65, answer.stderr
            assert "[environment] region is europe-west3, and deployed is europe-west1" in answer.json["error"]["what"]
            assert "recover --from-bucket" in answer.json["error"]["do"]
            assert "platform: plan" not in answer.stderr
    finally:
        file.write_text(before)
    wrong = place.run("deploy", "-y", "--allow-data-loss", "module.files.google_compute_disk.other")
    assert (wrong.status, wrong.json["error"]["do"]) == (64, "Did you mean module.files.google_compute_disk.default?")
