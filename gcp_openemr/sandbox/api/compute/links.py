"""Compute Engine's references: written in many forms, kept as full URLs, and watched in both directions.

`actions` are methods that change one thing of a resource, as a table: what they change and the work that follows.
"""

from __future__ import annotations

import base64
import dataclasses
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from gcp_openemr.sandbox.api import crud
from gcp_openemr.sandbox.api.envelopes import COMPUTE_ROOT
from gcp_openemr.sandbox.api.names import id_of, path_of, project_of, singular, snake
from gcp_openemr.sandbox.api.projects import project_by_number
from gcp_openemr.sandbox.api.rules import (
    COLLECTIONS,
    Call,
    Change,
    Json,
    Record,
    Store,
    handles,
    missing,
    refuse,
    refuse_if,
)

__all__ = [
    "Action", "actions", "check_fingerprint", "check_references", "fingerprint", "full_name", "normalize", "referrers",
    "refuse_if_used", "self_link",
]  # fmt: skip

_LINK = re.compile(
    r"(?:https://(?:www|compute)\.googleapis\.com/compute/(?:v1|beta)/)?"
    r"(?:projects/(?P<project>[a-z0-9.:-]+)/)?(?P<rest>(?:global|regions/[a-z0-9-]+|zones/[a-z0-9-]+)(?:/[\w./-]+)+)"
    r"(?:\?uniqueId=\d+)?"  # a template's `self_link_unique`
)
# What the store holds, so that a reference to one that is missing is known to be wrong.
_HELD = {
    "networks", "subnetworks", "addresses", "disks", "instances", "routers", "forwardingRules", "snapshots",
    "instanceTemplates", "instanceGroupManagers", "healthChecks", "resourcePolicies",
}  # fmt: skip
_TEXTS = {"metadata", "labels", "description", "name", "tags", "selfLink"}
_BACK_REFERENCES = {"users", "selfLink", "subnetworks"}
_ACTIONS: dict[str, Action] = {}


def self_link(name: str) -> str:
    return COMPUTE_ROOT + path_of(name)


def full_name(link: str) -> str:
    """The full name that a URL speaks of."""
    return f"compute.googleapis.com/{link[link.index('projects/') :]}" if "projects/" in link else ""


def normalize(store: Store, value: Any, project: str) -> Any:
    """The same JSON with every reference as a full URL."""
    if isinstance(value, dict):
        return {key: item if key in _TEXTS else normalize(store, item, project) for key, item in value.items()}
    if isinstance(value, list):
        return [normalize(store, item, project) for item in value]
    found = _LINK.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return value
    owner = project_by_number(store, found["project"]) if found["project"] else project
    return f"{COMPUTE_ROOT}projects/{owner}/{found['rest']}"


def check_references(store: Store, body: Json) -> None:
    """Refuse references to what is not there."""
    for link in _links(body):
        name = full_name(link)
        if name.rsplit("/", 2)[-2] in _HELD and store.get(name) is None:
            raise missing(name)


def referrers(store: Store, name: str) -> list[Record]:
    """Resources that refer to `name`."""
    link = self_link(name)
    rows = store.query(
        "SELECT name FROM resources WHERE name >= ? AND name < ? AND instr(body, ?)",
        (
            f"compute.googleapis.com/projects/{project_of(name)}/",
            f"compute.googleapis.com/projects/{project_of(name)}/\U0010ffff",
            f'"{link}"',
        ),
    )
    records = (store.get(row[0]) for row in rows if row[0] != name)
    return [record for record in records if record is not None and link in _links(record.body)]


def refuse_if_used(store: Store, name: str, users: list[str]) -> None:
    """400 when anything uses the resource. `users` are paths."""
    using = [path_of(record.name) for record in referrers(store, name)] + users
    if using:
        kind = snake(singular(name.rsplit("/", 2)[-2]))  # `healthChecks` → `health_check`
        raise refuse("compute.in-use", kind=kind, name=path_of(name), user=using[0])


def _links(value: Any, key: str = "") -> Iterator[str]:
    if key in _TEXTS or key in _BACK_REFERENCES:
        return
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _links(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from _links(item, key)
    elif isinstance(value, str) and value.startswith(f"{COMPUTE_ROOT}projects/") and id_of(value):
        yield value


@dataclasses.dataclass(frozen=True)
class Action:
    """`change` gives the fields that the resource gets; `work` is the operation's; `verb` is IAM's, if another."""

    change: Callable[[Call, Json], Json] = lambda _call, _body: {}
    work: str = ""
    verb: str = ""


def actions(rows: Mapping[str, Action]) -> None:
    """Answer methods by id (`compute.disks.resize`)."""
    _ACTIONS.update(rows)
    handles(*rows)(_act)


def _act(call: Call) -> Json:
    action = _ACTIONS[call.method.id]
    rule = COLLECTIONS[call.collection]
    call.authorize(f"{rule.permission}.{action.verb or call.verb}")
    with call.store.transaction():
        record = crud.existing(call, rule)
        call.app.authorize_uses(call, record.name, record.body)
        new = {**record.body, **action.change(call, record.body)}
        call.store.put(record.name, new)
        operation = crud.begin(call, rule, record.name, new, work=action.work, arguments=call.body)
    return crud.finish(call, operation)


def fingerprint() -> str:
    return base64.b64encode(secrets.token_bytes(8)).decode()


def check_fingerprint(change: Change, what: str) -> None:
    """Refuse a PATCH or PUT without the resource's current fingerprint (the field's description in the discovery
    document)."""
    given = change.call.merge_body.get("fingerprint")
    refuse_if(change.old is not None and given != change.old["fingerprint"], "compute.fingerprint", what=what)


def _labels(call: Call, body: Json) -> Json:
    given = call.body.get("labelFingerprint")
    refuse_if(given and given != body.get("labelFingerprint"), "compute.labels-changed")
    return {"labels": call.body.get("labels") or {}, "labelFingerprint": fingerprint()}


def _replaced(call: Call, body: Json, field: str) -> Json:
    """A part with a fingerprint of its own: metadata or tags."""
    given = call.body.get("fingerprint")
    refuse_if(given and given != body[field].get("fingerprint"), "compute.fingerprint", what=field)
    return {field: {**call.body, "fingerprint": fingerprint()}}


actions(
    {
        "compute.instances.setMetadata": Action(
            lambda call, body: _replaced(call, body, "metadata"), "compute.startMachine"
        ),
        "compute.instances.setTags": Action(lambda call, body: _replaced(call, body, "tags")),
        **{
            f"compute.{collection}.setLabels": Action(_labels)
            for collection in ("addresses", "disks", "forwardingRules", "instances", "snapshots")
        },
    }
)
