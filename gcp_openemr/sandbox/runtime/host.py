"""What the parts of the runtime share."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Callable
from pathlib import Path

from gcp_openemr.sandbox.interfaces import Access, Refused
from gcp_openemr.sandbox.runtime.alpine import Alpine
from gcp_openemr.sandbox.runtime.certificates import Authority
from gcp_openemr.sandbox.runtime.cgroups import Groups
from gcp_openemr.sandbox.runtime.disks import Disks
from gcp_openemr.sandbox.runtime.images import Images
from gcp_openemr.sandbox.runtime.logs import Lines, Log
from gcp_openemr.sandbox.runtime.network import Networks
from gcp_openemr.sandbox.runtime.processes import Container, Containers, NotStarted, Spec
from gcp_openemr.sandbox.runtime.record import Record
from gcp_openemr.sandbox.runtime.troubles import Conditions

__all__ = ["Host"]

Listen = Callable[[str, int], socket.socket]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Host:
    """The machine the cloud runs on.

    `state` is what outlives the daemon, `run` a file system in memory of its own (short paths, open to every user),
    `listen` opens a TCP port where people's browsers are, outside the sandbox's network.
    """

    state: Path
    run: Path
    access: Access
    networks: Networks
    containers: Containers
    alpine: Alpine
    images: Images
    groups: Groups
    disks: Disks
    conditions: Conditions
    record: Record
    database_authority: Authority
    listen: Listen

    def start(
        self, spec: Spec, log: Lines, *, failed: str = "The instance failed to start", code: int = 13
    ) -> Container:
        """Start a container. Raises Refused with what `failed`, and why."""
        try:
            return self.containers.start(spec, log)
        except NotStarted as error:
            raise Refused(f"{failed}: {error}.", code=code) from error

    def log(self, name: str) -> Log:
        """The log of a service, execution, database or machine by its short name."""
        return Log(self.state / "logs", name)
