"""Creates, reads, updates, deletes and imports a resource by its row in the table of types."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from gcp_openemr.sandbox.provider import convert, labels
from gcp_openemr.sandbox.provider.protocol import conform, settled
from gcp_openemr.sandbox.provider.rest import ApiError, OperationFailed, is_not_found
from gcp_openemr.sandbox.provider.sameness import same
from gcp_openemr.sandbox.provider.schema import Block
from gcp_openemr.sandbox.provider.types.model import (
    Change,
    Json,
    ResourceType,
    Settings,
    expand,
    import_forms,
    named_in,
    placeholders,
    short,
)

__all__ = ["Refusal", "changed", "create", "delete", "import_state", "read", "update"]

State = dict[str, Any]

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0}


class Refusal(Exception):
    """Shown to people as it is. `state` is what exists nevertheless (a tainted resource), None when nothing does."""

    def __init__(self, message: str, *, state: State | None = None) -> None:
        super().__init__(message)
        self.state = state


def create(row: ResourceType, block: Block, planned: Mapping[str, Any], settings: Settings) -> State:
    """Create what was planned (write-only values filled in) and return its state."""
    state: State = settled(dict(planned))
    change = Change(row=row, settings=settings, prior=None)
    if row.create is not None or row.element_of:
        try:
            if row.create is not None:
                row.create(state, change)
            else:
                _add_element(row, block, state, change)
        except (ApiError, OperationFailed) as error:
            raise Refusal(f"Error creating {row.title}: {error}") from error
    else:
        _create(row, block, state, change)
    created = read(row, block, state, settings)
    if created is None:
        raise Refusal(f"Error creating {row.title}: it was not there after it had been created")
    return created


def _filled(query: Mapping[str, str], state: State) -> dict[str, str]:
    filled = {name: expand(template, state) for name, template in query.items()}
    return {name: value for name, value in filled.items() if value}


def _add_element(row: ResourceType, block: Block, state: State, change: Change) -> None:
    if _get(row, state, change.settings) is not None:
        raise Refusal(f"Unable to create {row.schema}, existing object already found: map[name:{state['name']}]")
    _put_element(row, state, change.settings, _body(row, block, state, change), row.timeouts.create)


def _create(row: ResourceType, block: Block, state: State, change: Change) -> None:
    client = change.settings.client
    try:
        if row.before_create is not None:
            row.before_create(state, change)
        operation = client.call(
            "POST",
            row.api.host,
            expand(row.collection, state),
            _body(row, block, state, change),
            _filled(row.create_query, state),
        )
    except (ApiError, OperationFailed) as error:
        raise Refusal(f"Error creating {row.title}: {error}") from error
    try:
        answer = client.wait(row.api.host, row.api.version, operation, _timeout(state, "create", row.timeouts.create))
    except OperationFailed as error:
        message = f"Error waiting to create {row.title}: Error waiting for Creating {row.title}: {error}"
        left = read(row, block, state, change.settings) if row.taint_failed_create else None
        raise Refusal(message, state=left) from error
    _adopt_names(row, block, state, answer, change.settings)
    if row.after_create is not None:
        try:
            row.after_create(state, change)
        except (ApiError, OperationFailed) as error:
            raise Refusal(
                f"Error creating {row.title}: {error}", state={**state, "id": expand(row.id, state)}
            ) from error


def read(row: ResourceType, block: Block, state: Mapping[str, Any], settings: Settings) -> State | None:
    """The state as the API has it now; None when the resource is gone."""
    try:
        body = row.fetch(state, settings) if row.fetch is not None else _get(row, state, settings)
    except (ApiError, OperationFailed) as error:
        if is_not_found(error):
            return None
        raise Refusal(f"Error when reading or editing {row.title}: {error}") from error
    if body is None or row.is_gone(body):
        return None
    return _state(row, block, body, state, settings)


def _get(row: ResourceType, state: Mapping[str, Any], settings: Settings) -> Json | None:
    body = settings.client.call("GET", row.api.host, expand(row.item, state))
    if not row.element_of:
        return body
    return next((one for one in body.get(row.element_of, []) if one["name"] == state["name"]), None)


def _put_element(row: ResourceType, state: State, settings: Settings, element: Json | None, timeout: float) -> None:
    """Put an element (None takes it out) into the list of the resource that holds it."""
    path = expand(row.item, state)
    present = settings.client.call("GET", row.api.host, path).get(row.element_of, [])
    others = [one for one in present if one["name"] != state["name"]]
    row.call(settings.client, "PATCH", path, {row.element_of: others + ([element] if element else [])}, timeout)


def update(
    row: ResourceType, block: Block, prior: Mapping[str, Any], planned: Mapping[str, Any], settings: Settings
) -> State:
    """Bring the resource to the planned state; returns the state read afterwards."""
    state: State = settled(dict(planned))
    change = Change(row=row, settings=settings, prior=prior)
    every = [*changed(row, block, prior, state)]
    different = [name for name in every if name not in row.local]
    try:
        left = _take_steps(row, block, state, change, different)
        if row.updating is not None and left:
            row.updating(state, change)
        elif left:
            _send_update(row, block, state, change, left)
        if row.after_update is not None and every:
            row.after_update(state, change)
    except (ApiError, OperationFailed) as error:
        raise Refusal(f'Error updating {row.title} "{prior.get("id")}": {error}') from error
    updated = read(row, block, state, settings)
    if updated is None:
        raise Refusal(f"Error updating {row.title}: it is gone")
    return updated


def _take_steps(row: ResourceType, block: Block, state: State, change: Change, changed: list[str]) -> list[str]:
    """Call the methods that some arguments have for themselves; the arguments that are left."""
    path, timeout = expand(row.item, state), _timeout(state, "update", row.timeouts.update)
    for step in row.every_step:
        if not {*step.changes} & {*changed}:
            continue
        if step.body is not None:
            body = step.body(state, _get(row, state, change.settings) or {})
        else:
            body = _body(row, block, state, change)
            body = body if step.sends is None else {name: body.get(name) for name in step.sends}
        row.call(change.settings.client, step.method, path + expand(step.suffix, state), body, timeout)
        changed = [name for name in changed if name not in step.changes]
    return changed


def _send_update(row: ResourceType, block: Block, state: State, change: Change, changed: list[str]) -> None:
    body = _body(row, block, state, change)
    if row.element_of:
        _put_element(row, state, change.settings, body, row.timeouts.update)
        return
    query = _filled(row.update_query, state)
    method, _, style = (row.update or "").partition(" ")
    if style != "full" and method == "PATCH":
        paths = {".".join(place) for name in changed if (place := _place_in_body(row, block, name))}
        if not paths:
            return
        tops = {path.partition(".")[0] for path in paths}
        # A null takes a value away; with a mask its absence does.
        body = {top: body.get(top) for top in sorted(tops) if style != "mask" or top in body}
        query |= {"updateMask": ",".join(sorted(paths))} if style == "mask" else {}
        if style == "fingerprint":
            body["fingerprint"] = (_get(row, state, change.settings) or {}).get("fingerprint", "")
    client = change.settings.client
    operation = client.call(method, row.api.host, expand(row.item, state), body, query)
    try:
        client.wait(row.api.host, row.api.version, operation, _timeout(state, "update", row.timeouts.update))
    except OperationFailed as error:
        raise OperationFailed(f"Error waiting for Updating {row.title}: {error}") from error


def delete(row: ResourceType, state: Mapping[str, Any], settings: Settings) -> None:
    """Delete the resource unless Terraform's own protection forbids it; one that is gone already is fine."""
    if state.get("deletion_protection") and row.protected:
        raise Refusal(expand(row.protected, state))
    policy = state.get("deletion_policy")
    if policy == "PREVENT":
        raise Refusal(f'cannot destroy {row.title} without setting deletion_policy to "DELETE" or "ABANDON"')
    if policy == "ABANDON":
        return
    change = Change(row=row, settings=settings, prior=state)
    try:
        if row.before_delete is not None:
            row.before_delete(dict(state), change)
        if row.delete is not None:
            row.delete(dict(state), change)
            return
        timeout = _timeout(state, "delete", row.timeouts.delete)
        if row.element_of:
            _put_element(row, dict(state), settings, None, timeout)
            return
        query = f"?{expand(row.delete_query, state)}" if row.delete_query else ""
        row.call(settings.client, "DELETE", expand(row.item, state) + query, timeout=timeout)
    except ApiError as error:
        if not is_not_found(error):
            raise Refusal(f"Error when reading or editing {row.title}: {error}") from error
    except OperationFailed as error:
        raise Refusal(f"Error waiting for Deleting {row.title}: {error}") from error


