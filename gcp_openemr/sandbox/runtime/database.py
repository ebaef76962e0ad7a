"""Cloud SQL: one MySQL server per instance, in a container of its own with its own address."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pymysql
from pymysql.connections import Connection

from gcp_openemr.sandbox.interfaces import Json, Refused
from gcp_openemr.sandbox.runtime import binary_log
from gcp_openemr.sandbox.runtime.accounts import Accounts
from gcp_openemr.sandbox.runtime.certificates import write_private
from gcp_openemr.sandbox.runtime.disks import Disk, Disks
from gcp_openemr.sandbox.runtime.host import Host
from gcp_openemr.sandbox.runtime.network import Identity, Interface
from gcp_openemr.sandbox.runtime.processes import Bind, Container, Spec
from gcp_openemr.sandbox.runtime.resources import last, network_name, part, side_by_side
from gcp_openemr.sandbox.runtime.troubles import Slowable
from gcp_openemr.sandbox.runtime.vpc import listed
from gcp_openemr.setup import mysql_data
from gcp_openemr.setup.mysql import MysqlInstallation

__all__ = ["Databases"]

_UID = 1000
_START_SECONDS = 120.0
_STOP_SECONDS = 60.0
_MEMORY = 4 << 30  # of files in memory, which mysqld hardly makes; its own memory is bounded by its settings
_HERE = "/var/lib/sql"
# Small, because several servers share a machine, and quick, but safe against the death of the server at any moment:
# with flush 2 a commit is in the system's hands, so only a power cut can lose the last second. Pages are still written
# twice.
_WITHOUT_LOG = ["--loose-disable-log-bin"]
_SETTINGS = (
    "--innodb-buffer-pool-size=96M", "--innodb-flush-log-at-trx-commit=2", "--innodb-use-native-aio=0",
    "--loose-innodb-redo-log-capacity=64M", "--loose-performance-schema=OFF", "--loose-mysqlx=OFF",
    "--loose-auto-generate-certs=OFF",
    "--loose-caching-sha2-password-auto-generate-rsa-keys=OFF", "--loose-sha256-password-auto-generate-rsa-keys=OFF",
    "--table-open-cache=512", "--table-definition-cache=512", "--max-connections=120", "--max-allowed-packet=64M",
    "--skip-name-resolve", "--character-set-server=utf8mb4",
)  # fmt: skip


@dataclasses.dataclass(kw_only=True)
class _Server(Slowable):
    container: Container
    command: list[str]
    socket: Path
    interface: Interface

    @property
    def runs(self) -> bool:
        return self.container.wait(0) is None


class Databases:
    """All instances. An instance's key is `project/instance`."""

    def __init__(self, host: Host, installation: MysqlInstallation) -> None:
        self._host = host
        self._installation = installation
        self._disks = Disks(host.state / "sql", host.run / "sql-disks", host.groups)
        self._servers: dict[str, _Server] = {}
        self._lock = threading.Lock()

    def start(self, instance: Json) -> None:
        """Start, or restart when settings changed that matter; `activationPolicy: NEVER` means stopped."""
        key = _key_of(instance)
        settings = instance.get("settings") or {}
        command = self._command(settings)
        running = self._servers.get(key)
        off = settings.get("activationPolicy") == "NEVER"
        if running and running.runs and running.command == command and not off:
            return
        self.stop(key)
        condition = self._host.conditions.of("database", last(key))
        if off or condition == "stopped":
            return
        disk = self._disks.attach(key, int(settings.get("dataDiskSizeGb") or 10) << 30)
        directory = self._mount(key, disk)
        disk.fill(False)
        if self._is_logged(settings):
            binary_log.make_ready(directory, _UID, data=(directory / "data").is_dir())
        self._initialise(key, directory)
        self._write_certificate(instance, directory)
        network, address = self._endpoint(key)
        identity = Identity(account="", project=key.partition("/")[0], region=str(instance.get("region", "")))
        interface = self._host.networks.reserve(network=network, identity=identity, address=address)
        spec = self._spec(key, command, interface)
        container = self._host.start(spec, self._host.log(last(key)))
        server = _Server(
            container=container, command=command, socket=self._run(key) / "mysql.sock", interface=interface
        )
        self._wait(key, server.container, server.socket)
        with self._lock:
            self._servers[key] = server
        self.accounts(key).make_role()
        self._bring(key, condition)

    @staticmethod
    def _mount(key: str, disk: Disk) -> Path:
        """The disk's directory. What a dying server leaves in the system's hands is safe, so nothing waits for it."""
        try:
            disk.format()
            return disk.mount("barrier=0")
        except OSError as error:
            raise Refused(f"The disk of instance {key} cannot be mounted: {error}.", code=13) from error

    def _run(self, key: str) -> Path:
        """Where the private socket lies; short, as a socket's path has 107 bytes at most."""
        return self._host.run / "sql" / key

    def _spec(self, key: str, command: Sequence[str], interface: Interface | None) -> Spec:
        run = self._run(key)
        run.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.chown(run, _UID, _UID)
        binds = [
            *(Bind(source=path, target=path) for path in _program_roots(command)),
            Bind(source=str(self._disks.attach(key, 0).place), target=_HERE, read_only=False),
            Bind(source=str(run), target="/run/mysqld", read_only=False),
        ]
        return Spec(
            name="mysqld",
            command=list(command),
            environment={"PATH": "/usr/sbin:/usr/bin", "HOME": "/tmp"},  # noqa: S108 - in the container
            overlays=self._host.alpine.overlays(),
            binds=binds,
            interface=interface,
            uid=_UID,
            gid=_UID,
            memory=_MEMORY,
        )

    def _initialise(self, key: str, directory: Path) -> None:
        """Make the data directory beside its place and rename it, so that a kill in the middle leaves no half one."""
        if (directory / "data").is_dir():
            return
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.chown(directory, _UID, _UID)
        partial = directory / "data.partial"
        shutil.rmtree(partial, ignore_errors=True)
        if self._installation.prepared:
            mysql_data.copy(self._installation.prepared, partial, owner=(_UID, _UID))
        else:
            self._make_data(key)
        partial.rename(directory / "data")

    def _make_data(self, key: str) -> None:
        settings = [text for text in _SETTINGS if text.startswith(("--innodb", "--loose"))]
        command = [*self._installation.initialize, f"--datadir={_HERE}/data.partial", *settings, *_WITHOUT_LOG]
        failed = "The instance failed to initialise"
        container = self._host.start(self._spec(key, command, None), self._host.log(last(key)), failed=failed)
        code = container.wait(_START_SECONDS)
        if code != 0:
            container.stop(0)
            raise Refused(f"{failed}: mysqld ended with {code}.", code=13)

    def _write_certificate(self, instance: Json, directory: Path) -> None:
        names = [str(entry.get("name", "")) for entry in instance.get("dnsNames") or []]
        names.append(str(instance.get("dnsName", "")))
        wanted = sorted({name.rstrip(".") for name in names} - {""}) or [last(str(instance["name"]))]
        certificate, key = self._host.database_authority.issue(wanted)
        for name, text in (("server.pem", certificate), ("server.key", key)):
            write_private(directory / name, text.encode())
            os.chown(directory / name, _UID, _UID)
        write_private(directory / "ca.pem", self._host.database_authority.certificate.encode(), mode=0o644)

    def _command(self, settings: Mapping[str, Any]) -> list[str]:
        mode = (settings.get("ipConfiguration") or {}).get("sslMode", "")
        secure = "OFF" if mode == "ALLOW_UNENCRYPTED_AND_ENCRYPTED" else "ON"
        flags = [f"--loose-{flag['name']}={flag.get('value', '')}" for flag in settings.get("databaseFlags") or []]
        log = binary_log.options(_HERE) if self._is_logged(settings) else _WITHOUT_LOG
        return [
            *self._installation.server,
            f"--datadir={_HERE}/data",
            "--bind-address=0.0.0.0",
            "--port=3306",
            "--socket=/run/mysqld/mysql.sock",
            "--pid-file=/run/mysqld/mysql.pid",
            f"--ssl-ca={_HERE}/ca.pem",
            f"--ssl-cert={_HERE}/server.pem",
            f"--ssl-key={_HERE}/server.key",
            f"--require-secure-transport={secure}",
            *_SETTINGS,
            *log,
            *flags,
        ]

    def _is_logged(self, settings: Mapping[str, Any]) -> bool:
        wanted = bool((settings.get("backupConfiguration") or {}).get("binaryLogEnabled"))
        return wanted and self._installation.flavor == "MySQL"

    def _wait(self, key: str, container: Container, socket: Path) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            code = container.wait(0.05)
            if code is not None:
                raise Refused(f"The instance failed to start: mysqld ended with {code}. See its log.", code=13)
            try:
                with _connected(socket):
                    return
            except pymysql.err.OperationalError:
                continue
        container.stop(_STOP_SECONDS)
        raise Refused(f"The instance {key} did not answer within {_START_SECONDS:g} s.", code=13)

    def certificate(self, _instance: Json) -> str:
        """PEM of the authority that signs every instance's certificate."""
        return self._host.database_authority.certificate

    def stop(self, name: str) -> None:
        """A clean shutdown; nothing happens when it does not run."""
        with self._lock:
            server = self._servers.pop(self._key(name), None)
        if server:
            server.hurry()
            server.container.stop(_STOP_SECONDS)
        self._disks.detach(self._key(name))

    def delete(self, name: str) -> None:
        """Stop it and delete its data."""
        key = self._key(name)
        self.stop(key)
        self._disks.delete(key)
        for address, known in self._host.record.section("endpoints").items():
            if known["instance"] == key:
                self._host.record.remove("endpoints", address)

    def stop_all(self) -> None:
        """Stop every server side by side."""
        side_by_side(self.stop, [(key,) for key in list(self._servers)])

    def connect(self, address: str, instance: str) -> None:
        """Answer at an endpoint's address of its network; remembered for the next start."""
        key = self._key(instance)
        network = self._network_of(address, key.partition("/")[0])
        self._host.record.put("endpoints", f"{network} {address}", {"instance": key, "address": address})
        server = self._servers.get(key)
        if server is None:
            return
        server.interface = self._host.networks.connect(
            server.interface, server.container.pid, network=network, address=address
        )

    def _endpoint(self, key: str) -> tuple[str, str]:
        for place, known in self._host.record.section("endpoints").items():
            if known["instance"] == key:
                return place.split(" ")[0], known["address"]
        return "", ""

    def _network_of(self, address: str, project: str) -> str:
        """The network in which the project reserved an endpoint's address."""
        for full, body in listed(self._host.access, "forwardingRules"):
            if body.get("IPAddress") == address and part(full, "projects") == project:
                return network_name(str(body.get("network", "")), project)
        for full, body in listed(self._host.access, "addresses"):
            if body.get("address") == address and part(full, "projects") == project:
                return self._network_of_address(body, project)
        raise Refused(f"The address {address} belongs to no network of project {project}.", code=5)

    def _network_of_address(self, address: Mapping[str, Any], project: str) -> str:
        if address.get("network"):
            return network_name(str(address["network"]), project)
        wanted = str(address.get("subnetwork", ""))
        for full, body in listed(self._host.access, "subnetworks"):
            if last(full) == last(wanted) and part(full, "projects") == project:
                return network_name(str(body.get("network", "")), project)
        raise Refused(f"The subnetwork {last(wanted)} was not found.", code=5)

    def copy(self, source: str, target: str, at: str) -> None:
        """Copy an instance's or backup's disk as it is at one moment, as a crash would leave it, or as it was `at` one.

        Raises:
            Refused: the target runs, or the binary log does not give the data of then.
        """
        origin, copied = self._key(source), self._key(target)
        if copied in self._servers:
            raise Refused(f"The instance {copied} runs; what it holds cannot be replaced.", code=9)
        self._disks.detach(copied)
        server = self._servers.get(origin)
        with server.container.held() if server else contextlib.nullcontext():
            self._disks.copy(origin, copied)
        if at:
            self._bring_back(copied, datetime.fromisoformat(at).timestamp())

    def _bring_back(self, key: str, at: float) -> None:
        """Make the data of a disk that was copied those of a moment, from its binary log."""
        directory = self._mount(key, self._disks.attach(key, 0))
        try:
            binary_log.cut(directory, at)
            shutil.rmtree(directory / "data")
            self._initialise(key, directory)
            binary_log.lay_out(directory, directory / "data", _UID)
            command = [*self._command({}), *binary_log.REPLAY_OPTIONS]
            container = self._host.start(self._spec(key, command, None), self._host.log(last(key)))
            try:
                socket = self._run(key) / "mysql.sock"
                self._wait(key, container, socket)
                with _connected(socket) as connection:
                    binary_log.finish(connection, directory / "data")
            finally:
                container.stop(_STOP_SECONDS)
        finally:
            self._disks.detach(key)

    def export(self, name: str, schemas: Sequence[str]) -> Iterator[bytes]:
        """`mysqldump` of schemas of an instance that runs. Raises Refused."""
        server = self._running(name)
        options = ("--user=root", f"--socket={server.socket}", "--single-transaction", "--hex-blob", "--databases")
        command = [*self._installation.dump, *options, *schemas]
        with tempfile.TemporaryFile() as said:
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said) as dumping:
                assert dumping.stdout is not None  # noqa: S101 - asked for
                yield from iter(functools.partial(dumping.stdout.read, 1 << 20), b"")
            if dumping.returncode != 0:
                said.seek(0)
                raise Refused(f"mysqldump: {said.read().decode(errors='replace').strip()}", code=3)

    def disturb(self, name: str, condition: str) -> None:
        """Bring an instance into a condition.

        Raises:
            Refused: there is no such instance.
        """
        found = [
            body
            for full, body in self._host.access.list("sqladmin.googleapis.com/")
            if full.split("/")[-2:] == ["instances", name]
        ]
        if not found:
            raise Refused(f"There is no database instance {name}.", code=5)
        key = _key_of(found[0])
        before = self._host.conditions.of("database", name)
        self._bring(key, "well")
        self._host.conditions.put("database", name, condition)
        if condition == "stopped":
            self.stop(key)
            return
        if before in ("stopped", "full"):
            self.stop(key)  # a server that ran out of space comes back well only by a restart
            self.start(found[0])
        else:
            self._bring(key, condition)

    def _bring(self, key: str, condition: str) -> None:
        server = self._servers.get(key)
        if server is None:
            return
        server.hurry()
        if condition == "slow":
            server.slow(lambda: [server.container.pid])
        if condition == "full":
            self._disks.attach(key, 0).fill(True)

    def accounts(self, instance: str) -> Accounts:
        """The accounts and schemas of an instance that runs. Raises Refused."""
        server = self._running(instance)
        return Accounts(lambda: _connected(server.socket), roles=self._installation.flavor == "MySQL")

    def _running(self, name: str) -> _Server:
        server = self._servers.get(self._key(name))
        if server is None or not server.runs:
            raise Refused("Invalid request since instance is not running.", code=9)
        return server

    def _key(self, name: str) -> str:
        """`PROJECT/INSTANCE`, of a backup `PROJECT/INSTANCE@NUMBER`."""
        if not part(name, "projects"):
            return name
        instance, backup = part(name, "instances") or last(name), part(name, "backupRuns")
        return f"{part(name, 'projects')}/{instance}" + (f"@{backup}" if backup else "")


def _key_of(instance: Json) -> str:
    project = instance.get("project") or part(str(instance.get("selfLink", "")), "projects")
    return f"{project}/{last(str(instance['name']))}"


def _program_roots(command: Sequence[str]) -> list[str]:
    """Directories outside the system's own that a command's arguments name: the tree of a fetched MySQL."""
    paths = [found[1] for word in command if (found := re.fullmatch(r"(?:--[a-z-]+=)?(/.+)", word))]
    foreign = [path for path in paths if not path.startswith(("/usr/", "/run/", _HERE)) and os.path.exists(path)]
    return [os.path.commonpath(foreign)] if foreign else []


@contextmanager
def _connected(socket: Path) -> Iterator[Connection[Any]]:
    """Root, who has no password and can come in by the private socket only."""
    connection = pymysql.connect(
        user="root",
        unix_socket=str(socket),
        ssl_disabled=True,  # else the machine's authorities are read for nothing
        connect_timeout=5,
        read_timeout=60,
        autocommit=True,
    )
    try:
        yield connection
    finally:
        connection.close()
