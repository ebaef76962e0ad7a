"""The real command as uid 1000 in a container's file system, with Google's real clients against Google's names."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pymysql
import pytest
import redis as redis_client

from gcp_openemr.sandbox.standin.sample_backup import SampleBackup
from jobs import errors
from jobs.sealed import FORMAT, sealed
from tests.jobs.google import HOSTS, INSTANCE, JOB, Google, running
from tests.jobs.servers import ADDRESS, Authority, Mysql, Redis
from tests.jobs.world import ADMIN_PASSWORD, APP, DATABASE_PASSWORD
from tests.sandbox.api.support import PROJECT

ROOT = Path(__file__).parents[2]
NAMESPACE = ROOT / "tests" / "container" / "namespace.sh"
SCHEMAS = ("oe_main", "oe_main_staging", "oe_main_scratch")
REDIS_PASSWORD = "r 'e=d\"%is ü"
NEW_PASSWORD = "n=e'w \"%"
SECRETS = {
    "projects/my-clinic/secrets/db/versions/1": DATABASE_PASSWORD,
    "projects/my-clinic/secrets/db/versions/2": NEW_PASSWORD,
    "projects/my-clinic/secrets/admin/versions/1": ADMIN_PASSWORD,
    "projects/my-clinic/secrets/redis/versions/1": REDIS_PASSWORD,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    status: int
    output: str
    record: dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cloud:
    """The servers, an empty share, and the job command as Cloud Run would start it."""

    google: Google
    mysql: Mysql
    redis: Redis
    rootfs: Path
    share: Path

    @property
    def sites(self) -> Path:
        return self.share / "clinics" / "main" / "sites"

    def job(self, *arguments: str, **environment: str) -> Run:
        command = self.started(*arguments, **environment)
        output, _ = command.communicate(timeout=60)
        return Run(status=command.returncode, output=output, record=self.google.take("results", "run.json"))

    def started(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        variables = {**self._base(), **environment}
        return subprocess.Popen(
            [
                *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"),
                *("sh", str(NAMESPACE), str(self.rootfs), str(APP), str(self.sites)),
                *("env", "-i", *(f"{name}={value}" for name, value in variables.items())),
                *(sys.executable, "-m", "jobs", *arguments),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "SHARE": str(self.share)},
        )

    def _base(self) -> Mapping[str, str]:
        return {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "PYTHONPATH": str(ROOT),
            "GCE_METADATA_HOST": self.google.metadata,
            "GCE_METADATA_IP": self.google.metadata,
            "REQUESTS_CA_BUNDLE": "/etc/test-ca.pem",
            "GOOGLE_CLOUD_PROJECT": PROJECT,
            "SQL_INSTANCE": INSTANCE,
            "CLINIC": "main",
            "MYSQL_HOST": "sql.test",
            "MYSQL_PORT": str(self.mysql.port),
            "MYSQL_SSL_CA": self.mysql.authority.pem,
            "MYSQL_DATABASE": SCHEMAS[0],
            "MYSQL_STAGING_DATABASE": SCHEMAS[1],
            "MYSQL_DATABASES": ",".join(SCHEMAS),
            "MYSQL_USER": "oe_main",
            "MYSQL_PASS_SECRET": "projects/my-clinic/secrets/db",
            "MYSQL_PASS_VERSION": "1",
            "OE_PASS_SECRET": "projects/my-clinic/secrets/admin",
            "OE_PASS_VERSION": "1",
            "OPENEMR_VERSION": "7.0.4",
            "REDIS_SERVER": ADDRESS,
            "REDIS_PORT": str(self.redis.port),
            "REDIS_USERNAME": "oe_main",
            "REDIS_PREFIX": "oe_main:",
            "REDIS_PASS_SECRET": "projects/my-clinic/secrets/redis",
            "REDIS_PASS_VERSION": "1",
            "REDIS_ADMIN_SECRET": "projects/my-clinic/secrets/redisroot",
            "REDIS_ADMIN_VERSION": "1",
            "RESULT_URI": "gs://results/run.json",
        }

    def secrets(self) -> list[str]:
        return [*SECRETS.values(), self.redis.admin_password]

    def users(self) -> set[str]:
        with self.mysql.root() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT User FROM mysql.user WHERE User LIKE 'oe\\_%'")
            return {str(row[0]) for row in cursor.fetchall()}

    def drop(self) -> None:
        with self.mysql.root() as connection, connection.cursor() as cursor:
            for schema in SCHEMAS:
                cursor.execute(f"DROP DATABASE IF EXISTS {schema}")
            cursor.execute("DROP USER IF EXISTS oe_main")

    def connect(self, password: str) -> pymysql.connections.Connection:
        return pymysql.connect(
            host=ADDRESS,
            port=self.mysql.port,
            user="oe_main",
            password=password.encode(),
            ssl={"check_hostname": False},
        )


@pytest.fixture(scope="module")
def google(
    mysql: Mysql, redis: Redis, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Google]:
    values = {**SECRETS, "projects/my-clinic/secrets/redisroot/versions/1": redis.admin_password}
    # an address of this run's own, so that two test runs do not meet
    address = f"127.{os.getpid() % 250 + 2}.{os.getpid() // 250 % 250 + 1}.9"
    with running(mysql, authority, tmp_path_factory.mktemp("google"), address, values) as google:
        yield google


@pytest.fixture(scope="module")
def cloud(
    google: Google, mysql: Mysql, redis: Redis, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cloud]:
    directory = tmp_path_factory.mktemp("cloud")
    rootfs, share = directory / "rootfs", directory / "share"
    share.mkdir()
    os.chown(share, 1000, 1000)
    (rootfs / "etc").mkdir(parents=True)
    (rootfs / "etc/hosts").write_text(f"127.0.0.1 localhost\n{ADDRESS} sql.test\n{google.address} {' '.join(HOSTS)}\n")
    (rootfs / "etc/test-ca.pem").write_text(authority.pem)
    cloud = Cloud(google=google, mysql=mysql, redis=redis, rootfs=rootfs, share=share)
    yield cloud
    cloud.drop()


@pytest.fixture(scope="module")
def provisioned_once(cloud: Cloud) -> Cloud:
    done = cloud.job("provision")
    assert done.status == 0, done.output
    return cloud


@pytest.fixture
def provisioned(provisioned_once: Cloud) -> Cloud:
    """The clinic as provision left it: its directory and schemas are there and empty."""
    provisioned_once.google.cloud.app.faults.clear()
    shutil.rmtree(provisioned_once.sites)
    provisioned_once.sites.mkdir()
    os.chown(provisioned_once.sites, 1000, 1000)
    with provisioned_once.mysql.root() as connection, connection.cursor() as cursor:
        for schema in SCHEMAS:
            cursor.execute(f"DROP DATABASE IF EXISTS {schema}")
            cursor.execute(f"CREATE DATABASE {schema}")
    return provisioned_once


def test_provision_makes_what_a_clinic_needs_and_no_more(cloud: Cloud) -> None:
    with cloud.mysql.root() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE USER oe_prov_main_65000000 IDENTIFIED BY 'left by a killed run'")
    done = cloud.job("provision")
    assert done.status == 0, done.output
    assert done.record.get("ok") is True, done.output
    assert done.record["database_password"] == "set"
    assert done.record["dual_passwords"] is cloud.mysql.dual_passwords
    assert cloud.users() == {"oe_main"}
    assert cloud.sites.stat().st_uid == 1000
    assert cloud.sites.stat().st_mode & 0o007 == 0
    assert not [secret for secret in cloud.secrets() if secret in done.output or secret in json.dumps(done.record)]
    with cloud.connect(DATABASE_PASSWORD) as connection, connection.cursor() as cursor:
        for schema in SCHEMAS:
            cursor.execute(f"CREATE TABLE {schema}.t (id int)")
        for forbidden in ("CREATE DATABASE oexmain", "SELECT * FROM mysql.user", "CREATE USER x"):
            with pytest.raises(pymysql.MySQLError):
                cursor.execute(forbidden)
    again = cloud.job("provision")
    assert (again.status, again.record["database_password"]) == (0, "kept")
    assert cloud.users() == {"oe_main"}


def test_a_database_user_without_tls_is_refused(provisioned: Cloud) -> None:
    with pytest.raises(pymysql.MySQLError):
        pymysql.connect(
            host=ADDRESS,
            port=provisioned.mysql.port,
            user="oe_main",
            password=DATABASE_PASSWORD.encode(),
            ssl_disabled=True,
        )


def test_the_redis_user_reaches_its_own_keys_only(provisioned: Cloud) -> None:
    with redis_client.Redis(
        host=ADDRESS, port=provisioned.redis.port, username="oe_main", password=REDIS_PASSWORD
    ) as client:
        client.set("oe_main:PHPREDIS_SESSION:1", "x", ex=60)
        assert client.get("oe_main:PHPREDIS_SESSION:1") == b"x"
        for forbidden in (("GET", "oe_other:1"), ("KEYS", "*"), ("FLUSHALL",), ("CONFIG", "GET", "*"), ("ACL", "LIST")):
            with pytest.raises(redis_client.exceptions.NoPermissionError):
                client.execute_command(*forbidden)


def test_installs_then_only_configures(provisioned: Cloud) -> None:
    dry = provisioned.job("nfs-init", "--dry-run")
    assert (dry.status, dry.record["decision"], dry.record["dry_run"]) == (0, "install", True)
    assert not any(provisioned.sites.iterdir())
    done = provisioned.job("nfs-init")
    assert done.status == 0, done.output
    assert done.record["decision"] == "install"
    assert {path.stat().st_uid for path in provisioned.sites.rglob("*")} == {1000}
    assert not [path for path in provisioned.sites.rglob("*") if path.stat().st_mode & 0o007]
    again = provisioned.job("nfs-init")
    assert (again.status, again.record["decision"]) == (0, "configure")
    text = done.output + "".join(path.read_text(errors="replace") for path in provisioned.sites.rglob("*.php"))
    assert not [secret for secret in provisioned.secrets() if secret in text]


@pytest.mark.parametrize("source", ["gcs", "drive"])
def test_restores_from_the_source_and_checks_its_sum(
    provisioned: Cloud, backups: dict[str, SampleBackup], source: str
) -> None:
    content, google = backups[".tar.zst"].path.read_bytes(), provisioned.google
    if source == "gcs":
        google.put("backups", "clinics/main backup.zip", content)
    place = "gs://backups/clinics/main backup.zip" if source == "gcs" else google.put_on_drive(content)
    method = {"gcs": "storage.objects.get", "drive": "drive.files.get"}[source]
    # The first call asks what is there, the second for the bytes.
    google.cloud.app.faults.add({"effect": "status", "method": method, "nth": 2})
    google.cloud.app.faults.add({"effect": "truncate", "bytes": len(content) // 2, "method": method, "nth": 3})
    done = provisioned.job("nfs-init", BACKUP_SOURCE=source, BACKUP_FILEID=place)
    assert done.status == 0, done.output
    assert (done.record["decision"], done.record["checksum"]) == ("restore", "verified")
    assert done.record["documents"] == 30
    assert "set for admin" in done.record["admin_password"]
    assert [fault.hits for fault in google.cloud.app.faults.all()] == [1, 1]


@pytest.mark.parametrize(
    ("place", "error"),
    [
        ("gs://backups/missing.zip", errors.BackupMissing),
        ("gs://closed/denied.zip", errors.BackupForbidden),
        ("unshared", errors.BackupMissing),
        ("undownloadable", errors.BackupForbidden),
        ("used up", errors.Unreachable),
    ],
)
def test_a_backup_out_of_reach_says_which_way(provisioned: Cloud, place: str, error: type[errors.JobError]) -> None:
    google, told = provisioned.google, {"BACKUP_SOURCE": "gcs", "BACKUP_FILEID": place}
    google.put("closed", "denied.zip", b"a backup")
    if not place.startswith("gs:"):
        fields = {"copyRequiresWriterPermission": place == "undownloadable"}
        file = google.put_on_drive(b"a backup", shared=place != "unshared", **fields)
        told = {"BACKUP_SOURCE": "drive", "BACKUP_FILEID": file}
    if place == "used up":
        wish = {"effect": "status", "refusal": "drive.download-quota", "method": "drive.files.get", "nth": 2}
        google.cloud.app.faults.add(wish)
    done = provisioned.job("nfs-init", **told)
    assert done.status == error.exit_code, done.output
    assert done.record["ok"] is False
    assert done.record["error"]
    assert done.record["do"]
    assert (JOB in done.record["do"]) is (place == "unshared")


def test_a_secret_out_of_reach_is_told(provisioned: Cloud) -> None:
    provisioned.google.allow("projects/my-clinic/secrets/db", allowed=False)
    done = provisioned.job("nfs-init")
    provisioned.google.allow("projects/my-clinic/secrets/db")
    assert done.status == errors.SecretUnavailable.exit_code
    assert "may not read projects/my-clinic/secrets/db/versions/1" in done.record["error"]


def test_a_share_of_another_owner_is_unusable(provisioned: Cloud) -> None:
    shutil.chown(provisioned.sites, 0, 0)
    done = provisioned.job("nfs-init")
    assert done.status == errors.ShareUnusable.exit_code
    assert "not a writable share" in done.record["error"]


def test_the_images_own_folder_is_no_share(provisioned: Cloud) -> None:
    """Where nothing is mounted, what is written would be gone with the container."""
    shutil.rmtree(provisioned.sites)
    done = provisioned.job("nfs-init")
    assert done.status == errors.ShareUnusable.exit_code, done.output
    assert "No share is mounted" in done.record["error"]
    provisioned.sites.mkdir()


def test_sigterm_ends_with_its_code_and_the_next_run_continues(
    provisioned: Cloud, backups: dict[str, SampleBackup]
) -> None:
    provisioned.google.put("backups", "b.zip", backups[".zip"].path.read_bytes())
    command = provisioned.started("nfs-init", BACKUP_FILEID="gs://backups/b.zip")
    assert command.stdout is not None
    for line in command.stdout:
        if "Decision: restore" in line:
            break
    children = Path(f"/proc/{command.pid}/task/{command.pid}/children").read_text().split()
    os.kill(int(children[0]), 15)
    output, _ = command.communicate(timeout=30)
    assert command.returncode == errors.Interrupted.exit_code, output
    done = provisioned.job("nfs-init", BACKUP_FILEID="gs://backups/b.zip")
    assert done.status == 0, done.output


@pytest.mark.torture
def test_a_new_password_is_taken_beside_the_old_one_until_the_clinic_is_removed(provisioned: Cloud) -> None:
    done = provisioned.job("provision", MYSQL_PASS_VERSION="2")
    assert done.status == 0, done.output
    assert done.record["database_password"] == "changed"
    provisioned.connect(NEW_PASSWORD).close()
    if provisioned.mysql.dual_passwords:
        provisioned.connect(DATABASE_PASSWORD).close()
    (provisioned.share / "clinics" / "other").mkdir()
    refused = provisioned.job("provision", ACTION="remove")
    assert refused.status == errors.Refused.exit_code
    assert "not removed without a verified backup set" in refused.record["error"]
    good = sealed({"format": FORMAT, "clinic": "main", "state": "verified"})
    for other in (
        sealed({**good, "clinic": "other"}),
        sealed({**good, "state": "failed"}),
        {**good, "problems": []},
        {"clinic": "main", "state": "verified"},
        ["main"],
    ):
        provisioned.google.put("backups", "set.json", json.dumps(other).encode())
        refused = provisioned.job("provision", ACTION="remove", FINAL_SET="gs://backups/set.json")
        assert refused.status == errors.Refused.exit_code, refused.output
    assert provisioned.users() == {"oe_main"}
    provisioned.google.put("backups", "set.json", json.dumps(good).encode())
    removed = provisioned.job("provision", ACTION="remove", FINAL_SET="gs://backups/set.json")
    assert removed.status == 0, removed.output
    assert [entry.name for entry in (provisioned.share / "clinics").iterdir()] == ["other"]
    assert provisioned.users() == set()
    assert provisioned.job("provision", ACTION="remove", WITHOUT_FINAL_BACKUP="yes").status == 0
