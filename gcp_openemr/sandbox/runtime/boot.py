"""A machine of Compute Engine: what it starts with, and what it says of itself."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gcp_openemr.sandbox.interfaces import Json
from gcp_openemr.sandbox.runtime import namespaces
from gcp_openemr.sandbox.runtime.disks import Disk
from gcp_openemr.sandbox.runtime.host import Host
from gcp_openemr.sandbox.runtime.network import Identity, Interface
from gcp_openemr.sandbox.runtime.processes import Container, File, Spec
from gcp_openemr.sandbox.runtime.resources import last, network_name, part
from gcp_openemr.sandbox.runtime.troubles import Slowable
from gcp_openemr.sandbox.runtime.vpc import internet, subnetworks

__all__ = ["Machine", "machine_spec", "metadata_of", "name_of", "path_of"]

_MEMORY = 512 << 20
_REDIS_PORT = 6379
_PROGRAMS = Path(__file__).parent / "machine"
_STAND_INS = ("apt-get", "dpkg", "dpkg-query", "exportfs", "sleep", "systemctl")
_PATH = "/opt/machine:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_USERS = "root:x:0:0:root:/root:/bin/bash\nredis:x:110:110::/var/lib/redis:/usr/sbin/nologin\n"
_GROUPS = "root:x:0:\nredis:x:110:\n"


@dataclasses.dataclass(kw_only=True)
class Machine(Slowable):
    """One that runs. `described` is what of its resource needs a restart when it changes; `disks` by device name."""

    name: str
    described: Mapping[str, Any]
    container: Container
    disks: Mapping[str, Disk]
    secret: str
    routing: list[str] = dataclasses.field(default_factory=list)

    @property
    def interface(self) -> Interface:
        found = self.container.spec.interface
        if found is None:
            raise ValueError(f"machine {self.name} has no network")
        return found

    def told(self, name: str) -> str | None:
        """What the machine's programs say of themselves, None while they say nothing."""
        with contextlib.suppress(OSError):
            return Path(f"/proc/{self.container.pid}/root/run/machine/{name}").read_text(encoding="utf-8")
        return None

    def exports(self) -> list[tuple[str, str]]:
        """(path, who may mount it) as its NFS server has them."""
        lines = (self.told("exports") or "").splitlines()
        return [(path, clients) for path, _, clients in (line.partition(" ") for line in lines)]

    def run(self, *command: str, **environment: str) -> str:
        """Run a program in the machine; returns what it prints."""
        enter = ["nsenter", f"--target={self.container.pid}", "--mount", "--net", "--pid", "--ipc", "--uts", "--root"]
        variables = {"PATH": _PATH, "MACHINE_INTERNET": "yes", **environment}
        done = subprocess.run([*enter, *command], env=variables, capture_output=True, text=True, check=False)
        return done.stdout

    @property
    def share(self) -> str:
        """How binds of its share begin: `NETWORK SERVER:`."""
        return f"{self.interface.network} {self.interface.address}:"

    def answers(self) -> bool:
        """Whether Redis says something at the machine's own address."""
        try:
            with open(f"/proc/{self.container.pid}/ns/net", "rb") as network:
                return namespaces.inside(network.fileno(), namespaces.NEW_NET, self._ask)
        except OSError:
            return False

    def _ask(self) -> bool:
        with socket.create_connection((self.interface.address, _REDIS_PORT), timeout=1) as connection:
            connection.settimeout(1)
            connection.sendall(b"PING\r\n")
            return bool(connection.recv(64))

    def redis(self) -> list[int]:
        """Its Redis's processes."""
        with contextlib.suppress(OSError):
            return [pid for pid in self.container.processes() if _command(pid) == "redis-server"]
        return []


def machine_spec(host: Host, name: str, instance: Json, disks: Mapping[str, Disk]) -> Spec:
    """What a machine is when it starts. `disks` by device name."""
    files = {f"/opt/machine/{program}": (_PROGRAMS / "programs.sh").read_text() for program in _STAND_INS}
    files["/opt/machine/init"] = (_PROGRAMS / "init.sh").read_text()
    script = metadata_of(instance).get("startup-script", "")
    if script:
        files["/run/startup-script"] = script
    interface, outside = _interface(host, name, instance)
    return Spec(
        name="startup-script",
        command=["/opt/machine/init"],
        environment={"PATH": _PATH, "HOME": "/root", "MACHINE_INTERNET": "yes" if outside else "no"},
        overlays=host.alpine.machine_overlays(),
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


def _interface(host: Host, name: str, instance: Json) -> tuple[Interface, bool]:
    """Its place in the network, and whether it gets out."""
    project, zone = part(name, "projects"), part(name, "zones")
    region = zone.rpartition("-")[0]
    described = instance["networkInterfaces"][0]
    network = network_name(str(described.get("network", "")), project)
    address = str(described.get("networkIP", ""))
    attributes = {
        "name": last(name),
        "hostname": f"{last(name)}.{zone}.c.{project}.internal",
        "network-interfaces/0/ip": address,
        **{f"attributes/{key}": value for key, value in metadata_of(instance).items()},
    }
    account = str((instance.get("serviceAccounts") or [{}])[0].get("email", ""))
    outside = internet(host.access, network, region) or bool(described.get("accessConfigs"))
    found = () if outside else subnetworks(host.access, network, region, str(described.get("subnetwork", "")))
    interface = host.networks.reserve(
        network=network,
        identity=Identity(account=account, project=project, region=region, attributes=attributes),
        address=address,
        tags=tuple((instance.get("tags") or {}).get("items") or ()),
        google=all(body.get("privateIpGoogleAccess") for body in found),
    )
    return interface, outside


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
    return ""


def path_of(name: str) -> str:
    """`projects/…` of a full name or URL."""
    return name[name.index("projects/") :] if "projects/" in name else name


def name_of(instance: Json) -> str:
    """`projects/p/zones/z/instances/i`."""
    link = str(instance.get("selfLink", ""))
    return path_of(link) if link else path_of(str(instance["name"]))


def metadata_of(instance: Json) -> Mapping[str, str]:
    """The machine's own metadata by key."""
    items: Sequence[Mapping[str, Any]] = (instance.get("metadata") or {}).get("items") or []
    return {str(item["key"]): str(item.get("value", "")) for item in items}
