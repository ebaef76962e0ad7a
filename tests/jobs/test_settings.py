from __future__ import annotations

import pytest

from jobs import settings
from jobs.__main__ import main
from jobs.errors import SettingsInvalid
from jobs.rotation import settings as rotation

NFS_INIT = {
    "MYSQL_HOST": "sql.internal",
    "MYSQL_DATABASE": "oe_main",
    "MYSQL_STAGING_DATABASE": "oe_main_staging",
    "MYSQL_USER": "oe_main",
    "MYSQL_PASS_SECRET": "projects/p/secrets/db",
    "MYSQL_PASS_VERSION": "3",
    "OE_PASS_SECRET": "projects/p/secrets/admin",
    "OE_PASS_VERSION": "1",
}
PROVISION = {
    "GOOGLE_CLOUD_PROJECT": "p",
    "SQL_INSTANCE": "oe-prod-sql",
    "MYSQL_HOST": "sql.internal",
    "REDIS_SERVER": "10.0.0.3",
    "REDIS_ADMIN_SECRET": "projects/p/secrets/redisroot",
    "REDIS_ADMIN_VERSION": "1",
    "CLINIC": "main",
    "MYSQL_DATABASES": "oe_main,oe_main_staging",
    "MYSQL_USER": "oe_main",
    "MYSQL_PASS_SECRET": "projects/p/secrets/db",
    "MYSQL_PASS_VERSION": "1",
    "REDIS_USERNAME": "oe_main",
    "REDIS_PREFIX": "oe_main:",
    "REDIS_PASS_SECRET": "projects/p/secrets/redis",
    "REDIS_PASS_VERSION": "2",
}


def test_reads_what_the_template_and_the_overrides_give() -> None:
    wanted = settings.nfs_init({**NFS_INIT, "BACKUP_FILEID": "gs://bucket/a b/backup.zip"})
    assert wanted.password.name == "projects/p/secrets/db/versions/3"
    assert wanted.backup == settings.Backup(source="gcs", place="gs://bucket/a b/backup.zip")
    assert settings.provision(PROVISION).schemas == ("oe_main", "oe_main_staging")


def test_limits_of_an_archive_are_settings() -> None:
    limits = {"BACKUP_MOST_FILES": "10", "BACKUP_MOST_BYTES": "20", "BACKUP_MOST_TIMES": "30"}
    wanted = settings.Backup(source="gcs", place="gs://b/o", most_files=10, most_bytes=20, most_times=30)
    assert settings.nfs_init({**NFS_INIT, "BACKUP_FILEID": "gs://b/o", **limits}).backup == wanted


def test_a_database_of_another_moment_comes_with_a_set() -> None:
    place = "gs://backups/clinics/main/backups/moments/20261122T120000Z.sql.gz"
    of_set = {"BACKUP_SOURCE": "set", "BACKUP_FILEID": "20261122T020000Z-00ff", "BACKUP_CLINIC": "main"}
    store = {"BACKUP_BUCKET": "backups", "BACKUP_PASS_SECRET": "projects/p/secrets/b", "BACKUP_PASS_VERSION": "current"}
    backup = settings.nfs_init({**NFS_INIT, **of_set, **store, "BACKUP_DATABASE": place}).backup
    assert backup is not None
    assert (backup.database, backup.title) == (place, f"20261122T020000Z-00ff with the database of {place}")
    with pytest.raises(SettingsInvalid, match="BACKUP_DATABASE"):
        settings.nfs_init({**NFS_INIT, **of_set, **store, "BACKUP_DATABASE": "/etc/passwd"})


def test_who_starts_nfs_init_says_that_the_clinic_answers() -> None:
    told = {"yes": {"ANSWERED": "yes"}, "no": {}}
    assert {said: settings.nfs_init({**NFS_INIT, **given}).answered for said, given in told.items()} == {
        "yes": True,
        "no": False,
    }


def test_an_empty_backup_is_none() -> None:
    assert settings.nfs_init({**NFS_INIT, "BACKUP_SOURCE": "gcs", "BACKUP_FILEID": ""}).backup is None


def test_tells_every_problem_at_once() -> None:
    wrong = {**NFS_INIT, "MYSQL_HOST": "", "MYSQL_PASS_VERSION": "latest", "BACKUP_FILEID": "https://x/backup.zip"}
    with pytest.raises(SettingsInvalid) as caught:
        settings.nfs_init(wrong)
    for words in ("MYSQL_HOST is not set", "MYSQL_PASS_VERSION is 'latest', not a number", "not gs://bucket/object"):
        assert words in caught.value.what


