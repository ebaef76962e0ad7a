"""What a VPC network lets through: subnetworks, ways to Google and out, firewall rules.

Rules are enforced by the target's own routing table: a packet that no rule lets in finds no way to its process. Routing
knows no connections, so answers are recognised by their port: what comes to a port from which Linux opens connections
is let in. https://cloud.google.com/firewall/docs/firewalls
"""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gcp_openemr.sandbox.interfaces import Access, Refused
from gcp_openemr.sandbox.runtime.resources import last, network_name, part

__all__ = ["Rule", "Side", "internet", "lets_in", "listed", "read_rules", "routing", "subnetworks"]

_LOCAL_PORTS = "32768-60999"  # net.ipv4.ip_local_port_range
_EVERYWHERE = "0.0.0.0/0"
_PROTOCOLS = ("tcp", "udp", "icmp")
_FIRST = 100  # what precedes is the sandbox's own: loopback, and the addresses by which it reaches its containers
_LAST = 30000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Side:
    """One end of a connection as rules know it."""

    address: str
    account: str = ""
    tags: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
    """A firewall rule for what comes in. `services` are (protocol or "all", ports or "")."""

    allow: bool
    priority: int
    services: tuple[tuple[str, str], ...]
    body: Mapping[str, Any]

    def concerns(self, side: Side) -> bool:
        """Whether it is enforced at this end."""
        tags, accounts = self.body.get("targetTags") or (), self.body.get("targetServiceAccounts") or ()
        return not (tags or accounts) or bool({*tags} & {*side.tags}) or side.account in accounts

    def ranges(self, others: Sequence[Side]) -> list[str]:
        """CIDRs of the other end; tags and accounts are those of `others`."""
        named = self.body.get("sourceRanges") or []
        tags, accounts = self.body.get("sourceTags") or (), self.body.get("sourceServiceAccounts") or ()
        if not (named or tags or accounts):
            return [_EVERYWHERE]
        found = [one.address for one in others if {*tags} & {*one.tags} or one.account in accounts]
        return [text for text in (*named, *found) if text and ":" not in text]


def listed(access: Access, collection: str, network: str | None = None) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Compute Engine's resources of a collection by full name, those of one network where it is given."""
    for full, body in access.list("compute.googleapis.com/"):
        if f"/{collection}/" in full and network in (None, network_name(str(body.get("network", "")))):
            yield full, body


def read_rules(access: Access, network: str) -> list[Rule]:
    """The rules for what comes in, first the one that decides first: by priority, refusals before the rest."""
    rules = [
        Rule(
            allow="allowed" in body,
            priority=int(body.get("priority", 1000)),
            services=tuple(_services(body.get("allowed") or body.get("denied") or [])),
            body=body,
        )
        for _, body in listed(access, "firewalls", network)
        if body.get("direction", "INGRESS") == "INGRESS" and not body.get("disabled")
    ]
    return sorted(rules, key=lambda rule: (rule.priority, rule.allow))


def _services(entries: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    for entry in entries:
        for ports in entry.get("ports") or [""]:
            yield str(entry.get("IPProtocol", "all")), str(ports)


def lets_in(rules: Sequence[Rule], source: Side, target: Side, port: int) -> bool:
    """Whether a TCP connection from `source` reaches this port of `target`."""
    address = ipaddress.IPv4Address(source.address)
    for rule in rules:
        if not rule.concerns(target):
            continue
        if not any(address in ipaddress.IPv4Network(text, strict=False) for text in rule.ranges([source])):
            continue
        if any(kind in ("tcp", "all", "6") and _within(port, ports) for kind, ports in rule.services):
            return rule.allow
    return False


def _within(port: int, ports: str) -> bool:
    first, _, final = ports.partition("-")
    return not ports or int(first) <= port <= int(final or first)


def routing(rules: Sequence[Rule], side: Side, others: Sequence[Side]) -> list[str]:
    """What `ip -batch` does in a container so that these rules hold there; replaces what it did before."""
    lines = [
        "rule flush",
        f"rule add pref {_LAST + 90} lookup main",
        "rule add pref 1 iif lo lookup local",
        "rule add pref 2 from 169.254.0.0/16 lookup local",
    ]
    lines += [f"rule add pref 3 iif eth0 ipproto {kind} dport {_LOCAL_PORTS} lookup local" for kind in ("tcp", "udp")]
    for number, rule in enumerate(rule for rule in rules if rule.concerns(side)):
        action = "lookup local" if rule.allow else "blackhole"
        for text in rule.ranges(others):
            for kind, ports in rule.services:
                for protocol in _PROTOCOLS if kind == "all" else (kind,):
                    service = f"ipproto {protocol}" + (f" dport {ports}" if ports else "")
                    lines.append(f"rule add pref {_FIRST + number} iif eth0 from {text} {service} {action}")
    # Nothing else comes in; what is none of these, such as ARP, is no business of a firewall.
    lines += [f"rule add pref {_LAST} iif eth0 ipproto {kind} blackhole" for kind in _PROTOCOLS]
    return [*lines, f"rule add pref {_LAST + 1} lookup local"]


def subnetworks(access: Access, network: str, region: str, wanted: str = "") -> list[Mapping[str, Any]]:
    """The subnetworks of a network in a region, or the one that is `wanted`. Raises Refused: there is none."""
    found: list[Mapping[str, Any]] = [
        body
        for full, body in listed(access, "subnetworks", network)
        if (not wanted or last(full) == last(wanted)) and part(full, "regions") == region
    ]
    if not found:
        raise Refused(f"The subnetwork {last(wanted)} of {network} was not found in region {region}.", code=5)
    return found


def internet(access: Access, network: str, region: str) -> bool:
    """Whether machines without an address of their own get out: through Cloud NAT."""
    routers = listed(access, "routers", network)
    return any(part(full, "regions") == region and bool(body.get("nats")) for full, body in routers)
