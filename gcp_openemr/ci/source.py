"""Where this very copy of gcp-openemr was installed from, so that a pipeline installs the same.

https://packaging.python.org/specifications/direct-url
"""

from __future__ import annotations

import json
from importlib import metadata
from typing import Any

from gcp_openemr.assets import is_checkout

__all__ = ["of", "requirement"]

_NAME = "gcp-openemr"


def requirement() -> str:
    """What pip takes for this copy; '' where nobody else can get at it: a checkout, or a wheel on this machine."""
    return "" if is_checkout() else of(metadata.distribution(_NAME))


def of(installed: metadata.Distribution) -> str:
    """Its version of a package index, or its address with a hash or a commit."""
    told = installed.read_text("direct_url.json")
    if told is None:
        return f"{_NAME}=={installed.version}"
    origin: dict[str, Any] = json.loads(told)
    url = str(origin["url"])
    if not url.startswith("https://"):
        return ""
    if "vcs_info" in origin:
        return f"{_NAME} @ {origin['vcs_info']['vcs']}+{url}@{origin['vcs_info']['commit_id']}"
    digest = origin.get("archive_info", {}).get("hashes", {}).get("sha256", "")
    return f"{_NAME} @ {url}#sha256={digest}" if digest else f"{_NAME} @ {url}"
