"""Terraform values to the JSON of Google's APIs and back, guided by the discovery document.

Names are found as `api_path` says; a block of at most one element is an object
where the API has an object; 64-bit numbers are strings there. What the API does not know stays in Terraform.
Google leaves false, 0 and empty out of its answers, so that an absent value keeps a state that says nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from gcp_openemr.sandbox.provider.planning import matching
from gcp_openemr.sandbox.provider.protocol import UNKNOWN
from gcp_openemr.sandbox.provider.sameness import is_zero
from gcp_openemr.sandbox.provider.schema import Attribute, Block, Nested
from gcp_openemr.sandbox.provider.types.model import Json, ResourceType

__all__ = ["api_path", "camel", "definition_of", "from_api", "to_api"]

_ABSENT = object()
_ALIASES = {"kmsKeySelfLink": "kmsKeyName"}
_KEY = " key"  # of an object in a map, beside its own fields


def camel(name: str) -> str:
    """`min_instance_count` as Google writes it."""
    return re.sub(r"_(\w)", lambda found: found.group(1).upper(), name)


def api_path(row: ResourceType, properties: Mapping[str, Any], path: str) -> tuple[str, ...]:
    """Where an argument (dotted path) lies in its block's API object; () when the API has no place for it by name.

    `properties` are those of the block's object. What the row does not name has the same name there, but for capitals
    (`nat_ip` is natIP) and an s (repeated blocks are plural); `disk_id` of a disk is its id.
    """
    if path == "id":
        return ()
    if path in row.names:
        return tuple(filter(None, row.names[path].split(".")))
    name = camel(path.rpartition(".")[2])
    if name in properties:
        return (name,)
    alike = next((known for known in properties if known.casefold() == name.casefold()), "")
    plural = f"{name}s" if "$ref" in properties.get(f"{name}s", {}).get("items", {}) else ""
    own = "id" if "id" in properties and path.endswith("_id") and row.type.endswith(f"_{path[:-3]}") else ""
    return (alike or plural or own or _ALIASES.get(name, name),)


def to_api(row: ResourceType, block: Block, state: Mapping[str, Any]) -> Json:
    """The request body for a planned state: what people may set and the API takes."""
    body: Json = {}
    _write(row, block, state, row.properties, "", body)
    return body


def from_api(row: ResourceType, block: Block, body: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """The state for the API's answer; `before` is the planned or last state, {} on import."""
    return _read(row, block, body, row.properties, "", before)


def _definition(row: ResourceType, properties: Mapping[str, Any], place: tuple[str, ...]) -> Mapping[str, Any] | None:
    """The property at a place; None when the API has none there."""
    found: Mapping[str, Any] | None = None
    for step in place:
        found = properties.get(step)
        if found is None:
            return None
        properties = row.schema_of(found)
    return found


def definition_of(row: ResourceType, properties: Mapping[str, Any], path: str) -> Mapping[str, Any] | None:
    """The API's property for an argument or block; a map that stands for blocks looks like a list."""
    return _block_definition(row, properties, api_path(row, properties, path), path)


def _block_definition(
    row: ResourceType, properties: Mapping[str, Any], place: tuple[str, ...], path: str
) -> Mapping[str, Any] | None:
    definition = _definition(row, properties, place)
    if definition is not None and path in row.maps:
        return {"type": "array", "items": definition["additionalProperties"], "key": row.maps[path]}
    return definition


def _write(
    row: ResourceType,
    block: Block,
    value: Mapping[str, Any],
    properties: Mapping[str, Any],
    prefix: str,
    body: Json,
) -> None:
    for name, attribute in block.attributes.items():
        place = api_path(row, properties, prefix + name)
        definition = _definition(row, properties, place)
        said = value.get(name)
        if definition is None or not attribute.settable or definition.get("readOnly") or _says_nothing(said):
            continue
        _put(body, place, _scalar_to_api(row, said, definition))
    for name, nested in block.blocks.items():
        place = api_path(row, properties, prefix + name)
        said = value.get(name)
        if nested.nesting == "single" or not isinstance(said, list):
            continue
        definition = _block_definition(row, properties, place, prefix + name)
        if definition is None or definition.get("readOnly"):
            continue
        if said:
            _put(body, place, _block_to_api(row, nested, said, definition, f"{prefix}{name}."))


def _block_to_api(
    row: ResourceType, nested: Nested, said: list[Any], definition: Mapping[str, Any], prefix: str
) -> Any:
    is_list = definition.get("type") == "array"
    inner = row.schema_of(definition.get("items", {}) if is_list else definition)
    elements = []
    for element in said:
        converted: Json = {}
        _write(row, nested.block, element or {}, inner, prefix, converted)
        elements.append(converted)
    if "key" in definition:
        return {element[definition["key"]]: converted for element, converted in zip(said, elements, strict=True)}
    return elements if is_list else elements[0]


def _says_nothing(value: Any) -> bool:
    """Whether a request leaves it out: null, unknown or empty. False and 0 are said."""
    return value is None or value is UNKNOWN or value == "" or value in ([], {})


