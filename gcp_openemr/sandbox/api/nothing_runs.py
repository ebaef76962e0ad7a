"""A runtime that runs nothing, for when the API server stands alone.

Resources can be made, changed and removed. What would need a running process says so: an execution fails, a build is
refused, and services and databases are recorded without anything behind their addresses.
"""

# ruff: noqa: ARG002 -- the arguments are those of the protocol

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from gcp_openemr.sandbox.api.names import id_of, now, segment
from gcp_openemr.sandbox.interfaces import Json, Refused

__all__ = ["NothingRuns"]

_SENTENCE = "This API server stands alone: nothing runs behind it."


class NothingRuns:
    """`interfaces.Runtime` without processes."""

    def _nothing(self, *_: Any) -> None: ...

    def _refuse(self, *_: Any) -> None:
        raise Refused(_SENTENCE)

    def _none(self, *_: Any) -> Sequence[Any]:
        return []

    resume = stop = start_revision = set_traffic = delete_service = cancel_execution = _nothing
    start_database = stop_database = delete_database = copy_database = connect_endpoint = _nothing
    start_machine = delete_machine = copy_disk = delete_disk = _nothing
    create_database_user = delete_database_user = set_database_password = create_schema = delete_schema = _refuse
    list_database_users = list_schemas = log_lines = _none

    def service_uri(self, service: str) -> str:
        return f"https://{id_of(service)}-{segment(service, 'projects')}.{segment(service, 'locations')}.invalid"

    def run_execution(self, execution: Json, report: Callable[[Json], None]) -> Json:
        report({"runningCount": 0})
        return {
            "failedCount": execution.get("taskCount", 1),
            "completionTime": now(),
            "conditions": [{"type": "Completed", "state": "CONDITION_FAILED", "message": _SENTENCE}],
        }

    def export_database(self, instance: str, schemas: Sequence[str]) -> Iterator[bytes]:
        yield f"-- {_SENTENCE}\n".encode()

    def database_certificate(self, instance: Json) -> str:
        return ""

    def machine_healthy(self, instance: str) -> bool:
        return True

    def disturb(self, kind: str, name: str, condition: str) -> None:
        raise Refused(_SENTENCE, code=12)

    def build(self, build: Json, log: Callable[[str], None]) -> Json:
        log(_SENTENCE)
        raise Refused(_SENTENCE)
