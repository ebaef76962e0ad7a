"""What Google refuses, as rows: one for each reason to say no that the sandbox knows, with its source.

The rows stand in `refusals.json`; what an API makes of tables of its own comes in by `refusals(…)`.
`refuse("run.ports", …)` makes the error of a row. A source that begins with "unverified" names a rule for which no text
of Google's was found.

How each API says that something is missing, is there already, or is not allowed are rows too: `API.not-found`,
`API.exists`, `API.denied`, with {name} {id} {kind} {region} {project} {number} {numbered} {permission}. An API without
such a row speaks as `google.…` does.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from gcp_openemr.sandbox.api.errors import ApiError
from gcp_openemr.sandbox.api.names import host_of, id_of, numbered, path_of, project_number, project_of, segment
from gcp_openemr.sandbox.api.store import Record, Store

__all__ = [
    "REFUSALS", "Refusal", "beyond_if", "demand", "denied", "duplicate", "existing", "missing", "refusals", "refuse",
    "refuse_if", "worded",
]  # fmt: skip
_Value = TypeVar("_Value")


@dataclasses.dataclass(frozen=True)
class Refusal:
    """`id` is `api.what`; `sentence` has {values}; `status` and `reason` are those of the code when empty.

    `status` is None where the API's answers have none.
    """

    id: str
    code: int
    sentence: str
    source: str = ""
    status: str | None = ""
    reason: str = ""
    domain: str = "global"

    @property
    def verified(self) -> bool:
        """Whether a text of Google's, its provider or its users stands behind the row."""
        return not self.source.startswith("unverified")


REFUSALS: dict[str, Refusal] = {
    refusal: Refusal(refusal, **row)
    for refusal, row in json.loads(Path(__file__).with_name("refusals.json").read_text(encoding="utf-8")).items()
}


def refusals(*rows: Refusal, source: str = "") -> None:
    """Add rows; `source` is that of every row without its own. Raises ValueError for an id that is taken."""
    for row in rows:
        if row.id in REFUSALS or not (row.source or source):
            raise ValueError(f"the refusal {row.id} is there already or has no source")
        REFUSALS[row.id] = dataclasses.replace(row, source=row.source or source)


def refuse(
    refusal: str,
    /,
    *,
    details: Sequence[Mapping[str, Any]] = (),
    location: tuple[str, str] | None = None,
    **values: Any,
) -> ApiError:
    """The error of a row, to be raised; `values` fill its sentence."""
    row = REFUSALS[refusal]
    return ApiError(
        row.code,
        row.sentence.format(**values),
        status=row.status,
        reason=row.reason,
        domain=row.domain,
        details=details,
        location=location,
        refusal_id=row.id,
    )


def refuse_if(condition: object, refusal: str, /, **values: Any) -> None:
    """Raise the error of a row when `condition` holds."""
    if condition:
        raise refuse(refusal, **values)


def beyond_if(condition: object, sentence: str) -> None:
    """Raise 501 when `condition` holds: Google would do it, the sandbox does not."""
    if condition:
        raise ApiError(501, sentence)


def demand(value: _Value | None, refusal: str, /, **values: Any) -> _Value:
    """A value that must be there. Raises the error of a row when it is None."""
    if value is None:
        raise refuse(refusal, **values)
    return value


def worded(api: str, what: str) -> str:
    """The row by which an API says it: its own, else Google's."""
    return f"{api}.{what}" if f"{api}.{what}" in REFUSALS else f"google.{what}"


def missing(name: str, kind: str = "") -> ApiError:
    """404 for a full name, in its API's words."""
    return _worded(host_of(name).partition(".")[0], "not-found", name, kind=kind)


def duplicate(name: str, kind: str = "") -> ApiError:
    """409 for a full name that is taken."""
    return _worded(host_of(name).partition(".")[0], "exists", name, kind=kind)


def denied(api: str, name: str, permission: str) -> ApiError:
    """403 with the ErrorInfo that one-platform APIs attach."""
    verb = permission.rpartition(".")[2]
    what = f"denied-{verb}" if f"{api}.denied-{verb}" in REFUSALS else "denied"
    error = _worded(api, what, name, permission=permission)
    metadata = {"permission": permission, "resource": path_of(name)}
    info = {"reason": "IAM_PERMISSION_DENIED", "domain": host_of(name), "metadata": metadata}
    error.details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", **info}]
    return error


def existing(store: Store, name: str, kind: str = "") -> Record:
    """The resource of a full name, else 404."""
    record = store.get(name)
    if record is None:
        raise missing(name, kind)
    return record


def _worded(api: str, what: str, name: str, *, kind: str = "", permission: str = "") -> ApiError:
    project = project_of(name)
    return refuse(
        worded(api, what),
        name=path_of(name),
        id=id_of(name),
        kind=kind,
        region=segment(name, "locations"),
        project=project,
        number=project_number(project),
        numbered=numbered(name),
        permission=permission,
    )
