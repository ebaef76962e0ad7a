"""What Cloud Run refuses in a service or a job, as rows.

Requests that cannot be are told with the field ("Violation in CreateServiceRequest.service.…"), and every number that
has a least and a most is a `Limit`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from gcp_openemr.sandbox.api.refusals import Refusal, refusals
from gcp_openemr.sandbox.api.rules import ApiError, Call, refuse

__all__ = ["LIMITS", "NAME_PATTERN", "Limit", "check_limit", "violation", "violation_if"]

NAME_PATTERN = r"[a-z]([-a-z0-9]{0,47}[a-z0-9])?"
_DOCS = "https://cloud.google.com/run/docs/"
_SCHEMA = "https://run.googleapis.com/$discovery/rest?version=v2"


@dataclasses.dataclass(frozen=True)
class Limit:
    """A number of the API's `field` from `least` to `most`; its refusal is `run.{id}`."""

    id: str
    field: str
    least: int
    most: int
    source: str


_ROWS = (
    Limit("service-timeout", "timeout", 1, 3600, f"{_DOCS}configuring/request-timeout"),
    Limit("concurrency", "max_instance_request_concurrency", 1, 1000, f"{_DOCS}about-concurrency"),
    Limit("task-count", "task_count", 1, 10_000, f"{_DOCS}quotas"),
    Limit("task-timeout", "timeout", 1, 168 * 3600, f"{_DOCS}configuring/task-timeout"),
    Limit("retries", "max_retries", 0, 10, f"{_DOCS}configuring/max-retries"),
    Limit("port", "ports.container_port", 1, 65535, _SCHEMA),
    Limit("startup-delay", "startup_probe.initial_delay_seconds", 0, 240, _SCHEMA),
    Limit("startup-period", "startup_probe.period_seconds", 1, 240, _SCHEMA),
    Limit("startup-timeout", "startup_probe.timeout_seconds", 1, 240, _SCHEMA),
    Limit("startup-threshold", "startup_probe.failure_threshold", 1, 10_000, _SCHEMA),
    Limit("liveness-delay", "liveness_probe.initial_delay_seconds", 0, 3600, _SCHEMA),
    Limit("liveness-period", "liveness_probe.period_seconds", 1, 3600, _SCHEMA),
    Limit("liveness-timeout", "liveness_probe.timeout_seconds", 1, 3600, _SCHEMA),
    Limit("liveness-threshold", "liveness_probe.failure_threshold", 1, 10_000, _SCHEMA),
    Limit("readiness-delay", "readiness_probe.initial_delay_seconds", 0, 0, f"{_DOCS}configuring/healthchecks"),
    Limit("readiness-period", "readiness_probe.period_seconds", 1, 3600, _SCHEMA),
    Limit("readiness-timeout", "readiness_probe.timeout_seconds", 1, 3600, _SCHEMA),
    Limit("readiness-threshold", "readiness_probe.failure_threshold", 1, 10_000, f"{_DOCS}configuring/healthchecks"),
)
LIMITS = {row.id: row for row in _ROWS}

refusals(*(Refusal(f"run.{row.id}", 400, f"must be between {row.least} and {row.most}.", row.source) for row in _ROWS))


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
