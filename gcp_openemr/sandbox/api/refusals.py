"""What Google refuses, as rows: one for each reason to say no that the sandbox knows, with its source.

The rows stand in `refusals.json`; what an API makes of tables of its own comes in by `refusals(…)`.
`refuse("run.ports", …)` makes the error of a row. A source that begins with "unverified" names a rule for which no text
of Google's was found.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gcp_openemr.sandbox.api.errors import ApiError

__all__ = ["REFUSALS", "Refusal", "refusals", "refuse"]


@dataclasses.dataclass(frozen=True)
class Refusal:
    """`id` is `api.what`; `sentence` has {values}; `status` and `reason` are those of the code when empty."""

    id: str
    code: int
    sentence: str
    source: str = ""
    status: str = ""
    reason: str = ""

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
        details=details,
        location=location,
        refusal_id=row.id,
    )