def _scalar_to_api(row: ResourceType, value: Any, definition: Mapping[str, Any]) -> Any:
    if isinstance(value, list):
        items = definition.get("items", {})
        converted = [_scalar_to_api(row, element, items) for element in value]
        return converted if definition.get("type") == "array" else converted[0]
    if isinstance(value, dict):
        inner = row.schema_of(definition)
        if inner:  # an attribute whose elements are objects (attributes as blocks)
            return {
                camel(name): _scalar_to_api(row, element, inner.get(camel(name), {}))
                for name, element in value.items()
                if not _says_nothing(element)
            }
        return dict(value)
    return _number_to_api(value, definition.get("type", ""))


def _number_to_api(value: Any, kind: str) -> Any:
    if kind == "string" and isinstance(value, bool):
        return str(value).lower()
    if kind == "string" and isinstance(value, int | float):
        return str(int(value)) if _is_whole(value) else str(value)
    if kind in ("integer", "number") and isinstance(value, str):
        return float(value) if "." in value else int(value)
    return value == "true" if kind == "boolean" and isinstance(value, str) else value


def _is_whole(value: Any) -> bool:
    return isinstance(value, float) and value.is_integer()


def _put(body: Json, place: tuple[str, ...], value: Any) -> None:
    for step in place[:-1]:
        body = body.setdefault(step, {})
    body[place[-1]] = value


def _take(body: Mapping[str, Any], place: tuple[str, ...]) -> Any:
    found: Any = body
    for step in place:
        if not isinstance(found, Mapping) or step not in found:
            return _ABSENT
        found = found[step]
    return _ABSENT if found is None else found


def _read(
    row: ResourceType,
    block: Block,
    body: Mapping[str, Any],
    properties: Mapping[str, Any],
    prefix: str,
    before: Mapping[str, Any],
) -> dict[str, Any]:
    state: dict[str, Any] = {}
    for name, attribute in block.attributes.items():
        path = prefix + name
        place = api_path(row, properties, path)
        earlier = before.get(name)
        earlier = None if earlier is UNKNOWN or attribute.write_only else earlier
        known = bool(place) and _definition(row, properties, place) is not None and path not in row.input_only
        state[name] = _attribute_from_api(attribute, _take(body, place) if known else _ABSENT, earlier, known=known)
    for name, nested in block.blocks.items():
        path = prefix + name
        earlier = before.get(name)
        if nested.nesting == "single":
            state[name] = None if earlier is UNKNOWN else earlier
            continue
        earlier = earlier if isinstance(earlier, list) else []
        place = api_path(row, properties, path)
        definition = _block_definition(row, properties, place, path)
        if definition is None or path in row.input_only:
            state[name] = earlier
        else:
            state[name] = _block_from_api(row, nested, _take(body, place), definition, f"{path}.", earlier)
    return state


def _attribute_from_api(attribute: Attribute, found: Any, earlier: Any, *, known: bool) -> Any:
    if not known:
        return earlier
    if found is _ABSENT:
        return earlier if is_zero(earlier) and earlier is not None else _nothing(attribute)
    return _value_from_api(attribute.type, found)


def _nothing(attribute: Attribute) -> Any:
    """How the real provider stores what the API left out of a value only the server sets."""
    if not attribute.computed:
        return None
    if isinstance(attribute.type, list):
        return {} if attribute.type[0] == "map" else []
    return {"string": "", "number": 0, "bool": False}[attribute.type]


def _value_from_api(kind: Any, found: Any) -> Any:
    if kind == "string":
        return found if isinstance(found, str) else str(found).lower() if isinstance(found, bool) else str(found)
    if kind == "number":
        return (
            float(found) if isinstance(found, str) and "." in found else int(found) if str(found).isdigit() else found
        )
    if kind == "bool":
        return found in (True, "true")
    outer, inner = kind
    if outer == "map":
        return {name: _value_from_api(inner, value) for name, value in found.items()}
    if outer == "object":
        return {
            name: None if found.get(camel(name)) is None else _value_from_api(element, found[camel(name)])
            for name, element in inner.items()
        }
    return [_value_from_api(inner, value) for value in (found if isinstance(found, list) else [found])]


def _block_from_api(
    row: ResourceType, nested: Nested, found: Any, definition: Mapping[str, Any], prefix: str, earlier: list[Any]
) -> list[Any]:
    if found is _ABSENT or found == []:
        return earlier if earlier and is_zero(earlier) else []
    is_list = definition.get("type") == "array"
    inner = row.schema_of(definition.get("items", {}) if is_list else definition)
    elements = []
    key = definition.get("key")
    if key:
        found = [{**element, _KEY: name} for name, element in sorted(found.items())]
    for index, element in enumerate(found if is_list else [found]):
        ours = {key: element[_KEY]} if key else {}
        if nested.nesting == "set":
            before = matching(_read(row, nested.block, element, inner, prefix, ours) | ours, _known(earlier))
        else:
            before = earlier[index] if index < len(earlier) else None
        elements.append(_read(row, nested.block, element, inner, prefix, before or {}) | ours)
    # An object in which nothing is said is no block that anybody wrote.
    return [] if not earlier and not nested.computed and is_zero(elements) else elements


def _known(elements: list[Any]) -> list[dict[str, Any]]:
    return [element for element in elements if isinstance(element, dict)]
