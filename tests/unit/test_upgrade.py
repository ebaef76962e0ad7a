"""Which way an upgrade may go, and what a deploy says while it is under way: decided from what stands in Cloud Run."""

from __future__ import annotations

import pytest

from gcp_openemr.commands import releases, upgrade
from gcp_openemr.commands.releases import Standing
from gcp_openemr.environment.versions import LINES
from gcp_openemr.errors import UsageError
from gcp_openemr.image import Images
from gcp_openemr.variables import Upgrading

IMAGES = Images(service="service", job="job")
FORWARD = Upgrading(from_version="7.0.4", to_version="8.4.0", image="job")
BACK = Upgrading(from_version="7.0.4", to_version="8.4.0", image="job", set="a set", back="restore")


def standing(version: str, upgrading: Upgrading | None = None) -> Standing:
    return Standing(clinic="main", version=version, jobs_version=version, images=IMAGES, upgrading=upgrading)


@pytest.mark.parametrize(
    ("found", "to"),
    [
        (standing("7.0.4"), "8.4.0"),
        (standing("7.0.4", FORWARD), "8.4.0"),
        (standing("8.4.0", FORWARD), "8.4.0"),
        (standing("8.4.0"), "8.4.0"),
    ],
)
def test_a_way_that_openemrs_scripts_know_is_open(found: Standing, to: str) -> None:
    upgrade._check_way(found, to)


@pytest.mark.parametrize(
    ("found", "to", "what", "do"),
    [
        (standing("8.4.0"), "7.0.4", "its data cannot become 7.0.4's", "upgrade --back --clinic main"),
        (standing("6.0.0"), "8.4.0", "from which 8.4.0 cannot be reached", "Upgrade to one of these first: 7.0.4."),
        (standing("7.0.3"), "7.0.4", "from which 7.0.4 cannot be reached", "Stay on 7.0.3."),
        (standing("7.0.4", FORWARD), "7.0.4", "on its way to OpenEMR 8.4.0", "upgrade --to 8.4.0 --clinic main"),
        (standing("8.4.0", BACK), "8.4.0", "on its way to OpenEMR 7.0.4", "upgrade --back --clinic main"),
    ],
)
def test_a_way_that_is_closed_says_why_and_what_to_do(found: Standing, to: str, what: str, do: str) -> None:
    with pytest.raises(UsageError) as caught:
        upgrade._check_way(found, to)
    assert what in caught.value.what
    assert do in caught.value.do


@pytest.mark.parametrize(
    ("found", "wanted", "what", "do"),
    [
        (standing("7.0.4"), "8.4.0", "version is 8.4.0, and 'main' is on 7.0.4", "Run: gcp-openemr upgrade --to 8.4.0"),
        (standing("8.4.0"), "7.0.4", "version is 7.0.4, and 'main' is on 8.4.0", 'Set version = "8.4.0" in [openemr]'),
        (standing("7.0.4", FORWARD), "7.0.4", "on its way to OpenEMR 8.4.0", "Or go back: gcp-openemr upgrade --back"),
        (standing("8.4.0", BACK), "7.0.4", "on its way back to OpenEMR 7.0.4", "Finish it: gcp-openemr upgrade --back"),
    ],
)
def test_a_deploy_is_told_what_to_run_instead(found: Standing, wanted: str, what: str, do: str) -> None:
    told = releases._problem(found, wanted)
    assert what in told[0]
    assert do in told[1]


def test_every_line_is_reached_from_older_lines_alone() -> None:
    for line in LINES.values():
        assert all(releases.order(older) < line.order for older in line.upgrades)
