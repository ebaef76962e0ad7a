"""The image: build both targets with Cloud Build once per content, and return their digests.

The tag is made from the content of container/ and jobs/ and from the OpenEMR line, so a tag never moves, an unchanged
tree is never built twice, and a killed build is simply built again.
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from google.api_core.exceptions import PreconditionFailed
from googleapiclient.errors import HttpError

from gcp_openemr import interruption
from gcp_openemr.assets import asset
from gcp_openemr.clients import Cloud
from gcp_openemr.console import Step
from gcp_openemr.errors import BuildFailed

__all__ = ["BuildPlace", "Images", "Source", "build", "find", "source"]

TARGETS = ("service", "job")
_POLL_SECONDS = 3.0
_BUILD_SECONDS = 3600
_UNDER_WAY = ("PENDING", "QUEUED", "WORKING")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Images:
    """Both targets by digest: `HOST/PROJECT/REPOSITORY/service@sha256:…`."""

    service: str
    job: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """What an image is made of: a reproducible tar.gz, its tag, and the build arguments."""

    archive: bytes = dataclasses.field(repr=False)
    tag: str
    arguments: Mapping[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class BuildPlace:
    """Where and as whom images are built: the foundation's outputs."""

    region: str
    registry: str
    bucket: str
    account: str


def source(*, version: str, arguments: Mapping[str, str]) -> Source:
    """Pack container/ and jobs/ as the build's context, with `arguments` as `--build-arg`."""
    archive = _pack({"container": asset("container"), "jobs": asset("jobs")})
    content = hashlib.sha256(archive + json.dumps(dict(arguments), sort_keys=True).encode()).hexdigest()
    return Source(archive=archive, tag=f"{version}-{content[:16]}", arguments=dict(arguments))


def find(cloud: Cloud, place: BuildPlace, wanted: Source) -> Images | None:
    """The images of this source, or None when either is not built yet."""
    digests = {target: _digest(cloud, place, target, wanted.tag) for target in TARGETS}
    if not all(digests.values()):
        return None
    return Images(**{target: f"{place.registry}/{target}@{digest}" for target, digest in digests.items()})


def build(cloud: Cloud, place: BuildPlace, wanted: Source, step: Step) -> Images:
    """Build and push both targets.

    Raises:
        BuildFailed: with Cloud Build's reason and the address of its log.
    """
    name = f"source/{wanted.tag}.tar.gz"
    try:
        cloud.storage.bucket(place.bucket).blob(name).upload_from_string(
            wanted.archive, content_type="application/gzip", if_generation_match=0
        )
    except PreconditionFailed:
        step.update("the source is in the bucket already")
    builds = cloud.api("cloudbuild", "v1").projects().locations().builds()
    parent = f"projects/{cloud.project}/locations/{place.region}"
    build_id = _under_way(builds, parent, wanted)
    if build_id is None:
        operation = builds.create(parent=parent, body=_request(cloud, place, wanted, name)).execute()
        build_id = operation["metadata"]["build"]["id"]
    _wait(builds, f"{parent}/builds/{build_id}", step)
    images = find(cloud, place, wanted)
    if images is None:
        raise BuildFailed(
            "Cloud Build succeeded, but its images are not in the registry.", do="Run the same command again."
        )
    return images


def _under_way(builds: Any, parent: str, wanted: Source) -> str | None:
    """A build of this very source that an interrupted run began: a second one could not push the same tags."""
    listed = builds.list(parent=parent, filter=f'tags="{wanted.tag}"').execute().get("builds", [])
    ids = [b["id"] for b in listed if wanted.tag in b.get("tags", []) and b["status"] in _UNDER_WAY]
    return next(iter(ids), None)


def _wait(builds: Any, name: str, step: Step) -> None:
    delay = 0.2
    while True:
        state = builds.get(name=name).execute()
        status = state["status"]
        if status == "SUCCESS":
            return
        if status not in _UNDER_WAY:
            detail = state.get("failureInfo", {}).get("detail") or state.get("statusDetail", "")
            raise BuildFailed(
                f"Cloud Build ended as {status}. {detail}".strip(), do=f"Its log: {state.get('logUrl', name)}"
            )
        step.update(status.lower())
        interruption.pause(delay)
        delay = min(delay * 1.5, _POLL_SECONDS)


def _request(cloud: Cloud, place: BuildPlace, wanted: Source, object_name: str) -> dict[str, object]:
    docker = "gcr.io/cloud-builders/docker"
    images = [f"{place.registry}/{target}:{wanted.tag}" for target in TARGETS]
    build_arguments = [
        part for key, value in sorted(wanted.arguments.items()) for part in ("--build-arg", f"{key}={value}")
    ]
    return {
        "source": {"storageSource": {"bucket": place.bucket, "object": object_name}},
        "steps": [
            {
                "id": target,
                "name": docker,
                "env": ["DOCKER_BUILDKIT=1"],
                "args": [
                    "build",
                    "--platform=linux/amd64",
                    "--file=container/Dockerfile",
                    f"--target={target}",
                    f"--tag={image}",
                    *build_arguments,
                    ".",
                ],
            }
            for target, image in zip(TARGETS, images, strict=True)
        ],
        "images": images,
        "tags": [wanted.tag],
        "serviceAccount": f"projects/{cloud.project}/serviceAccounts/{place.account}",
        "timeout": f"{_BUILD_SECONDS}s",
        "options": {"logging": "CLOUD_LOGGING_ONLY"},
    }


def _digest(cloud: Cloud, place: BuildPlace, target: str, tag: str) -> str | None:
    host, project, repository = place.registry.split("/")
    location = host.removesuffix("-docker.pkg.dev")
    package = f"projects/{project}/locations/{location}/repositories/{repository}/packages/{target}"
    tags = cloud.api("artifactregistry", "v1").projects().locations().repositories().packages().tags()
    try:
        version = tags.get(name=f"{package}/tags/{tag}").execute()["version"]
    except HttpError as error:
        if error.status_code == 404:
            return None
        raise
    return str(version).rpartition("/")[2]


def _pack(folders: Mapping[str, Path]) -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, folder in folders.items():
            for file in _files(folder):
                archive.addfile(
                    _entry(f"{name}/{file.relative_to(folder).as_posix()}", file), io.BytesIO(file.read_bytes())
                )
    return gzip.compress(plain.getvalue(), mtime=0)


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path


def _entry(name: str, file: Path) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    status = file.stat()
    entry.size = status.st_size
    entry.mode = 0o755 if status.st_mode & 0o100 else 0o644
    return entry
