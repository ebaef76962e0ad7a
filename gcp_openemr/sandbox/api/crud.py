"""Create, get, list, update, delete and IAM policies for every collection of the table of rules."""

from __future__ import annotations

import copy
import dataclasses
import re
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from zoneinfo import ZoneInfo

from gcp_openemr.sandbox.api import names, refusals
from gcp_openemr.sandbox.api.envelopes import COMPUTE_ROOT, operation_json, operation_name, place_links
from gcp_openemr.sandbox.api.listing import listed
from gcp_openemr.sandbox.api.messages import Response
from gcp_openemr.sandbox.api.rules import ApiError, Call, Change, Collection, Json, Operation, Record, only
from gcp_openemr.sandbox.api.validation import apply_mask, merge
from gcp_openemr.sandbox.discovery import Schema

__all__ = ["VERBS", "answer", "begin", "check_etag", "chosen_id", "existing", "finish", "is_expired", "stamp"]

_OPERATIONS = {"Operation", "GoogleLongrunningOperation"}
_SERVERS_OWN = ("name", "id", "kind", "selfLink", "creationTimestamp", "zone", "region")
_MERGING = {"compute", "dns", "sqladmin"}  # PATCH is a merge, PUT replaces; elsewhere field masks decide


def answer(call: Call, rule: Collection) -> Json | Response:
    """Do what the method's verb says."""
    return VERBS[call.verb](call, rule)


def existing(call: Call, rule: Collection, name: str = "") -> Record:
    """The resource of the call (or `name`), else 404."""
    record = call.store.get(name or call.name)
    if record is None or is_expired(rule, record):
        raise refusals.missing(name or call.name, rule.kind)
    return record


def is_expired(rule: Collection, record: Record) -> bool:
    """Whether the moment has come after which a resource is gone."""
    return bool(rule.expires) and str(record.body.get(rule.expires) or "~") <= names.now()


def create(call: Call, rule: Collection) -> Json | Response:
    call.authorize(f"{rule.permission}.create", _parent(call.name))
    body = copy.deepcopy(call.body)
    name = f"{call.name}/{chosen_id(call, rule, body)}"
    with call.store.transaction():
        if rule.parent_kind:
            refusals.existing(call.store, _parent(call.name), rule.parent_kind)
        old = call.store.get(name)
        if old is not None and not is_expired(rule, old):
            raise refusals.duplicate(name, rule.kind)
        if old is not None:
            remove(call, old)
        outcome = _save(call, rule, Change(call=call, name=name, new=body, old=None, hidden={}), rule.created)
    return _answered(call, outcome)


def _save(call: Call, rule: Collection, change: Change, work: str) -> Json | Operation:
    """Write a change; the resource as answered, or the operation that goes on with it."""
    stamp(change)
    rule.complete(change)
    call.app.authorize_uses(call, change.name, change.new)
    if call.flag("validateOnly"):
        return _validated(call, rule, change.name, change.new)
    call.store.put(change.name, change.new, hidden=change.hidden)
    if not _is_long(call):
        return rule.shown(call, change.new)
    return begin(call, rule, change.name, change.new, work=work)


def _answered(call: Call, outcome: Json | Operation) -> Json:
    return finish(call, outcome) if isinstance(outcome, Operation) else outcome


def get(call: Call, rule: Collection) -> Json | Response:
    call.authorize(f"{rule.permission}.get")
    return rule.shown(call, existing(call, rule).body)


def list_(call: Call, rule: Collection) -> Json | Response:
    call.authorize(f"{rule.permission}.list", _parent(call.name))
    found = [(record.name, rule.shown(call, record.body)) for record in _below(call) if not is_expired(rule, record)]
    schema = call.discovery.schema(call.method.response)
    kind = schema.get("properties", {}).get("kind", {}).get("default")
    own = (
        {"kind": kind, "id": names.path_of(call.name), "selfLink": COMPUTE_ROOT + names.path_of(call.name)}
        if kind
        else {}
    )
    return own | listed(call, found, _items_field(schema))


def aggregated_list(call: Call, rule: Collection) -> Json | Response:
    """Compute Engine's list over all zones and regions."""
    call.authorize(f"{rule.permission}.list", _parent(_parent(call.name)))
    word = names.id_of(call.name)
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
    body = copy.deepcopy(call.merge_body if call.api in _MERGING else call.body)
    if call.flag("allowMissing") and call.store.get(call.name) is None:
        raise ApiError(501, "The sandbox creates nothing through allowMissing.")
    with call.store.transaction():
        record = existing(call, rule)
        check_etag(call, record.body, str(body.get("etag") or ""))
        new = _updated(call, record.body, body)
        for field in rule.immutable:
            changed = record.body.get(field) != new.get(field)
            refusals.refuse_if(changed, "google.immutable", kind=rule.kind, field=field)
        change = Change(call=call, name=record.name, new=new, old=record.body, hidden=dict(record.hidden))
        outcome = _save(call, rule, change, rule.updated)
    return _answered(call, outcome)


