"""Run's conditions: what is ready, what is under way, what failed and why."""

from __future__ import annotations

from gcp_openemr.sandbox.api.names import now
from gcp_openemr.sandbox.interfaces import Json

__all__ = ["failed", "pending", "ready"]


def ready(kind: str) -> Json:
    return {"type": kind, "state": "CONDITION_SUCCEEDED", "lastTransitionTime": now()}


def pending(kind: str) -> Json:
    return {"type": kind, "state": "CONDITION_RECONCILING", "lastTransitionTime": now()}


def failed(kind: str, message: str, reason: str = "") -> Json:
    """`reason` is one of the condition's common reasons (`CONTAINER_MISSING`, …)."""
    return {
        "type": kind,
        "state": "CONDITION_FAILED",
        "message": message,
        "severity": "ERROR",
        "lastTransitionTime": now(),
        **({"reason": reason} if reason else {}),
    }
