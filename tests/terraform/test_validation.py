"""Values that Google refuses or that would lose data are refused at plan time, in words that say what to write.

One `terraform test` for each root and module, with a mocked provider. Terraform tells of every wrong variable at once,
and goes on to the next file after an error, not to the next run; so cases of different variables share a file.
"""

from __future__ import annotations

import json
import re
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from gcp_openemr.assets import asset
from tests.terraform import samples
from tests.terraform.world import Cloud, Root

VALUES = {"foundation": samples.foundation, "platform": samples.platform, "clinic": samples.clinic}
ROTATING = ["nfs-init", "rotate", "redis-passwords"]
TAGGED = "europe-docker.pkg.dev/p/r/service:latest"
MODULES: dict[str, dict[str, Any]] = {
    "audit": {"names": {"bucket": "b", "sink": "s"}, "project": "p", "region": "r", "services": []},
    "bucket": {"location": "europe-west1", "name": "a-bucket"},
    "ci": {
        "buckets": {"backups": "b", "build": "c", "state": "s"},
        "grantable": ["roles/monitoring.metricWriter"],
        "identities": {name: {**role, "account": f"an-{name}"} for name, role in samples.CI["roles"].items()},
        "pool": "oe-prod-ci",
        "project": "p",
        "trust": samples.CI["trust"],
    },
    "job": {
        "account": "a@p.iam.gserviceaccount.com",
        "args": ["provision"],
        "image": samples.IMAGE,
        "limits": {"cpu": "1", "memory": "1Gi"},
        "name": "job",
        "network": {"network": "n", "subnetwork": "s"},
        "region": "r",
        "share": {"mount": "/mnt", "path": "/share", "server": "10.0.0.1"},
    },
    "observability": {"prefix": "OpenEMR", "project": "p"},
    "schedule": {"account": "scheduler", "project": "p", "region": "r", "title": "t"},
    "service": {
        "account": "a@p.iam.gserviceaccount.com",
        "image": samples.IMAGE,
        "name": "web",
        "network": {"network": "n", "subnetwork": "s"},
        "region": "r",
        "settings": {
            **{
                key: value
                for key, value in samples.clinic()["service"].items()
                if key not in ("public_url", "environment")
            }
        },
        "share": {"mount": "/mnt", "path": "/share", "server": "10.0.0.1"},
    },
}
"""Values that each module takes, beside the one that a case changes."""

NIGHTLY = {"cron": "30 2 * * *", "job": "j", "time_zone": "Etc/UTC"}
CASES: list[tuple[str, dict[str, Any], str]] = [
    ("foundation", {"services": ["run"]}, "such as run.googleapis.com"),
    ("platform", {"zone": "us-central1-a"}, "zone must lie in the region"),
    ("platform", {"network": {"cidr": "10.0.0.0/26"}}, "a range of /22 or larger"),
    ("platform", {"network": {"cidr": "ten"}}, "such as 10.60.0.0/22"),
    ("platform", {"database": {"availability_type": "GLOBAL"}}, "REGIONAL (a standby"),
    ("platform", {"database": {"backups": False}}, "A REGIONAL instance needs backups"),
    ("platform", {"database": {"database_version": "MYSQL_8_4"}}, "Only MYSQL_8_0 is known"),
    ("platform", {"files": {"disk_size_gb": 5}}, "at least 10 GB"),
    ("platform", {"files": {"snapshot_days": -1}}, "or 0 for none"),
    ("platform", {"files": {"ssh_members": ["it@clinic.example"]}}, 'such as "user:it@clinic.example"'),
    ("platform", {"provision": {"image": TAGGED}}, "by its digest"),
    ("platform", {"provision": {"redis_admin_version": "latest"}}, "Pin redis_admin_version"),
    ("clinic", {"images": {"service": TAGGED}}, "by their digest"),
    ("clinic", {"jobs": ["backup"]}, "nfs-init is always among them"),
    ("clinic", {"jobs": ["nfs-init", "rotate"]}, "A rotation starts the job redis-passwords"),
    ("clinic", {"jobs": ROTATING, "rotation": {"state_bucket": ""}}, "A rotation holds the environment's lock"),
    ("clinic", {"jobs": ["nfs-init"], "schedules": {"backup": {"cron": "0 1 * * *"}}}, "A schedule needs its job"),
    ("clinic", {"secret_versions": {"redis_password": "latest"}}, "Pin secrets to a version's number"),
    ("clinic", {"secret_versions": None}, "A service needs secret_versions"),
    ("clinic", {"restore": {"source": "ftp", "uri": "x"}}, 'source = "gcs" or source = "drive"'),
    ("clinic", {"restore": {"source": "gcs", "uri": "bucket/x.zip"}}, "as gs://BUCKET/OBJECT"),
    ("clinic", {"service": {"ingress": "INGRESS_TRAFFIC_ALL"}}, "Write ingress as all, internal or"),
    ("clinic", {"service": {"vpc_egress": "none"}}, "Write vpc_egress as"),
    ("clinic", {"service": {"min_instances": 4}}, "not less than min_instances"),
    ("clinic", {"service": {"timeout": 7200}}, "1 to 3600 seconds"),
    ("ci", {"grantable": [f"roles/a.role{number}" for number in range(11)]}, "ten roles at most"),
    ("ci", {"identities": {}}, "planner, deployer and destroyer"),
    ("ci", {"trust": {**samples.CI["trust"], "provider": "jenkins"}}, 'Write provider = "github"'),
    ("ci", {"trust": {**samples.CI["trust"], "repository": 'a/b" || "" == "'}}, "holds no quotation mark"),
    ("audit", {"retention_days": 4000}, "write retention_days = 400"),
    ("bucket", {"retention": {"soft_delete_days": 3}}, "write 0 to keep none"),
    ("job", {"timeout_seconds": 30}, "write 60 to 604800 seconds"),
    ("observability", {"alerts": {"a": {"title": "t", "do": "d"}}}, "either metric or log"),
    ("observability", {"channels": ["mail"]}, "projects/PROJECT/notificationChannels/NUMBER"),
    ("observability", {"emails": ["it"]}, "as name@example.org"),
    ("schedule", {"schedules": {"a": {**NIGHTLY, "cron": "daily"}}}, "with its five fields"),
    (
        "service",
        {"secret_environment": {"A": {"secret": "s", "version": "latest"}}},
        "Pin secrets to a version's number",
    ),
]


