"""Secret Manager: add, read, which version is current, pin.

The current version is what the secret's alias `current` names. Moving the alias is one conditional write, so at every
moment exactly one version is current, also while a rotation has already added the next one. Where no alias was set yet
(a first deploy that died between the two calls), it is the newest enabled version.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable
from typing import cast

import google_crc32c
from google.api_core.exceptions import BadRequest, GoogleAPICallError, NotFound
from google.cloud import secretmanager_v1
from google.protobuf.field_mask_pb2 import FieldMask

from gcp_openemr.clients import Cloud
from gcp_openemr.errors import CloudRefused
from gcp_openemr.redacted import Redacted
from gcp_openemr.retrying import once

__all__ = [
    "CURRENT",
    "LEFT",
    "Secret",
    "Standing",
    "add",
    "current_version",
    "ensure",
    "find_version",
    "made",
    "read",
    "standing",
]

CURRENT = "current"
NEXT, PREVIOUS = "next", "previous"
LEFT = "gcp-openemr-left"  # of jobs/rotation/versions.py
_LOST = (
    "A destroyed value is lost. Add another version (gcloud secrets versions add) and have the alias name it (gcloud "
    "secrets update --update-version-aliases=current=VERSION); gcp-openemr deploy then sets it where it is used. The "
    "administrator's: gcp-openemr rotate admin --force. Sets made under a lost backup password cannot be read."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Secret:
    """A secret of this project at one pinned version."""

    name: str
    version: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Standing:
    """A secret as it stands, for people. At rest it has the alias `current` alone.

    `next` was added and is not in force yet; `previous` was in force and is still taken. `since` is when the current
    version was made. `enabled` are the versions that can be read; `problem` is why the current one cannot. `left`:
    rotations leave the password to the person who set another one in OpenEMR.
    """

    secret: str
    current: int | None
    since: datetime.datetime | None
    next: int | None
    previous: int | None
    enabled: tuple[int, ...]
    problem: str = ""
    left: bool = False

    @property
    def half_way(self) -> str:
        """How far a rotation came that did not end; '' where there is none."""
        if self.next is not None:
            return f"version {self.next} is made and not in force yet"
        if self.previous is not None:
            return f"version {self.current} is in force, and version {self.previous} before it is still taken"
        return ""

    @property
    def strange(self) -> tuple[int, ...]:
        """Versions that can be read and are nobody's."""
        return tuple(sorted({*self.enabled} - {self.current, self.next, self.previous}))


def standing(cloud: Cloud, name: str) -> Standing | None:
    """How secret `name` stands, or None where it is not there."""
    try:
        secret = cloud.secrets.get_secret(name=_path(cloud, name))
        versions = {_number(v.name): v for v in cloud.secrets.list_secret_versions(parent=secret.name)}
    except NotFound:
        return None
    enabled = tuple(sorted(number for number, version in versions.items() if version.state.name == "ENABLED"))
    alias = secret.version_aliases.get(CURRENT)
    current = int(alias) if alias else max(enabled, default=None)
    made = cast("datetime.datetime", versions[current].create_time) if current in versions else None
    return Standing(
        secret=name,
        current=current,
        since=made and datetime.datetime.fromtimestamp(made.timestamp(), datetime.UTC),
        next=_alias(secret, NEXT),
        previous=_alias(secret, PREVIOUS),
        enabled=enabled,
        problem="" if current is None or current in enabled else _unreadable(name, current),
        left=LEFT in secret.annotations,
    )


def current_version(cloud: Cloud, name: str) -> int | None:
    """The version of secret `name` that is in force, or None when it has none. The only function that decides this.

    Raises:
        CloudRefused: the alias names a version that is not enabled.
    """
    secret = cloud.secrets.get_secret(name=_path(cloud, name))
    states = {_number(v.name): v.state.name for v in cloud.secrets.list_secret_versions(parent=secret.name)}
    alias = secret.version_aliases.get(CURRENT)
    if alias is None:
        return max((number for number, state in states.items() if state == "ENABLED"), default=None)
    state = states.get(int(alias), "DESTROYED")
    if state != "ENABLED":
        raise CloudRefused(
            _unreadable(name, int(alias)), do=_LOST if state == "DESTROYED" else _enabled_by(name, alias)
        )
    return int(alias)


