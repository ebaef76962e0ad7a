"""VPC networks as Linux bridges: every container is a machine of its own on the bridge of its network.

A container has two addresses. The link-local one is unique in the sandbox: requests come in by it, and the metadata
server knows the caller by it. The other one belongs to the VPC's subnetwork, as with Direct VPC egress. Google's own
addresses (metadata server, APIs) answer on every bridge; nothing leads out of the machine.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import subprocess
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence

from gcp_openemr.sandbox.interfaces import Refused
from gcp_openemr.sandbox.runtime.vpc import Side

__all__ = ["APIS_ADDRESS", "METADATA_ADDRESS", "Identity", "Interface", "Networks"]

METADATA_ADDRESS = "169.254.169.254"
APIS_ADDRESS = (
    "199.36.153.8"  # private.googleapis.com, https://cloud.google.com/vpc/docs/configure-private-google-access
)
_GATEWAY = "169.254.8.1"
_LINK_LOCAL = ipaddress.IPv4Network("169.254.64.0/18")
# https://cloud.google.com/run/docs/configuring/vpc-direct-vpc: what "private ranges only" means.
_PRIVATE = (
    "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24",
    "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Identity:
    """As whom a container calls Google: the e-mail address of its service account, and where it runs.

    `attributes` are a machine's own metadata, by path below `instance/`.
    """

    account: str
    project: str
    region: str
    attributes: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Interface:
    """One container's place in the network: `network` is `projects/p/global/networks/n`, or "" without VPC access.

    Into the VPC goes what is for private addresses, or `everything`. `google` is whether Google can be reached.
    """

    name: str
    link_local: str
    network: str
    address: str
    identity: Identity
    tags: tuple[str, ...] = ()
    everything: bool = True
    google: bool = True

    @property
    def side(self) -> Side:
        """As firewall rules know it."""
        return Side(address=self.address, account=self.identity.account, tags=self.tags)

    @property
    def hardware_address(self) -> str:
        """Made from the address, so that neighbours find a server again that came back at the same address."""
        return "02:42:" + ipaddress.IPv4Address(self.address or self.link_local).packed.hex(":")

    def commands(self) -> list[str]:
        """What `ip -batch` does inside the container once its end of the cable is there."""
        lines = [
            "link set lo up",
            f"link set eth0 address {self.hardware_address}",
            f"address add {self.link_local}/32 dev eth0",
            "link set eth0 up",
            f"route add 169.254.0.0/16 dev eth0 src {self.link_local}",
        ]
        if self.google:
            lines.append(f"route add {APIS_ADDRESS}/32 dev eth0 src {self.link_local}")
        else:
            lines.append(f"route add blackhole {APIS_ADDRESS}/32")
        if self.address:
            lines.append(f"address add {self.address}/32 dev eth0")
        source = f" src {self.address}" if self.address else ""
        targets = () if not self.network else ("default",) if self.everything else _PRIVATE
        return [*lines, *(f"route add {target} dev eth0{source}" for target in targets)]


def _ip(lines: Iterable[str], *, within: int | None = None) -> None:
    """Run `ip` commands here or in the network of process `within`.

    Raises:
        OSError: one of them failed.
    """
    enter = [] if within is None else ["nsenter", f"--net=/proc/{within}/ns/net"]
    batch = "\n".join(lines)
    done = subprocess.run([*enter, "ip", "-batch", "-"], input=batch, text=True, capture_output=True, check=False)
    if done.returncode:
        raise OSError(done.returncode, f"ip: {done.stderr.strip()}")


class Networks:
    """The sandbox's bridges, cables and addresses."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bridges: dict[str, str] = {}
        self._interfaces: dict[str, Interface] = {}
        self._count = 0

    def open(self) -> None:
        """Bring up loopback and Google's addresses. Once, in the daemon's own network namespace."""
        addresses = (METADATA_ADDRESS, APIS_ADDRESS, _GATEWAY)
        _ip(["link set lo up", *(f"address add {address}/32 dev lo" for address in addresses)])

    def reserve(
        self,
        *,
        network: str,
        identity: Identity,
        ranges: Sequence[str] = (),
        address: str = "",
        taken: Collection[str] = (),
        tags: tuple[str, ...] = (),
        everything: bool = True,
        google: bool = True,
    ) -> Interface:
        """Choose addresses for a container: one of `ranges` (CIDR) that is not `taken`, or just `address`.

        Raises:
            Refused: the subnetwork is full.
        """
        with self._lock:
            self._count += 1
            # In turn, so that nobody remembers whose an address was before.
            link_local = str(_LINK_LOCAL[2 + self._count % (_LINK_LOCAL.num_addresses - 4)])
            if ranges and not address:
                here = {made.address for made in self._interfaces.values() if made.network == network}
                address = self._free(ranges, {*taken, *here})
            name = f"veth{self._count}"
            made = Interface(
                name=name,
                link_local=link_local,
                network=network,
                address=address,
                identity=identity,
                tags=tags,
                everything=everything,
                google=google,
            )
            self._interfaces[link_local] = made
            return made

    @staticmethod
    def _free(ranges: Sequence[str], used: set[str]) -> str:
        """The last free address: Compute Engine hands them out from the front, and keeps two at either end."""
        for text in ranges:
            whole = ipaddress.IPv4Network(text)
            for number in range(int(whole.broadcast_address) - 2, int(whole.network_address) + 1, -1):
                if str(ipaddress.IPv4Address(number)) not in used:
                    return str(ipaddress.IPv4Address(number))
        raise Refused(
            "Instance failed to start because of insufficient free IP addresses in the subnetwork.",
            code=8,
        )

    def plug(self, interface: Interface, process: int) -> None:
        """Lay the cable from the network's bridge to `eth0` in the namespace of `process`."""
        with self._lock:
            bridge = self._bridge(interface.network)
            _ip(
                [
                    f"link add {interface.name} type veth peer name eth0 netns {process}",
                    f"link set {interface.name} master {bridge} up",
                    f"route add {interface.link_local}/32 dev {bridge} src {_GATEWAY}",
                ]
            )

    def connect(self, interface: Interface, process: int, *, network: str, address: str) -> Interface:
        """Let a running container answer for one more address, in this network; returns what it is now."""
        changed = dataclasses.replace(interface, network=network, address=address)
        lines = [
            f"link set eth0 address {changed.hardware_address}",
            f"address replace {address}/32 dev eth0",
            f"route replace default dev eth0 src {address}",
        ]
        with self._lock:
            if network != interface.network:
                bridge = self._bridge(network)
                route = f"route replace {interface.link_local}/32 dev {bridge} src {_GATEWAY}"
                _ip([f"link set {interface.name} master {bridge}", route])
            _ip(lines, within=process)
            self._interfaces[interface.link_local] = changed
            return changed

    def sides(self, network: str) -> list[Side]:
        """Who is on a network, as firewall rules know them."""
        with self._lock:
            return [one.side for one in self._interfaces.values() if one.network == network and one.address]

    @staticmethod
    def configure(lines: Sequence[str], process: int) -> None:
        """Run `ip` commands in the network of a process. Raises OSError."""
        _ip(lines, within=process)

    def release(self, interface: Interface) -> None:
        """Take the addresses back; the cable goes with the container's last process."""
        with self._lock:
            self._interfaces.pop(interface.link_local, None)
            bridge = self._bridges.get(interface.network)
            if bridge:
                lines = [f"route del {interface.link_local}/32 dev {bridge}", f"link del {interface.name}"]
                for line in lines:
                    subprocess.run(["ip", *line.split()], capture_output=True, check=False)

    def peer(self, address: str) -> Interface | None:
        """Whose link-local address this is."""
        return self._interfaces.get(address)

    def _bridge(self, network: str) -> str:
        if network not in self._bridges:
            bridge = f"vpc{len(self._bridges)}"
            # An address of its own: left to itself a bridge changes it as containers come and go, and connections die.
            hardware = f"02:42:00:00:00:{len(self._bridges):02x}"
            _ip([f"link add {bridge} address {hardware} type bridge", f"link set {bridge} up"])
            self._bridges[network] = bridge
        return self._bridges[network]
