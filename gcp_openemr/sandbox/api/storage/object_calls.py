"""Calls on objects that are there: get, list, patch, delete, copy, rewrite, compose."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping

from gcp_openemr.sandbox.api import policies
from gcp_openemr.sandbox.api.listing import page_token, read_token, readable
from gcp_openemr.sandbox.api.messages import Response
from gcp_openemr.sandbox.api.names import bucket_name
from gcp_openemr.sandbox.api.rules import Call, Json, beyond_if, handles, only, refuse, refuse_if, shape, without
from gcp_openemr.sandbox.api.storage import common
from gcp_openemr.sandbox.api.storage.objects import LIVE, NONCURRENT, SOFT_DELETED, StoredObject
from gcp_openemr.sandbox.api.validation import merge

__all__ = ["find"]

_PAGE = 1000
_MOST_SOURCES = 32
_CONTENT = ("size", "crc32c", "md5Hash", "componentCount")


def _permitted(call: Call, *verbs: str, which: str = "") -> tuple[str, str]:
    """Bucket and name of the object of a call, whose bucket is there and with which the caller may do that."""
    fields = (f"{which}Bucket", f"{which}Object") if which else ("bucket", "object")
    bucket, name = (call.parameters[field] for field in fields)
    common.bucket_record(call, bucket)
    for verb in verbs:
        common.permit(call, f"storage.objects.{verb}", bucket, name)
    return bucket, name


def find(
    call: Call, bucket: str, name: str, conditions: Mapping[str, int], *, generation: int | None, reading: bool
) -> StoredObject:
    """The object of a call once its preconditions hold.

    Raises:
        ApiError: 404 when there is none; 403 to a reader who may not list, from whom Google hides whether there is one.
    """
    common.bucket_record(call, bucket)
    found = call.app.objects.get(bucket, name, generation, soft=reading and call.flag("softDeleted"))
    if found is None:
        if "ifGenerationMatch" in conditions and conditions["ifGenerationMatch"] != 0 and not reading:
            common.check_conditions(conditions, None)
        if reading and not common.may_list(call, bucket, name):
            raise common.refused(call, "storage.objects.list", "bucket", "storage.object-hidden")
        raise refuse("storage.object-missing", bucket=bucket, name=name)
    common.check_conditions(conditions, found.body, reading=reading)
    return found


@handles("storage.objects.get")
def get(call: Call) -> Json | Response:
    bucket, name = _permitted(call, "get")
    conditions = common.conditions_of(call)
    found = find(call, bucket, name, conditions, generation=call.number("generation"), reading=True)
    return common.media(call, found) if call.one("alt") == "media" else common.shown_object(call, found)


@handles("storage.objects.list")
def list_(call: Call) -> Json:
    """By name; with a delimiter, what lies deeper is told as prefixes."""
    bucket = call.parameters["bucket"]
    common.bucket_record(call, bucket)
    if not common.may_list(call, bucket, call.one("prefix")):
        raise common.refused(call, "storage.objects.list", "bucket")
    beyond_if(call.one("filter"), "The sandbox does not stand in for filter.")
    fits = glob_pattern(call.one("matchGlob")).fullmatch if call.one("matchGlob") else None
    size = min(call.number("maxResults") or _PAGE, _PAGE)
    items: list[Json] = []
    prefixes: list[str] = []
    last = ""
    more = False
    for key, entry in _entries(call, bucket):
        if fits and not fits(entry if isinstance(entry, str) else entry.name):
            continue
        if len(items) + len(prefixes) == size:
            more = True
            break
        last = key
        if isinstance(entry, str):
            prefixes.append(entry)
        else:
            items.append(common.shown_object(call, entry))
    result: Json = {"kind": "storage#objects"}
    result |= {"items": items} if items else {}
    result |= {"prefixes": prefixes} if prefixes else {}
    return result | ({"nextPageToken": page_token(last)} if more else {})


def _entries(call: Call, bucket: str) -> Iterator[tuple[str, StoredObject | str]]:
    """Objects and prefixes in order after the page token, each with the key a token remembers."""
    prefix, delimiter = call.one("prefix"), call.one("delimiter")
    after = read_token(call.one("pageToken"))
    end = call.one("endOffset")
    start = max(call.one("startOffset"), after.partition("\0")[0])
    shown = ""
    states = (SOFT_DELETED,) if call.flag("softDeleted") else (LIVE, NONCURRENT) if call.flag("versions") else (LIVE,)
    for found in call.app.objects.list(bucket, prefix=prefix, states=states, start=start):
        if end and found.name >= end:
            return
        cut = found.name.find(delimiter, len(prefix)) if delimiter else -1
        if cut >= 0:
            group = found.name[: cut + len(delimiter)]
            if group != shown and f"{group}\1" > after:
                shown = group
                # Sorts after every object of the group, so that the next page goes on behind it.
                yield f"{group}\1", group
            if not (call.flag("includeTrailingDelimiter") and group == found.name):
                continue
        key = f"{found.name}\0{found.generation:020}"
        if key > after and not (after.endswith("\1") and found.name.startswith(after[:-1])):
            yield key, found


def glob_pattern(glob: str) -> re.Pattern[str]:
    """A glob as a regular expression: `*` and `?` stay within a folder, `**` does not, `{a,b}` and `[a-z]` choose.

    Source: https://cloud.google.com/storage/docs/json_api/v1/objects/list#list-objects-and-prefixes-using-glob
    """
    words = {"**": ".*", "*": "[^/]*", "?": "[^/]", "{": "(?:", "}": ")", ",": "|"}
    parts = re.findall(r"\*\*|\[[^\]/]+\]|.", glob, re.DOTALL)
    pattern = "".join(words.get(part) or (part if len(part) > 1 else re.escape(part)) for part in parts)
    return readable(pattern, "google.value", path="matchGlob", kind="string", shown=f'"{glob}"')


@handles("storage.objects.patch", "storage.objects.update")
def patch(call: Call) -> Json:
    bucket, name = _permitted(call, "update")
    given = without(common.writable(call.merge_body), "name", "crc32c", "md5Hash")
    with call.store.transaction():
        conditions = common.conditions_of(call)
        found = find(call, bucket, name, conditions, generation=call.number("generation"), reading=False)

        def change(body: Json) -> None:
            if call.verb == "update":
                body.pop("metadata", None)
            merged = merge(body, given)
            body.clear()
            body.update(merged)

        return common.shown_object(call, call.app.objects.rewrite_body(found, change))


@handles("storage.objects.delete")
def delete(call: Call) -> Response:
    bucket, name = call.parameters["bucket"], call.parameters["object"]
    generation = call.number("generation")
    with call.store.transaction():
        record = common.bucket_record(call, bucket)
        common.permit(call, "storage.objects.delete", bucket, name)
        found = find(call, bucket, name, common.conditions_of(call), generation=generation, reading=False)
        common.refuse_if_kept(record.body, found)
        kept = common.keeping(record.body)
        free = call.app.objects.retire(found, dataclasses.replace(kept, versions=kept.versions and generation is None))
    if free:
        call.app.objects.discard(free)
    return Response(status=204)


@handles("storage.objects.restore")
def restore(call: Call) -> Json:
    """A soft-deleted object comes back as a new live generation with the same bytes; the soft-deleted one stays."""
    bucket, name = _permitted(call, "restore", "create")
    found = call.app.objects.get(bucket, name, call.number("generation"), soft=True)
    if found is None:
        raise refuse("storage.soft-deleted-missing", bucket=bucket, name=name)
    kept: Json = only(found.body, _CONTENT)
    described = without(common.writable(found.body), "name", *kept)
    return common.shown_object(call, _insert_copy(call, found, bucket, name, {**described, **kept}))


def _insert_copy(call: Call, source: StoredObject, bucket: str, name: str, body: Json) -> StoredObject:
    file = call.app.objects.duplicate(source)
    try:
        return common.insert_row(call, bucket, name, body, file, common.conditions_of(call))
    except BaseException:
        call.app.objects.discard(file)
        raise


@handles("storage.objects.copy", "storage.objects.rewrite")
def copy(call: Call) -> Json:
    """One step, whatever the size."""
    origin = _permitted(call, "get", which="source")
    wanted, conditions = call.number("sourceGeneration"), common.source_conditions(call)
    source = find(call, *origin, conditions, generation=wanted, reading=False)
    bucket, name = _permitted(call, "create", which="destination")
    common.early_check(call, bucket, name, common.conditions_of(call))
    given = without(common.writable(call.body), "name", *_CONTENT)
    kept: Json = only(source.body, _CONTENT)
    described = given or without(common.writable(source.body), "name", *kept)
    found = _insert_copy(call, source, bucket, name, {**described, **kept})
    resource = common.shown_object(call, found)
    if call.verb == "copy":
        return resource
    return shape("storage.rewrite", bucket_name(bucket), size=source.body["size"], resource=resource)


@handles("storage.objects.compose")
def compose(call: Call) -> Json:
    bucket, name = _permitted(call, "create", which="destination")
    given = call.body.get("sourceObjects") or []
    refuse_if(not 1 <= len(given) <= _MOST_SOURCES, "storage.compose", count=len(given), most=_MOST_SOURCES)
    sources = [_component(call, bucket, item) for item in given]
    conditions = common.conditions_of(call)
    common.early_check(call, bucket, name, conditions)
    content = call.app.objects.receive(
        chunk for source in sources for chunk in call.app.objects.read(source, 0, int(source.body["size"]))
    )
    resource = common.writable(call.body.get("destination") or {})
    found = common.create_object(call, bucket, name, resource, content, conditions)

    def composed(body: Json) -> None:
        body.pop("md5Hash", None)
        body["componentCount"] = sum(int(source.body.get("componentCount", 1)) for source in sources)
        body["metageneration"] = "0"

    with call.store.transaction():
        return common.shown_object(call, call.app.objects.rewrite_body(found, composed))


@handles("storage.objects.testIamPermissions")
def test_permissions(call: Call) -> Json:
    name = f"{bucket_name(call.parameters['bucket'])}/objects/{call.parameters['object']}"
    held = policies.test_permissions(call, name, list(call.query.get("permissions", ())))
    return {"kind": "storage#testIamPermissionsResponse", **held}


def _component(call: Call, bucket: str, item: Json) -> StoredObject:
    name = str(item.get("name") or "")
    common.permit(call, "storage.objects.get", bucket, name)
    generation = int(item["generation"]) if item.get("generation") else None
    wanted = (item.get("objectPreconditions") or {}).get("ifGenerationMatch")
    conditions = {} if wanted is None else {"ifGenerationMatch": int(wanted)}
    return find(call, bucket, name, conditions, generation=generation, reading=False)