def changed(where: str, changes: dict[str, Any]) -> dict[str, Any]:
    """The variables that a case sets: of a root, those that differ from its sample."""
    if where in MODULES:
        return changes
    values = VALUES[where](**changes)
    return {key: values[key] for key in changes}


@pytest.fixture(scope="module")
def said(cloud: Cloud, roots: dict[str, Root], tmp_path_factory: pytest.TempPathFactory) -> dict[int, str]:
    """What Terraform says to the file of each case, by the case's number; '' where it says nothing."""
    cases = defaultdict(list)
    for number, (where, changes, _) in enumerate(CASES):
        cases[where].append((number, changed(where, changes)))
    answers: dict[int, str] = {}
    for where, numbered in cases.items():
        root = roots.get(where) or module_root(cloud, where, tmp_path_factory.mktemp(where))
        if where in VALUES:
            root.render(VALUES[where]())
        files: list[dict[str, Any]] = []
        sets: list[set[str]] = []
        place = {}
        for number, variables in numbered:
            place[number] = next((n for n, taken in enumerate(sets) if not taken & variables.keys()), len(files))
            if place[number] == len(files):
                files.append(dict(MODULES.get(where, {})))
                sets.append(set())
            sets[place[number]] |= variables.keys()
            files[place[number]] |= variables
        for number, variables in enumerate(files):
            test = {"mock_provider": {"google": {}}, "variables": variables, "run": {"case": {"command": "plan"}}}
            (root.directory / f"case{number}.tftest.json").write_text(json.dumps(test))
        heard = diagnostics(root)
        answers |= {number: heard.get(file, "") for number, file in place.items()}
        for file in root.directory.glob("*.tftest.json"):
            file.unlink()
    return answers


def module_root(cloud: Cloud, name: str, directory: Path) -> Root:
    """A module as a root of its own."""
    shutil.copytree(asset("terraform") / "modules" / name, directory, dirs_exist_ok=True)
    provider = {"terraform": {"required_providers": {"google": {"source": "hashicorp/google", "version": "~> 8.0"}}}}
    (directory / "provider.tf.json").write_text(json.dumps(provider))
    root = Root(cloud, name, directory)
    root.terraform("init", "-input=false")
    return root


def diagnostics(root: Root) -> dict[int, str]:
    found: dict[int, str] = defaultdict(str)
    for line in root.terraform("test", "-json", check=False).stdout.splitlines():
        message = json.loads(line)
        if message["type"] == "diagnostic":
            number = int(re.findall(r"\d+", message["@testfile"])[0])
            found[number] += message["diagnostic"]["detail"]
    return dict(found)


@pytest.mark.parametrize("number", range(len(CASES)), ids=[f"{where}-{sentence}" for where, _, sentence in CASES])
def test_refuses(number: int, said: dict[int, str]) -> None:
    assert CASES[number][2] in said[number]


def test_every_validation_has_a_case(said: dict[int, str]) -> None:
    source = asset("terraform")
    for folder in [*(source / root for root in VALUES), *(source / "modules").iterdir()]:
        for sentence in re.findall(r'error_message = "((?:[^"\\]|\\.)*)"', (folder / "variables.tf").read_text()):
            begin = sentence.replace('\\"', '"').partition("${")[0]
            cases = [n for n, (where, _, _) in enumerate(CASES) if where == folder.name and begin in said[n]]
            assert cases, f"{folder.name}: no case breaks the rule that says: {begin}"


@pytest.mark.parametrize("kind", VALUES)
def test_roots_are_valid_and_no_value_is_undeclared(kind: str, roots: dict[str, Root]) -> None:
    roots[kind].render(VALUES[kind]())
    assert "Success" in roots[kind].terraform("validate", "-no-color").stdout
    assert "Warning" not in roots[kind].terraform("plan", "-no-color", "-input=false", "-lock=false").stdout
