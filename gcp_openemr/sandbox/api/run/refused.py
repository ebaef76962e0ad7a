"""What Cloud Run refuses in a service or a job, as rows.

Requests that cannot be are told with the field ("Violation in CreateServiceRequest.service.…"), and every number that
has a least and a most is a `Limit` (`limits.json`).
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from gcp_openemr.sandbox.api.refusals import Refusal, refusals
from gcp_openemr.sandbox.api.rules import ApiError, Call, refuse

__all__ = ["LIMITS", "NAME_PATTERN", "Limit", "check_limit", "violation", "violation_if"]

NAME_PATTERN = r"[a-z]([-a-z0-9]{0,47}[a-z0-9])?"


@dataclasses.dataclass(frozen=True)
class Limit:
    """A number of the API's `field` from `least` to `most`; its refusal is `run.{id}`."""

    id: str
    field: str
    least: int
    most: int
    source: str


LIMITS = {
    limit: Limit(limit, **row)
    for limit, row in json.loads(Path(__file__).with_name("limits.json").read_text(encoding="utf-8")).items()
}
refusals(
    *(
        Refusal(f"run.{row.id}", 400, f"must be between {row.least} and {row.most}.", row.source)
        for row in LIMITS.values()
    )
)


def violation(call: Call, refusal: str, field: str, **values: Any) -> ApiError:
    """The error of a row, told with the field of the request that is at fault (`template.containers[0].image`)."""
    error = refuse(refusal, **values)
    kind = {"services": "Service", "jobs": "Job"}.get(call.collection.rsplit(".", 1)[1], "Service")
    verb = {"create": "Create", "run": "Run"}.get(call.verb, "Update")
    where = f"{verb}{kind}Request.{kind.lower()}.{field}" if verb != "Run" else f"RunJobRequest.{field}"
    error.details = [
        {
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": [{"field": f"Violation in {where}", "description": error.message}],
        }
    ]
    error.message = f"Violation in {where}: {error.message}"
    return error


def violation_if(condition: object, call: Call, refusal: str, field: str, **values: Any) -> None:
    """Raise the error of a row, told with its field, when `condition` holds."""
    if condition:
        raise violation(call, refusal, field, **values)


def check_limit(call: Call, limit: str, value: float, where: str = "template.") -> None:
    """Raise 400 for a number outside of a row of LIMITS."""
    row = LIMITS[limit]
    violation_if(not row.least <= value <= row.most, call, f"run.{limit}", where + row.field)
