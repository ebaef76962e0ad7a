"""Google's error answers.

One-platform APIs (Run, Secret Manager, …) name a canonical status and carry details; the older APIs (Storage,
Compute, DNS, SQL) carry a list of errors with reasons. Both shapes are read by Google's clients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["CODES", "STATUSES", "ApiError"]

# google.rpc.Code by name, and the HTTP status each travels as (google/rpc/code.proto).
CODES: Mapping[str, int] = {
    "OK": 0,
    "CANCELLED": 1,
    "UNKNOWN": 2,
    "INVALID_ARGUMENT": 3,
    "DEADLINE_EXCEEDED": 4,
    "NOT_FOUND": 5,
    "ALREADY_EXISTS": 6,
    "PERMISSION_DENIED": 7,
    "RESOURCE_EXHAUSTED": 8,
    "FAILED_PRECONDITION": 9,
    "ABORTED": 10,
    "OUT_OF_RANGE": 11,
    "UNIMPLEMENTED": 12,
    "INTERNAL": 13,
    "UNAVAILABLE": 14,
    "UNAUTHENTICATED": 16,
}
STATUSES: Mapping[int, str] = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    412: "FAILED_PRECONDITION",
    416: "OUT_OF_RANGE",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_REASONS: Mapping[int, str] = {
    400: "badRequest",
    401: "authError",
    403: "forbidden",
    404: "notFound",
    409: "conflict",
    412: "conditionNotMet",
    413: "uploadTooLarge",
    416: "requestedRangeNotSatisfiable",
    501: "notImplemented",
    503: "backendError",
}


class ApiError(Exception):
    """A refusal. `code` is the HTTP status, `status` the canonical name, `reason` the word of the older APIs."""

    def __init__(
        self,
        code: int,
        message: str,
        *,
        status: str = "",
        reason: str = "",
        domain: str = "global",
        details: Sequence[Mapping[str, Any]] = (),
        location: tuple[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        refusal_id: str = "",
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status or STATUSES.get(code, "UNKNOWN")
        self.reason = reason or _REASONS.get(code, "invalid")
        self.domain = domain
        self.details = list(details)
        self.location = location  # (locationType, location), as Storage names the header at fault
        self.headers = dict(headers or {})
        self.refusal_id = refusal_id  # the row of `refusals.REFUSALS` that says so

    @property
    def rpc_code(self) -> int:
        """google.rpc.Code of the canonical status."""
        return CODES.get(self.status, 2)

    def body(self) -> dict[str, Any]:
        """The answer's JSON."""
        entry: dict[str, Any] = {"message": self.message, "domain": self.domain, "reason": self.reason}
        if self.location:
            entry["locationType"], entry["location"] = self.location
        error: dict[str, Any] = {"code": self.code, "message": self.message, "errors": [entry], "status": self.status}
        if self.details:
            error["details"] = self.details
        return {"error": error}
