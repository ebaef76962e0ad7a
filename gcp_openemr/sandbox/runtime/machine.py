"""Compute Engine: the stack's one machine, which exports a directory and runs Redis.

The machine starts at once; what its startup script does follows, as on Google Cloud: Redis begins to answer when the
administrator's password can be read from Secret Manager as the machine's account.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gcp_openemr.sandbox.interfaces import Json, Refused
from gcp_openemr.sandbox.runtime.certificates import write_private
from gcp_openemr.sandbox.runtime.host import Host
from gcp_openemr.sandbox.runtime.logs import Log
from gcp_openemr.sandbox.runtime.network import Identity, Interface
from gcp_openemr.sandbox.runtime.processes import Bind, Container, File, NotStarted, Spec
from gcp_openemr.sandbox.runtime.resources import last, network_name, part

__all__ = ["Machines"]

_UID = 1000
_MEMORY = 512 << 20
_RETRY_SECONDS = 1.0
_READY_SECONDS = 10.0
_SECRET_ITEM = "redis-admin-secret"  # noqa: S105 - a key of the machine's metadata
_OFF = ("TERMINATED", "STOPPED", "SUSPENDED")
_CONFIGURATION = """bind 0.0.0.0
port 6379
protected-mode no
daemonize no
dir /data
aclfile /data/users.acl
appendonly yes
appendfsync everysec
save ""
maxmemory 256mb
maxmemory-policy noeviction
"""


@dataclasses.dataclass(kw_only=True)
class _Machine:
    name: str
    disk: Path
    interface: Interface
    account: str
    secret: str
    described: Mapping[str, Any]
    log: Log
    ending: threading.Event = dataclasses.field(default_factory=threading.Event)
    redis: Container | None = None
    thread: threading.Thread | None = None


class Machines:
    """All machines by `projects/p/zones/z/instances/i`."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._machines: dict[str, _Machine] = {}
        self._lock = threading.Lock()

    def start(self, instance: Json) -> None:
        """Start a machine (again, when it changed); returns when Redis answers or has to wait for its secret."""
        name = _name_of(instance)
        if instance.get("status") not in _OFF and self._unchanged(name, instance):
            return
        self.stop(name)
        if instance.get("status") in _OFF:
            return
        project = part(name, "projects")
        described = instance["networkInterfaces"][0]
        disk = self._disk(_data_disk(instance), project)
        for folder in ("share", "redis"):
            (disk / folder).mkdir(parents=True, exist_ok=True)
            os.chown(disk / folder, _UID, _UID)
        (disk / "share").chmod(0o755)
        (disk / "redis").chmod(0o700)
        account = str((instance.get("serviceAccounts") or [{}])[0].get("email", ""))
        zone = part(name, "zones")
        machine = _Machine(
            name=name,
            disk=disk,
            interface=self._host.networks.reserve(
                network=network_name(str(described.get("network", "")), project),
                identity=Identity(account=account, project=project, region=zone.rpartition("-")[0]),
                address=str(described.get("networkIP", "")),
            ),
            account=account,
            secret=_metadata(instance).get(_SECRET_ITEM, ""),
            described=_what_matters(instance),
            log=self._host.log(last(name)),
        )
        with self._lock:
            self._machines[name] = machine
        if machine.secret and not self._try_redis(machine):
            machine.thread = threading.Thread(target=self._keep_trying, args=(machine,), daemon=True)
            machine.thread.start()

    def _unchanged(self, name: str, instance: Json) -> bool:
        """Whether it runs as described: labels can change without a restart."""
        with self._lock:
            machine = self._machines.get(name)
        if machine is None or (machine.redis and machine.redis.wait(0) is not None):
            return False
        return machine.described == _what_matters(instance)

    def _disk(self, name: str, project: str) -> Path:
        return self._host.state / "disks" / project / name

    def export(self, network: str, address: str) -> Path | None:
        """The directory that the machine at an address exports, as far as it can be reached."""
        with self._lock:
            for machine in self._machines.values():
                if (machine.interface.network, machine.interface.address) == (network, address):
                    return machine.disk / "share"
        return None

    def _try_redis(self, machine: _Machine) -> bool:
        try:
            password = self._host.access.secret(machine.secret, "latest", member=f"serviceAccount:{machine.account}")
        except Refused as error:
            machine.log.write("startup-script", f"Redis waits for its administrator's password: {error.message}")
            return False
        _write_admin(machine.disk / "redis/users.acl", password)
        spec = Spec(
            name="redis",
            command=["redis-server", "/etc/redis.conf"],
            environment={"PATH": "/usr/bin:/usr/local/bin", "HOME": "/data"},
            overlays=self._host.alpine.overlays(),
            binds=[Bind(source=str(machine.disk / "redis"), target="/data", read_only=False)],
            files=[File(path="/etc/redis.conf", text=_CONFIGURATION, mode=0o600, uid=_UID)],
            interface=machine.interface,
            uid=_UID,
            gid=_UID,
            directory="/data",
            memory=_MEMORY,
        )
        try:
            machine.redis = self._host.containers.start(spec, machine.log)
        except NotStarted as error:
            raise Refused(f"The instance failed to start: {error}.", code=13) from error
        self._wait(machine, machine.redis)
        return True

    @staticmethod
    def _wait(machine: _Machine, redis: Container) -> None:
        for _ in range(int(_READY_SECONDS / 0.05)):
            if redis.wait(0.05) is not None:
                break
            try:
                with socket.create_connection((machine.interface.link_local, 6379), timeout=1) as connection:
                    connection.sendall(b"PING\r\n")
                    # It loads its data first, and answers that it wants a password when it is done.
                    if connection.recv(64).startswith((b"-NOAUTH", b"-NOPERM", b"+PONG")):
                        return
            except OSError:
                continue
        machine.log.write("startup-script", "Redis does not answer.")

    def _keep_trying(self, machine: _Machine) -> None:
        while not machine.ending.wait(_RETRY_SECONDS):
            if self._try_redis(machine):
                return

    def stop(self, name: str) -> None:
        """Shut a machine down; nothing happens when it does not run."""
        with self._lock:
            machine = self._machines.pop(_path(name), None)
        if machine is None:
            return
        machine.ending.set()
        if machine.thread:
            machine.thread.join()
        if machine.redis:
            machine.redis.stop()
        else:
            self._host.networks.release(machine.interface)

    def stop_all(self) -> None:
        """Stop all, side by side."""
        threads = [threading.Thread(target=self.stop, args=(name,)) for name in list(self._machines)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def delete_disk(self, name: str) -> None:
        """Delete a disk with all that is on it."""
        shutil.rmtree(self._disk(last(name), part(name, "projects")), ignore_errors=True)


def _path(name: str) -> str:
    """`projects/…` of a full name or URL."""
    return name[name.index("projects/") :] if "projects/" in name else name


def _name_of(instance: Json) -> str:
    link = str(instance.get("selfLink", ""))
    return _path(link) if link else _path(str(instance["name"]))


def _data_disk(instance: Json) -> str:
    """The short name of the attached disk that is not the boot disk."""
    for disk in instance.get("disks") or []:
        if not disk.get("boot") and disk.get("source"):
            return last(str(disk["source"]))
    return f"{last(str(instance['name']))}-boot"


def _metadata(instance: Json) -> Mapping[str, str]:
    items: list[Mapping[str, Any]] = (instance.get("metadata") or {}).get("items") or []
    return {str(item["key"]): str(item.get("value", "")) for item in items}


def _what_matters(instance: Json) -> dict[str, Any]:
    return {key: instance.get(key) for key in ("networkInterfaces", "serviceAccounts", "disks", "metadata")}


def _write_admin(path: Path, password: str) -> None:
    """Give `admin` this password and keep every other user; the file holds hashes only."""
    known = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    others = [line for line in known if line.split()[1:2] not in (["admin"], ["default"])]
    digest = hashlib.sha256(password.encode()).hexdigest()
    lines = ["user default off", f"user admin on #{digest} ~* &* +@all", *others]
    write_private(path, "\n".join([*lines, ""]).encode())
    os.chown(path, _UID, _UID)
