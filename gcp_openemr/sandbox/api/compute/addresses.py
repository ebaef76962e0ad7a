"""Which internal addresses are taken, and by whom."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from gcp_openemr.sandbox.api.compute.links import full_name
from gcp_openemr.sandbox.api.envelopes import COMPUTE_ROOT
from gcp_openemr.sandbox.api.names import path_of, project_of
from gcp_openemr.sandbox.api.refusals import existing, refuse, refuse_if
from gcp_openemr.sandbox.api.store import Store
from gcp_openemr.sandbox.interfaces import Json

__all__ = ["check_free", "free_address", "subnet_range", "users_of"]


def subnet_range(store: Store, subnetwork: str) -> ipaddress.IPv4Network:
    """The primary range of a subnetwork by URL. Raises 404 when there is none."""
    record = existing(store, full_name(subnetwork))
    return ipaddress.IPv4Network(record.body["ipCidrRange"])


def free_address(store: Store, subnetwork: str, *, mine: str = "") -> str:
    """The first address of a subnetwork that nobody has. Google keeps the first two and the last two."""
    whole = subnet_range(store, subnetwork)
    taken = {address for address, owner in _taken(store, project_of(subnetwork)) if owner != mine}
    for number in range(2, whole.num_addresses - 2):
        candidate = str(whole[number])
        if candidate not in taken:
            return candidate
    raise refuse("compute.ip-exhausted", name=path_of(full_name(subnetwork)))


def check_free(store: Store, subnetwork: str, address: str, *, allowed: str, among: str = "") -> None:
    """Refuse an address outside the subnetwork, or one that somebody has other than the resource `allowed`.

    `among` limits who counts: an address that a machine uses can be reserved for it
    (https://cloud.google.com/compute/docs/ip-addresses/reserve-static-internal-ip-address#promote_address).
    """
    whole = subnet_range(store, subnetwork)
    try:
        inside = ipaddress.IPv4Address(address) in whole
    except ValueError as error:
        raise refuse("compute.ip-invalid", address=address) from error
    refuse_if(not inside, "compute.ip-outside", address=address, range=whole)
    owners = {owner for taken, owner in _taken(store, project_of(subnetwork)) if taken == address and among in owner}
    refuse_if(owners - {allowed}, "compute.ip-in-use", address=address)


def users_of(store: Store, name: str, address: str) -> list[str]:
    """URLs of what listens on a reserved address."""
    return [
        COMPUTE_ROOT + path_of(owner)
        for taken, owner in _taken(store, project_of(name))
        if taken == address and "/addresses/" not in owner
    ]


def _taken(store: Store, project: str) -> Iterator[tuple[str, str]]:
    """Internal addresses with the full name of who has them."""
    for record in store.list(f"compute.googleapis.com/projects/{project}/"):
        for address in _addresses_in(record.body):
            yield address, record.name


def _addresses_in(body: Json) -> Iterator[str]:
    if body.get("addressType") == "INTERNAL" and body.get("address"):
        yield body["address"]
    if body.get("IPAddress"):
        yield body["IPAddress"]
    for interface in body.get("networkInterfaces") or ():
        if interface.get("networkIP"):
            yield interface["networkIP"]
