"""The runtime: what the API server asks to be started and stopped, on this machine."""

from __future__ import annotations

import functools
import shutil
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from gcp_openemr.sandbox.interfaces import Access, Json, Refused, Runtime, TrafficTarget
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
from gcp_openemr.sandbox.runtime.resources import last
from gcp_openemr.sandbox.runtime.services import Invoker, Services
from gcp_openemr.sandbox.runtime.troubles import Conditions
from gcp_openemr.setup.mysql import MysqlInstallation

__all__ = ["LocalRuntime"]


class LocalRuntime(Runtime):
    """Implements `interfaces.Runtime` with containers of this machine.

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
        self._machines = Machines(self._host)
        self._databases = Databases(self._host, mysql)
        self._services = Services(self._host, self._machines.export, invoker)
        self._jobs = Jobs(self._host, self._machines.export)
        self._servers = (
            MetadataServer(_tcp(METADATA_ADDRESS, 80), access=access, networks=networks),
            Resolver(_udp(METADATA_ADDRESS, 53), access=access, networks=networks),
        )

    @property
    def limits(self) -> bool:
        """Whether this machine enforces memory and CPU limits."""
        return self._host.groups.enforced

    def resume(self) -> None:
        """What does not come up says why in its log; the rest comes up all the same."""
        work: list[tuple[str, Callable[[], None]]] = []
        for api, start in (("sqladmin", self._databases.start), ("compute", self._machines.start)):
            for full, body in self._host.access.list(f"{api}.googleapis.com/"):
                if full.split("/")[-2] == "instances":
                    work.append((last(full), functools.partial(start, body)))
        threads = [threading.Thread(target=self._bring_back, args=one) for one in work]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
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

    def service_uri(self, service: str) -> str:
        return self._services.uri(service)

    def start_revision(self, service: str, revision: Json) -> None:
        self._services.start_revision(service, revision)

    def set_traffic(self, service: str, targets: Sequence[TrafficTarget]) -> None:
        self._services.set_traffic(service, targets)

    def delete_service(self, service: str) -> None:
        self._services.delete(service)

    def run_execution(self, execution: Json, report: Callable[[Json], None]) -> Json:
        return self._jobs.run(execution, report)

    def cancel_execution(self, execution: str) -> None:
        self._jobs.cancel(execution)

    def start_database(self, instance: Json) -> None:
        self._databases.start(instance)

    def database_certificate(self, instance: Json) -> str:  # noqa: ARG002 - one authority signs for all instances
        return self._databases.certificate()

    def stop_database(self, name: str) -> None:
        self._databases.stop(name)

    def delete_database(self, name: str) -> None:
        self._databases.delete(name)

    def create_database_user(self, instance: str, user: str, host: str, password: str) -> None:
        self._databases.accounts(instance).create_user(user, host, password)

    def delete_database_user(self, instance: str, user: str, host: str) -> None:
        self._databases.accounts(instance).delete_user(user, host)

    def list_database_users(self, instance: str) -> Sequence[Mapping[str, str]]:
        return self._databases.accounts(instance).users()

    def set_database_password(self, instance: str, user: str, host: str, password: str, old: str) -> None:
        self._databases.accounts(instance).set_password(user, host, password, old)

    def list_schemas(self, instance: str) -> Sequence[Mapping[str, str]]:
        return self._databases.accounts(instance).schemas()

    def create_schema(self, instance: str, name: str, charset: str, collation: str) -> None:
        self._databases.accounts(instance).create_schema(name, charset, collation)

    def delete_schema(self, instance: str, name: str) -> None:
        self._databases.accounts(instance).delete_schema(name)

    def copy_database(self, source: str, target: str, at: str) -> None:
        self._databases.copy(source, target, at)

    def log_lines(self, name: str) -> Sequence[str]:
        return read_log(self._host.state, name, None)

    def connect_endpoint(self, address: str, instance: str) -> None:
        self._databases.connect(address, instance)

    def start_machine(self, instance: Json) -> None:
        self._machines.start(instance)

    def delete_machine(self, instance: str) -> None:
        self._machines.stop(instance)

    def delete_disk(self, disk: str) -> None:
        self._machines.delete_disk(disk)

    def disturb(self, kind: str, name: str, condition: str) -> None:
        if kind == "database":
            self._databases.disturb(name, condition)
        else:
            self._machines.disturb(kind, name, condition)

    def machine_healthy(self, instance: str) -> bool:
        return self._machines.healthy(instance)

    def copy_disk(self, source: str, target: str) -> None:
        self._machines.copy_disk(source, target)

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