def import_state(row: ResourceType, block: Block, given: str, settings: Settings) -> State:
    """The beginnings of a state from an import id: the names in it, and defaults of what only Terraform knows."""
    named = _named_by(row, given, settings)
    state: State = dict.fromkeys(block.attributes) | {
        name: None if nested.nesting == "single" else [] for name, nested in block.blocks.items()
    }
    for place in ("project", "region", "zone"):
        if place in block.attributes:
            state[place] = getattr(settings, place) or None
    state |= {name: value for name, value in named.items() if name in block.attributes or name in block.blocks}
    for name, attribute in block.attributes.items():
        if state[name] is None and attribute.default is not None and not _in_api(row, name):
            state[name] = attribute.default
    if "deletion_policy" in block.attributes and state["deletion_policy"] is None:
        state["deletion_policy"] = "DELETE"
    state["id"] = expand(row.id, state) if row.id else given
    return conform(block, state)


def _named_by(row: ResourceType, given: str, settings: Settings) -> Mapping[str, Any]:
    if row.importing is not None:
        own = row.importing(given, settings)
        if own is not None:
            return own
    templates = (row.id, *row.imports) if row.id else ()
    found = named_in(given, templates)
    if found is not None:
        return found
    forms = ", ".join(dict.fromkeys(import_forms(templates))) or "RESOURCE ROLE MEMBER"
    raise Refusal(f'Import id "{given}" doesn\'t match any of the accepted formats: {forms}')


