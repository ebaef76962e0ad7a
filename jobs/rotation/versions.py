"""A secret's versions and what they are, which its aliases say: nothing else remembers how far a rotation came.

    current                 at rest
    current, next           `next` is added and not in force yet; disabled, it is being taken back
    current, previous       `current` has moved; `previous` is valid until nobody uses it any more

All aliases move in one write with the secret's etag as condition. Secret Manager may go on telling what was before a
change for minutes (https://cloud.google.com/secret-manager/docs/reference/consistency): a look that tells an etag which
this run has changed is answered with what that change returned.
"""

from __future__ import annotations

import base64
import dataclasses
import time
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

import google_crc32c

from jobs import log, rest, secrets
from jobs.errors import CloudRefused, Refused
from jobs.redacted import Redacted
from jobs.settings import SecretVersion

__all__ = [
    "AT_ONCE",
    "CURRENT",
    "LEFT",
    "MOVED",
    "NEXT",
    "PREVIOUS",
    "Secret",
    "Version",
    "add",
    "enable",
    "look",
    "point",
    "retire",
    "value",
]

CURRENT, NEXT, PREVIOUS = "current", "next", "previous"
AT_ONCE = "gcp-openemr-end"
"""An annotation, there while Redis has still to end what began with an ended password."""
LEFT = "gcp-openemr-left"
"""An annotation, there while rotations leave the administrator's password to the person who set it in OpenEMR."""
MOVED = "gcp-openemr-moved"
"""An annotation, there while `previous` is valid: when `current` moved."""

_ATTEMPTS = 5
_PATIENCE_SECONDS = 120.0
_DESTROY_AFTER_SECONDS = 7 * 24 * 3600

