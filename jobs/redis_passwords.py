"""redis-passwords: give a clinic's Redis user exactly the passwords that its secret's aliases name.

The rotation starts it: it may not have Redis's administrator itself, with which every clinic's sessions could be read.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from jobs import log, redis_acl, rest, secrets
from jobs.errors import Refused
from jobs.rotation.settings import RedisPasswords
from jobs.rotation.versions import AT_ONCE, CURRENT, NEXT, PREVIOUS
from jobs.settings import SecretVersion

__all__ = ["run"]


def run(wanted: RedisPasswords) -> dict[str, Any]:
    """Set them, and return the result record. May be repeated, and run beside itself: the last to write looks again.

    Raises:
        Refused: none of the versions is enabled, and without a password nobody could work.
    """
    admin = secrets.access(wanted.redis_admin)
    state = _state(wanted.secret)
    with redis_acl.administrator(wanted.redis, wanted.redis_admin_user, admin) as client:
        while True:
            passwords = [
                secrets.access(SecretVersion(secret=wanted.secret, version=number)) for number in state.versions
            ]
            redis_acl.set_passwords(client, wanted.redis_user, passwords, prefix=wanted.redis_prefix)
            seen, state = state, _state(wanted.secret)
            if seen == state:
                break
        if state.at_once:
            redis_acl.end_connections(client, wanted.redis_user)
    log.info("The clinic's Redis passwords are set", user=wanted.redis_user, versions=state.versions)
    return {"clinic": wanted.clinic, "versions": list(state.versions), "at_once": state.at_once}


@dataclasses.dataclass(frozen=True, kw_only=True)
class _State:
    """The versions whose values are valid, and whether others end at once."""

    versions: tuple[int, ...]
    at_once: bool


def _state(name: str) -> _State:
    secret = rest.call("GET", "secretmanager", f"v1/{name}")
    named = {
        int(number) for alias, number in secret.get("versionAliases", {}).items() if alias in (CURRENT, NEXT, PREVIOUS)
    }
    paths = {number: f"v1/{name}/versions/{number}" for number in sorted(named)}
    enabled = [n for n, path in paths.items() if rest.call("GET", "secretmanager", path)["state"] == "ENABLED"]
    if not enabled:
        raise Refused(f"No enabled version of {name} is in force.", do="Run gcp-openemr rotate redis.")
    return _State(versions=tuple(enabled), at_once=AT_ONCE in secret.get("annotations", {}))
