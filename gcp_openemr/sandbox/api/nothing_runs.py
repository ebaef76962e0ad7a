"""A runtime that runs nothing, for when the API server stands alone.

Resources can be made, changed and removed. What would need a running process says so: an execution fails, a build is
refused, and services and databases are recorded without anything behind their addresses.
"""

# ruff: noqa: ARG002 -- the arguments are those of the protocol

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from gcp_openemr.sandbox.api.names import id_of, now, segment
from gcp_openemr.sandbox.interfaces import Json, Refused, TrafficTarget

__all__ = ["NothingRuns"]

_SENTENCE = "This API server stands alone: nothing runs behind it."


class NothingRuns:
    """`interfaces.Runtime` without processes."""

    def resume(self) -> None: ...
    def stop(self) -> None: ...

    def service_uri(self, service: str) -> str:
        return f"https://{id_of(service)}-{segment(service, 'projects')}.{segment(service, 'locations')}.invalid"

    def start_revision(self, service: str, revision: Json) -> None: ...
    def set_traffic(self, service: str, targets: Sequence[TrafficTarget]) -> None: ...
    def delete_service(self, service: str) -> None: ...

    def run_execution(self, execution: Json, report: Callable[[Json], None]) -> Json:
        report({"runningCount": 0})
        return {
            "failedCount": execution.get("taskCount", 1),
            "completionTime": now(),
            "conditions": [{"type": "Completed", "state": "CONDITION_FAILED", "message": _SENTENCE}],
        }

    def cancel_execution(self, execution: str) -> None: ...
    def start_database(self, instance: Json) -> None: ...

    def database_certificate(self, instance: Json) -> str:
        return ""

    def stop_database(self, name: str) -> None: ...
    def delete_database(self, name: str) -> None: ...

    def create_database_user(self, instance: str, user: str, host: str, password: str) -> None:
        raise Refused(_SENTENCE)

    def delete_database_user(self, instance: str, user: str, host: str) -> None:
        raise Refused(_SENTENCE)

    def list_database_users(self, instance: str) -> Sequence[Mapping[str, str]]:
        return []

    def set_database_password(self, instance: str, user: str, host: str, password: str, old: str) -> None:
        raise Refused(_SENTENCE)

    def list_schemas(self, instance: str) -> Sequence[Mapping[str, str]]:
        return []

    def create_schema(self, instance: str, name: str, charset: str, collation: str) -> None:
        raise Refused(_SENTENCE)

    def delete_schema(self, instance: str, name: str) -> None:
        raise Refused(_SENTENCE)

    def copy_database(self, source: str, target: str, at: str) -> None: ...
    def connect_endpoint(self, address: str, instance: str) -> None: ...
    def start_machine(self, instance: Json) -> None: ...
    def delete_machine(self, instance: str) -> None: ...

    def machine_healthy(self, instance: str) -> bool:
        return True

    def copy_disk(self, source: str, target: str) -> None: ...
    def delete_disk(self, disk: str) -> None: ...

    def log_lines(self, name: str) -> Sequence[str]:
        return []

    def disturb(self, kind: str, name: str, condition: str) -> None:
        raise Refused(_SENTENCE, code=12)

    def build(self, build: Json, log: Callable[[str], None]) -> Json:
        log(_SENTENCE)
        raise Refused(_SENTENCE)
