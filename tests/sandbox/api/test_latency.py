"""Google's latencies, scaled, and the settings that scale them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gcp_openemr.sandbox.api.app import App
from gcp_openemr.sandbox.api.routing import API_VERSIONS
from gcp_openemr.sandbox.api.settings import latencies, seconds_of
from gcp_openemr.sandbox.discovery import load
from tests.sandbox.api.support import PROJECT, Cloud

METHODS = {method.id for api, versions in API_VERSIONS.items() for v, _ in versions for method in load(api, v).methods}


@pytest.mark.parametrize(("kind", "method"), [(kind, method) for kind, rows in latencies().items() for method in rows])
def test_each_figure_names_a_method_and_its_source(kind: str, method: str) -> None:
    row = latencies()[kind][method]
    assert method == "*" or method in METHODS
    assert row["seconds"] >= 0
    assert re.search(r"https://|^no source found$|really runs here$", row["source"])


def test_an_operation_takes_its_time_and_no_longer_than_the_sandbox_lives(cloud: Cloud) -> None:
    body = {"name": "net", "autoCreateSubnetworks": False}
    path = f"compute/v1/projects/{PROJECT}/global/networks"
    assert cloud.call("POST", "compute", path, body).body["status"] == "DONE"
    cloud.app.change_settings({"latency": 0.3 / seconds_of("operations", "compute.networks.insert")})
    begun = cloud.call("POST", "compute", path, {**body, "name": "other"})
    assert begun.body["status"] != "DONE"
    done = cloud.wait(begun)
    assert (done["error"], done["seconds"]) == (None, pytest.approx(0.3))
    cloud.app.change_settings({"latency": 1})
    lasting = cloud.call("POST", "compute", path, {**body, "name": "third"})
    assert lasting.body["status"] != "DONE"  # and the fixture's end does not wait for it


def test_settings_are_kept_and_nonsense_is_refused(tmp_path: Path) -> None:
    app = App(tmp_path)
    app.change_settings({"latency": 0.5})
    app.close()
    again = App(tmp_path)
    assert (again.settings.latency, again.settings.propagation) == (0.5, 0.0)
    again.close()


@pytest.mark.parametrize("changes", [{"speed": 1}, {"latency": -1}, {"latency": "fast"}, {"latency": True}])
def test_a_setting_that_makes_no_sense_is_refused(cloud: Cloud, changes: dict[str, object]) -> None:
    answer = cloud.call("POST", "storage", "sandbox/v1/settings", {"propagation": 1, **changes})
    assert answer.status == 400
    assert cloud.app.settings.propagation == 0
