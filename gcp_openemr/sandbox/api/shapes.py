"""What resources look like when Google first shows them: `shapes.json`, templates of JSON by kind."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gcp_openemr.sandbox.api.names import id_of, new_numeric_id, new_uid, now, path_of, project_number, project_of
from gcp_openemr.sandbox.interfaces import Json

__all__ = ["shape"]


@functools.cache
def _shapes() -> Mapping[str, Json]:
    found: Mapping[str, Json] = json.loads(Path(__file__).with_name("shapes.json").read_text(encoding="utf-8"))
    return found


def shape(kind: str, name: str, /, **values: Any) -> Json:
    """A resource of a full name, without the fields whose value is None.

    Its template may say {path}, {id}, {project} and {number} of the name, {now}, {uid}, {numeric} and what is given; a
    text that is one such word alone becomes the value itself, whatever its type.
    """
    project = project_of(name)
    known = {"path": path_of(name), "id": id_of(name), "project": project, "number": project_number(project)}
    known |= {"now": now(), "uid": new_uid(), "numeric": new_numeric_id(), **values}
    filled: Json = _filled(_shapes()[kind], known)
    return filled


def _filled(template: Any, known: Mapping[str, Any]) -> Any:
    if isinstance(template, dict):
        filled = {key: _filled(value, known) for key, value in template.items()}
        return {key: value for key, value in filled.items() if value is not None}
    if isinstance(template, list):
        return [_filled(value, known) for value in template]
    if not isinstance(template, str):
        return template
    word = template[1:-1]
    return known[word] if template == f"{{{word}}}" and word in known else template.format(**known)
