"""Rotations of what the service holds: how they go, how they are undone, and what was changed by hand."""

from __future__ import annotations

import base64
import json
import socket
import threading
from datetime import timedelta
from typing import Any

import pymysql
import pytest
import redis

from jobs import metrics, rest
from jobs.errors import Busy, Refused, Unhealthy, Unreachable
from jobs.redacted import Redacted
from jobs.rotation import executions, recipe, served, service, sessions
from jobs.rotation.locks import Fence
from jobs.settings import RedisServer
from tests.jobs.rotation_place import JOBS, REDIS_JOB, ROTATE_JOB, SECRETS, SERVICE, Place
from tests.searched import shapes

BOTH = ("database", "redis")


def by_hand(place: Place, statement: str, *values: str) -> None:
    with place.mysql.root() as connection, connection.cursor() as cursor:
        cursor.execute(f"ALTER USER {place.wanted.clinic.user} {statement}", values)


def test_three_rotations_in_a_row_each_leave_one_password(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(3):
        old = {kind: place.value(kind) for kind in BOTH}
        was = place.aliases("database")["current"]
        record = place.rotate(*BOTH)
        assert record["rotated"]["database"] == {"from": was, "to": was + 1}
        assert record["health"] == "ready"
        place.at_rest()
        assert not place.opens_mysql(old["database"])
        assert not place.opens_redis(old["redis"])
        told = (capsys.readouterr().out + json.dumps(record)).encode()
        for value in (*old.values(), *(place.value(kind) for kind in BOTH)):
            assert not any(shape in told for shape in shapes(value.reveal().encode()))
    revisions = place.call("GET", "run", f"v2/{SERVICE}/revisions")["revisions"]
    assert len(revisions) == 4, "one new revision serves both secrets"


def test_only_what_is_due_is_rotated_and_ages_are_told(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told: dict[str, float] = {}
    monkeypatch.setattr(metrics, "write", lambda _c, _n, points, secret: told.update({secret: points["secret_age"]}))
    before = place.aliases("redis")
    assert place.rotate(*BOTH, due_or_not=False)["rotated"] == {}
    assert place.aliases("redis") == before
    assert set(told) == set(SECRETS)
    assert max(told.values()) < 3600
    assert '"overdue"' not in capsys.readouterr().out
    monkeypatch.setattr(recipe, "_GRACE_DAYS", -1)
    assert set(place.rotate("redis", due_or_not=False, every_days=0)["rotated"]) == {"redis"}
    assert '"message": "The password redis is older than 0 days.", "overdue": "rotation"' in capsys.readouterr().out
    place.at_rest()


def test_an_execution_that_began_before_is_waited_for_by_the_next_run(place: Place) -> None:
    begun, finish = place.begin(JOBS[0])
    old = place.value("database")
    record = place.rotate("database")
    assert begun.rpartition("/")[2] in record["waiting"]["database"]
    assert place.opens_mysql(old)
    assert place.opens_mysql(place.value("database"))
    place.works()
    finish()
    assert "database" in place.rotate("database")["finished"]
    assert not place.opens_mysql(old)
    place.at_rest()


@pytest.mark.parametrize("kind", ["database", "backup"])
def test_an_execution_that_began_long_after_is_not_waited_for(
    place: Place, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A job that runs whenever a rotation does would keep the old password valid for good."""
    _, finish = place.begin(JOBS[0])
    assert kind in place.rotate(kind)["waiting"]
    finish()
    begun, finish = place.begin(JOBS[1])
    assert begun.rpartition("/")[2] in place.rotate(kind)["waiting"][kind], "it may have been told the old version"
    monkeypatch.setattr(executions, "_LATE", timedelta())
    assert kind in place.rotate(kind)["finished"]
    finish()
    place.at_rest()
    assert not place.call("GET", "secretmanager", f"v1/{SECRETS[kind]}").get("annotations")


def test_an_execution_that_began_meanwhile_may_have_been_told_the_old_version(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An alias that moved is not known everywhere at once."""
    begun: list[Any] = []
    monkeypatch.setattr(Fence, "pause", lambda _self, *, until: begun.append(place.begin(JOBS[1])))  # noqa: ARG005
    old = place.value("database")
    record = place.rotate("database")
    monkeypatch.undo()
    [(execution, finish)] = begun
    assert execution.rpartition("/")[2] in record["waiting"]["database"]
    assert place.opens_mysql(old)
    finish()
    assert "database" in place.rotate("database")["finished"]
    place.at_rest()


@pytest.mark.parametrize("late", [1, pytest.param(2, marks=pytest.mark.torture)], ids=["accepting", "ending"])
def test_redis_is_asked_whether_its_job_was_told_the_aliases_as_they_are(
    place: Place, monkeypatch: pytest.MonkeyPatch, late: int
) -> None:
    """A job that is told them as they were before changes nothing."""
    old = place.value("redis")
    runs = told_late(place, monkeypatch, {late})
    assert "redis" in place.rotate("redis")["rotated"]
    assert len(runs) == 3
    assert not place.opens_redis(old)
    place.at_rest()


@pytest.mark.torture
def test_aliases_that_are_told_late_for_long_leave_the_clinic_at_work(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        told_late(place, patch, {*range(100)})
        with pytest.raises(Unreachable, match="goes on telling older ones"):
            place.rotate("redis")
    place.works()
    assert "redis" in place.rotate("redis")["finished"]
    place.at_rest()


def test_a_run_knows_which_versions_it_put_in_force_though_it_is_told_those_before(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    call, former = rest.call, dict[str, Any]()
    late = {f"v1/{SECRETS[kind]}" for kind in ("database", "admin")}

    def told(method: str, api: str, path: str, **more: Any) -> dict[str, Any]:
        if method == "PATCH" and path in late:
            former.setdefault(path, call("GET", api, path))
        answer = call(method, api, path, **more)
        return former.get(path, answer) if method == "GET" else answer

    with monkeypatch.context() as patch:
        patch.setattr(rest, "call", told)
        record = place.rotate("database", "admin")
    assert set(former) == late
    assert set(record["rotated"]) == {"database", "admin"}
    place.at_rest("database", "admin")
    found = service.find(SERVICE)
    assert found is not None
    assert found.pins[SECRETS["database"]] == record["rotated"]["database"]["to"]


def told_late(place: Place, patch: pytest.MonkeyPatch, late: set[int]) -> list[int]:
    """Let these runs of Redis's job change nothing; returns the runs that there were."""
    run = place.runtime.runs[REDIS_JOB]
    runs: list[int] = []

    def told() -> None:
        runs.append(len(runs) + 1)
        if runs[-1] not in late:
            run()

    patch.setitem(place.runtime.runs, REDIS_JOB, told)
    patch.setattr(served, "_AGAIN_SECONDS", 0.0)
    patch.setattr(served, "_ATTEMPTS", 2)
    return runs


def test_another_run_holds_the_environment(place: Place) -> None:
    begun, finish = place.begin(ROTATE_JOB)
    holder = {
        "id": "1",
        "who": "somebody",
        "machine": f"execution {begun}",
        "process": "1 0",
        "command": "rotate",
        "acquired": "2026-01-01T00:00:00+00:00",
        "renewed": "2126-01-01T00:00:00+00:00",
    }
    upload = "upload/storage/v1/b/state/o?uploadType=media&name=prod/environment.lock"
    place.call("POST", "storage", upload, holder)
    with pytest.raises(Busy, match="somebody holds the environment with `rotate` since 2026-01-01"):
        place.rotate("redis")
    finish()
    place.rotate("redis")
    assert place.cloud.call("GET", "storage", "storage/v1/b/state/o/prod%2Fenvironment.lock").status == 404


def test_a_second_run_that_took_the_environment_over_is_kept_away_from_the_clinic(place: Place) -> None:
    before = {kind: place.aliases(kind) for kind in BOTH}
    with place.mysql.root() as other, other.cursor() as cursor:
        cursor.execute("SELECT GET_LOCK(%s, 0)", [f"gcp_openemr:{place.wanted.clinic.schema}:rotation"])
        with pytest.raises(Busy, match="Another job works on this clinic"):
            place.rotate(*BOTH)
    assert {kind: place.aliases(kind) for kind in BOTH} == before
    place.at_rest()


def test_passwords_changed_by_hand_are_mended_or_refused_in_one_sentence(place: Place) -> None:
    by_hand(place, "IDENTIFIED BY %s RETAIN CURRENT PASSWORD", "set in a console")
    place.rotate("database")
    place.at_rest()
    payload = {"payload": {"data": base64.b64encode(b"added by hand").decode()}}
    place.call("POST", "secretmanager", f"v1/{SECRETS['database']}:addVersion", payload)
    by_hand(place, "IDENTIFIED BY %s", "added by hand")
    assert "it is again" in place.rotate("database", due_or_not=False)["mended"]["database"]
    place.at_rest()
    with place.redis_admin() as client:
        client.execute_command("ACL", "SETUSER", place.wanted.redis_user, "resetpass", ">by hand")
    assert "it does again" in place.rotate("redis", due_or_not=False)["mended"]["redis"]
    place.at_rest()
    by_hand(place, "IDENTIFIED BY %s", "known to nobody")
    with pytest.raises(Refused, match=r"MySQL takes no enabled version of .*: the password was changed") as caught:
        place.rotate("database")
    assert caught.value.record["changed_by_hand"] == ["database"]
    by_hand(place, "IDENTIFIED BY %s", place.value("database").reveal())
    place.at_rest()


def test_a_password_that_redis_refuses_is_asked_about_once(place: Place) -> None:
    with place.redis_admin() as client:
        client.execute_command("ACL", "LOG", "RESET")
    assert not sessions.opens(place.wanted.redis, place.wanted.redis_user, Redacted("of last year"))
    with place.redis_admin() as client:
        (refused,) = client.acl_log()
    assert (refused["count"], refused["reason"]) == (1, "auth")


def test_a_redis_that_does_not_answer_is_asked_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "_PAUSES", (0.0, 0.0))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = RedisServer(host="127.0.0.1", port=listener.getsockname()[1])
        asked: list[tuple[str, int]] = []

        def hang_up() -> None:
            while len(asked) < 3:
                connection, address = listener.accept()
                connection.close()
                asked.append(address)

        answering = threading.Thread(target=hang_up)
        answering.start()
        with pytest.raises(Unreachable, match=r"Redis at 127\.0\.0\.1"):
            sessions.opens(server, "oe_main", Redacted("of now"))
        answering.join(10)
    assert len(asked) == 3


def test_a_version_disabled_by_hand_and_a_revision_on_an_old_one_are_mended(place: Place) -> None:
    current = place.aliases("redis")["current"]
    place.call("POST", "secretmanager", f"v1/{SECRETS['redis']}/versions/{current}:disable", {})
    assert "enabled again" in place.rotate("redis", due_or_not=False)["mended"]["redis"]
    place.at_rest()
    found = service.find(SERVICE)
    assert found is not None
    revisions = place.call("GET", "run", f"v2/{SERVICE}/revisions")["revisions"]
    old = next(one["name"].rpartition("/")[2] for one in revisions if one["name"].endswith(found.revision) is False)
    service.give_traffic(found, {old: 100})
    assert not place.is_healthy(place.serving())
    assert "a new one serves" in place.rotate("redis", due_or_not=False)["mended"]["service"]
    place.at_rest()


def test_at_once_ends_old_access_first(place: Place) -> None:
    old = {kind: place.value(kind) for kind in BOTH}
    begun = place.connected(old["database"])
    kept = place.as_redis(old["redis"])
    assert kept.ping()
    record = place.rotate(*BOTH, now=True)
    with begun, kept:
        with pytest.raises(pymysql.OperationalError), begun.cursor() as cursor:
            cursor.execute("SELECT 1")
        with pytest.raises(redis.exceptions.ConnectionError):
            kept.connection_pool.get_connection().read_response()
    assert record["interruption_seconds"] > 0
    steps = [step["step"] for step in record["steps"]]
    assert steps.index("old password ended") < steps.index("new revision")
    assert not place.opens_mysql(old["database"])
    assert not place.opens_redis(old["redis"])
    place.at_rest()


def test_at_once_what_was_half_way_is_replaced_too(place: Place) -> None:
    """Both of its passwords may be known to somebody."""
    _, finish = place.begin(JOBS[0])
    place.rotate(*BOTH)
    known = place.value("database")
    record = place.rotate(*BOTH, now=True)
    finish()
    assert (set(record["finished"]), set(record["rotated"])) == ({"database"}, {*BOTH})
    assert not place.opens_mysql(known)
    place.at_rest()


def test_what_was_being_taken_back_is_rotated_after_it_is(place: Place) -> None:
    payload = {"payload": {"data": base64.b64encode(b"taken back").decode()}}
    made = place.call("POST", "secretmanager", f"v1/{SECRETS['redis']}:addVersion", payload)["name"]
    aliases = {**place.aliases("redis"), "next": made.rpartition("/")[2]}
    place.call(
        "PATCH", "secretmanager", f"v1/{SECRETS['redis']}?updateMask=versionAliases", {"versionAliases": aliases}
    )
    place.call("POST", "secretmanager", f"v1/{SECRETS['redis']}/versions/{aliases['next']}:disable", {})
    record = place.rotate("redis")
    assert (set(record["undone"]), set(record["rotated"])) == ({"redis"}, {"redis"})
    place.at_rest()


def test_at_once_a_revision_that_is_not_healthy_says_that_people_are_shut_out(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(place.runtime, "ill_under_tag", True)
        with pytest.raises(Unhealthy, match="people are shut out"):
            place.rotate("database", now=True)
    place.rotate("database", due_or_not=False)
    place.at_rest()


def test_a_policy_against_old_passwords_never_ends_the_one_that_serves(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_hand(place, "PASSWORD HISTORY 5")
    place.rotate("database")
    with monkeypatch.context() as patch:
        patch.setattr(place.runtime, "ill_under_tag", True)
        with pytest.raises(Refused, match="so the new one cannot be taken back") as caught:
            place.rotate("database")
    assert "not ready" in caught.value.record["health"]
    place.works()
    assert "database" in place.rotate("database")["finished"]
    by_hand(place, "PASSWORD HISTORY DEFAULT")
    place.at_rest()


@pytest.mark.parametrize("now", [False, True])
def test_an_account_that_may_not_have_two_passwords_is_refused_and_nothing_changes(place: Place, now: bool) -> None:
    user = place.wanted.clinic.user
    place.world.query(f"REVOKE APPLICATION_PASSWORD_ADMIN ON *.* FROM {user}")
    with pytest.raises(Refused, match="may not keep an old password beside a new one") as caught:
        place.rotate("database", now=now)
    assert "its log says if the server does not grant it" in caught.value.do
    place.works()
    place.world.query(f"GRANT APPLICATION_PASSWORD_ADMIN ON *.* TO {user}")
    assert set(place.rotate("database")["finished"]) == {"database"}
    place.at_rest()
