"""One section through its model, every complaint at the place where it can be mended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from gcp_openemr.environment.positions import KeyPath
from gcp_openemr.environment.problems import Fault, Wrong, describe, one_of, shown
from gcp_openemr.environment.sections import Section
from gcp_openemr.environment.settings import Settings

__all__ = ["checked"]

AnySection = TypeVar("AnySection", bound=Section)

_EXPECTED = {
    "string_type": "must be text in quotes",
    "string_unicode": "must be text in UTF-8",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "bool_type": "must be true or false",
    "tuple_type": 'must be an array of texts, e.g. ["one", "two"]',
    "dict_type": 'must be a table, e.g. { KEY = "value" }',
}


def checked(
    settings: Settings,
    model: type[AnySection],
    tables: Sequence[KeyPath],
    defaults: Mapping[str, object] | None = None,
) -> AnySection | None:
    """The section made of `tables`, the first having the last word, over `defaults`; None when something is wrong."""
    if any(settings.holds(table) and not settings.is_table(table) for table in tables):
        return None  # complained of with the document's shape
    values = _merged(settings, model, tables, defaults or {})
    try:
        return model.model_validate(values)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            for fault in _faults(model, detail):
                _complain(settings, tables, str(detail["loc"][0]), values, fault)
        return None


def _merged(
    settings: Settings, model: type[Section], tables: Sequence[KeyPath], defaults: Mapping[str, object]
) -> dict[str, Any]:
    values: dict[str, Any] = dict(defaults)
    for table in reversed(tables):
        for key, value in settings.table(*map(str, table)).items():
            if key not in model.model_fields:
                continue
            inherited = values.get(key)
            if isinstance(inherited, dict) and isinstance(value, dict):
                values[key] = {**inherited, **value}
            else:
                values[key] = value
    return values


def _faults(model: type[Section], detail: ErrorDetails) -> Sequence[Fault]:
    field = model.model_fields[str(detail["loc"][0])]
    kind = detail["type"]
    if kind == "value_error":
        error = detail["ctx"]["error"]
        if isinstance(error, Wrong):
            return error.faults
    if kind == "missing":
        return [Fault(text="is missing", hint=f"write e.g. {_example(str(detail['loc'][0]), field.examples)}")]
    if kind == "literal_error":
        return [one_of(detail["input"], get_args(field.annotation))]
    # The entries of a map may be secrets, and so may be what stands where a map should.
    below = tuple(str(step) for step in detail["loc"][1:] if step != "[key]")
    text = _EXPECTED.get(kind, detail["msg"])
    return [Fault(text=text, below=below, value_shown=not below and kind != "dict_type")]


def _example(key: str, examples: Sequence[object] | None) -> str:
    return f"{key} = {shown(examples[0])}" if examples else key


def _complain(
    settings: Settings, tables: Sequence[KeyPath], key: str, values: Mapping[str, object], fault: Fault
) -> None:
    candidates: list[KeyPath] = []
    for table in sorted(tables, key=lambda table: not settings.holds(table)):
        candidates.append((*table, key, *fault.below))
        candidates += [(*table, other) for other in fault.related]
    path = settings.first_held(candidates)
    value: Any = values
    for step in (key, *fault.below):
        if not isinstance(value, Mapping) or step not in value:
            settings.complain(describe(fault), path)
            return
        value = value[step]
    if path[-1] in {key, *fault.below}:
        settings.complain(describe(fault, value), path)
    elif fault.value_shown:  # said at another key of the section, so the text has to name its own
        settings.complain(f"{key} {shown(value)} {describe(fault)}", path)
    else:
        settings.complain(describe(fault), path)
