"""Points of metrics as Cloud Monitoring takes them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import google.auth
import pytest

from jobs import metrics, settings
from jobs.backup_settings import Clinic
from tests.unit import cloud as clouds

CLINIC = Clinic(
    server=settings.Server(host="", port=0, authority=""),
    schema="",
    user="",
    password=settings.SecretVersion(secret="", version=1),
    application=Path(),
    project=clouds.PROJECT,
    environment="prod",
)


def test_points_are_written_by_what_they_measure_and_of_which_clinic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with clouds.cloud(tmp_path) as cloud:
        monkeypatch.setattr(google.auth, "default", lambda **_: (cloud.credentials, clouds.PROJECT))
        monkeypatch.setattr(metrics, "_ADDRESS", f"{cloud.base}/monitoring.googleapis.com/v3/projects")
        metrics.write(CLINIC, "main", {"restore_seconds": 12.5, "drill_age": 0})
        assert "could not be written" not in capsys.readouterr().out
        start, end = (time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + away)) for away in (-60, 1))
        interval = {"interval.startTime": start, "interval.endTime": end}

        def points(what: str) -> Any:
            asked: dict[str, Any] = {"filter": f'metric.type="custom.googleapis.com/openemr/{what}"', **interval}
            return cloud.ask("monitoring", f"v3/projects/{clouds.PROJECT}/timeSeries", **asked)["timeSeries"]

        (written,) = points("restore_seconds")
        assert written["metric"]["labels"] == {"clinic": "main", "environment": "prod"}
        assert written["points"][0]["value"] == {"doubleValue": 12.5}
        assert len(points("drill_age")) == 1
    metrics.write(CLINIC, "main", {"drill_age": 0})
    assert "The metrics drill_age could not be written" in capsys.readouterr().out
