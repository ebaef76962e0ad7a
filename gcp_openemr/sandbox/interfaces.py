"""Where the API server (which decides) and the runtime (which starts things) meet.

The API server calls a `Runtime` from the worker threads of its long-running operations, one call at a time per
resource; the runtime reads the cloud through `Access`. Resources are the JSON of Google's APIs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

__all__ = ["Access", "Json", "Refused", "Runtime", "TrafficTarget"]

Json = dict[str, Any]


class Refused(Exception):
    """The runtime cannot do it for a reason Google would give; `message` is in Google's words."""

    def __init__(self, message: str, *, code: int = 9) -> None:
        super().__init__(message)
        self.message = message
        self.code = code  # google.rpc.Code; 9 is FAILED_PRECONDITION


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrafficTarget:
    """One share of a service's traffic. `revision` is the short name; `percent` 0–100; `tag` may be empty."""

    revision: str
    percent: int
    tag: str = ""


class Access(Protocol):
    """What the runtime may ask of the cloud."""

    def get(self, name: str) -> Json | None:
        """A resource by full name (`compute.googleapis.com/projects/p/zones/z/instances/i`), or None."""

    def list(self, prefix: str) -> Sequence[tuple[str, Json]]:
        """All (full name, resource) below a prefix."""

    def secret(self, name: str, version: str, *, member: str) -> str:
        """Payload of `projects/p/secrets/s` at a version, as `serviceAccount:…`. Raises Refused."""

    def object(self, bucket: str, name: str, *, member: str) -> bytes:
        """Content of a Cloud Storage object. Raises Refused."""

    def setting(self, name: str) -> float:
        """A number of the sandbox's settings: a factor on Google's own time, 0 for off."""

    def mint_token(self, email: str, scopes: Sequence[str]) -> str:
        """A bearer token with which calls arrive as `serviceAccount:EMAIL`, of these scopes (none: the usual one)."""

    def mint_identity(self, email: str, audience: str) -> str:
        """An identity token with which the service at `audience` is called."""


class Runtime(Protocol):
    """What the API server asks to be started and stopped. Every call may take seconds and is safe to repeat."""

    def resume(self) -> None:
        """Bring up everything the store says should be running (after the daemon's start)."""

    def stop(self) -> None:
        """End every process, politely first."""

    def service_uri(self, service: str, /) -> str:
        """The address people use for `projects/p/locations/l/services/s`; the same on every call."""

    def start_revision(self, service: str, revision: Json, /) -> None:
        """Start an instance of a revision (Run v2 `Revision` with its template) and wait for its startup probe.

        Raises Refused with Cloud Run's sentence when it does not become ready.
        """

    def set_traffic(self, service: str, targets: Sequence[TrafficTarget], /) -> None:
        """Send requests by these shares from now on; drain and stop revisions without traffic or tag."""

    def delete_service(self, service: str, /) -> None: ...

    def run_execution(self, execution: Json, report: Callable[[Json], None], /) -> Json:
        """Run all tasks of a Run v2 `Execution` (template with overrides applied) to the end.

        `report` takes partial updates of the execution (`runningCount`, `conditions`, …) as they happen. Returns the
        final update: counts, `completionTime`, `conditions`. A failing task is no exception but a result.
        """

    def cancel_execution(self, execution: str, /) -> None: ...

    def start_database(self, instance: Json, /) -> None:
        """Start (or restart with changed settings) the MySQL server of a Cloud SQL `DatabaseInstance`."""

    def database_certificate(self, instance: Json, /) -> str:
        """PEM of the CA that signs the server's certificate."""

    def stop_database(self, name: str, /) -> None: ...

    def delete_database(self, name: str, /) -> None:
        """Stop it and delete its data."""

    def create_database_user(self, instance: str, user: str, host: str, password: str, /) -> None: ...

    def delete_database_user(self, instance: str, user: str, host: str, /) -> None: ...

    def list_database_users(self, instance: str, /) -> Sequence[Mapping[str, str]]:
        """`{"name": …, "host": …}` for each account people made."""

    def set_database_password(self, instance: str, user: str, host: str, password: str, old: str, /) -> None:
        """Change an account's password ("" keeps it). `old` says what becomes of the other ones.

        "retain": the present one stays valid beside the new one (dual passwords); "discard": only the newest is valid;
        "": what MySQL does by itself. The account may be `root`@`%`, which is made when it is not there.
        """

    def list_schemas(self, instance: str, /) -> Sequence[Mapping[str, str]]:
        """`{"name": …, "charset": …, "collation": …}` for each schema that is not MySQL's own."""

    def create_schema(self, instance: str, name: str, charset: str, collation: str, /) -> None:
        """Make a schema, or give it this character set and collation ("" = the server's). Raises Refused."""

    def delete_schema(self, instance: str, name: str, /) -> None: ...

    def copy_database(self, source: str, target: str, at: str, /) -> None:
        """Copy all data of an instance or backup to a backup or an instance that does not run (full names).

        A backup is a full name too (`…/instances/i/backupRuns/1`); `delete_database` deletes its data. A running
        source is copied as of one moment: now, or `at` (RFC 3339) as far as its binary log reaches. What `target` held
        is gone only when the copy is whole. Raises Refused.
        """

    def export_database(self, instance: str, schemas: Sequence[str], /) -> Iterator[bytes]:
        """Schemas of a running instance as SQL, as of one moment. Raises Refused."""

    def connect_endpoint(self, address: str, instance: str, /) -> None:
        """Let a Private Service Connect endpoint's address answer for a database instance (full name)."""

    def start_machine(self, instance: Json, /) -> None:
        """Start what a Compute Engine `Instance` of this stack runs: the exported directory and Redis."""

    def delete_machine(self, instance: str, /) -> None: ...

    def machine_healthy(self, instance: str, /) -> bool:
        """Whether a started machine's Redis and export answer (a health check's question); False when it is gone."""

    def copy_disk(self, source: str, target: str, /) -> None:
        """Copy what is on a disk or snapshot to a new disk or snapshot (full names). Raises Refused."""

    def delete_disk(self, disk: str, /) -> None:
        """Delete the data of a disk or snapshot."""

    def log_lines(self, name: str, /) -> Sequence[str]:
        """All lines `TIME SOURCE TEXT` of a service, execution, database instance or machine (short name)."""

    def disturb(self, kind: str, name: str, condition: str, /) -> None:
        """Bring a server into a bad condition, or back: until told otherwise, also over restarts of the sandbox.

        `kind` is database, redis or share; `name` the instance's id; `condition` stopped, slow, full or well.
        Raises Refused when there is no such server.
        """

    def build(self, build: Json, log: Callable[[str], None], /) -> Json:
        """Run a Cloud Build `Build`; returns its `results` (`images`: name, digest, pushTiming). Raises Refused."""