_after: dict[tuple[str, str], Mapping[str, Any]] = {}
"""(Secret, its etag before a change of this run) → the secret after that change."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Version:
    """`going`: its destruction is set for a later time, or done."""

    number: int
    state: str
    made: datetime
    going: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Secret:
    """`projects/p/secrets/s` as it was looked at; versions newest first. `delayed`: destroying takes days by itself."""

    name: str
    etag: str
    aliases: Mapping[str, int]
    annotations: Mapping[str, str]
    delayed: bool
    versions: tuple[Version, ...]

    @property
    def current(self) -> int:
        return self.aliases[CURRENT]

    @property
    def next(self) -> int | None:
        return self.aliases.get(NEXT)

    @property
    def previous(self) -> int | None:
        return self.aliases.get(PREVIOUS)

    @property
    def half_way(self) -> bool:
        return NEXT in self.aliases or PREVIOUS in self.aliases

    @property
    def at_once(self) -> bool:
        return AT_ONCE in self.annotations

    @property
    def moved(self) -> datetime | None:
        """When the version in force came to be that, while the one before is valid still."""
        return datetime.fromisoformat(self.annotations[MOVED]) if MOVED in self.annotations else None

    @property
    def enabled(self) -> tuple[int, ...]:
        return tuple(version.number for version in self.versions if version.state == "ENABLED")

    @property
    def age_seconds(self) -> float:
        """Since the current version was made."""
        made = next(version.made for version in self.versions if version.number == self.current)
        return max((datetime.now(UTC) - made).total_seconds(), 0.0)


def look(name: str) -> Secret:
    """What is there.

    Raises:
        Refused: it has no version in force, or that one is destroyed.
    """
    return _secret(name, _body(name))


def _body(name: str) -> Mapping[str, Any]:
    body: Mapping[str, Any] = rest.call("GET", "secretmanager", f"v1/{name}")
    while (name, str(body.get("etag"))) in _after:
        body = _after[name, str(body["etag"])]
    return body


def _secret(name: str, body: Mapping[str, Any]) -> Secret:
    versions = tuple(_version(one) for one in rest.listed("secretmanager", f"v1/{name}/versions", "versions"))
    aliases = {alias: int(number) for alias, number in body.get("versionAliases", {}).items()}
    secret = Secret(
        name=name,
        etag=str(body.get("etag", "")),
        aliases=aliases,
        annotations=body.get("annotations", {}),
        delayed=bool(body.get("versionDestroyTtl")),
        versions=versions,
    )
    states = {version.number: version.state for version in versions}
    if CURRENT not in aliases:
        raise Refused(f"{name} has no version in force.", do="Run gcp-openemr deploy, which makes one.")
    if states.get(secret.current, "DESTROYED") == "DESTROYED":
        raise Refused(
            f"{name} has no version in force: {secret.current} is destroyed, and its value lost.",
            do="Run gcp-openemr deploy, which says how to put another one in its place.",
        )
    return secret


def value(name: str, number: int) -> Redacted:
    """Raises SecretUnavailable where it is disabled or destroyed."""
    return secrets.access(SecretVersion(secret=name, version=number))


def add(secret: Secret, text: Redacted) -> int:
    """Add a version and return its number; where no answer tells whether it was added, look."""
    data = text.reveal().encode()
    payload = {"data": base64.b64encode(data).decode(), "dataCrc32c": str(google_crc32c.value(data))}
    newest = max(version.number for version in secret.versions)
    for _ in range(_ATTEMPTS):
        try:
            made = rest.call(
                "POST", "secretmanager", f"v1/{secret.name}:addVersion", body={"payload": payload}, repeatable=False
            )
            return _number(made)
        except rest.Unclear as error:
            log.info("Looking whether the version was added", secret=secret.name, reason=error.what)
        found = look(secret.name).versions[0].number
        if found > newest:
            return found
    raise CloudRefused(f"{secret.name} takes no version.", do="Run the same command again.")


def point(
    name: str, aliases: Mapping[str, int | None], *, annotations: Mapping[str, str | None] | None = None
) -> Secret:
    """Move aliases, all at once; None takes one away. Returns the secret as it is then.

    What another changed beside them is kept, also where Secret Manager shows it late.

    Raises:
        Refused: another moved one of these aliases meanwhile.
    """
    began: Secret | None = None
    deadline = time.monotonic() + _PATIENCE_SECONDS
    delay = 0.25
    while True:
        found = _body(name)
        secret = _secret(name, found)
        wanted = _changed(secret.aliases, aliases)
        notes = _changed(secret.annotations, annotations or {})
        if wanted == secret.aliases and notes == secret.annotations:
            if began is not None:
                _after[name, began.etag] = found
            return secret
        began = began or secret
        _check_still_there(began, secret, aliases)
        body = {"name": name, "etag": secret.etag, "versionAliases": {a: str(n) for a, n in wanted.items()}}
        mask = "versionAliases"
        if notes != secret.annotations:
            body, mask = {**body, "annotations": notes}, f"{mask},annotations"
        try:
            made = rest.call("PATCH", "secretmanager", f"v1/{name}", body=body, query={"updateMask": mask})
            _after[name, secret.etag] = made
            return _secret(name, made)
        except rest.Conflict as error:
            # tried again after its answer was lost, it meets the etag that it changed itself
            if time.monotonic() + delay > deadline:
                raise
            log.info("Looking at the aliases again", secret=name, reason=error.what)
        time.sleep(delay)
        delay = min(delay * 2, 10.0)


def _check_still_there(began: Secret, seen: Secret, aliases: Collection[str]) -> None:
    moved = [alias for alias in aliases if seen.aliases.get(alias) != began.aliases.get(alias)]
    if moved:
        told = ", ".join(f"{alias} from {began.aliases.get(alias)} to {seen.aliases.get(alias)}" for alias in moved)
        raise Refused(
            f"Another moved aliases of {seen.name} meanwhile: {told}.",
            do="See in the audit log who did. The same command, run again, goes on from what is there.",
        )


def enable(name: str, number: int) -> None:
    rest.call("POST", "secretmanager", f"v1/{name}/versions/{number}:enable", body={}, repeatable=True)


def retire(secret: Secret, *, keep: int) -> list[int]:
    """Disable every version but one, and have them destroyed later; returns those that were still enabled.

    Where the secret itself does not delay a destruction it is left to a run a week later.
    """
    ended = []
    for version in secret.versions:
        if version.number == keep or version.going or version.state == "DESTROYED":
            continue
        path = f"v1/{secret.name}/versions/{version.number}"
        if version.state == "ENABLED":
            rest.call("POST", "secretmanager", f"{path}:disable", body={}, repeatable=True)
            ended.append(version.number)
        if secret.delayed or (version.state != "ENABLED" and secret.age_seconds > _DESTROY_AFTER_SECONDS):
            rest.call("POST", "secretmanager", f"{path}:destroy", body={}, repeatable=True)
    return ended


def _changed(present: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: one for name, one in {**present, **changes}.items() if one is not None}


def _version(body: Mapping[str, Any]) -> Version:
    return Version(
        number=_number(body),
        state=str(body["state"]),
        made=rest.moment(body["createTime"]),
        going="scheduledDestroyTime" in body or "destroyTime" in body,
    )


def _number(body: Mapping[str, Any]) -> int:
    return int(str(body["name"]).rpartition("/")[2])
