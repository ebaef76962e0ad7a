"""Which way an upgrade may go, and what a deploy says while it is under way: decided from what stands in Cloud Run."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from gcp_openemr.clients import Cloud
from gcp_openemr.cloud_run import Container
from gcp_openemr.commands import releases, restore, upgrade, upgrade_work
from gcp_openemr.commands.releases import Standing
from gcp_openemr.environment.versions import LINES
from gcp_openemr.errors import JobFailed, Locked, UsageError
from gcp_openemr.image import Images
from gcp_openemr.needed import needed
from gcp_openemr.variables import SecretVersions, Upgrading
from tests.unit import cloud as clouds

IMAGES = Images(service="service", job="job")
FORWARD = Upgrading(from_version="7.0.4", to_version="8.4.0", image="job")
REHEARSED = dataclasses.replace(FORWARD, rehearsal=True)
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
        (standing("7.0.4", REHEARSED), "8.4.0"),
        (standing("7.0.4", dataclasses.replace(REHEARSED, to_version="9.9.9")), "8.4.0"),
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
        (
            standing("7.0.4", REHEARSED),
            "7.0.4",
            "a rehearsal of OpenEMR 8.4.0 for 'main' has not come to its end",
            "upgrade --to 8.4.0 --rehearse --clinic main\nOr call it off: gcp-openemr upgrade --back --clinic main",
        ),
    ],
)
def test_a_deploy_is_told_what_to_run_instead(found: Standing, wanted: str, what: str, do: str) -> None:
    told = releases._problem(found, wanted)
    assert what in told[0]
    assert do in told[1]


@pytest.mark.parametrize("over", [restore.undo, functools.partial(restore.restore, wanted="latest")])
@pytest.mark.parametrize("way", [FORWARD, BACK])
def test_nothing_is_restored_while_an_upgrade_is_under_way(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, over: Callable[..., None], way: Upgrading
) -> None:
    """The upgrade would end with a database of which its set knows nothing, and its way back lose what came since."""
    context = clouds.context(cloud, tmp_path, yes=True)
    monkeypatch.setattr(releases, "look", lambda *_: standing("7.0.4", way))
    with pytest.raises(UsageError, match="so nothing else is restored over it") as caught:
        over(context, clinic="main", drain=0, set_first=True)
    assert "gcp-openemr upgrade --back --clinic main" in caught.value.do


def test_the_job_says_that_it_only_rehearses() -> None:
    job = Container(image="job", variables={"UPGRADE_FROM": "7.0.4", "OPENEMR_VERSION": "8.4.0", "REHEARSE": "yes"})
    assert releases._upgrading(job) == REHEARSED
    assert releases._upgrading(dataclasses.replace(job, variables={**job.variables, "REHEARSE": "no"})) == FORWARD


@pytest.mark.parametrize(
    ("way", "rehearses"), [(None, True), (REHEARSED, True), (FORWARD, False), (BACK, False)], ids=str
)
def test_what_was_rehearsed_is_rehearsed_again_and_no_upgrade_under_way_is(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: Upgrading | None, rehearses: bool
) -> None:
    """Its end would take away the job by which an upgrade under way is known."""
    monkeypatch.setattr(upgrade, "_check_file", lambda *_: None)
    monkeypatch.setattr(upgrade, "look", lambda *_: [standing("7.0.4", way)])
    monkeypatch.setattr(upgrade, "changing", lambda *_: pytest.fail("it begins"))
    with pytest.raises(pytest.fail.Exception if rehearses else UsageError):
        upgrade.rehearse(clouds.context(cloud, tmp_path, yes=True), to="8.4.0", clinic=None)


def test_a_restore_does_not_mind_a_rehearsal(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = clouds.context(cloud, tmp_path, yes=True)
    monkeypatch.setattr(releases, "look", lambda *_: standing("7.0.4", REHEARSED))
    restore._check_settled(context, context.environment.clinics["main"])


def test_who_may_restore_may_see_whether_an_upgrade_was_begun() -> None:
    """By the job `upgrade` and what its executions were told."""
    assert {"run.jobs.get", "run.executions.list", "run.services.get"} <= needed()["restore"]


def test_nor_where_one_began_until_the_lock_was_taken(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = iter([standing("7.0.4"), standing("7.0.4", FORWARD)])
    monkeypatch.setattr(releases, "look", lambda *_: next(seen))
    monkeypatch.setattr(restore, "changing", lambda *_: contextlib.nullcontext())
    with pytest.raises(UsageError, match=r"'main' is on its way to OpenEMR 8\.4\.0, so nothing"):
        restore.undo(clouds.context(cloud, tmp_path, yes=True), clinic="main", drain=0, set_first=True)


def test_every_line_is_reached_from_older_lines_alone() -> None:
    for line in LINES.values():
        assert all(releases.order(older) < line.order for older in line.upgrades)


class Working:
    """Runs jobs as `Work` does, and notes them; a job that is named in `fails` fails from its second run on."""

    def __init__(self, *fails: str) -> None:
        self.ran: list[str] = []
        self._fails = fails

    def run(self, job: str, variables: Mapping[str, str]) -> dict[str, Any]:
        self.ran.append(f"{job} page" if variables.get("PAGE_ONLY") else job)
        if job in self._fails and self.ran.count(job) > 1:
            raise JobFailed("The share is full.")
        return {"set": f"set {self.ran.count(job)}"}

    def back_up(self) -> str:
        return str(self.run("backup", {})["set"])


VERSIONS = SecretVersions(database_password=1, redis_password=1, admin_password=1)


def test_the_set_to_go_back_to_is_made_when_nobody_writes_any_more() -> None:
    work: Any = Working()
    assert upgrade._last_set(work, VERSIONS, 65) == "set 2"
    assert work.ran == ["backup", "upgrade page", "backup"]


def test_where_that_set_cannot_be_made_people_work_on() -> None:
    work: Any = Working("backup")
    with pytest.raises(JobFailed, match="The share is full"):
        upgrade._last_set(work, VERSIONS, 65)
    assert work.ran[-1] == "nfs-init"


@pytest.mark.parametrize(
    ("told", "changes"),
    [({}, True), ({"UPGRADE_SET": "x"}, True), ({"REHEARSE": "yes"}, False), ({"PAGE_ONLY": "yes"}, False)],
)
def test_a_rehearsal_and_the_page_alone_have_changed_nothing(told: dict[str, str], changes: bool) -> None:
    assert releases._changes(told) is changes


def test_what_another_run_changed_meanwhile_is_not_upgraded_by_what_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    context: Any = None
    monkeypatch.setattr(upgrade_work, "look", lambda *_: [standing("8.4.0")])
    upgrade_work.check_still(context, "main", [standing("8.4.0")])
    with pytest.raises(Locked, match="Another run changed a clinic in the meantime"):
        upgrade_work.check_still(context, "main", [standing("7.0.4")])
