"""Requests are checked against Google's own discovery documents, and brought into one form.

`accept` renames snake_case fields, turns enum numbers into names (Google's REST clients send numbers), drops fields
that only the server sets, and refuses what the schema does not know, with the sentences of Google's JSON parser.
`apply_mask` and `merge` make the changes: field masks of the one-platform APIs, JSON merge patches of the older ones.
"""

from __future__ import annotations

import base64
import binascii
import copy
import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from gcp_openemr.sandbox.api.errors import ApiError
from gcp_openemr.sandbox.api.names import snake
from gcp_openemr.sandbox.api.refusals import refuse, refuse_if
from gcp_openemr.sandbox.discovery import Discovery, Method, Schema
from gcp_openemr.sandbox.interfaces import Json

__all__ = ["accept", "apply_mask", "camel", "check_query", "merge"]

# Enums whose numbers are not their places in the document (google/api/launch_stage.proto, secretmanager's
# resources.proto).
_NUMBERS: Mapping[str, Sequence[int]] = {
    "LAUNCH_STAGE_UNSPECIFIED": (0, 6, 7, 1, 2, 3, 4, 5),
    "SECRET_TYPE_UNSPECIFIED": (0, 1, 2, 3, 4, 50),
}
# What the documents call output and is given all the same: a group's ports by hashicorp/google, and by everybody the
# address of whom a file of Drive is shared with.
_TAKEN = frozenset({"emailAddress", "namedPorts"})
_BOUNDS: Mapping[str, tuple[int, int]] = {
    "int32": (-(2**31), 2**31 - 1),
    "uint32": (0, 2**32 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "uint64": (0, 2**64 - 1),
}
_PROTO_FORMATS = {*_BOUNDS, "double", "float", "byte"}
_WELL_KNOWN = {"google-duration": "Duration", "google-datetime": "Timestamp"}
# The older APIs take an empty enum for one that is not given (Terraform sends `loadBalancingScheme: ""`).
_EMPTY_ENUMS = {"compute", "dns", "sqladmin", "storage"}
_WHOLE = re.compile(r"-?\d{1,20}")
_DURATION = re.compile(r"-?\d{1,12}(\.\d{1,9})?s")
_LONGEST_DURATION = 315_576_000_000  # seconds: google/protobuf/duration.proto
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")
_ALWAYS_QUERY = {
    "$alt", "$fields", "$.xgafv", "$prettyPrint", "$userProject", "$key", "$quotaUser", "key", "quotaUser", "userIp",
    "alt", "fields", "prettyPrint", "access_token", "oauth_token", "uploadType", "upload_id", "upload_protocol",
    "userProject", "callback", "trace",
}  # fmt: skip


def camel(name: str) -> str:
    """`version_aliases` → `versionAliases`; other names unchanged."""
    return re.sub(r"_([a-z0-9])", lambda found: found.group(1).upper(), name)


def _root_field(schema: str) -> str:
    """What Google calls the body in messages: `GoogleCloudRunV2Service` → `service`."""
    short = re.sub(r"^Google(?:Cloud|Api|Devtools|Iam|Longrunning)?[A-Z]?[a-z]*V\d+", "", schema) or schema
    return short[:1].lower() + short[1:]


def accept(discovery: Discovery, schema: str, body: Any, *, keep_null: bool = False) -> Json:
    """The body as the API understands it.

    Raises:
        ApiError: 400 with every problem, one per line, and as BadRequest field violations.
    """
    checker = _Checker(discovery, keep_null=keep_null)
    result = checker.message(discovery.schema(schema), body, _root_field(schema))
    if checker.problems:
        violations = [{"field": field, "description": problem.message} for field, problem in checker.problems]
        details = [{"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": violations}]
        error = checker.problems[0][1]
        error.message, error.details = "\n".join(problem.message for _, problem in checker.problems), list(details)
        raise error
    found: Json = result if isinstance(result, dict) else {}
    return found


def check_query(discovery: Discovery, method: Method, query: Mapping[str, Sequence[str]]) -> None:
    """Refuse query parameters that the method does not have, and the lack of those it needs, in either spelling."""
    known = {camel(name) for name in (*method.parameters, *discovery.common_parameters)} | _ALWAYS_QUERY
    for name in query:
        refuse_if(camel(name) not in known and name not in known, "google.unknown-parameter", name=name)
    for name, parameter in method.parameters.items():
        if parameter.get("location") != "query":
            continue
        given = [value for spelled in {name, snake(name)} for value in query.get(spelled, ())]
        refuse_if(parameter.get("required") and not given, "google.required-parameter", name=name)
        for value in given:
            _check_parameter(name, parameter, value)


def _check_parameter(name: str, parameter: Mapping[str, Any], value: str) -> None:
    kind, form = parameter.get("type"), parameter.get("format", "")
    whole = kind == "integer" or form in _BOUNDS
    wrong = (
        (whole and not (_WHOLE.fullmatch(value) and _within(form, int(value))))
        or (kind == "boolean" and value.lower() not in {"true", "false", "0", "1"})
        or ("enum" in parameter and value not in parameter["enum"] and not value.isdecimal())
        or (form in _FORMS and not _FORMS[form](value))
    )
    refuse_if(wrong, "google.value", path=name, kind=kind, shown=f'"{value}"')


class _Checker:
    """Walks a body beside its schema."""

    def __init__(self, discovery: Discovery, *, keep_null: bool) -> None:
        self._discovery = discovery
        self._keep_null = keep_null
        self._lenient = discovery.api in _EMPTY_ENUMS
        self.problems: list[tuple[str, ApiError]] = []

    def message(self, schema: Schema, body: Any, path: str) -> Any:
        if not isinstance(body, dict):
            return self._wrong(path, "message", body)
        properties = schema.get("properties")
        if properties is None:
            return self._map(schema, body, path)
        result: Json = {}
        for key, value in body.items():
            name = key if key in properties else camel(key)
            field = properties.get(name)
            if field is None:
                self.problems.append((path, refuse("google.unknown-field", name=key, path=path)))
            elif (value is None and not self._keep_null) or (value == "" and "enum" in field and self._lenient):
                continue
            elif name in _TAKEN or not _output_only(field):
                result[name] = self._value(field, value, f"{path}.{snake(name)}")
        return result

    def _value(self, field: Mapping[str, Any], value: Any, path: str) -> Any:
        if value is None:
            return None
        if "$ref" in field:
            return self.message(self._discovery.schema(field["$ref"]), value, path)
        kind = field.get("type", "any")
        if kind == "array":
            if not isinstance(value, list):
                return self._wrong(path, "list", value)
            return [self._item(field["items"], item, f"{path}[{place}]") for place, item in enumerate(value)]
        if kind == "object":
            return self._object(field, value, path)
        return value if kind == "any" else self._scalar(field, kind, value, path)

    def _object(self, field: Mapping[str, Any], value: Any, path: str) -> Any:
        if not isinstance(value, dict):
            return self._wrong(path, "map", value)
        return self.message(field, value, path) if "properties" in field else self._map(field, value, path)

    def _map(self, field: Mapping[str, Any], value: Json, path: str) -> Json:
        items = field.get("additionalProperties")
        if not isinstance(items, Mapping):
            return dict(value)
        read = self._value if self._keep_null else self._item
        return {key: read(items, item, f"{path}[{key}]") for key, item in value.items()}

    def _item(self, field: Mapping[str, Any], value: Any, path: str) -> Any:
        """As `_value`, where null means nothing."""
        return self._wrong(path, "null", value) if value is None else self._value(field, value, path)

    def _scalar(self, field: Mapping[str, Any], kind: str, value: Any, path: str) -> Any:
        if "enum" in field:
            return self._enum(field["enum"], value, path)
        form = field.get("format", "")
        if kind == "boolean":
            return value if isinstance(value, bool) else self._wrong(path, "TYPE_BOOL", value)
        if kind == "integer" or form in _BOUNDS:
            return self._whole(kind, form, value, path)
        if kind == "number":
            good = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        else:
            good = isinstance(value, str) and (form not in _FORMS or _FORMS[form](value))
        return value if good else self._wrong(path, _proto_type(kind, form), value)

    def _whole(self, kind: str, form: str, value: Any, path: str) -> Any:
        good = isinstance(value, int) and not isinstance(value, bool)
        if isinstance(value, float) and value.is_integer():
            good, value = True, int(value)
        if isinstance(value, str) and _WHOLE.fullmatch(value):
            good = True
        if not good or not _within(form, int(value)):
            return self._wrong(path, _proto_type(kind, form), value)
        return str(value) if kind == "string" else int(value)

    def _enum(self, names: Sequence[str], value: Any, path: str) -> Any:
        if isinstance(value, str) and value in names:
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            numbers = _NUMBERS.get(names[0], range(len(names)))
            if value in numbers:
                return names[list(numbers).index(value)]
        return self._wrong(path, "TYPE_ENUM", value)

    def _wrong(self, path: str, kind: str, value: Any) -> None:
        shown = f'"{value}"' if isinstance(value, str) else value
        self.problems.append((path, refuse("google.value", path=path, kind=kind, shown=shown)))


def _proto_type(kind: str, form: str) -> str:
    if form in _WELL_KNOWN:
        return f"type.googleapis.com/google.protobuf.{_WELL_KNOWN[form]}"
    word = form if form in _PROTO_FORMATS else kind
    return "TYPE_" + {"byte": "BYTES", "boolean": "BOOL"}.get(word, word.upper())


def _output_only(field: Mapping[str, Any]) -> bool:
    return bool(field.get("readOnly")) or str(field.get("description", "")).startswith("[Output Only]")


def _within(form: str, number: int) -> bool:
    least, most = _BOUNDS.get(form, _BOUNDS["int64"])
    return least <= number <= most


def _is_base64(value: str) -> bool:
    try:
        base64.b64decode(value.replace("-", "+").replace("_", "/") + "=" * (-len(value) % 4), validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _is_duration(value: str) -> bool:
    return bool(_DURATION.fullmatch(value)) and abs(float(value[:-1])) <= _LONGEST_DURATION


def _is_moment(value: str) -> bool:
    try:
        return bool(_MOMENT.fullmatch(value)) and datetime.fromisoformat(value) is not None
    except ValueError:
        return False


# What a text of a format looks like: https://protobuf.dev/programming-guides/json/
_FORMS: Mapping[str, Callable[[str], bool]] = {
    "byte": _is_base64,
    "google-duration": _is_duration,
    "google-datetime": _is_moment,
    "date-time": _is_moment,
}


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
