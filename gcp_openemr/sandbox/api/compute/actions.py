"""Methods that change one thing of a resource, as a table: what they change and the work that follows."""

from __future__ import annotations

import base64
import dataclasses
import secrets
from collections.abc import Callable, Mapping

from gcp_openemr.sandbox.api import crud
from gcp_openemr.sandbox.api.rules import COLLECTIONS, Call, Json, handles, refuse_if

__all__ = ["Action", "actions", "fingerprint"]


@dataclasses.dataclass(frozen=True)
class Action:
    """`change` gives the fields that the resource gets; `work` is the operation's; `verb` is IAM's, if another."""

    change: Callable[[Call, Json], Json] = lambda _call, _body: {}
    work: str = ""
    verb: str = ""


_ACTIONS: dict[str, Action] = {}


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
        new = {**record.body, **action.change(call, record.body)}
        call.store.put(record.name, new)
        operation = crud.begin(call, rule, record.name, new, work=action.work, arguments=call.body)
    return crud.finish(call, operation)


def fingerprint() -> str:
    return base64.b64encode(secrets.token_bytes(8)).decode()


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