def find_version(cloud: Cloud, name: str) -> int | None:
    """As `current_version`, and None also where the secret itself is not there."""
    try:
        return current_version(cloud, name)
    except NotFound:
        return None


def made(cloud: Cloud, secret: Secret) -> datetime.datetime:
    """When a version was added."""
    found = cloud.secrets.get_secret_version(name=f"{_path(cloud, secret.name)}/versions/{secret.version}")
    return cast("datetime.datetime", found.create_time)  # its stub names what it is on the wire


def ensure(cloud: Cloud, name: str, make: Callable[[], Redacted]) -> Secret:
    """Give secret `name` its first version where it has none; never a second one. Safe to interrupt and repeat."""
    version = current_version(cloud, name)
    if version is None:
        version = add(cloud, name, make())
    _point(cloud, name, version)
    return Secret(name=name, version=version)


def add(cloud: Cloud, name: str, value: Redacted) -> int:
    """Add a version and return its number. It is not current until the alias says so."""
    data = value.reveal().encode()
    payload = secretmanager_v1.SecretPayload(data=data, data_crc32c=google_crc32c.value(data))
    before = _newest(cloud, name)

    def added() -> int | None:
        newest = _newest(cloud, name)
        return newest if newest > before else None

    return once(
        lambda: _number(cloud.secrets.add_secret_version(parent=_path(cloud, name), payload=payload).name), added
    )


def read(cloud: Cloud, secret: Secret) -> Redacted:
    """The value of a pinned version.

    Raises:
        CloudRefused: the version is disabled, destroyed or missing.
    """
    try:
        answer = cloud.secrets.access_secret_version(name=f"{_path(cloud, secret.name)}/versions/{secret.version}")
    except (NotFound, BadRequest) as error:
        raise CloudRefused(f"Secret {secret.name} version {secret.version} cannot be read: {error.message}") from error
    return Redacted(answer.payload.data.decode())


def _point(cloud: Cloud, name: str, version: int) -> None:
    secret = cloud.secrets.get_secret(name=_path(cloud, name))
    if secret.version_aliases.get(CURRENT) == version:
        return
    aliases = {**secret.version_aliases, CURRENT: version}
    changed = secretmanager_v1.Secret(name=secret.name, etag=secret.etag, version_aliases=aliases)
    try:
        cloud.secrets.update_secret(secret=changed, update_mask=FieldMask(paths=["version_aliases"]))
    except GoogleAPICallError:
        # Tried again after its answer was lost, it meets the etag that it changed itself.
        if cloud.secrets.get_secret(name=secret.name).version_aliases.get(CURRENT) != version:
            raise


def _newest(cloud: Cloud, name: str) -> int:
    versions = cloud.secrets.list_secret_versions(parent=_path(cloud, name))
    return max((_number(version.name) for version in versions), default=0)


def _path(cloud: Cloud, name: str) -> str:
    return f"projects/{cloud.project}/secrets/{name}"


def _alias(secret: secretmanager_v1.Secret, alias: str) -> int | None:
    number = secret.version_aliases.get(alias)
    return int(number) if number else None


def _enabled_by(name: str, version: int) -> str:
    return (
        f"Enable it again (gcloud secrets versions enable {version} --secret={name}), or have it enabled and "
        "replaced by: gcp-openemr rotate"
    )


def _unreadable(name: str, version: int) -> str:
    return f"Secret {name}: its current version {version} is disabled or destroyed."


def _number(version_name: str) -> int:
    return int(version_name.rpartition("/")[2])
