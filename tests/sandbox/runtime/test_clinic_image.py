"""The product's own image: its Dockerfile, its entrypoint, real Apache and PHP-FPM."""

from __future__ import annotations

import gzip
import io
import os
import tarfile

import pytest
import requests

from gcp_openemr.assets import asset
from gcp_openemr.sandbox.interfaces import Json, Refused
from tests.sandbox.runtime import inside
from tests.sandbox.runtime.conftest import LOCATION, PROJECT, REPOSITORY, World, machine, revision, serve

VARIABLES = {
    "MYSQL_HOST": "db.sql.goog",
    "MYSQL_DATABASE": "oe_main",
    "MYSQL_USER": "oe_main",
    "MYSQL_PASS": "unused here",
    "OPENEMR_SESSIONS": "files",
    "OPENEMR_MAX_INSTANCES": "1",
}
PROBE = {"httpGet": {"path": "/health/live"}, "periodSeconds": 3, "timeoutSeconds": 2, "failureThreshold": 5}


def context() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name in ("container", "jobs"):
            tar.add(asset(name), name, filter=lambda entry: None if "__pycache__" in entry.name else entry)
    return gzip.compress(packed.getvalue(), mtime=0)


def request(*options: str) -> Json:
    tags = {target: f"{REPOSITORY}/{target}:1" for target in ("service", "job")}
    return {
        "source": {"storageSource": {"bucket": "build", "object": "clinic.tar.gz"}},
        "steps": [
            {
                "name": "gcr.io/cloud-builders/docker",
                "args": ["build", "--file=container/Dockerfile", f"--target={target}", f"--tag={tag}", *options, "."],
            }
            for target, tag in tags.items()
        ],
        "images": list(tags.values()),
        "serviceAccount": f"{PROJECT}/serviceAccounts/build@clinic",
    }


@pytest.fixture(scope="module")
def images(world: World) -> dict[str, str]:
    world.run(inside.put_object, "build", "clinic.tar.gz", context())
    results, _ = world.run(inside.build, request())
    again, _ = world.run(inside.build, request())
    assert [one["digest"] for one in results["images"]] == [one["digest"] for one in again["images"]]
    return {
        name.rpartition("/")[2].split(":")[0]: f"{name.rpartition(':')[0]}@{digest}"
        for name, digest in ((one["name"], one["digest"]) for one in results["images"])
    }


def test_a_rebuild_has_another_digest(world: World, images: dict[str, str]) -> None:
    results, _ = world.run(inside.build, request("--no-cache", "--build-arg", "REBUILD=2026-11-22T06:30:05Z"))
    assert not {one["digest"] for one in results["images"]} & {image.partition("@")[2] for image in images.values()}


def clinic(world: World, image: str, number: int) -> Json:
    world.call("start_machine", machine())
    world.run(inside.make_share, "clinics/main/sites")
    container = {
        "env": [{"name": name, "value": value} for name, value in VARIABLES.items()],
        "startupProbe": PROBE,
        "volumeMounts": [{"name": "sites", "mountPath": "/var/www/localhost/htdocs/openemr/sites"}],
        "resources": {"limits": {"memory": "1Gi", "cpu": "1"}},
    }
    volume = {"name": "sites", "nfs": {"server": "10.8.0.9", "path": "/share/clinics/main/sites"}}
    return revision("clinic", number, image, container=container, volumes=[volume])


def fill(world: inside.World) -> None:
    """As little as the entrypoint asks for, owned by the clinic's user."""
    site = inside.share(world) / "clinics/main/sites/default"
    (site / "documents/logs_and_misc/methods").mkdir(parents=True)
    (site / "documents/logs_and_misc/methods/sevena").write_text("key")
    (site / "sqlconf.php").write_text("<?php\n$config = 1;\n")
    for path in (site, *site.rglob("*")):
        os.chown(path, 1000, 1000)


def test_an_empty_share_is_refused_in_the_entrypoints_words(world: World, images: dict[str, str]) -> None:
    with pytest.raises(Refused, match="failed the configured startup probe checks"):
        serve(world, clinic(world, images["service"], 1))
    assert any("sites/default is missing: the share is empty or not mounted" in line for line in world.log("clinic"))
    assert any(line.endswith("Container called exit(78).") for line in world.log("clinic"))


def test_apache_and_php_serve_a_filled_one_and_end_politely(world: World, images: dict[str, str]) -> None:
    world.run(fill)
    uri = serve(world, clinic(world, images["service"], 2))
    live = requests.get(f"{uri}/health/live", timeout=10)
    assert (live.status_code, live.json()) == (200, {"status": "ok"})
    ready = requests.get(f"{uri}/health/ready", timeout=20)
    assert (ready.status_code, ready.json()["checks"]["database"]) == (503, "failed")
    assert "Apache" in live.headers["Server"]
    world.call("delete_service", f"{LOCATION}/services/clinic")
    assert any("Stopping: requests in hand are finished first" in line for line in world.log("clinic"))


def test_the_job_image_runs_the_jobs(world: World, images: dict[str, str]) -> None:
    template = {"containers": [{"image": images["job"], "args": ["--help"]}], "maxRetries": 0}
    world.run(inside.execute, {"name": f"{LOCATION}/jobs/x/executions/help", "template": template})
    assert any("provision" in line for line in world.log("help"))
