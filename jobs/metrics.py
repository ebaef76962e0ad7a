"""Points of custom metrics in Cloud Monitoring, one clinic each."""

from __future__ import annotations

import time

import google.auth
from google.auth.transport.requests import AuthorizedSession

from jobs import log
from jobs.backup_settings import Clinic

__all__ = ["write"]

_ADDRESS = "https://monitoring.googleapis.com/v3/projects"
_PREFIX = "custom.googleapis.com/openemr/"
_SCOPES = ["https://www.googleapis.com/auth/monitoring.write"]


def write(clinic: Clinic, name: str, points: dict[str, float], **labels: str) -> None:
    """Write points as gauges of the clinic `name`, by what they measure: `drill_age` is openemr/drill_age.

    `labels` are added to those of the clinic.
    A point that cannot be written is no reason for a run to fail: its alert fires without it.
    """
    if not clinic.project:
        return
    end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    labels = {"clinic": name, "environment": clinic.environment, **labels}
    series = [
        {
            "metric": {"type": f"{_PREFIX}{what}", "labels": labels},
            "resource": {"type": "global", "labels": {"project_id": clinic.project}},
            "points": [{"interval": {"endTime": end}, "value": {"doubleValue": value}}],
        }
        for what, value in points.items()
    ]
    try:
        credentials, _ = google.auth.default(scopes=_SCOPES)
        address = f"{_ADDRESS}/{clinic.project}/timeSeries"
        answer = AuthorizedSession(credentials).post(address, json={"timeSeries": series}, timeout=60)
        answer.raise_for_status()
    except Exception as error:
        log.warning(f"The metrics {', '.join(points)} could not be written: {error}")
