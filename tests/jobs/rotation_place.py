"""A clinic to rotate: the sandbox's own API server with the secrets, the service and the jobs, real MySQL and Redis.

The runtime starts no container. A revision is as healthy as the passwords that it is pinned to are right, and the job
for Redis's passwords is run for real.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import functools
import http.server
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pymysql
import pytest
import redis as redis_client
from google.auth.transport.requests import AuthorizedSession
from google.oauth2.credentials import Credentials
from redis.backoff import NoBackoff
from redis.retry import Retry

from gcp_openemr.sandbox.api.app import App
from gcp_openemr.sandbox.api.server import serve
from gcp_openemr.sandbox.api.serviceusage import enable_apis
from gcp_openemr.sandbox.interfaces import Json
from jobs import nfs_init, redis_acl, redis_passwords, rest, restic, secrets, settings
from jobs.backup_settings import Clinic
from jobs.errors import CloudRefused, SecretUnavailable
from jobs.redacted import Redacted
from jobs.rotation import locks, recipe, service
from jobs.rotation.settings import KINDS, RedisPasswords, Rotate
from tests.jobs.servers import ADDRESS, Mysql, Redis
from tests.jobs.world import World
from tests.sandbox.api.support import PROJECT, REGION, Cloud, RecordingRuntime

LOCATION = f"projects/{PROJECT}/locations/{REGION}"
SERVICE = f"{LOCATION}/services/oe-prod-main-web"
JOBS = tuple(f"{LOCATION}/jobs/oe-prod-main-{name}" for name in ("backup", "verify"))
REDIS_JOB = f"{LOCATION}/jobs/oe-prod-main-redis"
ROTATE_JOB = f"{LOCATION}/jobs/oe-prod-main-rotate"
SECRETS = {kind: f"projects/{PROJECT}/secrets/oe-prod-main-{kind}" for kind in KINDS}
_REDIS_ADMIN = f"projects/{PROJECT}/secrets/oe-prod-redisroot"
_VARIABLES = {"database": "MYSQL_PASS", "redis": "REDIS_PASSWORD"}
_IMAGE = "registry.test/openemr@sha256:" + "a" * 64


class _MayNotList(AuthorizedSession):
    """Cloud Storage as it answers the rotate account, which may list nothing in the state bucket."""

    def request(self, method: str, url: str, *arguments: Any, **more: Any) -> Any:  # type: ignore[override]
        answer = super().request(method, url, *arguments, **more)  # type: ignore[no-untyped-call]
        if method == "GET" and "/storage/v1/b/state/o/" in url and answer.status_code == 404:
            answer.status_code = 403
        return answer


class Runtime(RecordingRuntime):
    """`run_execution` runs what the test says by job; others wait until `hold` is set."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._port = port
        self.runs: dict[str, Callable[[], object]] = {}
        self.ill_under_tag = False

    def service_uri(self, service: str) -> str:  # noqa: ARG002 -- the protocol's
        return f"http://{ADDRESS}:{self._port}"

    def run_execution(self, execution: Json, report: Callable[[Json], None]) -> Json:
        job = str(execution["name"]).split("googleapis.com/")[-1].partition("/executions/")[0]
        if job not in self.runs:
            return super().run_execution(execution, report)
        self.runs[job]()
        done = {"type": "Completed", "state": "CONDITION_SUCCEEDED"}
        return {
            "runningCount": 0,
            "succeededCount": 1,
            "completionTime": "2026-01-02T03:04:05.000000Z",
            "conditions": [done],
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    cloud: Cloud
    runtime: Runtime
    mysql: Mysql
    redis: Redis
    world: World
    wanted: Rotate

    def call(self, method: str, api: str, path: str, body: Any = None) -> Any:
        answer = self.cloud.call(method, api, path, body)
        assert answer.status == 200, answer.body
        return answer.body

    def begin(self, job: str) -> tuple[str, Callable[[], None]]:
        """An execution that goes on until the function is called."""
        ending = threading.Event()
        self.runtime.runs[job] = ending.wait
        begun = self.call("POST", "run", f"v2/{job}:run", {})

        def finish() -> None:
            ending.set()
            self.cloud.app.operations.wait(f"run.googleapis.com/{begun['name']}", 20)

        return str(begun["metadata"]["name"]), finish

    def rotate(self, *what: str, **changes: Any) -> dict[str, Any]:
        return recipe.run(self.wants(*what, **changes))

    def wants(self, *what: str, **changes: Any) -> Rotate:
        return dataclasses.replace(self.wanted, what=what or self.wanted.what, **changes)

    def aliases(self, kind: str) -> dict[str, int]:
        found = self.call("GET", "secretmanager", f"v1/{SECRETS[kind]}").get("versionAliases", {})
        return {alias: int(number) for alias, number in found.items()}

    def enabled(self, kind: str) -> list[int]:
        found = self.call("GET", "secretmanager", f"v1/{SECRETS[kind]}/versions")["versions"]
        return [int(one["name"].rpartition("/")[2]) for one in found if one["state"] == "ENABLED"]

    def value(self, kind: str, version: int | str = "current") -> Redacted:
        if version == "current":
            version = self.aliases(kind)["current"]
        data = self.cloud.app.store.payload(f"secretmanager.googleapis.com/{SECRETS[kind]}/versions/{version}")
        assert data is not None
        return Redacted(data.decode())

    def opens_mysql(self, password: Redacted) -> bool:
        try:
            self.connected(password).close()
        except pymysql.MySQLError:
            return False
        return True

    def connected(self, password: Redacted) -> pymysql.connections.Connection:
        return pymysql.connect(
            host=ADDRESS,
            port=self.mysql.port,
            user=self.wanted.clinic.user,
            password=password.reveal().encode(),
            ssl={"check_hostname": False},
        )

    def opens_redis(self, password: Redacted) -> bool:
        with self.as_redis(password) as client:
            try:
                return bool(client.ping())
            except redis_client.exceptions.AuthenticationError:
                return False

    def as_redis(self, password: Redacted) -> redis_client.Redis:
        return redis_client.Redis(
            host=ADDRESS,
            port=self.redis.port,
            username=self.wanted.redis_user,
            password=password.reveal(),
            retry=Retry(NoBackoff(), 0),  # a refusal is an answer
        )

    def passwords(self, kind: str) -> int:
        """How many passwords the server itself has of the clinic's account."""
        if kind == "database":
            user = self.wanted.clinic.user
            found = self.world.query(f"SELECT User_attributes FROM user WHERE User = '{user}'", "mysql")  # noqa: S608
            return 1 + ("additional_password" in str(found))
        with self.redis_admin() as client:
            return len(client.acl_getuser(self.wanted.redis_user)["passwords"])  # type: ignore[index,arg-type]

    @contextlib.contextmanager
    def redis_admin(self) -> Iterator[redis_client.Redis]:
        with redis_client.Redis(
            host=ADDRESS, port=self.redis.port, username="admin", password=self.redis.admin_password
        ) as client:
            yield client

    def serving(self) -> dict[str, int]:
        """Pins of the revision that has all the traffic."""
        body = self.call("GET", "run", f"v2/{SERVICE}")
        (target,) = [t for t in body["trafficStatuses"] if t.get("percent")]
        return dict(self.revision_pins(target["revision"]))

    def revision_pins(self, revision: str) -> Mapping[str, int]:
        body = self.call("GET", "run", f"v2/{SERVICE}/revisions/{revision}")
        return {secret.rpartition("-")[2]: pin for secret, pin in service.pins_of(body, SERVICE).items()}

    def is_healthy(self, pins: Mapping[str, int]) -> bool:
        """Whether an instance with these versions can work: each enabled, and what it holds opens its server."""
        opens = {"database": self.opens_mysql, "redis": self.opens_redis}
        return all(pin in self.enabled(kind) and opens[kind](self.value(kind, pin)) for kind, pin in pins.items())

    def at_rest(self, *kinds: str) -> None:
        """One version, one password, and the service works with it."""
        for kind in kinds or KINDS:
            current = self.aliases(kind)
            assert list(current) == ["current"], f"{kind}: {current}"
            assert self.enabled(kind) == [current["current"]], kind
        for kind in ("database", "redis"):
            assert self.passwords(kind) == 1, kind
        assert self.serving() == {kind: self.aliases(kind)["current"] for kind in ("database", "redis")}
        self.works()
        assert not any("tag" in target for target in self.call("GET", "run", f"v2/{SERVICE}")["traffic"])

    def works(self) -> None:
        """People can work, and jobs that begin now can."""
        assert self.is_healthy(self.serving())
        assert self.opens_mysql(self.value("database"))


@contextlib.contextmanager
def made_place(world: World, redis: Redis, directory: Path) -> Iterator[Place]:
    """The clinic of `world` in the sandbox, with version 1 of each secret, which its servers know."""
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as left:
        app = App(directory / "state")
        left.callback(app.close)
        enable_apis(app.store, PROJECT)
        front = http.server.ThreadingHTTPServer((ADDRESS, 0), http.server.BaseHTTPRequestHandler)
        runtime = Runtime(front.server_address[1])
        app.start(runtime)
        server = serve(socket.create_server((ADDRESS, 0)), app)
        left.callback(server.close)
        left.callback(runtime.hold.set)
        cloud = Cloud(app=app, runtime=runtime, url=f"http://{ADDRESS}:{server.port}")
        _reach(cloud, patch)
        patch.setattr(restic, "_CACHE", directory / "restic-cache")
        patch.setattr(locks, "_POLL_SECONDS", 0.1)
        patch.setattr(service, "_POLL_SECONDS", 0.05)
        patch.setattr(service, "_HEALTH_SECONDS", 1.0)
        place = Place(
            cloud=cloud,
            runtime=runtime,
            mysql=world.mysql,
            redis=redis,
            world=world,
            wanted=_wanted(world, redis, directory),
        )
        front.RequestHandlerClass = _health(place)
        threading.Thread(target=front.serve_forever, args=(0.05,), daemon=True).start()
        left.callback(front.server_close)
        left.callback(front.shutdown)
        _make_secrets(place)
        _make_accounts(place)
        _make_jobs(place)
        nfs_init.run(dataclasses.replace(world.wanted, password=_version("database"), admin_password=_version("admin")))
        _make_service(place)
        execution, finish = place.begin(ROTATE_JOB)
        finish()  # as that of a run which was killed has
        yield dataclasses.replace(place, wanted=dataclasses.replace(place.wanted, execution=execution))
        with place.redis_admin() as client:
            client.acl_deluser(place.wanted.redis_user)


def _reach(cloud: Cloud, patch: pytest.MonkeyPatch) -> None:
    """Have the job's calls arrive at the API server, and those of tagged revisions at this machine."""
    resolve = socket.getaddrinfo

    @functools.cache
    def session(_process: int) -> AuthorizedSession:
        return _MayNotList(Credentials(cloud.app.operator_token))  # type: ignore[no-untyped-call]

    def access(version: settings.SecretVersion) -> Redacted:
        try:
            found = rest.call("GET", "secretmanager", f"v1/{version.name}:access")
        except CloudRefused as error:
            raise SecretUnavailable(error.what) from error
        return Redacted(base64.b64decode(found["payload"]["data"]).decode())

    def local(host: Any, *arguments: Any, **options: Any) -> Any:
        return resolve(ADDRESS if str(host).endswith(".localhost") else host, *arguments, **options)

    patch.setattr(rest, "_session", lambda: session(os.getpid()))
    patch.setattr(rest, "_root", lambda api: cloud.url if api == "storage" else f"{cloud.url}/{api}.googleapis.com")
    patch.setattr(secrets, "access", access)
    patch.setattr(service, "_identity", lambda _audience: "")
    patch.setattr(socket, "getaddrinfo", local)


def _wanted(world: World, redis: Redis, directory: Path) -> Rotate:
    own = world.wanted
    return Rotate(
        clinic=Clinic(
            server=own.server,
            schema=own.schema,
            user=own.user,
            password=_version("database"),
            application=own.application,
            project="",
            environment="prod",
        ),
        name="main",
        store=settings.Store(
            bucket="backups", clinic="main", password=_version("backup"), place=str(directory / "repository")
        ),
        secrets=SECRETS,
        redis=settings.RedisServer(host=ADDRESS, port=redis.port),
        redis_user=own.user,
        redis_prefix=f"{own.user}:",
        redis_job=REDIS_JOB,
        admin_user="admin",
        service=SERVICE,
        jobs=JOBS,
        state_bucket="state",
        what=("database", "redis"),
        now=False,
        force=False,
        due_or_not=True,
        every_days=90,
        drain_seconds=0,
        wait_seconds=0,
        lock_seconds=0,
        execution="",
        result_uri="",
    )


def _version(kind: str) -> settings.SecretVersion:
    return settings.SecretVersion(secret=SECRETS[kind], version="current")


def _make_secrets(place: Place) -> None:
    place.call("POST", "storage", f"storage/v1/b?project={PROJECT}", {"name": "state", "location": REGION})
    values = {**{SECRETS[kind]: f"the first of {kind} 'é" for kind in KINDS}, _REDIS_ADMIN: place.redis.admin_password}
    for name, value in values.items():
        body = {"replication": {"automatic": {}}, "versionDestroyTtl": "604800s"}
        secret = name.rpartition("/")[2]
        place.call("POST", "secretmanager", f"v1/projects/{PROJECT}/secrets?secretId={secret}", body)
        payload = {"payload": {"data": base64.b64encode(value.encode()).decode()}}
        place.call("POST", "secretmanager", f"v1/{name}:addVersion", payload)
        place.call(
            "PATCH", "secretmanager", f"v1/{name}?updateMask=versionAliases", {"versionAliases": {"current": "1"}}
        )
    user = place.wanted.clinic.user
    with place.mysql.root() as connection, connection.cursor() as cursor:
        cursor.execute(f"ALTER USER {user} IDENTIFIED BY %s", [place.value("database").reveal()])
        cursor.execute(f"GRANT APPLICATION_PASSWORD_ADMIN ON *.* TO {user}")
    with place.redis_admin() as client:
        redis_acl.ensure_user(client, user, place.value("redis"), prefix=place.wanted.redis_prefix)


def _make_accounts(place: Place) -> None:
    body = {"accountId": "oe-prod-main-web", "serviceAccount": {"displayName": "Web"}}
    account = place.call("POST", "iam", f"v1/projects/{PROJECT}/serviceAccounts", body)["email"]
    binding = {"role": "roles/secretmanager.secretAccessor", "members": [f"serviceAccount:{account}"]}
    for kind in _VARIABLES:
        place.call("POST", "secretmanager", f"v1/{SECRETS[kind]}:setIamPolicy", {"policy": {"bindings": [binding]}})


def _make_jobs(place: Place) -> None:
    wanted = place.wanted
    own = RedisPasswords(
        clinic="main",
        redis=wanted.redis,
        redis_admin_user="admin",
        redis_admin=settings.SecretVersion(secret=_REDIS_ADMIN, version="current"),
        redis_user=wanted.redis_user,
        redis_prefix=wanted.redis_prefix,
        secret=SECRETS["redis"],
        result_uri="",
    )
    place.runtime.runs[REDIS_JOB] = lambda: redis_passwords.run(own)
    account = f"oe-prod-main-web@{PROJECT}.iam.gserviceaccount.com"
    template = {"template": {"template": {"serviceAccount": account, "containers": [{"image": _IMAGE}]}}}
    for job in (*JOBS, REDIS_JOB, ROTATE_JOB):
        answer = place.cloud.call("POST", "run", f"v2/{LOCATION}/jobs?jobId={job.rpartition('/')[2]}", template)
        place.cloud.wait(answer)


def _make_service(place: Place) -> None:
    variables = [
        {"name": name, "valueSource": {"secretKeyRef": {"secret": SECRETS[kind].rpartition("/")[2], "version": "1"}}}
        for kind, name in _VARIABLES.items()
    ]
    container = {"image": _IMAGE, "env": [{"name": "MYSQL_HOST", "value": "sql.test"}, *variables]}
    account = f"oe-prod-main-web@{PROJECT}.iam.gserviceaccount.com"
    body = {"template": {"serviceAccount": account, "containers": [container], "timeout": "10s"}}
    place.cloud.wait(place.cloud.call("POST", "run", f"v2/{LOCATION}/services?serviceId=oe-prod-main-web", body))


def _health(place: Place) -> type[http.server.BaseHTTPRequestHandler]:
    """Answers as the instance would that the request comes to: by the host's tag, or the traffic."""

    class Health(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None: ...

        def do_GET(self) -> None:
            tag, _, rest_of_name = str(urlsplit(f"//{self.headers['Host']}").hostname).partition("---")
            body = place.call("GET", "run", f"v2/{SERVICE}")
            wanted = ("tag", tag) if rest_of_name else ("percent", 100)
            (target,) = [t for t in body["trafficStatuses"] if t.get(wanted[0]) == wanted[1]]
            healthy = place.is_healthy(place.revision_pins(target["revision"]))
            healthy &= not (rest_of_name and place.runtime.ill_under_tag)
            content = json.dumps({"checks": {"database": "ok" if healthy else "failed"}}).encode()
            self.send_response(200 if healthy else 503)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    return Health
