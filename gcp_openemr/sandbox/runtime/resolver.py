"""The VPC's name server at 169.254.169.254: Google's names, and the private zones of the caller's network.

Public names have no answer: nothing leads out of the sandbox. Only what resolvers of C libraries ask is understood:
one question, A or AAAA, over UDP (RFC 1035).
"""

from __future__ import annotations

import ipaddress
import socket
import struct
import threading

from gcp_openemr.sandbox.interfaces import Access
from gcp_openemr.sandbox.runtime.network import APIS_ADDRESS, METADATA_ADDRESS, Networks
from gcp_openemr.sandbox.runtime.resources import network_name

__all__ = ["Resolver"]

_A, _CNAME, _IN = 1, 5, 1
_NO_ERROR, _SERVER_FAILURE, _NO_SUCH_NAME = 0, 2, 3
_METADATA_NAMES = {"metadata.google.internal", "metadata"}
_MOST_ALIASES = 8


class Resolver:
    """Answers on a bound UDP socket until `close()`."""

    def __init__(self, server: socket.socket, *, access: Access, networks: Networks) -> None:
        self._socket = server
        self._access = access
        self._networks = networks
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name="resolver", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closing = True
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
            waker.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while not self._closing:
            query, peer = self._socket.recvfrom(4096)
            if len(query) < 17:
                continue
            try:
                answer = self._answer(query, str(peer[0]))
            except (ValueError, IndexError, struct.error):
                answer = query[:2] + struct.pack(">HHHHH", 0x8180 | _SERVER_FAILURE, 0, 0, 0, 0)
            self._socket.sendto(answer, peer)

    def _answer(self, query: bytes, peer: str) -> bytes:
        name, end = _read_name(query, 12)
        kind = struct.unpack_from(">H", query, end)[0]
        interface = self._networks.peer(peer)
        addresses = self.lookup(name, interface.network if interface else "")
        code = _NO_SUCH_NAME if addresses is None else _NO_ERROR
        found = addresses if addresses and kind == _A else []
        head = query[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, len(found), 0, 0)
        records = b"".join(
            struct.pack(">HHHIH", 0xC00C, _A, _IN, 30, 4) + ipaddress.IPv4Address(address).packed for address in found
        )
        return head + query[12 : end + 4] + records

    def lookup(self, name: str, network: str) -> list[str] | None:
        """Addresses of a name as seen from a network (full name, "" for none); None when there is no such name."""
        name = name.lower().rstrip(".")
        if name in _METADATA_NAMES:
            return [METADATA_ADDRESS]
        if name == "googleapis.com" or name.endswith((".googleapis.com", ".localhost")):  # the latter: services
            return [APIS_ADDRESS]
        if name == "localhost":
            return ["127.0.0.1"]
        return self._private(name, network) if network else None

    def _private(self, name: str, network: str) -> list[str] | None:
        everything = list(self._access.list("dns.googleapis.com/"))
        zones = [full for full, body in everything if "dnsName" in body and network in _networks_of(body)]
        records = [
            body
            for full, body in everything
            if "rrdatas" in body and any(full.startswith(f"{zone}/") for zone in zones)
        ]
        for _ in range(_MOST_ALIASES):
            matching = [body for body in records if str(body.get("name", "")).lower().rstrip(".") == name]
            aliases = [body for body in matching if body.get("type") == "CNAME"]
            if not aliases:
                addresses = [body for body in matching if body.get("type") == "A"]
                return [str(data) for body in addresses for data in body["rrdatas"]] if matching else None
            name = str(aliases[0]["rrdatas"][0]).lower().rstrip(".")
        return None


def _networks_of(zone: dict[str, object]) -> set[str]:
    visible = zone.get("privateVisibilityConfig")
    listed = visible.get("networks", []) if isinstance(visible, dict) else []
    return {network_name(str(entry.get("networkUrl", ""))) for entry in listed}


def _read_name(query: bytes, start: int) -> tuple[str, int]:
    labels: list[str] = []
    while length := query[start]:
        labels.append(query[start + 1 : start + 1 + length].decode("ascii"))
        start += length + 1
    return ".".join(labels), start + 1
