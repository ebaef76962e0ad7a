"""Passwords changed while people work: nobody notices but the administrator, and everything holds afterwards."""

from __future__ import annotations

import json
import random
import signal
import time
from typing import Any

import pytest

from gcp_openemr import lock
from gcp_openemr.sandbox.remote import Remote, remote
from tests.rehearsal.conftest import arguments_written_down
from tests.rehearsal.people import at_work, hire, root
from tests.rehearsal.place import PROJECT, Place, begin, visit, wait_for
from tests.rehearsal.test_deploy import files_below, objects
from tests.searched import shapes

KINDS = ("database", "redis", "admin", "backup")
DRAIN = ("--drain", "2")
STATE = f"{PROJECT}-oe-test-state"
ROTATOR = f"serviceAccount:oe-test-main-rot@{PROJECT}.iam.gserviceaccount.com"


@pytest.fixture(scope="module")
def clinic(deployed_copy: Place) -> Place:
    """A clinic with two instances and a nurse."""
    service = f"projects/{PROJECT}/locations/europe-west1/services/oe-test-main-web"
    assert deployed_copy.cloud().services.get_service(name=service).template.scaling.min_instance_count == 2
    hire(deployed_copy)
    return deployed_copy


def url(place: Place) -> str:
    return str(place.must("credentials")["url"])


def standing(place: Place) -> dict[str, Any]:
    """Each secret as `rotate --status` tells it, whatever there is to do."""
    seen: dict[str, Any] = place.run("rotate", "--status").json
    return dict(seen["clinics"]["main"]["secrets"])


def values(place: Place) -> dict[str, bytes]:
    """Every value that any secret ever had and has not lost yet."""
    client = place.cloud().secrets
    found = {}
    for secret in client.list_secrets(parent=f"projects/{PROJECT}"):
        for version in client.list_secret_versions(parent=secret.name):
            if version.state.name == "ENABLED":
                found[version.name] = client.access_secret_version(name=version.name).payload.data
    return found


def assert_at_rest(place: Place) -> None:
    """One version of each secret can be read, one password of the account is valid, and deploy has nothing to do."""
    seen = place.run("rotate", "--status")
    assert seen.status == 0, seen.stdout
    client = place.cloud().secrets
    for one in standing(place).values():
        path = f"projects/{PROJECT}/secrets/{one['secret']}"
        versions = client.list_secret_versions(parent=path)
        assert [v.name.rpartition("/")[2] for v in versions if v.state.name == "ENABLED"] == [str(one["version"])]
        assert dict(client.get_secret(name=path).version_aliases) == {"current": one["version"]}
    with root(place) as cursor:
        cursor.execute("SELECT User_attributes FROM mysql.user WHERE User = 'oe_main'")
        (attributes,) = cursor.fetchone()
    assert "additional_password" not in json.loads(attributes or "{}")
    visit(place, "main")


@pytest.fixture(scope="module")
def rotated(clinic: Place) -> dict[str, Any]:
    """All four at once, with people at work; what was seen of it."""
    arguments: set[bytes] = set()
    before, old = values(clinic), clinic.must("credentials")["password"]
    with arguments_written_down(arguments), at_work(url(clinic), pause=0.1) as seen:
        answer = clinic.run("rotate", "-y", *DRAIN)
    return {"answer": answer, "seen": seen, "arguments": arguments, "before": before, "old": old}


def test_nobody_at_work_notices(clinic: Place, rotated: dict[str, Any]) -> None:
    assert rotated["answer"].status == 0, rotated["answer"].stderr
    assert set(rotated["answer"].json["clinics"]["main"]["rotated"]) == {*KINDS}
    assert rotated["seen"].failures == []
    assert rotated["seen"].requests > 20
    assert rotated["seen"].logins > 3
    assert_at_rest(clinic)


def test_the_administrator_has_a_new_password(clinic: Place, rotated: dict[str, Any]) -> None:
    assert clinic.must("credentials")["password"] != rotated["old"]
    assert {one["version"] for one in standing(clinic).values()} == {2}


def test_deploy_has_nothing_to_do_afterwards_and_the_next_backup_is_made(
    clinic: Place, rotated: dict[str, Any]
) -> None:
    again = clinic.run("deploy", "-y")
    assert again.status == 0, again.stderr
    assert "apply" not in " ".join(again.json["seconds"])
    clinic.must("backup", "create")


def test_no_password_stands_anywhere(clinic: Place, rotated: dict[str, Any]) -> None:
    """Neither an old one nor a new one: in files, objects, logs, states, records, argument lists."""
    haystacks = {**files_below(clinic), **objects(clinic), "arguments": b"\n".join(rotated["arguments"])}
    haystacks["answer"] = (rotated["answer"].stdout + rotated["answer"].stderr).encode()
    known = {**rotated["before"], **values(clinic)}
    assert len(known) == 9
    for name, content in haystacks.items():
        for secret, value in known.items():
            assert not any(shape in content for shape in shapes(value)), f"{secret} stands in {name}"


def test_somebody_who_changes_the_environment_is_waited_for(clinic: Place, rotated: dict[str, Any]) -> None:
    with lock.hold(clinic.cloud().storage.bucket(STATE), "test", "deploy"):
        answer = clinic.run("rotate", "redis", "-y", *DRAIN)
    assert answer.status == 75
    assert "with `deploy`" in answer.json["error"]["what"]


