"""What methods ask for beside the permission of their own verb: the use of one resource by another, above all.

The rows stand in `uses.json`, in groups of methods with their source. A permission is asked for when its `field` is
given (without one, always), and has to be held `on` what the field names ("field"), on the "project", or else on the
call's own resource. A field begins with `request` (what the caller sends) or `resource` (what is there, or would be);
`[]` stands for each item.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gcp_openemr.sandbox.api.artifactregistry import parse_image
from gcp_openemr.sandbox.api.names import path_of, project_name, service_account_name
from gcp_openemr.sandbox.api.projects import find_service_account
from gcp_openemr.sandbox.api.refusals import refuse_if
from gcp_openemr.sandbox.api.rules import Call, Json

__all__ = ["Use", "authorize_uses", "uses"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Use:
    """One row for one method."""

    method: str
    permission: str
    source: str
    field: str = ""
    on: str = ""


@functools.cache
def uses() -> Mapping[str, Sequence[Use]]:
    """The rows by method id."""
    found: dict[str, list[Use]] = {}
    for group in json.loads(Path(__file__).with_name("uses.json").read_text(encoding="utf-8")):
        for method in group["methods"]:
            rows = [Use(method=method, source=group["source"], **row) for row in group["asks"]]
            found.setdefault(method, []).extend(rows)
    return found


def authorize_uses(call: Call, name: str, resource: Json) -> None:
    """Raise 403 unless the caller holds all that the call's method asks for with this resource (by full name)."""
    given = {"request": call.body, "resource": resource}
    for use in uses().get(call.method.id, ()):
        for value in _values(given, use.field.split(".")) if use.field else ("",):
            _authorize(call, use, name, value)


def _values(value: Any, path: Sequence[str]) -> Iterator[Any]:
    """What is given at a path."""
    if not path:
        yield from (value,) if value else ()
    elif isinstance(value, dict):
        word = path[0].removesuffix("[]")
        below = value.get(word) or ()
        items = (below.values() if isinstance(below, dict) else below) if word != path[0] else (below,)
        for item in items:
            yield from _values(item, path[1:])


def _authorize(call: Call, use: Use, name: str, value: Any) -> None:
    kind = use.permission.rpartition(".")[0]
    if kind == "iam.serviceAccounts":
        _act_as(call, use.permission, str(value).rpartition("/")[2])
    elif kind == "artifactregistry.repositories":
        _read_image(call, use.permission, str(value))
    else:
        call.authorize(use.permission, _place(call, use, name, str(value)))


def _place(call: Call, use: Use, name: str, value: str) -> str:
    """Where the permission has to be held. A literal address names nothing, so that is the project."""
    if use.on == "field" and "/" in value:
        path = value[value.index("projects/") :] if "projects/" in value else f"projects/{call.project}/{value}"
        return f"compute.googleapis.com/{call.app.by_id(path)}"
    return project_name(call.project) if use.on else name


def _act_as(call: Call, permission: str, email: str) -> None:
    """Whether the caller may let something run as this service account."""
    account = find_service_account(call.store, email)
    name = account.name if account is not None else service_account_name(email)
    refuse_if(not call.allowed(permission, name), "iam.act-as", permission=permission, email=email)


def _read_image(call: Call, permission: str, reference: str) -> None:
    """Whoever deploys an image has to be allowed to read it; other registries' images cannot be known here."""
    image = parse_image(reference)
    if image is None or call.store.get(image.repository_name) is None:
        return
    allowed = call.allowed(permission, image.repository_name)
    refuse_if(not allowed, "run.image-denied", permission=permission, name=path_of(image.repository_name))
