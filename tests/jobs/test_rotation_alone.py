"""The passwords that no revision holds: OpenEMR's administrator and the backup repository."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from gcp_openemr import process, secret_store
from jobs.errors import Refused
from jobs.redacted import Redacted
from jobs.rotation import recipe
from tests.jobs import cheap_key
from tests.jobs.rotation_place import SECRETS, Place

_TOTP = """
$_GET['site'] = 'default'; $ignoreAuth = true;
require $argv[1] . '/interface/globals.php';
$crypto = new OpenEMR\\Common\\Crypto\\CryptoGen();
[$table, $user] = ['login_mfa_registrations', sqlQuery("SELECT password FROM users_secure WHERE id = 1")];
if ($argv[2] === 'lock') {
    sqlStatement("CREATE TABLE $table (user_id bigint, name varchar(30), method varchar(31), var1 varchar(4096))");
    $secret = $crypto->encryptStandard('second factor', $user['password']);
    sqlStatement("INSERT INTO $table VALUES (1, 'phone', 'TOTP', ?)", [$secret]);
}
$row = sqlQuery("SELECT var1 FROM $table");
echo $crypto->decryptStandard($row['var1']) ?: $crypto->decryptStandard($row['var1'], $user['password']);
"""


def logs_in(place: Place, password: Redacted) -> bool:
    (row,) = place.world.query("SELECT password FROM users_secure WHERE username = 'admin'")
    verify = "echo password_verify(stream_get_contents(STDIN), $argv[1]) ? 1 : 0;"
    command = ["php8.2", "-r", verify, "--", str(row[0])]
    return subprocess.run(command, input=password.reveal(), capture_output=True, text=True, check=True).stdout == "1"


def totp(place: Place, what: str) -> str:
    clinic = place.wanted.clinic
    environment = {
        "MYSQL_HOST": clinic.server.host,
        "MYSQL_PORT": str(clinic.server.port),
        "MYSQL_DATABASE": clinic.schema,
        "MYSQL_USER": clinic.user,
        "MYSQL_PASS": place.value("database").reveal(),
    }
    return process.run(["php8.2", "-r", _TOTP, "--", str(clinic.application), what], env=environment).stdout


def keep_session(place: Place, name: str, user: str) -> str:
    key = f"{place.wanted.redis_prefix}PHPREDIS_SESSION:{name}"
    with place.redis_admin() as client:
        client.set(key, f'site_id|s:7:"default";authUser|s:{len(user)}:"{user}";authUserID|i:1;')
    return key


def repository(place: Place, password: Redacted, *arguments: str) -> str:
    environment = {
        **os.environ,
        "RESTIC_REPOSITORY": place.wanted.store.repository,
        "RESTIC_PASSWORD": password.reveal(),
    }
    command = ["restic", "--no-cache", *arguments]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


def test_the_administrators_password_changes_and_only_that_users_sessions_end(place: Place) -> None:
    for _ in range(2):
        old, (ended, kept) = (
            place.value("admin"),
            (keep_session(place, "1", "admin"), keep_session(place, "2", "nurse")),
        )
        record = place.rotate("admin")
        assert set(record["rotated"]) == {"admin"}
        assert record["admin"] == {"locked_by": [], "second_factors": [], "sessions_ended": 1}
        assert logs_in(place, place.value("admin"))
        assert not logs_in(place, old)
        place.at_rest("admin")
        with place.redis_admin() as client:
            assert (client.exists(ended), client.exists(kept)) == (0, 1)


def test_a_locked_administrator_is_let_in_again_and_told_of(place: Place) -> None:
    place.world.query("INSERT INTO globals VALUES ('password_max_failed_logins', 0, '5')")
    place.world.query("UPDATE users_secure SET login_fail_counter = 9")
    assert place.rotate("admin")["admin"]["locked_by"] == ["failed logins"]
    assert place.world.query("SELECT login_fail_counter FROM users_secure") == [(0,)]


def test_a_second_factor_that_the_old_hash_locked_stays_usable(place: Place) -> None:
    assert totp(place, "lock") == "second factor"
    assert place.rotate("admin")["admin"]["second_factors"] == ["TOTP"]
    assert totp(place, "open") == "second factor"


def test_a_password_that_a_person_chose_is_left_alone_unless_forced(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(recipe, "_GRACE_DAYS", -1)
    before = place.aliases("admin")
    place.world.query("UPDATE users_secure SET password = '$2y$10$a.persons.own'")
    assert "set in OpenEMR by a person" in place.rotate("database", "admin", every_days=0)["skipped"]["admin"]
    assert '"message": "The password admin is older' not in capsys.readouterr().out
    assert secret_store.LEFT in place.call("GET", "secretmanager", f"v1/{SECRETS['admin']}")["annotations"]
    with pytest.raises(Refused, match="set in OpenEMR by a person"):
        place.rotate("admin")
    assert place.aliases("admin") == before
    place.at_rest("admin")
    place.rotate("admin", force=True)
    assert logs_in(place, place.value("admin"))
    assert not place.call("GET", "secretmanager", f"v1/{SECRETS['admin']}").get("annotations")


def test_sets_made_before_stay_readable_and_the_old_password_opens_nothing(place: Place, tmp_path: Path) -> None:
    (tmp_path / "document").write_text("a patient's")
    first = place.value("backup")
    repository(place, first, "init")
    cheap_key.weaken(Path(place.wanted.store.repository), first.reveal())
    repository(place, first, "backup", str(tmp_path / "document"))
    assert set(place.rotate("backup")["rotated"]) == {"backup"}
    place.at_rest("backup")
    assert repository(place, place.value("backup"), "dump", "latest", str(tmp_path / "document")) == "a patient's"
    assert len(repository(place, place.value("backup"), "key", "list").splitlines()) == 4
    with pytest.raises(subprocess.CalledProcessError):
        repository(place, first, "snapshots")
    assert place.rotate("backup", due_or_not=False)["rotated"] == {}
    current = place.aliases("backup")["current"]
    place.call("POST", "secretmanager", f"v1/{SECRETS['backup']}/versions/{current}:disable", {})
    assert "enabled again" in place.rotate("backup", due_or_not=False)["mended"]["backup"]
