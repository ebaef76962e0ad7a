"""Environment variables in place of values of the file: `GCP_OPENEMR_SECTION_KEY`.

A clinic's values are `GCP_OPENEMR_CLINICS_NAME_KEY` and `…_RESTORE_URI`. Maps are JSON objects. A clinic itself is
named in the file only, so that a slip in a variable's name cannot make one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from gcp_openemr.environment.catalogue import SECTIONS, key_hint
from gcp_openemr.environment.names import SHORT_NAME
from gcp_openemr.environment.problems import allowed, nearest, shown
from gcp_openemr.environment.sections import Section
from gcp_openemr.environment.service import Service
from gcp_openemr.environment.settings import Settings

__all__ = ["PREFIX", "apply_overrides", "variables"]

PREFIX = "GCP_OPENEMR_"
# These speak to the sandbox with its Terraform provider, and of the program, not of an environment.
_OTHERS = ("GCP_OPENEMR_SANDBOX_", "GCP_OPENEMR_TERRAFORM", "GCP_OPENEMR_IMPERSONATE")
_MAPS = frozenset({"labels", "environment_variables"})
_LISTS = frozenset({"channels", "emails", "ssh_members"})
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,18}")
_TRUTH = {"true": True, "false": False}


def variables(clinics: tuple[str, ...] = ("main",)) -> dict[str, tuple[str, ...]]:
    """Every variable there is for these clinics, and the path of the value it stands for."""
    known: dict[str, tuple[str, ...]] = {}
    for section, model in SECTIONS.items():
        known |= _of_section((section,), model)
    for clinic in filter(SHORT_NAME.fullmatch, clinics):
        known |= _of_section(("clinics", clinic), Service)
        known |= _of_section(("clinics", clinic, "restore"), SECTIONS["restore"])
        known[_variable(("clinics", clinic, "admin_user"))] = ("clinics", clinic, "admin_user")
    return known


def apply_overrides(settings: Settings, overrides: Mapping[str, str]) -> None:
    """Put the variables' values over the file's; complain of those that were meant to and miss."""
    clinics = tuple(settings.table("clinics")) or ("main",)
    known = variables(clinics)
    for name in sorted(name for name in overrides if name.startswith(PREFIX) and not name.startswith(_OTHERS)):
        path = known.get(name)
        if path is None:
            _doubt(settings, name, known, clinics)
            continue
        try:
            value = _value(path, overrides[name])
        except ValueError as error:
            settings.complain_of_variable(name, str(error), path)
        else:
            settings.put(path, value, name)


def _of_section(path: tuple[str, ...], model: type[Section]) -> dict[str, tuple[str, ...]]:
    return {_variable((*path, key)): (*path, key) for key in model.model_fields}


def _variable(path: tuple[str, ...]) -> str:
    return PREFIX + "_".join(path).upper()


def _value(path: tuple[str, ...], text: str) -> object:
    """The value that the file would hold; what cannot be converted stays text, for the field's own complaint."""
    if not text.strip():
        raise ValueError("is set but empty; unset the variable or give it a value")
    key = path[-1]
    if key in _MAPS | _LISTS:
        return _json(text, list if key in _LISTS else dict)
    annotation = _annotation(path)
    if annotation is bool:
        return _TRUTH.get(text.strip().lower(), text)
    if annotation is int and _WHOLE_NUMBER.fullmatch(text.strip()):
        return int(text)
    return text


def _annotation(path: tuple[str, ...]) -> Any:
    *section, key = path
    if section[0] == "clinics":
        model = SECTIONS["restore"] if section[-1] == "restore" else Service
    else:
        model = SECTIONS[section[0]]
    field = model.model_fields.get(key)  # a clinic's admin_user is a field of another section, and text
    return field.annotation if field else str


def _json(text: str, kind: type[dict[str, object] | list[object]]) -> object:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, kind):
        example = 'array, e.g. ["one"]' if kind is list else 'object, e.g. {"team": "it"}'
        raise ValueError(f"must be a JSON {example}")
    return value


def _doubt(settings: Settings, name: str, known: Mapping[str, tuple[str, ...]], clinics: tuple[str, ...]) -> None:
    """Complain of an unknown variable that looks like a setting: by its section, its key, or as a whole."""
    word, _, rest = name.removeprefix(PREFIX).lower().partition("_")
    with_key = [variable for variable, path in known.items() if path[-1] in {rest, f"{word}_{rest}".strip("_")}]
    near = nearest(name, with_key) or nearest(name, known, likeness=0.8)
    if not near and not nearest(word, (*SECTIONS, "clinics")):
        return
    if word == "clinics" and (clinic := rest.partition("_")[0]) not in clinics:
        hint = f"the file names no clinic {shown(clinic)}, only {allowed(clinics)}"
    elif word in SECTIONS and not nearest(rest, SECTIONS[word].model_fields):
        hint = key_hint((word,), rest)
    else:
        near = near or nearest(name, known)
        hint = f"did you mean {near}?" if near else f"a setting is {PREFIX}SECTION_KEY"
    settings.complain_of_variable(name, f"is no setting; {hint}")
