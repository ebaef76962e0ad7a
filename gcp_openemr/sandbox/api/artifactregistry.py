"""Artifact Registry v1: repositories, and the images that builds push."""

from __future__ import annotations

import dataclasses
import re

from gcp_openemr.sandbox.api.names import now
from gcp_openemr.sandbox.api.refusals import missing, refuse, refuse_if
from gcp_openemr.sandbox.api.rules import ApiError, Call, Change, Collection, Json, Store, handles, shape

__all__ = ["ImageReference", "find_image", "parse_image", "push"]

_TYPES = "google.devtools.artifactregistry.v1."
_IMAGE = re.compile(
    r"(?P<location>[a-z0-9-]+)-docker\.pkg\.dev/(?P<project>[a-z0-9.:-]+)/(?P<repository>[a-z0-9-]+)/"
    r"(?P<package>[a-z0-9._/-]+?)(?::(?P<tag>[\w][\w.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageReference:
    """`LOCATION-docker.pkg.dev/PROJECT/REPOSITORY/PACKAGE[:TAG][@DIGEST]`."""

    location: str
    project: str
    repository: str
    package: str
    tag: str
    digest: str

    @property
    def repository_name(self) -> str:
        return (
            f"artifactregistry.googleapis.com/projects/{self.project}/locations/{self.location}"
            f"/repositories/{self.repository}"
        )

    @property
    def package_name(self) -> str:
        return f"{self.repository_name}/packages/{self.package}"

    @property
    def uri(self) -> str:
        """Without tag and digest."""
        return f"{self.location}-docker.pkg.dev/{self.project}/{self.repository}/{self.package}"


def _complete(change: Change) -> None:
    new = change.new
    if change.old is not None:
        return
    if new.get("format", "FORMAT_UNSPECIFIED") != "DOCKER":
        raise ApiError(501, "The sandbox stands in for repositories of format DOCKER.")
    location, project = change.name.split("/")[4], change.name.split("/")[2]
    new.setdefault("mode", "STANDARD_REPOSITORY")
    new |= {
        "registryUri": f"{location}-docker.pkg.dev/{project}/{change.name.rsplit('/', 1)[1]}",
        "vulnerabilityScanningConfig": {
            "enablementState": "SCANNING_ACTIVE",
            **(new.get("vulnerabilityScanningConfig") or {}),
        },
    }


Collection(
    "artifactregistry.projects.locations.repositories",
    id_parameter="repositoryId",
    message=f"{_TYPES}Repository",
    metadata=f"{_TYPES}OperationMetadata",
    complete=_complete,
    deleted_response=False,
    immutable=("format", "mode", "kmsKeyName"),
)
Collection(
    "artifactregistry.projects.locations.repositories.dockerImages",
    kind="image",
    permission="artifactregistry.dockerimages",
    verbs=("get", "list"),
)
Collection(
    "artifactregistry.projects.locations.repositories.packages",
    message="google.protobuf.Empty",
    metadata=f"{_TYPES}OperationMetadata",
    verbs=("get", "list"),
)
Collection("artifactregistry.projects.locations.repositories.packages.tags", verbs=("get", "list"))
Collection("artifactregistry.projects.locations.repositories.packages.versions", verbs=("get", "list"))


@handles("artifactregistry.projects.locations.repositories.packages.tags.delete", needs="artifactregistry.tags.delete")
def delete_tag(call: Call) -> Json:
    repository = call.store.get(call.name.split("/packages/", 1)[0])
    refuse_if(repository is not None and _immutable(repository.body), "artifactregistry.tag-delete")
    if not call.store.delete(call.name):
        raise missing(call.name)
    return {}


def parse_image(reference: str) -> ImageReference | None:
    """The parts of a reference to Artifact Registry; None for another registry's."""
    found = _IMAGE.fullmatch(reference)
    if found is None:
        return None
    return ImageReference(**{key: value or "" for key, value in found.groupdict().items()})


def find_image(store: Store, reference: ImageReference) -> Json | None:
    """The DockerImage that a tag (default `latest`) or a digest names."""
    digest = reference.digest
    if not digest:
        tag = store.get(f"{reference.package_name}/tags/{reference.tag or 'latest'}")
        if tag is None:
            return None
        digest = str(tag.body["version"]).rsplit("/", 1)[-1]
    record = store.get(f"{reference.repository_name}/dockerImages/{reference.package}@{digest}")
    return record.body if record else None


def push(store: Store, reference: ImageReference, digest: str, *, size: int = 0) -> None:
    """Put an image into its repository and move its tag there.

    Raises:
        ApiError: the repository is missing, or its tags cannot move.
    """
    repository = store.get(reference.repository_name)
    if repository is None:
        raise refuse("artifactregistry.repository", repository=reference.repository)
    tag = reference.tag or "latest"
    version = f"{reference.package_name}/versions/{digest}".split("/", 1)[1]
    with store.transaction():
        old = store.get(f"{reference.package_name}/tags/{tag}")
        if old is not None and _immutable(repository.body) and old.body["version"] != version:
            raise refuse("artifactregistry.tag-immutable", tag=tag)
        moment = now()
        _put(store, reference.package_name, {"createTime": moment, "updateTime": moment})
        _put(store, f"{reference.package_name}/versions/{digest}", {"createTime": moment, "updateTime": moment})
        _put(store, f"{reference.package_name}/tags/{tag}", {"version": version})
        _put_image(store, reference, digest, size)


def _put_image(store: Store, reference: ImageReference, digest: str, size: int) -> None:
    prefix = f"{reference.package_name}/tags/"
    name = f"{reference.repository_name}/dockerImages/{reference.package}@{digest}"
    tags = [record for record in store.list(prefix) if record.body["version"].endswith(digest)]
    names = [record.name.removeprefix(prefix) for record in tags]
    image = shape("artifactregistry.image", name, uri=f"{reference.uri}@{digest}", tags=names, size=str(size))
    _put(store, name, image)


def _put(store: Store, name: str, body: Json) -> None:
    old = store.get(name)
    kept: Json = {key: old.body[key] for key in ("createTime", "uploadTime", "buildTime") if old and key in old.body}
    store.put(name, {"name": name.split("/", 1)[1], **body, **kept})


def _immutable(repository: Json) -> bool:
    return bool((repository.get("dockerConfig") or {}).get("immutableTags"))
