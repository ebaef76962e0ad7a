"""The demonstration behind `make demo`: `gcp-openemr deploy` restores a backup from a bucket into a new clinic.

Run again, it changes nothing: the backup is made from a seed, and deploy finds nothing to do.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from gcp_openemr.clients import Cloud
from gcp_openemr.commands import sandbox as sandbox_commands
from gcp_openemr.console import Console, spoken
from gcp_openemr.environment import load_environment, sample_backup_uri, write_environment_file
from gcp_openemr.errors import GcpOpenemrError, Unhealthy
from gcp_openemr.passwords import new_password
from gcp_openemr.redacted import Redacted
from gcp_openemr.sandbox.standin.sample_backup import SampleBackup, make_backup
from gcp_openemr.sandbox.visitor import Visitor

__all__ = ["main"]

PROJECT = "demo-clinic-1"
BUCKET, OBJECT = sample_backup_uri(PROJECT).removeprefix("gs://").split("/", 1)
SEED = 704


@dataclasses.dataclass(frozen=True, kw_only=True)
class Deployed:
    """What deploy printed, and the administrator's account."""

    url: str
    user: str
    password: Redacted
    seconds: dict[str, float]


def main(folder: Path) -> None:
    """Deploy a clinic from a backup into the sandbox below `folder`, and prove that it serves its documents."""
    console = Console()
    file = folder / "openemr.toml"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_environment_file(
            file, name="demo", project=PROJECT, region="europe-west1", profile="developer", sandbox_sample=True
        )
    load_environment(file)
    cloud = sandbox_commands.connect(folder / ".gcp-openemr" / "sandbox", console, project=PROJECT)
    with console.step("a backup of another clinic into the sandbox's bucket"):
        backup = _backup(cloud)
    deployed = _deploy(file)
    with console.step("log in, open the restored documents, compare their hashes"):
        _prove(deployed, backup)
    _tell(console, file, deployed, backup)


def _backup(cloud: Cloud) -> SampleBackup:
    with tempfile.TemporaryDirectory() as scratch:
        archive = Path(scratch) / OBJECT
        old_password = new_password().reveal()
        backup = make_backup(
            archive, documents=12, bytes_per_document=40_000, seed=SEED, admin_user="admin", admin_password=old_password
        )
        bucket = cloud.storage.lookup_bucket(BUCKET) or cloud.storage.create_bucket(BUCKET, location="europe-west1")
        blob = bucket.blob(OBJECT)
        if not blob.exists():
            blob.upload_from_filename(str(archive))
    return backup


def _deploy(file: Path) -> Deployed:
    result = _gcp_openemr(file, "deploy", "-y")
    account = _gcp_openemr(file, "credentials")
    return Deployed(
        url=result["clinics"]["main"]["url"],
        user=account["user"],
        password=Redacted(account["password"]),
        seconds=result["seconds"],
    )


def _gcp_openemr(file: Path, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "gcp_openemr.cli", "-e", str(file), "--sandbox", "--json", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(done.returncode)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _prove(deployed: Deployed, backup: SampleBackup) -> None:
    visitor = Visitor(deployed.url)
    visitor.login(deployed.user, deployed.password)
    for document in backup.documents:
        if visitor.document(document.patient_id, document.id) != document.sha256:
            raise Unhealthy(f"Document {document.id} is not what the backup held.")


def _tell(console: Console, file: Path, deployed: Deployed, backup: SampleBackup) -> None:
    shown = os.path.relpath(file)
    command = f"{os.path.relpath(Path(sys.executable).parent)}/gcp-openemr -e {shown} --sandbox"
    console.say(f"\n{len(backup.documents)} restored documents were opened; each is what the backup held.\n")
    console.say("How long each step took:")
    for title, seconds in deployed.seconds.items():
        console.say(f"  {spoken(seconds):>12}  {title}")
    console.say(f"\n  Open:      {deployed.url}")
    console.say(f"  User:      {deployed.user}")
    console.say(f"  Password:  {command} credentials")
    console.say(f"  Real here: {command} sandbox status")
    console.say(f"  Stop:      make stop   (or: {command} sandbox stop)")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
    except GcpOpenemrError as error:
        print(f"demo: {error.what}\n{error.do}".rstrip(), file=sys.stderr)
        sys.exit(error.exit_code)
