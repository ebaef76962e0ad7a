"""Checks of the document's shape: which tables and keys there are, before any value is looked at."""

from __future__ import annotations

from collections.abc import Iterable

from gcp_openemr.environment.catalogue import CLINIC_KEYS, RESTORE_ALIASES, SECTIONS, key_hint, section_hint
from gcp_openemr.environment.names import clinic_name_problem
from gcp_openemr.environment.positions import KeyPath
from gcp_openemr.environment.settings import Settings

__all__ = ["check_shape", "rename_earlier_keys"]


def rename_earlier_keys(settings: Settings) -> None:
    """Give keys that the earlier module called otherwise their name of today."""
    clinics = [("clinics", name, "restore") for name in settings.table("clinics")]
    for table in [("restore",), *clinics]:
        values = settings.table(*table)
        for old, new in RESTORE_ALIASES.items():
            if old in values and new in values:
                settings.complain(f"says the same as {new}; leave one of them out", (*table, old))
                del values[old]
            elif old in values:
                settings.rename(table, old, new)


def check_shape(settings: Settings) -> None:
    """Complain of every unknown section and key, and of every table that is none."""
    for name, value in settings.values.items():
        if name == "clinics":
            _check_clinics(settings)
        elif name in SECTIONS:
            _check_table(settings, (name,), SECTIONS[name].model_fields)
        else:
            table = isinstance(value, dict)
            what = "unknown section" if table else "unknown key outside every section"
            settings.complain(f"{what}; {section_hint(name)}", (name,), of_table=table)


def _check_clinics(settings: Settings) -> None:
    clinics = settings.values["clinics"]
    if not isinstance(clinics, dict):
        settings.complain("must hold tables; write [clinics.NAME] for each clinic", ("clinics",), of_table=True)
        return
    for name, clinic in clinics.items():
        path = ("clinics", name)
        if not isinstance(clinic, dict):
            settings.complain("is no clinic; write [clinics.NAME] for each clinic", path)
            continue
        if problem := clinic_name_problem(name):
            text = f"a clinic's name {problem}; it becomes part of its resources' names"
            settings.complain(text, path, of_table=True)
        _check_table(settings, path, CLINIC_KEYS)
        if "restore" in clinic:
            _check_table(settings, (*path, "restore"), SECTIONS["restore"].model_fields)


def _check_table(settings: Settings, path: KeyPath, known: Iterable[str]) -> None:
    table = settings.values
    for key in path:
        table = table[str(key)]
    if not isinstance(table, dict):
        settings.complain(f"must be a table; write [{'.'.join(map(str, path))}] once", path, of_table=True)
        return
    for key in table.keys() - set(known):
        settings.complain(f"unknown key; {key_hint(path, key)}", (*path, key))
