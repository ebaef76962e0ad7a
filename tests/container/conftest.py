"""A restored clinic for the session, and instances of the service that serve it: the real entrypoint as uid 1000."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import hashlib
import http.client
import itertools
import json
import os
import shutil
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from gcp_openemr.sandbox.standin.sample_backup import SampleBackup, make_backup
from jobs import nfs_init, secrets, settings, sources
from jobs.redacted import Redacted
from tests.jobs.servers import ADDRESS, Mysql, Redis, free_port, make_authority, mysql_server, redis_server

ROOT = Path(__file__).parents[2]
APP = ROOT / "gcp_openemr" / "sandbox" / "standin" / "app"
TREE = "/var/www/localhost/htdocs/openemr"
NAMESPACE = Path(__file__).with_name("namespace.sh")
DATABASE_PASSWORD = "db='\" %s\\ é;#"
REDIS_PASSWORD = "redis &=+?%2F 'ü"
ADMIN_PASSWORD = "admin=w' \"%d ü"
# a page that says what PHP was told of the request, and gives the cookie that OpenEMR does; another that takes its time
_SHOWN = """<?php
$names = ['HTTPS', 'HTTP_HOST', 'HTTP_PROXY', 'HTTP_X_FORWARDED_FOR', 'HTTP_X_FORWARDED_HOST', 'REMOTE_ADDR',
    'REQUEST_SCHEME', 'SERVER_PORT'];
setcookie('OpenEMR', '1', ['path' => '/', 'samesite' => 'Strict']);
echo json_encode(array_combine($names, array_map(fn ($name) => $_SERVER[$name] ?? null, $names)));
"""
_SLOW = """<?php
for ($end = time() + (int) $_GET['seconds']; time() < $end; usleep(100_000)); // a signal ends one sleep only
echo 'done';
"""
COPIED = {
    "health": "usr/share/openemr/health",
    "httpd.conf": "etc/apache2/httpd.conf",
    "php.ini": "etc/openemr/php.ini",
    "opcache-blacklist": "etc/openemr/opcache-blacklist",
    "php-fpm.conf": "etc/openemr/php-fpm.conf",
    "log.awk": "usr/share/openemr/log.awk",
    "sessions.php": "usr/share/openemr/sessions.php",
    "entrypoint.sh": "usr/local/bin/openemr-entrypoint",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clinic:
    """A restored clinic: its code, its sites, its database and its sessions."""

    application: Path
    sites: Path
    rootfs: Path
    environment: Mapping[str, str]
    backup: SampleBackup


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Instance:
    """One started container. Its output is in a file, so that a full pipe cannot stop it."""

    def __init__(
        self,
        clinic: Clinic,
        output: Path,
        *,
        sites: Path | None = None,
        command: Sequence[str] = ("busybox", "ash", "/usr/local/bin/openemr-entrypoint"),
        **environment: str,
    ) -> None:
        """`READ_ONLY` among the variables makes the root so, but for /run/openemr and /tmp; `BEFORE` is run as root."""
        self.port = free_port()
        self._output = output
        variables = {**clinic.environment, "PORT": str(self.port), **environment}
        told = {name: variables.pop(name, "") for name in ("READ_ONLY", "BEFORE")}
        with output.open("wb") as file:
            self.process = subprocess.Popen(
                [
                    *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"),
                    *(
                        "sh",
                        str(NAMESPACE),
                        str(clinic.rootfs),
                        str(clinic.application),
                        str(sites or clinic.sites),
                        "env",
                        "-i",
                    ),
                    *(f"{name}={value}" for name, value in variables.items()),
                    *command,
                ],
                stdout=file,
                stderr=file,
                env={**os.environ, **told},
            )

    @property
    def pid(self) -> int:
        """The entrypoint's, process 1 of its own namespace."""
        return children(self.process.pid)[0]

    def pid_of(self, words: str) -> int:
        """The server's main process, whose command line holds these words: a grandchild of the entrypoint."""
        waiting = children(self.pid)
        while waiting:
            pid = waiting.pop(0)
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            if words in command:
                return pid
            waiting += children(pid)
        raise AssertionError(f"no process {words!r}")

    def output(self) -> str:
        return self._output.read_text()

    def await_output(self, words: str) -> None:
        """Log lines travel through a pipe and may come after the answer."""
        deadline = time.monotonic() + 5
        while words not in self.output():
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.02)

    def lines(self) -> list[dict[str, Any]]:
        """Every line of output, each of which is a JSON object."""
        return [json.loads(line) for line in self.output().splitlines()]

    def ask(
        self,
        path: str,
        *,
        method: str = "",
        data: Mapping[str, str] | bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        connection = http.client.HTTPConnection(ADDRESS, self.port, timeout=30)
        more = dict(headers or {})
        body = data if isinstance(data, bytes) else urlencode(data) if data is not None else None
        if isinstance(body, str):
            more["Content-Type"] = "application/x-www-form-urlencoded"
        try:
            connection.request(method or ("GET" if body is None else "POST"), path, body=body, headers=more)
            response = connection.getresponse()
            return Answer(status=response.status, headers=response.headers, body=response.read())
        finally:
            connection.close()

    def login(self, password: str = ADMIN_PASSWORD) -> tuple[Answer, dict[str, str]]:
        """The answer of the login form, and the headers that carry the session on."""
        form = {"authUser": "admin", "clearPass": password}
        answer = self.ask("/interface/main/main_screen.php?auth=login&site=default", data=form)
        cookies = answer.headers.get_all("Set-Cookie") or [""]
        return answer, {"Cookie": cookies[-1].partition(";")[0]}

    def await_serving(self) -> Instance:
        deadline = time.monotonic() + 20
        while True:
            try:
                if self.ask("/health/live").status == 200:
                    return self
            except OSError:
                pass
            assert self.process.poll() is None, self.output()
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.05)

    def at(self, port: int) -> Instance:
        """The same instance, asked at another port."""
        other = copy.copy(self)
        other.port = port
        return other

    def wait(self, seconds: float = 15) -> int:
        return self.process.wait(seconds)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Mysql, Redis]]:
    directory = tmp_path_factory.mktemp("servers")
    with mysql_server(directory / "mysql", make_authority()) as mysql, redis_server(directory / "redis") as redis:
        yield mysql, redis


