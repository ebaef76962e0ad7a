"""Whole runs of `doctor` beside the sandbox's API: which checks say what, and what people and machines get to read."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import requests
from google.cloud import secretmanager_v1

from gcp_openemr.clients import Cloud
from gcp_openemr.commands.doctor import doctor
from gcp_openemr.console import Console
from gcp_openemr.doctor import CHECKS
from gcp_openemr.errors import EnvironmentInvalid
from gcp_openemr.sandbox.api.app import App
from gcp_openemr.sandbox.api.messages import Request, Response
from tests import bad_days
from tests.unit.environment_file import load, text_of
from tests.unit.test_doctor import enable


def run(file: Path, cloud: Cloud, *verbs: str) -> tuple[bool, dict[str, Any]]:
    results = io.StringIO()
    console = Console(as_json=True, people=io.StringIO(), results=results)
    well = doctor(file, lambda _: cloud, console, workspace=file.parent, verbs=verbs or ("deploy",))
    return well, json.loads(results.getvalue())


def levels(answer: Mapping[str, Any], check: str) -> list[str]:
    return [one["level"] for one in answer["checks"] if one["check"] == check]


def environment_file(tmp_path: Path, project: str, **sections: str) -> Path:
    file = tmp_path / "openemr.toml"
    own = f'project = "{project}"\n' + sections.pop("environment", "")
    file.write_text(text_of({"environment": own, **sections}))
    return file


def test_a_quota_of_the_sandbox_is_seen_before_it_refuses(cloud: Cloud, tmp_path: Path) -> None:
    headers = {"Authorization": f"Bearer {cloud.credentials.token}"}
    made = requests.post(f"{cloud.base}/sandbox/v1/settings", json={"quotas": 0.05}, headers=headers, timeout=10)
    assert made.status_code == 200
    enable(cloud, "compute")
    _, answer = run(environment_file(tmp_path, cloud.project), cloud)
    (finding,) = [one for one in answer["checks"] if one["check"] == "quotas"]
    assert (finding["level"], "NETWORKS 0 of 0.75, 1 more needed" in finding["items"]) == ("failed", True)


def test_an_empty_project_has_nothing_to_mend(cloud: Cloud, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Most of it cannot even be asked before its API is enabled; what can be asked is."""
    fresh = dataclasses.replace(cloud, project="fresh-project-1")
    well, answer = run(environment_file(tmp_path, fresh.project), fresh)
    assert well, answer
    assert {one["check"] for one in answer["checks"]} == {check.name for check in CHECKS}
    assert not any("defect" in one["what"] for one in answer["checks"])
    (apis,) = [one for one in answer["checks"] if one["check"] == "APIs"]
    assert (apis["level"], "run.googleapis.com" in apis["items"]) == ("warning", True)
    (place,) = [one for one in answer["checks"] if one["check"] == "region"]
    enable = "Run: gcloud services enable compute.googleapis.com --project=fresh-project-1"
    assert (place["level"], place["do"]) == ("not visible", enable)
    assert (levels(answer, "names"), levels(answer, "database")) == (["ok"], ["skipped"])
    retries = bad_days.SEED.value is not None
    assert [said for said in caplog.messages if not (retries and said.startswith("Retrying ("))] == []


def test_a_wrong_file_is_the_only_fault_and_the_project_in_it_is_looked_at(cloud: Cloud, tmp_path: Path) -> None:
    file = environment_file(tmp_path, cloud.project, service="cpu = 3")
    well, answer = run(file, cloud)
    assert not well
    assert [one["check"] for one in answer["checks"] if one["level"] == "failed"] == ["environment file"]
    assert levels(answer, "project") == ["ok"]
    assert levels(answer, "names") == ["skipped"]
    with pytest.raises(EnvironmentInvalid):
        load(tmp_path, {"service": "cpu = 3"})


def test_without_a_file_the_machine_is_looked_at(cloud: Cloud, tmp_path: Path) -> None:
    well, answer = run(tmp_path / "missing.toml", cloud)
    assert not well
    assert levels(answer, "terraform") == ["ok"]
    assert levels(answer, "credentials") == ["ok"]
    assert levels(answer, "project") == ["skipped"]


