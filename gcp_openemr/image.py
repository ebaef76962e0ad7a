"""The image: build both targets with Cloud Build once per content, and return their digests.

The tag is made from the content of container/ and jobs/ and from the OpenEMR line, so a tag never moves, an unchanged
tree is never built twice, and a killed build is simply built again. A rebuild, which takes in what Alpine's packages
and OpenEMR's branch have since been given, adds its moment to the tag; the latest rebuild of a content is its image.

OpenEMR's own stage is pushed too, under a tag of what it is made of: later builds take its layers from there, so a
changed setting neither builds OpenEMR again nor moves it to another commit.
"""

from __future__ import annotations

import dataclasses
import datetime
import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from google.api_core.exceptions import PreconditionFailed
from googleapiclient.errors import HttpError

from gcp_openemr import interruption
from gcp_openemr.assets import asset
from gcp_openemr.clients import Cloud
from gcp_openemr.console import Step
from gcp_openemr.errors import BuildFailed
from gcp_openemr.retrying import once

__all__ = ["BuildPlace", "Images", "Source", "build", "find", "source"]

TARGETS = ("service", "job")
_STAGE = "openemr"
_POLL_SECONDS = 3.0
_BUILD_SECONDS = 3600
_DOCKER = "gcr.io/cloud-builders/docker"
_STAGE_FILES = ("Dockerfile", "start-node-services.js")
_UNDER_WAY = ("PENDING", "QUEUED", "WORKING")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Images:
    """Both targets by digest: `HOST/PROJECT/REPOSITORY/service@sha256:…`."""

    service: str
    job: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """What an image is made of: a reproducible tar.gz, its tag, and the build arguments.

    `stage_tag` names what OpenEMR's own stage is made of. `rebuild` is the moment of a rebuild, empty for a build.
    """

    archive: bytes = dataclasses.field(repr=False)
    tag: str
    stage_tag: str
    arguments: Mapping[str, str]
    rebuild: str = ""

    def rebuilt(self, moment: datetime.datetime) -> Source:
        """The same, built once more without anything of before."""
        stamp = f"{moment:%Y%m%dt%H%M%S}"
        return dataclasses.replace(
            self,
            tag=f"{self.tag}-{stamp}",
            stage_tag=f"{self.stage_tag}-{stamp}",
            arguments={**self.arguments, "REBUILD": f"{moment:%Y-%m-%dT%H:%M:%SZ}"},
            rebuild=stamp,
        )


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
    said = json.dumps(dict(arguments), sort_keys=True).encode()
    stage = b"".join((asset("container") / name).read_bytes() for name in _STAGE_FILES)
    return Source(
        archive=archive,
        tag=f"{version}-{hashlib.sha256(archive + said).hexdigest()[:16]}",
        stage_tag=f"{version}-{hashlib.sha256(stage + said).hexdigest()[:16]}",
        arguments=dict(arguments),
    )


def find(cloud: Cloud, place: BuildPlace, wanted: Source) -> Images | None:
    """The images of this source as last built, or None when either is not built yet."""
    found = [_tags(cloud, place, target) for target in TARGETS]
    both = [tag for tag in found[0] if tag in found[1] and (tag == wanted.tag or tag.startswith(f"{wanted.tag}-"))]
    if not both:
        return None
    return Images(
        **{target: f"{place.registry}/{target}@{tags[max(both)]}" for target, tags in zip(TARGETS, found, strict=True)}
    )


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
        cached = wanted.stage_tag in _tags(cloud, place, _STAGE)
        body = _request(cloud, place, wanted, name, cached=cached)
        build_id = once(
            lambda: str(builds.create(parent=parent, body=body).execute()["metadata"]["build"]["id"]),
            lambda: _under_way(builds, parent, wanted, {*_UNDER_WAY, "SUCCESS"}),
        )
    _wait(builds, f"{parent}/builds/{build_id}", step)
    images = find(cloud, place, wanted)
    if images is None:
        raise BuildFailed(
            "Cloud Build succeeded, but its images are not in the registry.", do="Run the same command again."
        )
    return images


def _under_way(builds: Any, parent: str, wanted: Source, statuses: Collection[str] = _UNDER_WAY) -> str | None:
    """A build of this very source that an interrupted run began: a second one could not push the same tags."""
    listed = builds.list(parent=parent, filter=f'tags="{wanted.tag}"').execute().get("builds", [])
    ids = [b["id"] for b in listed if wanted.tag in b.get("tags", []) and b["status"] in statuses]
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


def _request(cloud: Cloud, place: BuildPlace, wanted: Source, object_name: str, *, cached: bool) -> dict[str, object]:
    """The build. With `cached`, OpenEMR's stage is in the registry already; without, it is the first thing built."""
    stage = f"{place.registry}/{_STAGE}:{wanted.stage_tag}"
    made = {} if cached else {_STAGE: stage}
    made |= {target: f"{place.registry}/{target}:{wanted.tag}" for target in TARGETS}
    arguments = {**wanted.arguments, "BUILDKIT_INLINE_CACHE": "1"}
    options = [f"--cache-from={stage}"] if cached else []
    # only the first step: what it made new, the others take
    first = ["--no-cache", "--pull"] if wanted.rebuild else []
    steps = []
    for target, name in made.items():
        fixed = [
            "build",
            "--platform=linux/amd64",
            "--file=container/Dockerfile",
            f"--target={target}",
            f"--tag={name}",
        ]
        given = [part for key, value in sorted(arguments.items()) for part in ("--build-arg", f"{key}={value}")]
        step = {"id": target, "name": _DOCKER, "env": ["DOCKER_BUILDKIT=1"]}
        steps.append({**step, "args": ["build", *fixed, *options, *first, *given, "."]})
        first = []
    return {
        "source": {"storageSource": {"bucket": place.bucket, "object": object_name}},
        "steps": steps,
        "images": list(made.values()),
        "tags": [wanted.tag],
        "serviceAccount": f"projects/{cloud.project}/serviceAccounts/{place.account}",
        "timeout": f"{_BUILD_SECONDS}s",
        "options": {"logging": "CLOUD_LOGGING_ONLY"},
    }


def _tags(cloud: Cloud, place: BuildPlace, target: str) -> dict[str, str]:
    """Tag → digest of a target's images; empty where none was built."""
    host, project, repository = place.registry.split("/")
    location = host.removesuffix("-docker.pkg.dev")
    package = f"projects/{project}/locations/{location}/repositories/{repository}/packages/{target}"
    tags = cloud.api("artifactregistry", "v1").projects().locations().repositories().packages().tags()
    found: dict[str, str] = {}
    request = tags.list(parent=package, pageSize=1000)
    while request is not None:
        try:
            page = request.execute()
        except HttpError as error:
            if error.status_code == 404:
                return {}
            raise
        for tag in page.get("tags", []):
            found[tag["name"].rpartition("/")[2]] = tag["version"].rpartition("/")[2]
        request = tags.list_next(request, page)
    return found


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