@pytest.mark.torture
@pytest.mark.parametrize("kind", KINDS)
def test_three_rotations_in_a_row_of_each_secret(clinic: Place, rotated: dict[str, Any], kind: str) -> None:
    before = standing(clinic)[kind]["version"]
    with at_work(url(clinic)) as seen:
        for _ in range(3):
            clinic.must("rotate", kind, "-y", *DRAIN)
    assert seen.failures == []
    assert standing(clinic)[kind]["version"] == before + 3
    assert_at_rest(clinic)


@pytest.mark.torture
def test_of_two_rotations_at_once_one_goes_and_the_other_says_so(clinic: Place, rotated: dict[str, Any]) -> None:
    first = begin(clinic, "rotate", "redis", "-y", *DRAIN)
    wait_for(first, "clinics/main: rotate")
    time.sleep(3)
    second = clinic.run("rotate", "redis", "-y", *DRAIN)
    out, _ = first.communicate(timeout=240)
    assert first.returncode == 0, out
    assert (second.status, "with `rotate`" in second.stdout) == (75, True), second.stdout
    assert_at_rest(clinic)


@pytest.mark.torture
def test_a_rotation_waits_for_a_backup_that_runs(clinic: Place, rotated: dict[str, Any]) -> None:
    backup = begin(clinic, "backup", "create")
    wait_for(backup, "clinics/main: backup")
    clinic.must("rotate", "-y", *DRAIN)
    out, _ = backup.communicate(timeout=240)
    assert backup.returncode == 0, out
    assert_at_rest(clinic)


@pytest.mark.torture
def test_a_rotation_goes_on_when_the_program_is_killed(clinic: Place, rotated: dict[str, Any]) -> None:
    before = standing(clinic)["redis"]["version"]
    run = begin(clinic, "rotate", "redis", "-y", *DRAIN)
    wait_for(run, "clinics/main: rotate")
    time.sleep(2)
    run.send_signal(signal.SIGKILL)
    run.communicate(timeout=60)
    deadline = time.monotonic() + 240
    while standing(clinic)["redis"]["version"] == before or clinic.run("rotate", "--status").status:
        assert time.monotonic() < deadline
        time.sleep(1)
    clinic.must("rotate", "redis", "-y", *DRAIN)
    assert_at_rest(clinic)


@pytest.mark.torture
def test_what_was_changed_by_hand_is_found_and_mended(clinic: Place, rotated: dict[str, Any]) -> None:
    """In Cloud SQL, in Secret Manager, and on the service."""
    name = f"projects/{PROJECT}/secrets/{standing(clinic)['redis']['secret']}"
    in_force = standing(clinic)["redis"]["version"]
    clinic.cloud().secrets.disable_secret_version(name=f"{name}/versions/{in_force}")
    with root(clinic) as cursor:
        cursor.execute("ALTER USER oe_main IDENTIFIED BY 'set by hand, 1 Time'")
    examined = clinic.run("doctor")
    assert examined.status == 9
    assert "cannot use its database: it is away, or its password was changed by hand" in examined.stdout
    seen = clinic.run("rotate", "--status")
    assert seen.status == 9
    told = " ".join(seen.json["clinics"]["main"]["drift"])
    assert f"current version {in_force} is disabled" in told
    assert "the clinic cannot use its database" in told
    assert clinic.run("status").status == 6
    clinic.must("rotate", "database", "redis", "-y", *DRAIN)
    assert_at_rest(clinic)


@pytest.mark.torture
def test_a_restore_keeps_the_passwords_of_the_last_rotation(clinic: Place, rotated: dict[str, Any]) -> None:
    clinic.must("rotate", "-y", *DRAIN)
    before = {kind: one["version"] for kind, one in standing(clinic).items()}
    made = clinic.must("backup", "create")["clinics"]["main"]["set"]
    clinic.must("restore", "-y", "--clinic", "main", "--from", made, "--drain", "0", "--without-set")
    assert {kind: one["version"] for kind, one in standing(clinic).items()} == before
    assert_at_rest(clinic)


POINTS = 4  # of the job's calls: tests/jobs/test_rotation_killed.py and test_rotation_faults.py strike all of them


def calls_of_a_rotation(sandbox: Remote, place: Place) -> list[str]:
    """The API methods that the job calls, in their order."""
    since = max((entry.number for entry in sandbox.calls()), default=0)
    place.must("rotate", "-y", *DRAIN)
    return [entry.api_method for entry in sandbox.calls(since) if entry.caller == ROTATOR]


@pytest.mark.torture
@pytest.mark.parametrize("effect", ["kill", "status", "drop"])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("point", range(POINTS))
def test_a_rotation_struck_at_any_call_is_finished_by_the_next(
    clinic: Place, rotated: dict[str, Any], point: int, after: bool, effect: str
) -> None:
    """Points are spread over the job's own calls as the call log has them; people work on meanwhile."""
    sandbox = remote(clinic.sandbox)
    log = _LOG or calls_of_a_rotation(sandbox, clinic)
    _LOG[:] = log
    nth = random.Random(point).randrange(len(log)) + 1  # noqa: S311 -- a sample
    sandbox.add_fault(effect, caller=ROTATOR, nth=nth, after=after, times=1)
    try:
        with at_work(url(clinic), sessions=1) as seen:
            clinic.run("rotate", "-y", *DRAIN)
            sandbox.clear_faults()
            again = clinic.run("rotate", "-y", *DRAIN)
    finally:
        sandbox.clear_faults()
    assert again.status == 0, f"{log[nth - 1]}: {again.stderr}"
    assert seen.failures == [], log[nth - 1]
    assert_at_rest(clinic)


_LOG: list[str] = []
