"""The real Terraform keeps its state and its lock in the API server's bucket."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from gcp_openemr.setup.terraform import locate_terraform
from tests.sandbox.api.support import PROJECT, Cloud

BUCKET = "my-clinic-oe-prod-state"
LOCK = f"storage/v1/b/{BUCKET}/o/prod%2Ffoundation%2Fdefault.tflock"
STATE = f"{BUCKET}/prod/foundation/default.tfstate"
MAIN = """
terraform {
  backend "gcs" {
    bucket = "%s"
    prefix = "prod/foundation"
  }
}
resource "terraform_data" "words" {
  input = "kept"
}
output "words" {
  value = terraform_data.words.output
}
"""


@pytest.fixture
def root(tmp_path: Path, cloud: Cloud) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    (folder / "main.tf").write_text(MAIN % BUCKET)
    (folder / "terraform.rc").touch()
    body = {"name": BUCKET, "versioning": {"enabled": True}}
    assert cloud.call("POST", "storage", f"storage/v1/b?project={PROJECT}", body).status == 200
    assert terraform(cloud, folder, "init").returncode == 0
    return folder


def terraform(cloud: Cloud, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = str(locate_terraform().path)
    environment = {
        **os.environ,
        "TF_CLI_CONFIG_FILE": str(folder / "terraform.rc"),
        "TF_IN_AUTOMATION": "1",
        "GOOGLE_BACKEND_STORAGE_CUSTOM_ENDPOINT": f"{cloud.url}/storage/v1/",
        "GOOGLE_OAUTH_ACCESS_TOKEN": cloud.app.operator_token,
    }
    return subprocess.run(
        [program, *arguments, "-no-color"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_writes_reads_and_removes_its_state(cloud: Cloud, root: Path) -> None:
    applied = terraform(cloud, root, "apply", "-auto-approve", "-input=false")
    assert applied.returncode == 0, applied.stderr
    assert cloud.call("GET", "storage", STATE).body["outputs"]["words"]["value"] == "kept"
    assert cloud.call("GET", "storage", LOCK).status == 404
    planned = terraform(cloud, root, "plan", "-detailed-exitcode", "-input=false")
    assert planned.returncode == 0, planned.stdout
    destroyed = terraform(cloud, root, "destroy", "-auto-approve")
    assert destroyed.returncode == 0, destroyed.stderr
    assert cloud.call("GET", "storage", STATE).body["resources"] == []


def test_a_lock_held_by_another_keeps_it_out_until_it_is_broken(cloud: Cloud, root: Path) -> None:
    assert terraform(cloud, root, "apply", "-auto-approve", "-input=false").returncode == 0
    info = {"ID": "", "Operation": "OperationTypeApply", "Who": "anna@laptop", "Version": "1.11.4"}
    upload = f"upload/storage/v1/b/{BUCKET}/o?uploadType=media&name=prod/foundation/default.tflock&ifGenerationMatch=0"
    held = cloud.call("POST", "storage", upload, json.dumps(info).encode())
    assert held.status == 200
    refused = terraform(cloud, root, "plan", "-input=false", "-lock-timeout=1s")
    assert refused.returncode == 1
    assert "Error acquiring the state lock" in refused.stderr
    assert "anna@laptop" in refused.stderr
    broken = terraform(cloud, root, "force-unlock", "-force", held.body["generation"])
    assert broken.returncode == 0, broken.stderr
    assert cloud.call("GET", "storage", LOCK).status == 404
    assert terraform(cloud, root, "plan", "-input=false").returncode == 0
