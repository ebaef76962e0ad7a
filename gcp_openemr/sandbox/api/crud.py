"""Create, get, list, update, delete and IAM policies for every collection of the table of rules."""

from __future__ import annotations

import copy
import re
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from zoneinfo import ZoneInfo

from gcp_openemr.sandbox.api.calls import Call
from gcp_openemr.sandbox.api.envelopes import COMPUTE_ROOT, operation_json, operation_name
from gcp_openemr.sandbox.api.errors import ApiError
from gcp_openemr.sandbox.api.listing import page
from gcp_openemr.sandbox.api.masks import apply_mask, merge
from gcp_openemr.sandbox.api.messages import Response
from gcp_openemr.sandbox.api.names import etag_of, id_of, new_numeric_id, new_uid, now, path_of, project_of, segment
from gcp_openemr.sandbox.api.operations import Operation
from gcp_openemr.sandbox.api.refusals import refuse
from gcp_openemr.sandbox.api.rules import Change, Collection
from gcp_openemr.sandbox.api.store import Record
from gcp_openemr.sandbox.discovery import Schema
from gcp_openemr.sandbox.interfaces import Json

__all__ = [
    "VERBS", "answer", "begin", "change_record", "check_etag", "chosen_id", "existing", "finish", "is_expired", "stamp",
]  # fmt: skip

_OPERATIONS = {"Operation", "GoogleLongrunningOperation"}
_MERGING = {"compute", "dns", "sqladmin"}  # PATCH is a merge, PUT replaces; elsewhere field masks decide


def answer(call: Call, rule: Collection) -> Json | Response:
    """Do what the method's verb says."""
    return VERBS[call.verb](call, rule)


def existing(call: Call, rule: Collection, name: str = "") -> Record:
    """The resource of the call (or `name`), else 404."""
    record = call.store.get(name or call.name)
    if record is None or is_expired(rule, record):
        raise call.wording.missing(name or call.name, rule.kind)
    return record


def is_expired(rule: Collection, record: Record) -> bool:
    """Whether the moment has come after which a resource is gone."""
    return bool(rule.expires) and str(record.body.get(rule.expires) or "~") <= now()


def create(call: Call, rule: Collection) -> Json | Response:
    call.authorize(f"{rule.permission}.create", _parent(call.name))
    body = rule.unpack(call, copy.deepcopy(call.body))
    new_id = chosen_id(call, rule, body)
    name = f"{call.name}/{new_id}"
    operation = None
    with call.store.transaction():
        _check_parent(call, rule)
        old = call.store.get(name)
        if old is not None and not is_expired(rule, old):
            raise call.wording.duplicate(name, rule.kind)
        if old is not None:
            remove(call, old)
        change = Change(call=call, name=name, new=body, old=None, hidden={})
        stamp(change)
        rule.complete(change)
        if call.flag("validateOnly"):
            return _validated(call, rule, change)
        call.store.put(name, change.new, hidden=change.hidden)
        if _is_long(call):
            operation = begin(call, rule, change.name, change.new, work=rule.created, arguments=change.arguments)
    return finish(call, operation) if operation else rule.shown(call, change.new)


def get(call: Call, rule: Collection) -> Json | Response:
    call.authorize(f"{rule.permission}.get")
    return rule.shown(call, existing(call, rule).body)


def list_(call: Call, rule: Collection) -> Json | Response:
    call.authorize(f"{rule.permission}.list", _parent(call.name))
    found = [(record.name, rule.shown(call, record.body)) for record in _below(call) if not is_expired(rule, record)]
    items, token = page(call, found)
    schema = call.discovery.schema(call.method.response)
    result: Json = {}
    kind = schema.get("properties", {}).get("kind", {}).get("default")
    if kind:
        result |= {"kind": kind, "id": path_of(call.name), "selfLink": COMPUTE_ROOT + path_of(call.name)}
    if items:
        result[_items_field(schema)] = items
    if token:
        result["nextPageToken"] = token
    return result


