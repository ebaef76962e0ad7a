"""A runtime that records what it is told, and helpers for calls over the wire."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from gcp_openemr.sandbox.api.app import App
from gcp_openemr.sandbox.interfaces import Json, TrafficTarget

PROJECT = "my-clinic"
REGION = "europe-west1"
ZONE = f"{REGION}-b"
IMAGES = f"{REGION}-docker.pkg.dev/{PROJECT}/oe-prod"


class RecordingRuntime:
    """`interfaces.Runtime` that starts nothing and remembers everything."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.refuse: dict[str, Exception] = {}
        self.users: dict[str, dict[tuple[str, str], str]] = {}
        self.result: Json = {}
        self.hold = threading.Event()
        self.hold.set()
        self.schemas: dict[str, dict[str, tuple[str, str]]] = {}
        self.unhealthy: set[str] = set()
        self.lines: dict[str, list[str]] = {}
        self.certificate = ""
        self.built: Json = {}

    def names(self) -> list[str]:
        return [call[0] for call in self.calls]

    def _note(self, name: str, *values: Any) -> None:
        self.calls.append((name, *values))
        self.hold.wait(timeout=20)
        if name in self.refuse:
            raise self.refuse[name]

    def resume(self) -> None:
        self.calls.append(("resume",))

    def stop(self) -> None:
        self.calls.append(("stop",))

    def service_uri(self, service: str) -> str:
        return f"http://127.0.0.1:{20000 + len(service)}"

    def start_revision(self, service: str, revision: Json) -> None:
        self._note("start_revision", service, revision)

    def set_traffic(self, service: str, targets: Sequence[TrafficTarget]) -> None:
        self._note("set_traffic", service, list(targets))

    def delete_service(self, service: str) -> None:
        self._note("delete_service", service)

    def run_execution(self, execution: Json, report: Callable[[Json], None]) -> Json:
        report({"runningCount": 1})
        self._note("run_execution", execution)
        done = {"type": "Completed", "state": "CONDITION_SUCCEEDED"}
        return self.result or {
            "runningCount": 0,
            "succeededCount": execution["taskCount"],
            "completionTime": "2026-01-02T03:04:05.000000Z",
            "conditions": [done],
        }

    def cancel_execution(self, execution: str) -> None:
        self.calls.append(("cancel_execution", execution))
        cancelled = {"type": "Completed", "state": "CONDITION_FAILED", "message": "The execution was cancelled."}
        self.result = {
            "runningCount": 0,
            "cancelledCount": 1,
            "completionTime": "2026-01-02T03:04:05.000000Z",
            "conditions": [cancelled],
        }
        self.hold.set()

    def start_database(self, instance: Json) -> None:
        self._note("start_database", instance)

    def database_certificate(self, instance: Json) -> str:  # noqa: ARG002 -- the protocol's
        return self.certificate

    def stop_database(self, name: str) -> None:
        self._note("stop_database", name)

    def delete_database(self, name: str) -> None:
        self._note("delete_database", name)

    def create_database_user(self, instance: str, user: str, host: str, password: str) -> None:
        self._note("create_database_user", instance, user, host)
        self.users.setdefault(instance, {})[user, host] = password

    def delete_database_user(self, instance: str, user: str, host: str) -> None:
        self._note("delete_database_user", instance, user, host)
        del self.users[instance][user, host]

    def list_database_users(self, instance: str) -> Sequence[Mapping[str, str]]:
        return [{"name": user, "host": host} for user, host in self.users.get(instance, {})]

    def set_database_password(self, instance: str, user: str, host: str, password: str, old: str) -> None:
        self._note("set_database_password", instance, user, host, old)
        self.users.setdefault(instance, {})[user, host] = password

    def list_schemas(self, instance: str) -> Sequence[Mapping[str, str]]:
        found = self.schemas.get(instance, {}).items()
        return [{"name": name, "charset": charset, "collation": collation} for name, (charset, collation) in found]

    def create_schema(self, instance: str, name: str, charset: str, collation: str) -> None:
        self._note("create_schema", instance, name, charset, collation)
        self.schemas.setdefault(instance, {})[name] = (charset or "utf8mb4", collation or "utf8mb4_0900_ai_ci")

    def delete_schema(self, instance: str, name: str) -> None:
        self._note("delete_schema", instance, name)
        del self.schemas[instance][name]

    def copy_database(self, source: str, target: str, at: str) -> None:
        self._note("copy_database", source, target, at)

    def export_database(self, instance: str, schemas: Sequence[str]) -> Iterator[bytes]:
        self._note("export_database", instance, *schemas)
        yield b"-- the dump\n"

    def connect_endpoint(self, address: str, instance: str) -> None:
        self._note("connect_endpoint", address, instance)

    def start_machine(self, instance: Json) -> None:
        self._note("start_machine", instance)

    def delete_machine(self, instance: str) -> None:
        self._note("delete_machine", instance)

    def machine_healthy(self, instance: str) -> bool:
        return instance not in self.unhealthy

    def copy_disk(self, source: str, target: str) -> None:
        self._note("copy_disk", source, target)

    def delete_disk(self, disk: str) -> None:
        self._note("delete_disk", disk)

    def log_lines(self, name: str) -> Sequence[str]:
        return self.lines.get(name, [])

    def disturb(self, kind: str, name: str, condition: str) -> None:
        self._note("disturb", kind, name, condition)

    def build(self, build: Json, log: Callable[[str], None]) -> Json:
        log("building")
        self._note("build", build)
        if self.built:
            return self.built
        digests = {image: "sha256:" + hashlib.sha256(image.encode()).hexdigest() for image in build.get("images", ())}
        return {"images": [{"name": image, "digest": digest} for image, digest in digests.items()]}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """Status, JSON (or empty) and headers."""

    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def message(self) -> str:
        if "error_description" in self.body:
            return str(self.body["error_description"])
        return str(self.body["error"]["message"])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cloud:
    """A running API server and its runtime."""

    app: App
    runtime: RecordingRuntime
    url: str

    def call(
        self, method: str, api: str, path: str, body: Any = None, *, token: str | None = None, **headers: str
    ) -> Answer:
        """One JSON call; `api` is the short name (`run`), "storage" goes to the root."""
        root = self.url if api == "storage" else f"{self.url}/{api}.googleapis.com"
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        bearer = self.app.operator_token if token is None else token
        sent = {"Content-Type": "application/json", **({"Authorization": f"Bearer {bearer}"} if bearer else {})}
        sent |= {key.replace("_", "-"): value for key, value in headers.items()}
        request = urllib.request.Request(f"{root}/{path}", method=method, data=data, headers=sent)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 -- http, as the URL says
                return Answer(status=answer.status, body=_json(answer.read()), headers=dict(answer.headers))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(status=error.code, body=_json(error.read()), headers=dict(error.headers))

    def wait(self, answer: Answer) -> Json:
        """The finished operation of an answer."""
        assert answer.status == 200, answer.body
        prefix = {"compute#operation": "compute.googleapis.com/projects/", "sql#operation": ""}
        name = answer.body["name"]
        link = answer.body.get("selfLink", "")
        full = {
            "compute#operation": f"{prefix['compute#operation']}{link.partition('/projects/')[2]}",
            "sql#operation": f"sqladmin.googleapis.com/projects/{PROJECT}/operations/{name}",
        }.get(answer.body.get("kind", ""), name)
        for host in ("", "run.googleapis.com/", "artifactregistry.googleapis.com/", "cloudbuild.googleapis.com/"):
            found = self.app.operations.wait(host + full, 20)
            if found is not None:
                assert found.done
                return dataclasses.asdict(found)
        raise AssertionError(f"no operation {full}")


def _json(data: bytes) -> Any:
    try:
        return json.loads(data) if data else {}
    except ValueError:
        return data
