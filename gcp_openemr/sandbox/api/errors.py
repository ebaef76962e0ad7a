"""Google's error answers.

One-platform APIs (Run, Secret Manager, …) name a canonical status and carry details; the older APIs (Storage,
Compute, DNS, SQL) carry a list of errors with reasons. Both shapes are read by Google's clients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["CODES", "STATUSES", "ApiError"]

# google/rpc/code.proto: the canonical status, its code, the HTTP status it travels as, the older APIs' word for that.
_ROWS: Sequence[tuple[str, int, int, str]] = (
    ("OK", 0, 200, ""),
    ("CANCELLED", 1, 499, ""),
    ("UNKNOWN", 2, 0, ""),
    ("INVALID_ARGUMENT", 3, 400, "badRequest"),
    ("DEADLINE_EXCEEDED", 4, 504, ""),
    ("NOT_FOUND", 5, 404, "notFound"),
    ("ALREADY_EXISTS", 6, 409, "conflict"),
    ("PERMISSION_DENIED", 7, 403, "forbidden"),
    ("RESOURCE_EXHAUSTED", 8, 429, ""),
    ("FAILED_PRECONDITION", 9, 412, "conditionNotMet"),
    ("ABORTED", 10, 0, ""),
    ("OUT_OF_RANGE", 11, 416, "requestedRangeNotSatisfiable"),
    ("UNIMPLEMENTED", 12, 501, "notImplemented"),
    ("INTERNAL", 13, 500, ""),
    ("UNAVAILABLE", 14, 503, "backendError"),
    ("UNAUTHENTICATED", 16, 401, "authError"),
)
CODES: Mapping[str, int] = {status: code for status, code, _, _ in _ROWS}
STATUSES: Mapping[int, str] = {http: status for status, _, http, _ in _ROWS}
_REASONS: Mapping[int, str] = {http: reason for _, _, http, reason in _ROWS} | {413: "uploadTooLarge"}


class ApiError(Exception):
    """A refusal. `code` is the HTTP status, `status` the canonical name (None where the answer says none), `reason` the
    word of the older APIs."""

    def __init__(
        self,
        code: int,
        message: str,
        *,
        status: str | None = "",
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
        self.status = STATUSES.get(code, "UNKNOWN") if status == "" else status
        self.reason = reason or _REASONS.get(code) or "invalid"
        self.domain = domain
        self.details = list(details)
        self.location = location  # (locationType, location), as Storage names the header at fault
        self.headers = dict(headers or {})
        self.refusal_id = refusal_id  # the row of `refusals.REFUSALS` that says so

    @property
    def rpc_code(self) -> int:
        """google.rpc.Code of the canonical status."""
        return CODES.get(self.status or "", 2)

    def body(self) -> dict[str, Any]:
        """The answer's JSON."""
        entry: dict[str, Any] = {"message": self.message, "domain": self.domain, "reason": self.reason}
        if self.location:
            entry["locationType"], entry["location"] = self.location
        error: dict[str, Any] = {"code": self.code, "message": self.message, "errors": [entry]}
        if self.status is not None:
            error["status"] = self.status
        if self.details:
            error["details"] = self.details
        return {"error": error}