@pytest.fixture(scope="session")
def clinic(servers: tuple[Mysql, Redis], tmp_path_factory: pytest.TempPathFactory) -> Clinic:
    return restored_clinic(*servers, tmp_path_factory.mktemp("clinic"))


def restored_clinic(mysql: Mysql, redis: Redis, directory: Path) -> Clinic:
    """A clinic provisioned by hand and restored by the job's own code."""
    _provision(mysql, redis)
    backup = make_backup(
        directory / "backup.tar.zst",
        documents=3,
        bytes_per_document=50_000,
        seed=11,
        admin_user="admin",
        admin_password="of the old clinic",
    )
    application = directory / "openemr"
    shutil.copytree(APP, application, ignore=shutil.ignore_patterns("sites"))
    (application / "sites").mkdir()
    (application / "environment.php").write_text(_SHOWN)
    (application / "slow.php").write_text(_SLOW)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(secrets, "access", _secret)
        patched.setattr(sources, "open_backup", lambda _: sources.RangeFile(_File(backup.path)))
        nfs_init.run(_wanted(mysql, application))
    sites = application / "sites"
    for path in (sites, *sites.rglob("*")):
        os.chown(path, 1000, 1000)
    rootfs = _rootfs(directory / "rootfs")
    return Clinic(
        application=application,
        sites=sites,
        rootfs=rootfs,
        environment=_environment(mysql, redis),
        backup=backup,
    )


@pytest.fixture
def instance(clinic: Clinic, tmp_path: Path) -> Iterator[Instance]:
    started = Instance(clinic, tmp_path / "output")
    try:
        yield started.await_serving()
    finally:
        started.kill()


