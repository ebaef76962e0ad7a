"""Compute Engine: machines that run their start-up script, with real disks.

The script, mkfs, mount and Redis are real. What stands in for Debian's archive, systemd and the kernel's NFS server are
the programs in `machine/`; they write down every call, and fail where the real ones would. The script's own exports
decide who may mount what; the mount itself shows the directory.
"""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gcp_openemr.sandbox.interfaces import Json, Refused
from gcp_openemr.sandbox.runtime import namespaces
from gcp_openemr.sandbox.runtime.disks import Disk
from gcp_openemr.sandbox.runtime.host import Host
from gcp_openemr.sandbox.runtime.network import Identity, Interface
from gcp_openemr.sandbox.runtime.processes import Container, File, NotStarted, Spec
from gcp_openemr.sandbox.runtime.resources import last, network_name, part
from gcp_openemr.sandbox.runtime.troubles import Hung, Slowed
from gcp_openemr.sandbox.runtime.vpc import internet, lets_in, read_rules, routing, subnetworks

__all__ = ["Machines"]

_MEMORY = 512 << 20
_BOOT_SECONDS = 60.0
_SECRET_SECONDS = 1.5  # a script that has made the share and then waits for a secret may go on waiting by itself
_GUARD_SECONDS = 0.5
_NFS_PORT, _REDIS_PORT = 2049, 6379
_OFF = ("TERMINATED", "STOPPED", "SUSPENDED")
_STATE = "run/machine"
_PROGRAMS = Path(__file__).parent / "machine"
_STAND_INS = ("apt-get", "dpkg", "dpkg-query", "exportfs", "sleep", "systemctl")
_PATH = "/opt/machine:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_USERS = "root:x:0:0:root:/root:/bin/bash\nredis:x:110:110::/var/lib/redis:/usr/sbin/nologin\n"
_GROUPS = "root:x:0:\nredis:x:110:\n"


@dataclasses.dataclass(kw_only=True)
class _Machine:
    name: str
    described: Mapping[str, Any]
    container: Container
    disks: Mapping[str, Disk]
    secret: str
    routing: list[str] = dataclasses.field(default_factory=list)
    slowed: Slowed | None = None

    @property
    def interface(self) -> Interface:
        found = self.container.spec.interface
        if found is None:
            raise ValueError(f"machine {self.name} has no network")
        return found

    @property
    def root(self) -> Path:
        return Path(f"/proc/{self.container.pid}/root")

    def told(self, name: str) -> str | None:
        """What the machine's programs say of themselves, None while they say nothing."""
        with contextlib.suppress(OSError):
            return (self.root / _STATE / name).read_text(encoding="utf-8")
        return None

    def exports(self) -> list[tuple[str, str]]:
        """(path, who may mount it) as its NFS server has them."""
        return [(path, clients) for path, _, clients in (line.partition(" ") for line in self._export_lines())]

    def _export_lines(self) -> list[str]:
        return (self.told("exports") or "").splitlines()

    def run(self, *command: str, **environment: str) -> str:
        """Run a program in the machine; returns what it prints."""
        enter = ["nsenter", f"--target={self.container.pid}", "--mount", "--net", "--pid", "--ipc", "--uts", "--root"]
        variables = {"PATH": _PATH, "MACHINE_INTERNET": "yes", **environment}
        done = subprocess.run([*enter, *command], env=variables, capture_output=True, text=True, check=False)
        return done.stdout

    def redis(self) -> list[int]:
        """Its Redis's processes."""
        with contextlib.suppress(OSError):
            return [pid for pid in self.container.processes() if _command(pid) == "redis-server"]
        return []