def test_a_name_that_somebody_has_is_found(cloud: Cloud, tmp_path: Path) -> None:
    file = environment_file(tmp_path, cloud.project)
    cloud.storage.create_bucket(f"{cloud.project}-oe-test-backups", location="europe-west1")
    enable(cloud, "secretmanager")
    replication = secretmanager_v1.Replication(automatic=secretmanager_v1.Replication.Automatic())
    secret = secretmanager_v1.Secret(replication=replication)
    cloud.secrets.create_secret(parent=f"projects/{cloud.project}", secret_id="oe-test-redisroot", secret=secret)
    _, answer = run(file, cloud)
    (finding,) = [one for one in answer["checks"] if one["check"] == "names"]
    assert finding["level"] == "failed"
    assert finding["items"] == [
        f"storage bucket {cloud.project}-oe-test-backups",
        "secret manager secret oe-test-redisroot",
    ]


def test_the_state_bucket_of_somebody_else_is_found(cloud: Cloud, tmp_path: Path) -> None:
    file = environment_file(tmp_path, cloud.project)
    cloud.storage.create_bucket(f"{cloud.project}-oe-test-state", project="another-one-1", location="us-east1")
    _, answer = run(file, cloud)
    (finding,) = [one for one in answer["checks"] if one["check"] == "state bucket"]
    assert finding["level"] == "failed"
    assert "belongs to somebody else's project" in finding["what"]


def test_a_state_bucket_that_is_not_as_deploy_makes_it(cloud: Cloud, tmp_path: Path) -> None:
    file = environment_file(tmp_path, cloud.project)
    cloud.storage.create_bucket(f"{cloud.project}-oe-test-state", location="us-east1")
    _, answer = run(file, cloud)
    findings = [one for one in answer["checks"] if one["check"] == "state bucket"]
    assert [one["level"] for one in findings] == ["failed", "failed", "warning"]
    assert "--versioning" in findings[0]["do"]


@pytest.mark.parametrize(
    ("bucket", "uploaded", "level", "what"),
    [
        (None, False, "failed", "names a bucket that is not there"),
        ("europe-west1", False, "failed", "is not there"),
        ("europe-west1", True, "ok", "0.0 MB in europe-west1"),
        ("us-east1", True, "warning", "far from europe-west1"),
    ],
)
def test_the_backup_to_restore(
    cloud: Cloud, tmp_path: Path, bucket: str | None, uploaded: bool, level: str, what: str
) -> None:
    file = environment_file(tmp_path, cloud.project, restore='uri = "gs://old-backups/one.zip"')
    if bucket:
        made = cloud.storage.create_bucket("old-backups", location=bucket)
        if uploaded:
            made.blob("one.zip").upload_from_string("content")
    _, answer = run(file, cloud)
    (finding,) = [one for one in answer["checks"] if one["check"] == "backup to restore"]
    assert finding["level"] == level
    assert what in finding["what"]


def test_a_backup_on_drive_is_to_be_shared_with_the_job_s_account(cloud: Cloud, tmp_path: Path) -> None:
    file = environment_file(
        tmp_path, cloud.project, restore='source = "drive"\nuri = "1aBcDeFgHiJkLmNoPqRsTuVwXyZ012345"'
    )
    _, answer = run(file, cloud)
    (finding,) = [one for one in answer["checks"] if one["check"] == "backup to restore"]
    assert finding["level"] == "warning"
    assert f"-init@{cloud.project}.iam.gserviceaccount.com" in finding["do"]


def test_it_only_asks(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []
    answer = App.handle

    def listen(app: App, request: Request) -> Response:
        asked.append((request.method, request.raw_path))
        return answer(app, request)

    monkeypatch.setattr(App, "handle", listen)
    run(environment_file(tmp_path, cloud.project), cloud)
    assert len(asked) > 40
    changing = [path for method, path in asked if method != "GET" and not path.endswith(":testIamPermissions")]
    assert changing == []


def test_people_get_a_table_and_what_mends_each_fault(cloud: Cloud, tmp_path: Path) -> None:
    results = io.StringIO()
    console = Console(people=io.StringIO(), results=results)
    doctor(tmp_path / "missing.toml", lambda _: cloud, console, workspace=tmp_path, verbs=("plan",))
    lines = results.getvalue().splitlines()
    assert lines[0].startswith("✗ environment file")
    assert "→ Run `gcp-openemr init`" in lines[1]
    assert lines[-1].endswith("There is something to mend.")
