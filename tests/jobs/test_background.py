"""OpenEMR's background services: run when they are due, left alone while a clinic is being worked on."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from jobs import background, database, nfs_init, secrets
from jobs.background_settings import Background
from jobs.background_settings import background as read_settings
from jobs.backup_settings import Clinic
from jobs.errors import InstallFailed, SettingsInvalid
from jobs.redacted import Redacted
from tests.jobs.world import DATABASE_PASSWORD, World

LONG_AGO = datetime.datetime(2021, 1, 18, 11, 25, 10)
SCRIPT = Path("library/ajax/execute_background_services.php")


@pytest.fixture
def wanted(world: World) -> Background:
    """A clinic that serves."""
    nfs_init.run(world.wanted)
    given = world.wanted
    clinic = Clinic(
        server=given.server,
        schema=given.schema,
        user=given.user,
        password=given.password,
        application=given.application,
        project="p",
        environment="prod",
    )
    return Background(clinic=clinic, result_uri="")


def state(world: World) -> tuple[object, ...]:
    return world.query("SELECT running, next_run FROM background_services WHERE name = 'Email_Service'")[0]


def test_what_is_due_runs_once(world: World, wanted: Background) -> None:
    assert background.run(wanted)["ran"] == ["Email_Service"]
    after = state(world)
    assert after[0] == 0
    assert background.run(wanted)["ran"] == []
    assert state(world) == after


def test_a_service_that_died_with_its_instance_is_started_again(world: World, wanted: Background) -> None:
    world.query("UPDATE background_services SET running = 1, next_run = UTC_TIMESTAMP() - INTERVAL 3 HOUR")
    assert background.run(wanted) | {"seconds": 0} == {"ran": [], "freed": [], "seconds": 0}
    world.query("UPDATE background_services SET next_run = UTC_TIMESTAMP() - INTERVAL 37 HOUR")
    record = background.run(wanted)
    assert (record["freed"], record["ran"]) == (["Email_Service"], ["Email_Service"])


def test_nothing_is_started_behind_the_maintenance_page(world: World, wanted: Background) -> None:
    (world.sites / ".maintenance").touch()
    assert background.run(wanted) == {"ran": [], "reason": "the maintenance page is shown"}
    assert state(world) == (0, LONG_AGO)


def test_nothing_is_started_while_a_job_works_on_the_clinic(world: World, wanted: Background) -> None:
    password = secrets.access(wanted.clinic.password)
    with (
        database.connect(wanted.clinic.server, wanted.clinic.user, password) as connection,
        database.locked(connection, wanted.clinic.schema, seconds=1),
    ):
        assert background.run(wanted)["reason"] == "another job works on this clinic"
    assert background.run(wanted)["ran"] == ["Email_Service"]


def test_nothing_is_started_on_data_of_another_version(world: World, wanted: Background) -> None:
    world.query("UPDATE version SET v_database = v_database - 1")
    assert "and this image of" in background.run(wanted)["reason"]
    assert state(world) == (0, LONG_AGO)


def test_a_failure_of_openemr_is_told(world: World, wanted: Background) -> None:
    (wanted.clinic.application / SCRIPT).write_text("<?php fwrite(STDERR, 'no such table'); exit(255);")
    with pytest.raises(InstallFailed, match="OpenEMR's background services failed: no such table"):
        background.run(wanted)


def test_every_wrong_variable_is_told_at_once() -> None:
    with pytest.raises(SettingsInvalid) as caught:
        read_settings({"MYSQL_DATABASE": "No", "MYSQL_PASS_SECRET": "s"})
    for name in ("MYSQL_HOST", "MYSQL_DATABASE", "MYSQL_USER", "MYSQL_PASS_SECRET", "MYSQL_PASS_VERSION"):
        assert name in caught.value.what


def test_the_password_shows_nowhere(wanted: Background, capsys: pytest.CaptureFixture[str]) -> None:
    record = background.run(wanted)
    told = capsys.readouterr()
    assert Redacted(DATABASE_PASSWORD).reveal() not in f"{record}{told.out}{told.err}"