@pytest.mark.parametrize(
    ("name", "value"),
    [("CLINIC", "../other"), ("MYSQL_DATABASES", "oe_main,mysql`"), ("ACTION", "drop"), ("REDIS_PREFIX", "*")],
)
def test_refuses_names_that_would_reach_elsewhere(name: str, value: str) -> None:
    with pytest.raises(SettingsInvalid, match=name):
        settings.provision({**PROVISION, name: value})


def test_wrong_variables_end_with_their_own_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MYSQL_PORT", "none")
    assert main(["nfs-init"]) == SettingsInvalid.exit_code
    assert "MYSQL_PORT is 'none', not a number" in capsys.readouterr().out


def test_openemrs_own_settings_come_under_their_names() -> None:
    mail = {"SMTP_HOST": "mail.test", "SMTP_PORT": "587", "SMTP_SSL": "true", "EMAIL_FROM": "a@clinic.test"}
    given = {"OPENEMR_SETTING_language_default": "German", "PUBLIC_URL": "https://clinic.test", **mail}
    assert settings.nfs_init({**NFS_INIT, **given}).openemr_settings == {
        "site_addr_oath": "https://clinic.test",
        "SMTP_HOST": "mail.test",
        "SMTP_PORT": "587",
        "patient_reminder_sender_email": "a@clinic.test",
        "practice_return_email_path": "a@clinic.test",
        "EMAIL_METHOD": "SMTP",
        "SMTP_SECURE": "tls",
        "language_default": "German",
    }
    assert settings.nfs_init({**NFS_INIT, "SMTP_PORT": "465", "SMTP_SSL": "1"}).openemr_settings["SMTP_SECURE"] == "ssl"
    assert settings.nfs_init({**NFS_INIT, "PUBLIC_URL": ""}).openemr_settings == {}


PLACE = "projects/p/locations/europe-west1"
ROTATE = {
    **{name: value for name, value in NFS_INIT.items() if name != "MYSQL_STAGING_DATABASE"},
    "MYSQL_PASS_VERSION": "current",
    "OE_PASS_VERSION": "current",
    "REDIS_SERVER": "10.0.0.3",
    "REDIS_USERNAME": "oe_main",
    "REDIS_PREFIX": "oe_main:",
    "REDIS_PASS_SECRET": "projects/p/secrets/redis",
    "REDIS_PASS_VERSION": "current",
    "REDIS_JOB": f"{PLACE}/jobs/redis-passwords",
    "BACKUP_BUCKET": "backups",
    "BACKUP_PASS_SECRET": "projects/p/secrets/backup",
    "BACKUP_PASS_VERSION": "current",
    "CLINIC": "main",
    "ENVIRONMENT": "prod",
    "GOOGLE_CLOUD_PROJECT": "p",
    "SERVICE": f"{PLACE}/services/web",
    "JOBS": f"{PLACE}/jobs/backup,{PLACE}/jobs/verify",
    "STATE_BUCKET": "state",
}


def test_a_rotation_is_of_what_is_due_unless_told_otherwise() -> None:
    wanted = rotation.rotate({**ROTATE, "CLOUD_RUN_JOB": "rotate", "CLOUD_RUN_EXECUTION": "rotate-x1"})
    assert (wanted.what, wanted.due_or_not, wanted.now, wanted.every_days) == (rotation.KINDS, False, False, 90)
    assert wanted.lock_seconds > 3600, "clinics whose schedules begin together take turns"
    assert wanted.execution == f"{PLACE}/jobs/rotate/executions/rotate-x1"
    assert wanted.jobs == (f"{PLACE}/jobs/backup", f"{PLACE}/jobs/verify")
    assert wanted.result_uri.startswith("gs://backups/clinics/main/runs/rotate/")
    told = rotation.rotate({**ROTATE, "WHAT": "redis,admin", "DUE": "no", "NOW": "yes", "DRAIN_SECONDS": "0"})
    assert (told.what, told.due_or_not, told.now, told.drain_seconds) == (("redis", "admin"), True, True, 0)
    assert told.lock_seconds == 300, "somebody waits for it"
    with pytest.raises(SettingsInvalid) as caught:
        rotation.rotate({**ROTATE, "WHAT": "everything", "SERVICE": "web", "JOBS": "backup"})
    for words in ("WHAT has 'everything'", "SERVICE is 'web'", "JOBS has 'backup'"):
        assert words in caught.value.what