def aggregated_list(call: Call, rule: Collection) -> Json | Response:
    """Compute Engine's list over all zones and regions."""
    call.authorize(f"{rule.permission}.list", _parent(_parent(call.name)))
    word = id_of(call.name)
    pattern = re.compile(
        rf"compute\.googleapis\.com/projects/{re.escape(call.project)}/(\w+/[^/]+|global)/{word}/[^/]+"
    )
    scopes: dict[str, Json] = {}
    for record in call.store.list(f"compute.googleapis.com/projects/{call.project}/"):
        found = pattern.fullmatch(record.name)
        if found:
            scopes.setdefault(found[1], {}).setdefault(word, []).append(rule.shown(call, record.body))
    return {"kind": f"compute#{word.rstrip('s')}AggregatedList", "items": scopes}


def update(call: Call, rule: Collection) -> Json | Response:
    call.authorize(f"{rule.permission}.update")
    body = rule.unpack(call, copy.deepcopy(call.merge_body if call.api in _MERGING else call.body))
    if call.flag("allowMissing") and call.store.get(call.name) is None:
        raise ApiError(501, "The sandbox creates nothing through allowMissing.")
    operation = None
    with call.store.transaction():
        record = existing(call, rule)
        check_etag(record.body, str(body.get("etag") or ""))
        change = change_record(call, record, _updated(call, record.body, body))
        _check_immutable(rule, change)
        stamp(change)
        rule.complete(change)
        if call.flag("validateOnly"):
            return _validated(call, rule, change)
        call.store.put(change.name, change.new, hidden=change.hidden)
        if _is_long(call):
            operation = begin(call, rule, change.name, change.new, work=rule.updated, arguments=change.arguments)
    return finish(call, operation) if operation else rule.shown(call, change.new)


def delete(call: Call, rule: Collection) -> Json | Response:
    call.authorize(f"{rule.permission}.delete")
    operation = None
    with call.store.transaction():
        record = existing(call, rule)
        check_etag(record.body, call.one("etag"))
        rule.deletable(call, record)
        if call.flag("validateOnly"):
            return _validated(call, rule, change_record(call, record, record.body))
        if not rule.deleted:
            remove(call, record)
        if _is_long(call):
            operation = begin(call, rule, record.name, record.body, work=rule.deleted)
    if operation:
        return finish(call, operation)
    return {} if call.method.response else Response(status=204)


def remove(call: Call, record: Record) -> None:
    """Take a resource and what lies in it out of the store."""
    call.store.delete_below(record.name + "/")
    call.store.delete(record.name)


def change_record(call: Call, record: Record, new: Json) -> Change:
    return Change(call=call, name=record.name, new=new, old=record.body, hidden=dict(record.hidden))


def check_etag(current: Json, given: str) -> None:
    """Optimistic locking of the one-platform APIs."""
    if given and current.get("etag") and given.strip('"') != str(current["etag"]).strip('"'):
        raise refuse("google.etag")


def stamp(change: Change) -> None:
    """Fill the fields that every server sets, as far as the resource's schema has them."""
    call, new = change.call, change.new
    schema = call.discovery.schema(call.method.request) if call.method.request else {}
    properties = schema.get("properties", {})
    moment = now()
    if change.old is None:
        new |= {key: value for key, value in _first(change, properties, moment).items() if key in properties}
    if "updateTime" in properties:
        new["updateTime"] = moment
    if "etag" in properties:
        new["etag"] = etag_of(change.name, moment, time.monotonic_ns())


def _first(change: Change, properties: Schema, moment: str) -> Json:
    path = path_of(change.name)
    pacific = datetime.now(tz=ZoneInfo("America/Los_Angeles")).isoformat(timespec="milliseconds")
    result: Json = {
        "name": id_of(path) if change.call.api in _MERGING else path,
        "createTime": moment,
        "creationTime": moment,
        "creationTimestamp": pacific,
        "uid": new_uid(),
        "kind": properties.get("kind", {}).get("default"),
    }
    if change.call.api == "compute":
        project = project_of(path)
        result["selfLink"] = COMPUTE_ROOT + path
        for word, field in (("zones", "zone"), ("regions", "region")):
            if segment(path, word):
                result[field] = f"{COMPUTE_ROOT}projects/{project}/{word}/{segment(path, word)}"
    if properties.get("id", {}).get("format") == "uint64":
        result["id"] = new_numeric_id()
    return {key: value for key, value in result.items() if value is not None}


