"""Full names of resources and what can be read from them.

A full name is the API's host and the resource's path: `run.googleapis.com/projects/p/locations/l/services/s`. Buckets
belong to no project in their name: `storage.googleapis.com/projects/_/buckets/b`, as in IAM conditions.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import secrets
import time
import uuid
from datetime import UTC, datetime

__all__ = [
    "PROJECT_ID", "bucket_name", "duration_seconds", "etag_of", "host_of", "id_of", "new_numeric_id", "new_uid", "now",
    "numbered", "path_of", "project_name", "project_number", "project_of", "segment", "service_account_name",
    "singular", "snake", "timestamp",
]  # fmt: skip

_LAST_MOMENT = 253_402_300_799.0
PROJECT_ID = re.compile(r"(?:[a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")


def host_of(name: str) -> str:
    return name.split("/", 1)[0]


def path_of(name: str) -> str:
    """Without the host: what one-platform APIs call the resource's name."""
    return name.split("/", 1)[1]


def id_of(name: str) -> str:
    """The last part."""
    return name.rsplit("/", 1)[-1]


def segment(name: str, after: str) -> str:
    """The part that follows a collection's word (`segment(name, "locations")`), "" when there is none."""
    parts = name.split("/")
    for word, value in itertools.pairwise(parts):
        if word == after:
            return value
    return ""


def snake(name: str) -> str:
    """`versionAliases` → `version_aliases`."""
    return re.sub(r"([A-Z])", lambda found: "_" + found[1].lower(), name)


def singular(collection: str) -> str:
    """The word for one of a collection: `resourcePolicies` → `resourcePolicy`."""
    if collection.endswith("ies"):
        return collection.removesuffix("ies") + "y"
    return collection.removesuffix("es" if collection.endswith("sses") else "s")


def project_of(name: str) -> str:
    return segment(name, "projects")


def project_name(project: str) -> str:
    return f"cloudresourcemanager.googleapis.com/projects/{project}"


def numbered(name: str) -> str:
    """The path with the project's number instead of its id."""
    project = project_of(name)
    return path_of(name).replace(f"projects/{project}/", f"projects/{project_number(project)}/", 1)


def service_account_name(email: str, project: str = "") -> str:
    """Full name of a service account; its project is in its address, save for Google's own accounts."""
    local, _, domain = email.partition("@")
    found = domain.removesuffix(".iam.gserviceaccount.com")
    owner = project or (found if found != domain else local.split("-")[0])
    return f"iam.googleapis.com/projects/{owner}/serviceAccounts/{email}"


def bucket_name(bucket: str) -> str:
    return f"storage.googleapis.com/projects/_/buckets/{bucket}"


def project_number(project: str) -> str:
    """Twelve digits, the same for a project id on every machine."""
    digest = hashlib.sha256(project.encode()).digest()
    return str(100_000_000_000 + int.from_bytes(digest[:8], "big") % 900_000_000_000)


def duration_seconds(duration: str) -> float:
    """Seconds of a protobuf duration (`600s`), whose form was checked when it came in."""
    return float(duration.removesuffix("s"))


def timestamp(seconds: float) -> str:
    """RFC 3339 in UTC with microseconds; what lies beyond the year 9999 is its end, for no timestamp says more."""
    return datetime.fromtimestamp(min(seconds, _LAST_MOMENT), tz=UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def now() -> str:
    return timestamp(time.time())


def new_uid() -> str:
    return str(uuid.uuid4())


def new_numeric_id() -> str:
    """A 64-bit number as Compute Engine gives to everything."""
    return str(secrets.randbits(62) | 1 << 62)


def etag_of(*parts: object) -> str:
    """An opaque etag that changes with any part."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()
    return f'"{digest[:24]}"'