@contextlib.contextmanager
def balanced(ports: Sequence[int]) -> Iterator[tuple[int, Mapping[int, int]]]:
    """A balancer that hands each connection to the next port; yields its own port and how many each was handed."""
    taken = dict.fromkeys(ports, 0)
    turns = itertools.cycle(ports)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            port = next(turns)
            taken[port] += 1
            with socket.create_connection((ADDRESS, port)) as behind:
                back = threading.Thread(target=_pump, args=(behind, self.request))
                back.start()
                _pump(self.request, behind)
                back.join()

    with socketserver.ThreadingTCPServer((ADDRESS, 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield server.server_address[1], taken
        server.shutdown()


def _pump(source: socket.socket, target: socket.socket) -> None:
    while data := source.recv(1 << 16):
        target.sendall(data)
    target.shutdown(socket.SHUT_WR)


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _provision(mysql: Mysql, redis: Redis) -> None:
    from jobs import redis_acl

    with mysql.root() as connection, connection.cursor() as cursor:
        for schema in ("oe_main", "oe_main_staging"):
            cursor.execute(f"CREATE DATABASE {schema}")
        cursor.execute("CREATE USER oe_main IDENTIFIED BY %s REQUIRE SSL", [DATABASE_PASSWORD])
        cursor.execute("GRANT ALL PRIVILEGES ON `oe\\_main%`.* TO oe_main".replace("%", "%%") % ())
    server = settings.RedisServer(host=ADDRESS, port=redis.port)
    with redis_acl.administrator(server, "admin", Redacted(redis.admin_password)) as client:
        redis_acl.ensure_user(client, "oe_main", Redacted(REDIS_PASSWORD), prefix="oe_main:")


def _wanted(mysql: Mysql, application: Path) -> settings.NfsInit:
    return settings.NfsInit(
        server=settings.Server(host=ADDRESS, port=mysql.port, authority=mysql.authority.pem),
        schema="oe_main",
        staging_schema="oe_main_staging",
        user="oe_main",
        password=settings.SecretVersion(secret="projects/p/secrets/db", version=1),
        admin_user="admin",
        admin_password=settings.SecretVersion(secret="projects/p/secrets/admin", version=1),
        openemr_version="7.0.4",
        backup=settings.Backup(source="gcs", place="gs://backups/backup.tar.zst"),
        result_uri="",
        upgrade=False,
        application=application,
        skeleton=APP / "sites",
        lock_seconds=5,
        openemr_settings={"openemr_name": "A clinic", "site_addr_oath": "https://clinic.test", "unknown_one": "1"},
    )


def _environment(mysql: Mysql, redis: Redis) -> dict[str, str]:
    return {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "MYSQL_HOST": "sql.test",
        "MYSQL_PORT": str(mysql.port),
        "MYSQL_DATABASE": "oe_main",
        "MYSQL_USER": "oe_main",
        "MYSQL_PASS": DATABASE_PASSWORD,
        "MYSQL_SSL_CA": mysql.authority.pem,
        "REDIS_SERVER": ADDRESS,
        "REDIS_PORT": str(redis.port),
        "REDIS_USERNAME": "oe_main",
        "REDIS_PREFIX": "oe_main:",
        "REDIS_PASSWORD": REDIS_PASSWORD,
        "GOOGLE_CLOUD_PROJECT": "my-project",
        "OPENEMR_MAX_INSTANCES": "3",
        "OPENEMR_START_SECONDS": "1",
    }


def _rootfs(rootfs: Path) -> Path:
    """What the Dockerfile copies into the service image, at the same places; and two names of the database."""
    for source, target in COPIED.items():
        (rootfs / target).parent.mkdir(parents=True, exist_ok=True)
        origin = ROOT / "container" / source
        shutil.copytree(origin, rootfs / target) if origin.is_dir() else shutil.copy(origin, rootfs / target)
    (rootfs / "etc/hosts").write_text(f"{ADDRESS} localhost sql.test another-name.test\n")
    return rootfs


def _secret(version: settings.SecretVersion) -> Redacted:
    return Redacted({"db": DATABASE_PASSWORD, "admin": ADMIN_PASSWORD}[version.secret.rpartition("/")[2]])


class _File:
    """A file of the disk as a source of ranges."""

    digest = b""

    def __init__(self, path: Path) -> None:
        self._content = path.read_bytes()
        self.size = len(self._content)

    def new_sum(self) -> sources._Sum:
        return hashlib.md5(usedforsecurity=False)

    def read(self, start: int, end: int) -> bytes:
        return self._content[start:end]
