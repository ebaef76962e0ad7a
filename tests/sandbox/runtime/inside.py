"""A runtime in namespaces of its own, for tests: `python -m tests.sandbox.runtime.inside FD DIRECTORY NETWORK`.

Reads pickled calls from the socket FD and answers them, each in a thread of its own, until the other side closes.
"""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import os
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from gcp_openemr import sandbox
from gcp_openemr.sandbox import daemon
from gcp_openemr.sandbox.interfaces import Json, Refused
from gcp_openemr.sandbox.runtime import namespaces
from gcp_openemr.sandbox.runtime.certificates import Authority
from gcp_openemr.sandbox.runtime.database import _connected
from gcp_openemr.sandbox.runtime.local import LocalRuntime
from gcp_openemr.sandbox.runtime.network import APIS_ADDRESS
from gcp_openemr.setup.mysql import locate

__all__ = ["FakeAccess", "World", "main"]

RUN = Path("/run/sandbox")
STANDIN = Path(sandbox.__file__).parent / "standin/app"


class FakeAccess:
    """The cloud as dictionaries."""

    def __init__(self) -> None:
        self.resources: dict[str, Json] = {}
        self.secrets: dict[tuple[str, str], tuple[str, str]] = {}
        self.objects: dict[tuple[str, str], bytes] = {}
        self.settings: dict[str, float] = {}

    def get(self, name: str) -> Json | None:
        return self.resources.get(name)

    def list(self, prefix: str) -> Sequence[tuple[str, Json]]:
        return [(name, body) for name, body in self.resources.items() if name.startswith(prefix)]

    def secret(self, name: str, version: str, *, member: str) -> str:
        value, allowed = self.secrets.get((name, version), ("", ""))
        if member != allowed:
            raise Refused(f"Permission denied on secret: {name}/versions/{version}", code=7)
        return value

    def object(self, bucket: str, name: str, *, member: str) -> bytes:  # noqa: ARG002 - everybody may
        return self.objects[bucket, name]

    def setting(self, name: str) -> float:
        return self.settings.get(name, 0.0)

    def mint_token(self, email: str, scopes: Sequence[str]) -> str:
        return f"token-of-{email}" + "".join(f"-for-{scope}" for scope in scopes)

    def mint_identity(self, email: str, audience: str) -> str:
        return f"identity-of-{email}-for-{audience}"


class Secrets(http.server.BaseHTTPRequestHandler):
    """Secret Manager's one call that a machine's script makes."""

    access: FakeAccess

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass

    def do_GET(self) -> None:
        name, _, version = self.path.removeprefix("/v1/").removesuffix(":access").partition("/versions/")
        account = self.headers.get("Authorization", "").removeprefix("Bearer token-of-")
        try:
            value = self.access.secret(name, version, member=f"serviceAccount:{account}")
        except Refused as refused:
            self.send_error(403, refused.message)
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"payload": {"data": base64.b64encode(value.encode()).decode()}}).encode())


class World:
    """What a call can reach."""

    def __init__(self, network: int) -> None:
        self.state = RUN / "state"
        self.run = RUN
        self.access = FakeAccess()
        authority = Authority(self.state / "ca", "googleapis")
        self.runtime = LocalRuntime(
            state=self.state,
            run=RUN,
            access=self.access,
            listen=lambda address, port: namespaces.listen_in(network, address, port),
            mysql=locate(),
            application=STANDIN,
            trusted=authority.certificate,
        )
        Secrets.access = self.access
        server = http.server.ThreadingHTTPServer((APIS_ADDRESS, 443), Secrets)
        context = authority.server_context(["*.googleapis.com"], self.state / "ca" / "server")
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()


def _serve(world: World, calls: Connection) -> None:
    sending = threading.Lock()

    def work(number: int, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        answer: tuple[int, bool, Any]
        try:
            answer = (number, True, function(world, *args))
        except Refused as error:
            answer = (number, False, (error.message, error.code))
        except BaseException:
            answer = (number, False, (traceback.format_exc(), 13))
        with sending, contextlib.suppress(OSError):
            calls.send(answer)

    with contextlib.suppress(EOFError):
        while True:
            threading.Thread(target=work, args=calls.recv(), daemon=True).start()


def main() -> None:
    descriptor, directory, network = int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    for number in (descriptor, network):
        os.set_inheritable(number, False)
    daemon._settle(directory, None)
    world = World(network)
    with Connection(descriptor) as calls:
        calls.send("ready")
        _serve(world, calls)
    world.runtime.stop()


def call_runtime(world: World, method: str, *args: Any) -> Any:
    return getattr(world.runtime, method)(*args)


def execute(world: World, execution: Json) -> tuple[Json, list[Json]]:
    """Run an execution; returns the last update and all before it."""
    updates: list[Json] = []
    return world.runtime.run_execution(execution, updates.append), updates


def build(world: World, described: Json) -> tuple[Json, list[str]]:
    lines: list[str] = []
    return world.runtime.build(described, lines.append), lines


def put(world: World, resources: dict[str, Json]) -> None:
    world.access.resources.update(resources)


def put_setting(world: World, name: str, value: float) -> None:
    world.access.settings[name] = value


def get(world: World, name: str) -> Json | None:
    return world.access.get(name)


def redis(world: World, *command: str) -> str:
    """Ask the machine's Redis as its administrator, on the machine."""
    machine = world.runtime._machines._all()[0]
    return machine.run("redis-cli", "--user", "admin", *command, REDISCLI_AUTH="first").strip()


def put_secret(world: World, name: str, version: str, value: str, member: str) -> None:
    world.access.secrets[name, version] = (value, member)


def put_object(world: World, bucket: str, name: str, content: bytes) -> None:
    world.access.objects[bucket, name] = content


def containers(world: World) -> list[tuple[str, int]]:
    """Name and pid of those that run."""
    return [(one.spec.name, one.pid) for one in world.runtime._host.containers.running()]


def kill(world: World, pid: int) -> None:
    os.kill(pid, 9)


def sql(world: World, instance: str, *statements: str) -> list[list[str]]:
    """What root gets on an instance's machine for the last of the statements."""
    with _connected(world.runtime._databases._running(instance).socket) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        return [list(map(str, row)) for row in cursor.fetchall()]


def exported(world: World, instance: str, *schemas: str) -> bytes:
    return b"".join(world.runtime.export_database(instance, schemas))


def read_sql(world: World, key: str, name: str) -> bytes:
    """A file of a database instance's disk."""
    return (world.runtime._databases._disks.attach(key, 0).place / name).read_bytes()


def share(world: World) -> Path:
    """Where the machine's export lies."""
    machine = world.runtime._machines._all()[0]
    return next(iter(machine.disks.values())).mount() / "share"


def make_share(world: World, path: str, *, uid: int = 1000) -> None:
    folder = share(world) / path
    folder.mkdir(parents=True, exist_ok=True)
    for made in (folder, *folder.parents):
        if made.is_relative_to(share(world)):
            os.chown(made, uid, uid)


def read_share(world: World, path: str) -> str:
    return (share(world) / path).read_text(encoding="utf-8")


def read_disk(world: World) -> list[tuple[str, bytes]]:
    """(path, content) of every file of the machine's disk."""
    top = share(world).parent
    return [(str(path.relative_to(top)), path.read_bytes()) for path in top.rglob("*") if path.is_file()]


def connects(world: World, address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=2).close()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main()