def begin(
    call: Call,
    rule: Collection,
    name: str,
    resource: Json,
    *,
    work: str = "",
    arguments: Json | None = None,
    kind: str = "",
) -> Operation:
    """Record an operation on a resource, inside the caller's transaction. `kind` is Cloud SQL's type of operation."""
    metadata: Json = {} if rule.metadata else resource
    empty = call.verb == "delete" and not rule.deleted_response
    return call.app.operations.begin(
        Operation(
            name=operation_name(call.api, name),
            target=name,
            verb=call.verb,
            user=call.caller.email,
            insert_time=now(),
            work=work,
            arguments=arguments or {},
            metadata_type=rule.metadata or rule.message,
            metadata={"operationType": kind} if kind else metadata,
            response_type="" if empty else rule.message,
            response=None if empty else resource,
        )
    )


def finish(call: Call, operation: Operation) -> Json:
    """Start an operation's work after the transaction, and answer with it."""
    return operation_json(call.app.operations.submit(operation))


def _validated(call: Call, rule: Collection, change: Change) -> Json:
    """`validateOnly`: what would come out, written nowhere."""
    if not _is_long(call):
        return rule.shown(call, change.new)
    moment = now()
    return operation_json(
        Operation(
            name=operation_name(call.api, change.name),
            target=change.name,
            verb=call.verb,
            user=call.caller.email,
            insert_time=moment,
            start_time=moment,
            end_time=moment,
            metadata_type=rule.metadata or rule.message,
            metadata={} if rule.metadata else change.new,
            response_type=rule.message,
            response=change.new,
        )
    )


def _is_long(call: Call) -> bool:
    return call.method.response in _OPERATIONS


def _parent(name: str) -> str:
    return name.rsplit("/", 1)[0]


def chosen_id(call: Call, rule: Collection, body: Json) -> str:
    if rule.assigned is not None:
        new_id, field = rule.assigned(body), "resource.type"
    elif rule.id_parameter:
        new_id = call.one(rule.id_parameter)
        field = rule.id_parameter
    else:
        new_id, field = str(body.get("name") or "").rsplit("/", 1)[-1], "resource.name"
    if not new_id:
        raise refuse("google.required", field=field)
    if not re.fullmatch(rule.id_pattern, new_id):
        snake = re.sub(r"([A-Z])", lambda found: "_" + found[1].lower(), field)
        raise refuse(
            rule.id_refusal, kind=rule.kind.title(), field=field, snake=snake, id=new_id, pattern=rule.id_pattern
        )
    return new_id


def _check_parent(call: Call, rule: Collection) -> None:
    parent = _parent(call.name)
    if rule.parent_kind and call.store.get(parent) is None:
        raise call.wording.missing(parent, rule.parent_kind)


def _below(call: Call) -> list[Record]:
    """Direct members of the call's collection; a location of `-` means all."""
    if "/locations/-/" in call.name:
        head, tail = call.name.split("/locations/-/", 1)
        pattern = re.compile(rf"{re.escape(head)}/locations/[^/]+/{re.escape(tail)}/[^/]+")
        return [record for record in call.store.list(head + "/locations/") if pattern.fullmatch(record.name)]
    prefix = call.name + "/"
    return [record for record in call.store.list(prefix) if "/" not in record.name[len(prefix) :]]


def _items_field(schema: Schema) -> str:
    arrays = [
        key
        for key, value in schema.get("properties", {}).items()
        if value.get("type") == "array" and "$ref" in value.get("items", {})
    ]
    return "items" if "items" in arrays else arrays[0]


def _updated(call: Call, old: Json, body: Json) -> Json:
    """The resource after a patch (mask or merge) or a replacing update; the server's own fields stay."""
    schema = call.discovery.schema(call.method.request)
    if call.api in _MERGING and call.verb == "patch":
        return merge(old, body)
    mask = call.mask() or ["*"]
    return apply_mask(old, merge({}, body), mask, schema) | _kept(old)


def _kept(old: Json) -> Json:
    return {
        key: old[key] for key in ("name", "id", "kind", "selfLink", "creationTimestamp", "zone", "region") if key in old
    }


def _check_immutable(rule: Collection, change: Change) -> None:
    for field in rule.immutable:
        if change.old is not None and change.old.get(field) != change.new.get(field):
            raise refuse("google.immutable", kind=rule.kind, field=field)


VERBS: Mapping[str, Callable[[Call, Collection], Json | Response]] = {
    "create": create,
    "insert": create,
    "get": get,
    "list": list_,
    "aggregatedList": aggregated_list,
    "patch": update,
    "update": update,
    "delete": delete,
}
