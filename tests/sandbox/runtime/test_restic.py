"""restic as Debian has it, in a job's container: Google's name for Cloud Storage, the job's own rights, no setting."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from gcp_openemr.sandbox import control
from gcp_openemr.sandbox.runtime.logs import read_log
from tests.sandbox.runtime.conftest import archive, build_request

PROJECT, REGION = "restic-1", "europe-west1"
PARENT = f"projects/{PROJECT}/locations/{REGION}"
REPOSITORY = f"{REGION}-docker.pkg.dev/{PROJECT}/oe"
DOCKERFILE = """\
FROM alpine:3.20
RUN apk add --no-cache restic
COPY run.sh /run.sh
RUN adduser -D -u 1000 clinic
USER clinic
CMD ["/bin/sh", "/run.sh"]
"""
SCRIPT = """\
set -e
export RESTIC_REPOSITORY=gs:records:/backups RESTIC_PASSWORD=secret RESTIC_CACHE_DIR=/tmp/cache
mkdir /tmp/data && dd if=/dev/urandom of=/tmp/data/file bs=1M count=2 2> /dev/null
restic init && restic backup /tmp/data && echo more >> /tmp/data/file && restic backup /tmp/data
restic check --read-data
restic forget --keep-last 1 --prune
restic restore latest --target /tmp/restored && cmp /tmp/data/file /tmp/restored/tmp/data/file && echo all well
"""


class Google:
    """The sandbox's APIs as its operator."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        info = control.start(directory)
        self.url = info.url
        self.headers = {"Authorization": f"Bearer {info.token.reveal()}"}

    def __call__(self, method: str, path: str, body: Any = None, *, fails: bool = False) -> Any:
        """Call, and wait for the operation when there is one."""
        answer = requests.request(method, f"{self.url}/{path}", json=body, headers=self.headers, timeout=60)
        assert answer.ok, answer.text
        found = answer.json()
        host = path.partition("/")[0]
        while "done" in found or "/operations/" in str(found.get("name", "")):
            if found.get("done"):
                assert fails or "error" not in found, found
                return found.get("response", found)
            time.sleep(0.05)
            version = path.split("/")[1]
            found = requests.get(
                f"{self.url}/{host}/{version}/{found['name']}", headers=self.headers, timeout=60
            ).json()
        return found

    def run(self, job: str) -> bool:
        """Whether an execution of a job succeeds."""
        done = self("POST", f"run.googleapis.com/v2/{PARENT}/jobs/{job}:run", {}, fails=True)
        return bool(done.get("succeededCount"))


@pytest.fixture(scope="module")
def google() -> Iterator[Google]:
    top = Path(tempfile.mkdtemp(prefix="gcp-openemr-restic-"))
    directory = top / "project/.gcp-openemr/sandbox"
    made = Google(directory)
    try:
        prepare(made)
        yield made
    finally:
        control.stop(directory)
        shutil.rmtree(top)


def account(name: str) -> str:
    return f"{name}@{PROJECT}.iam.gserviceaccount.com"


def prepare(google: Google) -> None:
    """Two jobs with an image of restic: the account of one may write below `backups/`, that of the other may not."""
    services = [f"{name}.googleapis.com" for name in ("run", "cloudbuild", "artifactregistry", "iam", "storage")]
    google("POST", f"serviceusage.googleapis.com/v1/projects/{PROJECT}/services:batchEnable", {"serviceIds": services})
    for name in ("builder", "keeper", "stranger"):
        google("POST", f"iam.googleapis.com/v1/projects/{PROJECT}/serviceAccounts", {"accountId": name})
    uniform = {"uniformBucketLevelAccess": {"enabled": True}}
    for bucket in ("records", "sources"):
        described = {"name": bucket, "location": REGION, "iamConfiguration": uniform}
        google("POST", f"storage.googleapis.com/storage/v1/b?project={PROJECT}", described)
    google("POST", "storage.googleapis.com/storage/v1/b/records/managedFolders", {"name": "backups/"})
    grant(google, "storage.googleapis.com/storage/v1/b/records/managedFolders/backups%2F/iam", "objectUser", "keeper")
    grant(google, "storage.googleapis.com/storage/v1/b/sources/iam", "objectViewer", "builder")
    repositories = f"artifactregistry.googleapis.com/v1/{PARENT}/repositories"
    google("POST", f"{repositories}?repositoryId=oe", {"format": "DOCKER"})
    binding = {"role": "roles/artifactregistry.writer", "members": [f"serviceAccount:{account('builder')}"]}
    google("POST", f"{repositories}/oe:setIamPolicy", {"policy": {"bindings": [binding]}})
    upload = f"{google.url}/storage.googleapis.com/upload/storage/v1/b/sources/o?uploadType=media&name=source.tar.gz"
    content = archive({"Dockerfile": DOCKERFILE, "run.sh": SCRIPT})
    assert requests.post(upload, content, headers=google.headers, timeout=30).ok
    image = build(google)
    for name in ("keeper", "stranger"):
        task = {"containers": [{"image": image}], "serviceAccount": account(name), "maxRetries": 0, "timeout": "120s"}
        google("POST", f"run.googleapis.com/v2/{PARENT}/jobs?jobId={name}", {"template": {"template": task}})


def grant(google: Google, policy: str, role: str, name: str) -> None:
    binding = {"role": f"roles/storage.{role}", "members": [f"serviceAccount:{account(name)}"]}
    google("PUT", policy, {**google("GET", policy), "bindings": [binding]})


def build(google: Google) -> str:
    request = build_request(target="", name="restic", tag="1")
    text = {"tag": f"{REPOSITORY}/restic:1", "account": f"projects/{PROJECT}/serviceAccounts/{account('builder')}"}
    wish = {
        "source": {"storageSource": {"bucket": "sources", "object": "source.tar.gz"}},
        "steps": [{**request["steps"][0], "args": ["build", "-t", text["tag"], "."]}],
        "images": [text["tag"]],
        "serviceAccount": text["account"],
        "options": {"logging": "CLOUD_LOGGING_ONLY"},
    }
    done = google("POST", f"cloudbuild.googleapis.com/v1/{PARENT}/builds", wish)
    return f"{REPOSITORY}/restic@{done['results']['images'][0]['digest']}"


def texts(google: Google) -> str:
    logs = [path.stem for path in (google.directory / "logs").glob("*.log")]
    return "\n".join(line for name in logs for line in read_log(google.directory, name, None))


def test_restic_backs_up_checks_prunes_and_restores_with_the_jobs_rights(google: Google) -> None:
    assert google.run("keeper"), texts(google)
    assert "no errors were found" in texts(google)
    assert "all well" in texts(google)
    listed = google("GET", "storage.googleapis.com/storage/v1/b/records/o")["items"]
    assert {item["name"].split("/")[0] for item in listed} == {"backups"}


def test_without_the_right_restic_is_refused(google: Google) -> None:
    assert not google.run("stranger")
    assert "does not have storage.objects." in texts(google)
