"""Compute Engine: machines that run their start-up script, with real disks.

The script, mkfs, mount and Redis are real. What stands in for Debian's archive, systemd and the kernel's NFS server are
the programs in `machine/`; they write down every call, and fail where the real ones would. The script's own exports
decide who may mount what; the mount itself shows the directory.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import threading
import time
from pathlib import Path
from typing import Any

from gcp_openemr.sandbox.interfaces import Json, Refused
from gcp_openemr.sandbox.runtime.boot import Machine, machine_spec, metadata_of, name_of, path_of
from gcp_openemr.sandbox.runtime.disks import Disk
from gcp_openemr.sandbox.runtime.host import Host
from gcp_openemr.sandbox.runtime.network import Interface
from gcp_openemr.sandbox.runtime.resources import last, part, side_by_side
from gcp_openemr.sandbox.runtime.troubles import Hung
from gcp_openemr.sandbox.runtime.vpc import lets_in, read_rules, routing

__all__ = ["Machines"]

_BOOT_SECONDS = 60.0
_SECRET_SECONDS = 1.5  # a script that has made the share and then waits for a secret may go on waiting by itself
_GUARD_SECONDS = 0.5
_NFS_PORT = 2049
_OFF = ("TERMINATED", "STOPPED", "SUSPENDED")


class Machines:
    """All machines by `projects/p/zones/z/instances/i`."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._machines: dict[str, Machine] = {}
        self._hung: list[Hung] = []
        self._lock = threading.Lock()
        self._ending = threading.Event()
        threading.Thread(target=self._keep_guard, name="firewall", daemon=True).start()

    def start(self, instance: Json) -> None:
        """Start a machine (again, when it changed); returns when its script has ended, or waits for a secret."""
        name = name_of(instance)
        if instance.get("status") not in _OFF and self._unchanged(name, instance):
            return
        self.stop(name)
        if instance.get("status") in _OFF:
            return
        disks = self._disks(instance, part(name, "projects"))
        container = self._host.start(machine_spec(self._host, name, instance, disks), self._host.log(last(name)))
        machine = Machine(
            name=name,
            described=_what_matters(instance),
            container=container,
            disks=disks,
            secret=metadata_of(instance).get("redis-admin-secret", ""),
        )
        with self._lock:
            self._machines[name] = machine
        self._guard(machine)
        self._wait(machine, has_script="startup-script" in metadata_of(instance))
        for kind in ("redis", "share"):
            self._bring(machine, kind, self._host.conditions.of(kind, last(name)))

    def _disks(self, instance: Json, project: str) -> dict[str, Disk]:
        """The attached disks by device name, without the boot disk, which is made anew at each start."""
        found = {}
        for number, entry in enumerate(instance.get("disks") or []):
            if entry.get("boot") or not entry.get("source"):
                continue
            source = str(entry["source"])
            body = self._host.access.get(f"compute.googleapis.com/{path_of(source)}") or {}
            size = int(body.get("sizeGb") or entry.get("diskSizeGb") or 10) << 30
            device = str(entry.get("deviceName") or f"persistent-disk-{number}")
            found[device] = self._host.disks.attach(f"{project}/{last(source)}", size)
        return found

    @staticmethod
    def _wait(machine: Machine, *, has_script: bool) -> None:
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
        while not self._ending.wait(_GUARD_SECONDS):
            for machine in self._all():
                self._guard(machine)

    def _guard(self, machine: Machine) -> None:
        """Let the firewall rules of this moment hold for a machine."""
        rules = read_rules(self._host.access, machine.interface.network)
        lines = routing(rules, machine.interface.side, self._host.networks.sides(machine.interface.network))
        if machine.routing != lines and machine.container.wait(0) is None:
            # The kernel's own first rule would let everything in; flushing spares it.
            first = [] if machine.routing else ["rule del pref 0"]
            with contextlib.suppress(OSError):  # it ended just now
                self._host.networks.configure([*lines, *first], machine.container.pid)
                machine.routing = lines

    def _all(self) -> list[Machine]:
        with self._lock:
            return list(self._machines.values())

    def export(self, client: Interface, server: str, path: str) -> Path:
        """The directory that a client mounts as `server:path`.

        Raises:
            Refused: it does not exist, does not answer, or does not let this client; in mount.nfs's words.
        """
        here = [one for one in self._all() if one.share == f"{client.network} {server}:"]
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

    def _directory(self, machine: Machine, exported: str, inside: str, source: str) -> Path:
        """The exported directory, found through the machine's mounts, on the daemon's own mount of the disk."""
        for line in Path(f"/proc/{machine.container.pid}/mountinfo").read_text(encoding="utf-8").splitlines():
            _, _, number, root, place, *_ = line.split()
            device = os.makedev(*map(int, number.split(":")))
            disks = [disk for disk in machine.disks.values() if disk.number == device]
            if place == exported and disks:
                top = disks[0].mount() / root.lstrip("/")
                found = (top / inside).resolve()
                if found.is_dir() and found.is_relative_to(top.resolve()):
                    return found
        raise Refused(f"mounting {source} failed, reason given by server: No such file or directory", code=5)

    def healthy(self, name: str) -> bool:
        """Whether the script has ended well, Redis answers and something is exported."""
        with self._lock:
            machine = self._machines.get(path_of(name))
        if machine is None or machine.container.wait(0) is not None or (machine.told("ended") or "").strip() != "0":
            return False
        if self._host.conditions.of("share", last(name)) == "stopped":
            return False
        return bool(machine.exports()) and machine.answers()

    def stop(self, name: str) -> None:
        """Shut a machine down; nothing happens when it does not run."""
        with self._lock:
            machine = self._machines.pop(path_of(name), None)
        if machine is None:
            return
        machine.hurry()
        self._cut(machine)
        machine.container.stop()
        for disk in machine.disks.values():
            self._host.disks.detach(disk.key)

    def stop_all(self) -> None:
        """Stop all, side by side."""
        self._ending.set()
        side_by_side(self.stop, [(machine.name,) for machine in self._all()])

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

    def _bring(self, machine: Machine, kind: str, condition: str) -> None:
        if kind == "redis":
            self._bring_redis(machine, condition)
        else:
            self._bring_share(machine, condition)

    def _bring_redis(self, machine: Machine, condition: str) -> None:
        if condition == "well":
            machine.hurry()
            # What was set by hand goes, what is in the configuration comes back.
            if self._host.conditions.of("redis", last(machine.name)) in ("stopped", "full"):
                machine.run("systemctl", "restart", "redis-server")
        elif condition == "stopped":
            machine.run("systemctl", "stop", "redis-server")
        elif condition == "slow":
            machine.slow(machine.redis)
        elif condition == "full":
            account = machine.interface.identity.account
            password = self._host.access.secret(machine.secret, "latest", member=f"serviceAccount:{account}")
            machine.run("redis-cli", "--user", "admin", "CONFIG", "SET", "maxmemory", "1", REDISCLI_AUTH=password)

    def _bring_share(self, machine: Machine, condition: str) -> None:
        before = self._host.conditions.of("share", last(machine.name))
        for disk in machine.disks.values() if {condition, before} & {"slow", "full"} else ():
            self._host.disks.slow(disk, condition == "slow")
            disk.fill(condition == "full")
        if condition == "stopped":
            self._cut(machine)
        else:
            self._join(machine)

    def _cut(self, machine: Machine) -> None:
        """Let everybody who has mounted the share wait."""
        known = {(one.container.pid, one.bind.target) for one in self._hung}
        for container in self._host.containers.running():
            for bind in container.spec.binds:
                if bind.share.startswith(machine.share) and (container.pid, bind.target) not in known:
                    with contextlib.suppress(OSError):  # it ends
                        self._hung.append(Hung(container, bind))

    def _join(self, machine: Machine) -> None:
        """Give those who wait the share again."""
        for hung in [one for one in self._hung if one.bind.share.startswith(machine.share)]:
            path = hung.bind.share.removeprefix(machine.share)
            client = hung.container.spec.interface
            try:
                directory = self.export(client, machine.interface.address, path) if client else None
            except Refused:
                if hung.container.wait(0) is None:
                    continue
                directory = None
            self._hung.remove(hung)
            hung.end(directory)


def _may_mount(clients: str, address: str) -> bool:
    """Whether `RANGE(options) …` of an exports file lets this address."""
    for text in re.findall(r"([^\s(]+)\(", clients):
        with contextlib.suppress(ValueError):
            if text == "*" or ipaddress.IPv4Address(address) in ipaddress.IPv4Network(text, strict=False):
                return True
    return False


def _disk_key(name: str) -> str:
    """`PROJECT/NAME` of a disk, `PROJECT/snapshots/NAME` of a snapshot."""
    folder = "snapshots/" if "/snapshots/" in name else ""
    return f"{part(name, 'projects')}/{folder}{last(name)}"


def _what_matters(instance: Json) -> dict[str, Any]:
    return {key: instance.get(key) for key in ("networkInterfaces", "serviceAccounts", "disks", "metadata", "tags")}