def _body(row: ResourceType, block: Block, state: State, change: Change) -> Json:
    body = convert.to_api(row, block, state)
    labels.into_body(block, state, body)
    return row.encode(body, state, change) if row.encode is not None else body


def _state(row: ResourceType, block: Block, body: Json, before: Mapping[str, Any], settings: Settings) -> State:
    body = {**body, **{name: short(body.get(name)) for name in row.short}}
    if row.decode is not None:
        body = row.decode(body, before, settings)
    state = convert.from_api(row, block, body, before)
    for name in _names_in_url(row):
        if before.get(name) is not None:
            state[name] = before[name]
    labels.from_body(block, state, body, before)
    if row.settle is not None:
        row.settle(state, body, settings)
    state = conform(block, state)
    if row.id:
        state["id"] = expand(row.id, state)
    return state


def _adopt_names(row: ResourceType, block: Block, state: State, answer: Json, settings: Settings) -> None:
    """Names that the server chose, for rows whose item and id are built of them."""
    if any(state.get(name) is None for name in _names_in_url(row)) and answer:
        fresh = _state(row, block, answer, state, settings)
        state |= {name: fresh[name] for name in _names_in_url(row) if state.get(name) is None}


def _names_in_url(row: ResourceType) -> list[str]:
    return [name for name in placeholders(row.item + row.collection) if name != "id"]


def changed(row: ResourceType, block: Block, prior: Mapping[str, Any], state: Mapping[str, Any]) -> Iterator[str]:
    """Top-level arguments that differ in meaning."""
    for name, attribute in block.attributes.items():
        settled = attribute.settable or name in labels.EFFECTIVE
        if settled and not same(row.sameness.get(name, ""), prior.get(name), state.get(name)):
            yield name
    for name, nested in block.blocks.items():
        if nested.nesting != "single" and not same("", prior.get(name), state.get(name)):
            yield name


def _place_in_body(row: ResourceType, block: Block, name: str) -> tuple[str, ...]:
    if name in labels.EFFECTIVE:
        return (labels.EFFECTIVE[name],)
    if name in labels.EFFECTIVE.values() and f"effective_{name}" in block.attributes:
        return ()
    return convert.api_path(row, row.properties, name) if _in_api(row, name) else ()


def _in_api(row: ResourceType, name: str) -> bool:
    place = convert.api_path(row, row.properties, name)
    return bool(place) and place[0] in row.properties


def _timeout(state: Mapping[str, Any], kind: str, default: float) -> float:
    """Seconds from the `timeouts` block (`90m`, `1h30m`)."""
    said = (state.get("timeouts") or {}).get(kind)
    if not isinstance(said, str):
        return default
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"([\d.]+)([hms])", said)) or default
