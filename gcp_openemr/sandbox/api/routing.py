"""Which API a request is for, by host name or by the first part of its path, and which method of it.

1. `Host: X.googleapis.com` → API X;
2. path `/X.googleapis.com/…` → API X with the rest of the path;
3. everything else → Cloud Storage.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from urllib.parse import unquote

from gcp_openemr.sandbox.discovery import Discovery, Method, load

__all__ = ["API_VERSIONS", "Target", "find_method", "resource_path", "target_of"]

# The APIs that are spoken: version and where its paths start, as in the discovery documents.
API_VERSIONS: Mapping[str, Sequence[tuple[str, str]]] = {
    "artifactregistry": (("v1", "/v1/"),),
    "cloudbilling": (("v1", "/v1/"),),
    "cloudbuild": (("v1", "/v1/"),),
    "cloudscheduler": (("v1", "/v1/"),),
    "cloudresourcemanager": (("v3", "/v3/"), ("v1", "/v1/")),
    "compute": (("v1", "/compute/v1/"),),
    "dns": (("v1", "/dns/v1/"),),
    "drive": (("v3", "/drive/v3/"),),
    "iam": (("v1", "/v1/"),),
    "iamcredentials": (("v1", "/v1/"),),
    "iap": (("v1", "/v1/"),),
    "logging": (("v2", "/v2/"),),
    "monitoring": (("v3", "/v3/"),),
    "oauth2": (("v2", "/oauth2/v2/"),),
    "orgpolicy": (("v2", "/v2/"),),
    "run": (("v2", "/v2/"), ("v1", "/v1/")),
    "secretmanager": (("v1", "/v1/"),),
    "serviceusage": (("v1", "/v1/"),),
    "sqladmin": (("v1", "/v1/"), ("v1beta4", "/sql/v1beta4/")),
    "storage": (("v1", "/"),),
    "sts": (("v1", "/v1/"),),
}
_HOST = re.compile(r"([a-z0-9-]+)\.googleapis\.com")
_PREFIXED = re.compile(r"/([a-z0-9-]+)\.googleapis\.com(/.*)?")
# www.googleapis.com serves these by path.
_BY_PATH = (
    ("/compute/", "compute"), ("/dns/", "dns"), ("/drive/", "drive"), ("/oauth2/", "oauth2"),
    ("/upload/drive/", "drive"),
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    """An API and the still encoded path below its host."""

    api: str
    path: str


def target_of(host: str, raw_path: str) -> Target:
    """By host, by prefix, or Cloud Storage."""
    found = _PREFIXED.fullmatch(raw_path)
    if found:
        return _named(found[1], found[2] or "/")
    named = _HOST.fullmatch(host.partition(":")[0].lower())
    return _named(named[1], raw_path) if named else Target(api="storage", path=raw_path)


def _named(word: str, path: str) -> Target:
    if word == "www":
        api = next((api for start, api in _BY_PATH if path.startswith(start)), "storage")
        return Target(api=api, path=path)
    return Target(api=word, path=path)


def find_method(api: str, http_method: str, path: str) -> tuple[Discovery, Method, dict[str, str]] | None:
    """The method of any spoken version that answers at a path, with the path's parameters."""
    upload, path = path.startswith("/upload/"), path.removeprefix("/upload")
    for version, start in API_VERSIONS.get(api, ()):
        if not path.startswith(start):
            continue
        discovery = load(api, version)
        found = discovery.find(http_method, path)
        if found is not None and (found[0].upload_path or not upload):
            return discovery, *found
    return None


def resource_path(method: Method, path: str) -> str:
    """The path of the resource a method speaks of: without service path, custom verb and trailing action."""
    verb = method.id.rsplit(".", 1)[1]
    start = method.path.index("{")
    whole = unquote(path)
    head = method.path[:start]
    cut = head.find("projects/")
    whole = whole[cut:] if cut >= 0 else whole[len(head) :]
    tail = method.path.rsplit("}", 1)[1]
    if tail.startswith(":"):
        return whole[: -len(tail)]
    return whole.removesuffix(f"/{verb}") if tail.endswith(f"/{verb}") else whole