def delete(call: Call, rule: Collection) -> Json | Response:
    call.authorize(f"{rule.permission}.delete")
    outcome: Json | Operation = {}
    with call.store.transaction():
        record = existing(call, rule)
        call.app.authorize_uses(call, record.name, record.body)
        check_etag(call, record.body, call.one("etag"))
        rule.deletable(call, record)
        if call.flag("validateOnly"):
            return _validated(call, rule, record.name, record.body)
        if not rule.deleted:
            remove(call, record)
        if _is_long(call):
            outcome = begin(call, rule, record.name, record.body, work=rule.deleted)
    return _answered(call, outcome) if call.method.response else Response(status=204)


def remove(call: Call, record: Record) -> None:
    """Take a resource and what lies in it out of the store."""
    call.store.delete_below(record.name + "/")
    call.store.delete(record.name)


def check_etag(call: Call, current: Json, given: str) -> None:
    """Optimistic locking of the one-platform APIs; older ones have words of their own."""
    stale = given and current.get("etag") and given.strip('"') != str(current["etag"]).strip('"')
    refusals.refuse_if(stale, refusals.worded(call.api, "etag"))


def stamp(change: Change) -> None:
    """Fill the fields that every server sets, as far as the resource's schema has them."""
    call, new = change.call, change.new
    schema = call.discovery.schema(call.method.request) if call.method.request else {}
    properties = schema.get("properties", {})
    moment = names.now()
    if change.old is None:
        new |= {key: value for key, value in _first(change, properties, moment).items() if key in properties}
    if "updateTime" in properties:
        new["updateTime"] = moment
    if "etag" in properties:
        new["etag"] = names.etag_of(change.name, moment, time.monotonic_ns())


def _first(change: Change, properties: Schema, moment: str) -> Json:
    path = names.path_of(change.name)
    pacific = datetime.now(tz=ZoneInfo("America/Los_Angeles")).isoformat(timespec="milliseconds")
    result: Json = {
        "name": names.id_of(path) if change.call.api in _MERGING else path,
        "createTime": moment,
        "creationTime": moment,
        "creationTimestamp": pacific,
        "uid": names.new_uid(),
        "kind": properties.get("kind", {}).get("default"),
    }
    if change.call.api == "compute":
        result |= {"selfLink": COMPUTE_ROOT + path, **place_links(path)}
    if properties.get("id", {}).get("format") == "uint64":
        result["id"] = names.new_numeric_id()
    return {key: value for key, value in result.items() if value is not None}


def begin(
    call: Call,
    rule: Collection,
    name: str,
    resource: Json,
    *,
    work: str = "",
    arguments: Json | None = None,
    metadata: Json | None = None,
) -> Operation:
    """Record an operation on a resource, inside the caller's transaction. `metadata` is what it says of itself."""
    operation = _operation(call, rule, name, resource)
    told = operation.metadata if metadata is None else metadata
    operation = dataclasses.replace(operation, work=work, arguments=arguments or {}, metadata=told)
    return call.app.operations.begin(operation)


def finish(call: Call, operation: Operation) -> Json:
    """Start an operation's work after the transaction, and answer with it."""
    return operation_json(call.app.operations.submit(operation))


def _operation(call: Call, rule: Collection, name: str, resource: Json) -> Operation:
    empty = call.verb == "delete" and not rule.deleted_response
    return Operation(
        name=operation_name(call.api, name),
        target=name,
        verb=call.verb,
        user=call.caller.email,
        metadata_type=rule.metadata or rule.message,
        metadata={} if rule.metadata else resource,
        response_type="" if empty else rule.message,
        response=None if empty else resource,
    )


def _validated(call: Call, rule: Collection, name: str, resource: Json) -> Json:
    """`validateOnly`: what would come out, written nowhere."""
    if not _is_long(call):
        return rule.shown(call, resource)
    done = dataclasses.replace(_operation(call, rule, name, resource), start_time=names.now(), end_time=names.now())
    return operation_json(done)


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
    refusals.refuse_if(not new_id, "google.required", field=field)
    if not re.fullmatch(rule.id_pattern, new_id):
        kind, pattern = rule.kind.title(), rule.id_pattern
        raise refusals.refuse(
            rule.id_refusal, kind=kind, field=field, snake=names.snake(field), id=new_id, pattern=pattern
        )
    return new_id


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
    return apply_mask(old, merge({}, body), mask, schema) | only(old, _SERVERS_OWN)


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