class Machines:
    """All machines by `projects/p/zones/z/instances/i`."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._machines: dict[str, _Machine] = {}
        self._hung: list[Hung] = []
        self._lock = threading.Lock()
        threading.Thread(target=self._keep_guard, name="firewall", daemon=True).start()

    def start(self, instance: Json) -> None:
        """Start a machine (again, when it changed); returns when its script has ended, or waits for a secret."""
        name = _name_of(instance)
        if instance.get("status") not in _OFF and self._unchanged(name, instance):
            return
        self.stop(name)
        if instance.get("status") in _OFF:
            return
        disks = self._disks(instance, part(name, "projects"))
        try:
            container = self._host.containers.start(self._spec(name, instance, disks), self._host.log(last(name)))
        except NotStarted as error:
            raise Refused(f"The instance failed to start: {error}.", code=13) from error
        machine = _Machine(
            name=name,
            described=_what_matters(instance),
            container=container,
            disks=disks,
            secret=_metadata(instance).get("redis-admin-secret", ""),
        )
        with self._lock:
            self._machines[name] = machine
        self._guard(machine)
        self._wait(machine, has_script="startup-script" in _metadata(instance))
        for kind in ("redis", "share"):
            self._bring(machine, kind, self._host.conditions.of(kind, last(name)))

    def _disks(self, instance: Json, project: str) -> dict[str, Disk]:
        """The attached disks by device name, without the boot disk, which is made anew at each start."""
        found = {}
        for number, entry in enumerate(instance.get("disks") or []):
            if entry.get("boot") or not entry.get("source"):
                continue
            source = str(entry["source"])
            body = self._host.access.get(f"compute.googleapis.com/{_path(source)}") or {}
            size = int(body.get("sizeGb") or entry.get("diskSizeGb") or 10) << 30
            device = str(entry.get("deviceName") or f"persistent-disk-{number}")
            found[device] = self._host.disks.attach(f"{project}/{last(source)}", size)
        return found

    def _spec(self, name: str, instance: Json, disks: Mapping[str, Disk]) -> Spec:
        files = {f"/opt/machine/{program}": (_PROGRAMS / "programs").read_text() for program in _STAND_INS}
        files["/opt/machine/init"] = (_PROGRAMS / "init").read_text()
        script = _metadata(instance).get("startup-script", "")
        if script:
            files["/run/startup-script"] = script
        interface = self._interface(name, instance)
        outside = internet(self._host.access, interface.network, interface.identity.region) or _has_address(instance)
        return Spec(
            name="startup-script",
            command=["/opt/machine/init"],
            environment={"PATH": _PATH, "HOME": "/root", "MACHINE_INTERNET": "yes" if outside else "no"},
            overlays=self._host.alpine.machine_overlays(),
            files=[
                *(File(path=path, text=text, mode=0o755) for path, text in files.items()),
                File(path="/etc/passwd", text=_USERS),
                File(path="/etc/group", text=_GROUPS),
            ],
            devices={f"/dev/disk/by-id/google-{device}": disk.number for device, disk in disks.items()},
            interface=interface,
            uid=0,
            gid=0,
            memory=_MEMORY,
            machine=True,
        )

    def _interface(self, name: str, instance: Json) -> Interface:
        project, zone = part(name, "projects"), part(name, "zones")
        region = zone.rpartition("-")[0]
        described = instance["networkInterfaces"][0]
        network = network_name(str(described.get("network", "")), project)
        address = str(described.get("networkIP", ""))
        attributes = {
            "name": last(name),
            "hostname": f"{last(name)}.{zone}.c.{project}.internal",
            "network-interfaces/0/ip": address,
            **{f"attributes/{key}": value for key, value in _metadata(instance).items()},
        }
        account = str((instance.get("serviceAccounts") or [{}])[0].get("email", ""))
        outside = internet(self._host.access, network, region) or _has_address(instance)
        if not outside:
            wanted = str(described.get("subnetwork", ""))
            found = subnetworks(self._host.access, network, region, wanted)
            outside = all(body.get("privateIpGoogleAccess") for body in found)
        return self._host.networks.reserve(
            network=network,
            identity=Identity(account=account, project=project, region=region, attributes=attributes),
            address=address,
            tags=tuple((instance.get("tags") or {}).get("items") or ()),
            google=outside,
        )

    @staticmethod
    def _wait(machine: _Machine, *, has_script: bool) -> None:
        shared, deadline = 0.0, time.monotonic() + _BOOT_SECONDS
        while has_script and time.monotonic() < deadline and machine.container.wait(0.02) is None:
            if machine.told("ended") is not None:
                return
            if machine.told("exports"):
                shared = shared or time.monotonic()
                if time.monotonic() - shared > _SECRET_SECONDS:
                    return

    def _unchanged(self, name: str, instance: Json) -> bool:
        """Whether it runs as described: labels can change without a restart."""
        with self._lock:
            machine = self._machines.get(name)
        if machine is None or machine.container.wait(0) is not None:
            return False
        return machine.described == _what_matters(instance)

    def _keep_guard(self) -> None:
        """Firewall rules come and go while a machine runs."""
        while True:
            time.sleep(_GUARD_SECONDS)
            for machine in self._all():
                self._guard(machine)

    def _guard(self, machine: _Machine) -> None:
        """Let the firewall rules of this moment hold for a machine."""
        rules = read_rules(self._host.access, machine.interface.network)
        lines = routing(rules, machine.interface.side, self._host.networks.sides(machine.interface.network))
        if machine.routing != lines and machine.container.wait(0) is None:
            # The kernel's own first rule would let everything in; flushing spares it.
            first = [] if machine.routing else ["rule del pref 0"]
            with contextlib.suppress(OSError):  # it ended just now
                self._host.networks.configure([*lines, *first], machine.container.pid)
                machine.routing = lines

    def _all(self) -> list[_Machine]:
        with self._lock:
            return list(self._machines.values())

    def export(self, client: Interface, server: str, path: str) -> Path:
        """The directory that a client mounts as `server:path`.

        Raises:
            Refused: it does not exist, does not answer, or does not let this client; in mount.nfs's words.
        """
        here = [
            one for one in self._all() if (one.interface.network, one.interface.address) == (client.network, server)
        ]
        rules = read_rules(self._host.access, client.network)
        if (
            not (here and client.network and here[0].container.wait(0) is None)
            or not lets_in(rules, client.side, here[0].interface.side, _NFS_PORT)
            or self._host.conditions.of("share", last(here[0].name)) == "stopped"
        ):
            raise Refused(f"{server}:{path}: Connection timed out", code=4)
        machine = here[0]
        for exported, clients in machine.exports():
            inside = os.path.relpath(path, exported)
            if not inside.startswith("..") and _may_mount(clients, client.address):
                return self._directory(machine, exported, inside, f"{server}:{path}")
        raise Refused(f"access denied by server while mounting {server}:{path}", code=7)

    def _directory(self, machine: _Machine, exported: str, inside: str, source: str) -> Path:
        """The exported directory, found through the machine's mounts, on the daemon's own mount of the disk."""
        for line in Path(f"/proc/{machine.container.pid}/mountinfo").read_text(encoding="utf-8").splitlines():
            _, _, number, root, place, *_ = line.split()
            disks = [
                disk for disk in machine.disks.values() if number == f"{os.major(disk.number)}:{os.minor(disk.number)}"
            ]
            if place == exported and disks:
                top = disks[0].mount() / root.lstrip("/")
                found = (top / inside).resolve()
                if found.is_dir() and found.is_relative_to(top.resolve()):
                    return found
        raise Refused(f"mounting {source} failed, reason given by server: No such file or directory", code=5)

    def healthy(self, name: str) -> bool:
        """Whether the script has ended well, Redis answers and something is exported."""
        with self._lock:
            machine = self._machines.get(_path(name))
        if machine is None or machine.container.wait(0) is not None or (machine.told("ended") or "").strip() != "0":
            return False
        if self._host.conditions.of("share", last(name)) == "stopped":
            return False
        return bool(machine.exports()) and _answers(machine)

    def stop(self, name: str) -> None:
        """Shut a machine down; nothing happens when it does not run."""
        with self._lock:
            machine = self._machines.pop(_path(name), None)
        if machine is None:
            return
        if machine.slowed:
            machine.slowed.end()
        self._cut(machine)
        machine.container.stop()
        project = part(machine.name, "projects")
        for entry in machine.described["disks"] or []:
            if entry.get("source") and not entry.get("boot"):
                self._host.disks.detach(f"{project}/{last(str(entry['source']))}")

    def stop_all(self) -> None:
        """Stop all, side by side."""
        threads = [threading.Thread(target=self.stop, args=(machine.name,)) for machine in self._all()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def copy_disk(self, source: str, target: str) -> None:
        """Copy a disk or snapshot as it is at one moment."""
        with contextlib.ExitStack() as held:
            for container in self._host.containers.running():
                if container.spec.machine or any(bind.share for bind in container.spec.binds):
                    held.enter_context(container.held())
            self._host.disks.copy(_disk_key(source), _disk_key(target))

    def delete_disk(self, name: str) -> None:
        """Delete a disk or snapshot with all that is on it."""
        self._host.disks.delete(_disk_key(name))

    def disturb(self, kind: str, name: str, condition: str) -> None:
        """Bring a machine's Redis or share into a condition.

        Raises:
            Refused: there is no such machine, or this machine cannot.
        """
        found = [machine for machine in self._all() if last(machine.name) == name]
        if not found:
            raise Refused(f"No machine {name} runs.", code=5)
        self._bring(found[0], kind, "well")
        self._host.conditions.put(kind, name, condition)
        self._bring(found[0], kind, condition)

    def _bring(self, machine: _Machine, kind: str, condition: str) -> None:
        if kind == "redis":
            self._bring_redis(machine, condition)
        else:
            self._bring_share(machine, condition)

    def _bring_redis(self, machine: _Machine, condition: str) -> None:
        if condition == "well":
            if machine.slowed:
                machine.slowed.end()
                machine.slowed = None
            # What was set by hand goes, what is in the configuration comes back.
            if self._host.conditions.of("redis", last(machine.name)) in ("stopped", "full"):
                machine.run("systemctl", "restart", "redis-server")
        elif condition == "stopped":
            machine.run("systemctl", "stop", "redis-server")
        elif condition == "slow":
            machine.slowed = Slowed(machine.redis)
        elif condition == "full":
            account = machine.interface.identity.account
            password = self._host.access.secret(machine.secret, "latest", member=f"serviceAccount:{account}")
            machine.run("redis-cli", "--user", "admin", "CONFIG", "SET", "maxmemory", "1", REDISCLI_AUTH=password)

    def _bring_share(self, machine: _Machine, condition: str) -> None:
        for project, entry in ((part(machine.name, "projects"), one) for one in machine.described["disks"] or []):
            if entry.get("boot") or not entry.get("source"):
                continue
            key = f"{project}/{last(str(entry['source']))}"
            if condition in ("slow", "full") or self._host.conditions.of("share", last(machine.name)) in (
                "slow",
                "full",
            ):
                self._host.disks.slow(key, condition == "slow")
                self._host.disks.attach(key, 0).fill(condition == "full")
        if condition == "stopped":
            self._cut(machine)
        else:
            self._join(machine)

    def _cut(self, machine: _Machine) -> None:
        """Let everybody who has mounted the share wait."""
        known = {(one.container.pid, one.bind.target) for one in self._hung}
        for container in self._host.containers.running():
            for bind in container.spec.binds:
                if bind.share.startswith(_share(machine)) and (container.pid, bind.target) not in known:
                    with contextlib.suppress(OSError):  # it ends
                        self._hung.append(Hung(container, bind))

    def _join(self, machine: _Machine) -> None:
        """Give those who wait the share again."""
        for hung in [one for one in self._hung if one.bind.share.startswith(_share(machine))]:
            path = hung.bind.share.removeprefix(_share(machine))
            client = hung.container.spec.interface
            try:
                directory = self.export(client, machine.interface.address, path) if client else None
            except Refused:
                if hung.container.wait(0) is None:
                    continue
                directory = None
            self._hung.remove(hung)
            hung.end(directory)


def _share(machine: _Machine) -> str:
    """How binds of its share begin."""
    return f"{machine.interface.network} {machine.interface.address}:"


def _may_mount(clients: str, address: str) -> bool:
    """Whether `RANGE(options) …` of an exports file lets this address."""
    for text in re.findall(r"([^\s(]+)\(", clients):
        with contextlib.suppress(ValueError):
            if text == "*" or ipaddress.IPv4Address(address) in ipaddress.IPv4Network(text, strict=False):
                return True
    return False


def _answers(machine: _Machine) -> bool:
    """Whether Redis says something at the machine's own address."""

    def ask() -> bool:
        with socket.create_connection((machine.interface.address, _REDIS_PORT), timeout=1) as connection:
            connection.settimeout(1)
            connection.sendall(b"PING\r\n")
            return bool(connection.recv(64))

    try:
        with open(f"/proc/{machine.container.pid}/ns/net", "rb") as network:
            return namespaces.inside(network.fileno(), namespaces.NEW_NET, ask)
    except OSError:
        return False


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
    return ""


def _path(name: str) -> str:
    """`projects/…` of a full name or URL."""
    return name[name.index("projects/") :] if "projects/" in name else name


def _disk_key(name: str) -> str:
    """`PROJECT/NAME` of a disk, `PROJECT/snapshots/NAME` of a snapshot."""
    folder = "snapshots/" if "/snapshots/" in name else ""
    return f"{part(name, 'projects')}/{folder}{last(name)}"


def _name_of(instance: Json) -> str:
    link = str(instance.get("selfLink", ""))
    return _path(link) if link else _path(str(instance["name"]))


def _has_address(instance: Json) -> bool:
    """Whether it has an external address."""
    return any(entry.get("accessConfigs") for entry in instance.get("networkInterfaces") or [])


def _metadata(instance: Json) -> Mapping[str, str]:
    items: Sequence[Mapping[str, Any]] = (instance.get("metadata") or {}).get("items") or []
    return {str(item["key"]): str(item.get("value", "")) for item in items}


def _what_matters(instance: Json) -> dict[str, Any]:
    return {key: instance.get(key) for key in ("networkInterfaces", "serviceAccounts", "disks", "metadata", "tags")}
