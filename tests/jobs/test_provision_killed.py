"""provision killed before each of its effects, and run again; a removal likewise."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis as redis_client

from jobs import cloud_sql, provision, secrets, settings
from jobs.redacted import Redacted
from tests.jobs.effects import in_a_group, sampled, torn
from tests.jobs.servers import ADDRESS, Mysql, Redis
from tests.jobs.world import secret_named

SCHEMAS = ("oe_torn", "oe_torn_staging", "oe_torn_scratch")


class _Users:
    """Cloud SQL's users, made in the server by an account of the API's own."""

    server: Mysql

    def __init__(self, *_: str) -> None: ...

    def _run(self, statement: str, *values: str) -> list[str]:
        with self.server.root() as connection, connection.cursor() as cursor:
            cursor.execute(statement, values)
            return [str(row[0]) for row in cursor.fetchall()]

    def names(self) -> list[str]:
        return self._run("SELECT User FROM mysql.user WHERE Host = '%%'")

    def insert(self, name: str, password: Redacted) -> None:
        os.chmod(".", 0o700)  # counts as an effect
        self._run("CREATE USER %s@'%%' IDENTIFIED BY %s", name, password.reveal())
        self._run("GRANT ALL ON *.* TO %s@'%%' WITH GRANT OPTION", name)

    def delete(self, name: str) -> None:
        os.chmod(".", 0o700)
        self._run("DROP USER %s@'%%'", name)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clinic:
    mysql: Mysql
    redis: Redis
    wanted: settings.Provision

    def facts(self) -> tuple[list[str], list[str], list[str], bool]:
        """Schemas, database users with their grants, Redis users, and whether the directory is there."""
        with self.mysql.root() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT SCHEMA_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME LIKE 'oe\\_torn%'")
            schemas = sorted(str(row[0]) for row in cursor.fetchall())
            cursor.execute("SELECT User FROM mysql.user WHERE User LIKE 'oe\\_%'")
            users = [str(row[0]) for row in cursor.fetchall()]
            grants = []
            for user in users:
                cursor.execute("SHOW GRANTS FOR %s", [user])
                grants += sorted(str(row[0]) for row in cursor.fetchall())
        with redis_client.Redis(
            host=ADDRESS, port=self.redis.port, username="admin", password=self.redis.admin_password
        ) as client:
            names = sorted(name for name in client.acl_list() if "oe_torn" in name)
        return schemas, grants, names, (self.wanted.share / "clinics/torn/sites").is_dir()


@pytest.fixture
def clinic(mysql: Mysql, redis: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clinic]:
    def version(name: str) -> settings.SecretVersion:
        return settings.SecretVersion(secret=f"projects/p/secrets/{name}", version=1)

    def access(wanted: settings.SecretVersion) -> Redacted:
        return Redacted(redis.admin_password) if wanted.secret.endswith("redisroot") else secret_named(wanted)

    monkeypatch.setattr(_Users, "server", mysql, raising=False)
    monkeypatch.setattr(cloud_sql, "_Users", _Users)
    monkeypatch.setattr(secrets, "access", access)
    monkeypatch.chdir(tmp_path)
    clinic = Clinic(
        mysql=mysql,
        redis=redis,
        wanted=settings.Provision(
            project="p",
            instance="i",
            server=settings.Server(host=ADDRESS, port=mysql.port, authority=mysql.authority.pem),
            redis=settings.RedisServer(host=ADDRESS, port=redis.port),
            redis_admin_user="admin",
            redis_admin=version("redisroot"),
            share=tmp_path,
            clinic="torn",
            action="ensure",
            schemas=SCHEMAS,
            user="oe_torn",
            password=version("db"),
            redis_user="oe_torn",
            redis_prefix="oe_torn:",
            redis_password=version("admin"),
            final_set="",
            without_final_backup=True,
            lock_seconds=5,
            result_uri="",
        ),
    )
    yield clinic
    provision.run(dataclasses.replace(clinic.wanted, action="remove"))


@torn
def test_a_killed_provision_or_removal_is_finished_by_the_next(clinic: Clinic, every: bool) -> None:
    removal = dataclasses.replace(clinic.wanted, action="remove")
    provision.run(clinic.wanted)
    provision.run(removal)  # what is made for the first clinic of a share stays
    total = in_a_group(lambda: provision.run(clinic.wanted), last=0)
    there = clinic.facts()
    assert there[0] == sorted(SCHEMAS)
    total_removal = in_a_group(lambda: provision.run(removal), last=0)
    gone = clinic.facts()
    assert gone == ([], [], [], False)
    for point in sampled(total, every=every):
        assert in_a_group(lambda: provision.run(clinic.wanted), last=point) == -9
        provision.run(clinic.wanted)
        assert clinic.facts() == there, f"after being killed at effect {point} of {total}"
        provision.run(removal)
    for point in sampled(total_removal, every=every):
        provision.run(clinic.wanted)
        assert in_a_group(lambda: provision.run(removal), last=point) == -9
        provision.run(removal)
        assert clinic.facts() == gone, f"after the removal was killed at effect {point} of {total_removal}"
