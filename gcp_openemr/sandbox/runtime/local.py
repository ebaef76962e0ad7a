"""The runtime: what the API server asks to be started and stopped, on this machine."""

from __future__ import annotations

import functools
import shutil
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from gcp_openemr.sandbox.interfaces import Access, Json, Refused
from gcp_openemr.sandbox.runtime.accounts import Accounts
from gcp_openemr.sandbox.runtime.alpine import Alpine
from gcp_openemr.sandbox.runtime.build import DockerBuild, run_build
from gcp_openemr.sandbox.runtime.certificates import Authority
from gcp_openemr.sandbox.runtime.cgroups import Groups
from gcp_openemr.sandbox.runtime.database import Databases
from gcp_openemr.sandbox.runtime.disks import Disks
from gcp_openemr.sandbox.runtime.host import Host, Listen
from gcp_openemr.sandbox.runtime.images import Images
from gcp_openemr.sandbox.runtime.jobs import Jobs
from gcp_openemr.sandbox.runtime.logs import read_log
from gcp_openemr.sandbox.runtime.machine import Machines
from gcp_openemr.sandbox.runtime.metadata import MetadataServer
from gcp_openemr.sandbox.runtime.network import METADATA_ADDRESS, Networks
from gcp_openemr.sandbox.runtime.processes import Containers
from gcp_openemr.sandbox.runtime.record import Record
from gcp_openemr.sandbox.runtime.resolver import Resolver
from gcp_openemr.sandbox.runtime.resources import last, side_by_side
from gcp_openemr.sandbox.runtime.services import Invoker, Services
from gcp_openemr.sandbox.runtime.troubles import Conditions
from gcp_openemr.setup.mysql import MysqlInstallation

__all__ = ["LocalRuntime"]

P = ParamSpec("P")
T = TypeVar("T")


class LocalRuntime:
    """An `interfaces.Runtime` with containers of this machine: each of its calls is one of a part.

    It expects to be in mount, network and process namespaces of its own (see `daemon`), and `run` to be a file system
    in memory that nobody else sees.
    """

    def __init__(
        self,
        *,
        state: Path,
        run: Path,
        access: Access,
        listen: Listen,
        mysql: MysqlInstallation,
        application: Path | None,
        trusted: str,
        invoker: Invoker = lambda _service, _authorization: None,
    ) -> None:
        """`application` is the OpenEMR tree images are built with, `trusted` the PEM bundle containers trust."""
        networks = Networks()
        networks.open()
        alpine = Alpine(run / "alpine")
        alpine.make(ca_bundle=trusted)
        (run / "root").mkdir()
        # What a build left that was cut short.
        shutil.rmtree(state / "images" / "partial", ignore_errors=True)
        groups = Groups()
        record = Record(state / "runtime.json")
        self._application = application
        self._building = threading.Lock()
        self._host = Host(
            state=state,
            run=run,
            access=access,
            networks=networks,
            containers=Containers(mountpoint=run / "root", networks=networks, groups=groups),
            alpine=alpine,
            images=Images(state / "images"),
            groups=groups,
            disks=Disks(state / "disks", run / "disks", groups),
            conditions=Conditions(record),
            record=record,
            database_authority=Authority(state / "ca", "cloud-sql"),
            listen=listen,
        )
        self._machines = machines = Machines(self._host)
        self._databases = databases = Databases(self._host, mysql)
        self._services = services = Services(self._host, machines.export, invoker)
        self._jobs = jobs = Jobs(self._host, machines.export)
        self._servers = (
            MetadataServer(_tcp(METADATA_ADDRESS, 80), access=access, networks=networks),
            Resolver(_udp(METADATA_ADDRESS, 53), access=access, networks=networks),
        )
        self.service_uri = services.uri
        self.start_revision = services.start_revision
        self.set_traffic = services.set_traffic
        self.delete_service = services.delete
        self.run_execution = jobs.run
        self.cancel_execution = jobs.cancel
        self.start_database = databases.start
        self.database_certificate = databases.certificate
        self.stop_database = databases.stop
        self.delete_database = databases.delete
        self.copy_database = databases.copy
        self.export_database = databases.export
        self.connect_endpoint = databases.connect
        self.start_machine = machines.start
        self.delete_machine = machines.stop
        self.machine_healthy = machines.healthy
        self.copy_disk = machines.copy_disk
        self.delete_disk = machines.delete_disk
        self.create_database_user = self._by_sql(Accounts.create_user)
        self.delete_database_user = self._by_sql(Accounts.delete_user)
        self.list_database_users = self._by_sql(Accounts.users)
        self.set_database_password = self._by_sql(Accounts.set_password)
        self.list_schemas = self._by_sql(Accounts.schemas)
        self.create_schema = self._by_sql(Accounts.create_schema)
        self.delete_schema = self._by_sql(Accounts.delete_schema)

    def _by_sql(self, work: Callable[Concatenate[Accounts, P], T]) -> Callable[Concatenate[str, P], T]:
        """A call about an instance's accounts or schemas: its first argument is the instance."""
        return lambda instance, /, *args, **named: work(self._databases.accounts(instance), *args, **named)

    @property
    def limits(self) -> bool:
        """Whether this machine enforces memory and CPU limits."""
        return self._host.groups.enforced

    def resume(self) -> None:
        """What does not come up says why in its log; the rest comes up all the same.

        A database that is being made or deleted is the matter of the operation that does it.
        """
        work: list[tuple[str, Callable[[], None]]] = []
        for api, start in (("sqladmin", self._databases.start), ("compute", self._machines.start)):
            for full, body in self._host.access.list(f"{api}.googleapis.com/"):
                if full.split("/")[-2] == "instances" and body.get("state", "RUNNABLE") == "RUNNABLE":
                    work.append((last(full), functools.partial(start, body)))
        side_by_side(self._bring_back, work)
        self._services.resume()

    def _bring_back(self, name: str, start: Callable[[], None]) -> None:
        try:
            start()
        except Refused as error:
            self._host.log(name).write("sandbox", error.message)

    def stop(self) -> None:
        self._jobs.stop()
        self._services.stop()
        self._machines.stop_all()
        self._databases.stop_all()
        self._host.containers.stop_all()
        for server in self._servers:
            server.close()
        self._host.groups.close()

    def log_lines(self, name: str) -> Sequence[str]:
        return read_log(self._host.state, name, None)

    def disturb(self, kind: str, name: str, condition: str) -> None:
        if kind == "database":
            self._databases.disturb(name, condition)
        else:
            self._machines.disturb(kind, name, condition)

    def build(self, build: Json, log: Callable[[str], None]) -> Json:
        source = build["source"]["storageSource"]
        account = str(build.get("serviceAccount", "")).rpartition("/")[2]
        archive = self._host.access.object(source["bucket"], source["object"], member=f"serviceAccount:{account}")
        docker = DockerBuild(
            images=self._host.images,
            alpine=self._host.alpine,
            containers=self._host.containers,
            work=self._host.state / "images" / "partial",
            mounts=self._host.run / "build",
            app=self._application,
        )
        with self._building:
            try:
                return run_build(build, archive, docker, self._host.images, log)
            finally:
                self._host.images.prune()


def _tcp(address: str, port: int) -> socket.socket:
    return socket.create_server((address, port), backlog=128)


def _udp(address: str, port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((address, port))
    return made
