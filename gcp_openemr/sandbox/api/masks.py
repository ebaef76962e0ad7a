"""Changes to a resource: field masks of the one-platform APIs, JSON merge patches of the older ones."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from gcp_openemr.sandbox.api.refusals import refuse_if
from gcp_openemr.sandbox.api.validation import camel
from gcp_openemr.sandbox.discovery import Schema
from gcp_openemr.sandbox.interfaces import Json

__all__ = ["apply_mask", "merge"]


def apply_mask(old: Json, body: Json, mask: Sequence[str], schema: Schema) -> Json:
    """The resource after an update of the masked fields; a masked field that the body lacks is cleared.

    Raises:
        ApiError: 400 for a path that is no field of the resource.
    """
    if list(mask) == ["*"]:
        return {**{key: value for key, value in old.items() if _is_output(schema, key)}, **copy.deepcopy(body)}
    result = copy.deepcopy(old)
    for path in mask:
        parts = [camel(part) for part in path.split(".")]
        refuse_if(parts[0] not in schema.get("properties", {}), "google.mask", path=path)
        _copy(body, result, parts)
    return result


def _is_output(schema: Schema, key: str) -> bool:
    return bool(schema.get("properties", {}).get(key, {}).get("readOnly"))


def _copy(source: Json, target: Json, parts: Sequence[str]) -> None:
    for part in parts[:-1]:
        inner = source.get(part)
        source = inner if isinstance(inner, dict) else {}
        if not isinstance(target.get(part), dict):
            target[part] = {}
        target = target[part]
    if parts[-1] in source:
        target[parts[-1]] = copy.deepcopy(source[parts[-1]])
    else:
        target.pop(parts[-1], None)


def merge(old: Json, patch: Json) -> Json:
    """JSON merge patch (RFC 7396): null takes a field away, objects are merged, everything else replaces."""
    result = dict(old)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            before = result.get(key)
            result[key] = merge(before if isinstance(before, dict) else {}, value)
        else:
            result[key] = copy.deepcopy(value)
    return result
