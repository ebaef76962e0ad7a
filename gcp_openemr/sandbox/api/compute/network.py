"""Networks, subnetworks, firewalls, routers, reserved addresses."""

from __future__ import annotations

import base64
import ipaddress
import secrets

from gcp_openemr.sandbox.api.calls import Call
from gcp_openemr.sandbox.api.compute.addresses import check_free, free_address, users_of
from gcp_openemr.sandbox.api.compute.links import (
    check_references,
    full_name,
    normalize,
    refuse_if_used,
    self_link,
)
from gcp_openemr.sandbox.api.errors import ApiError
from gcp_openemr.sandbox.api.names import id_of, path_of, project_of, segment
from gcp_openemr.sandbox.api.rules import Change, Collection, collection
from gcp_openemr.sandbox.api.store import Record
from gcp_openemr.sandbox.interfaces import Json

__all__ = ["address_of", "adopt", "fingerprint", "in_use"]

_WIDEST, _NARROWEST = 4, 29  # prefix lengths of a subnetwork


def adopt(change: Change) -> Json:
    """References in full, and all of them there. Returns the resource."""
    new: Json = normalize(change.call.store, change.new, project_of(change.name))
    check_references(change.call.store, new)
    change.new = new
    return new


def fingerprint() -> str:
    return base64.b64encode(secrets.token_bytes(8)).decode()


def in_use(call: Call, record: Record) -> None:
    refuse_if_used(call.store, record.name, [])


def _network(change: Change) -> None:
    new = adopt(change)
    new.setdefault("autoCreateSubnetworks", True)
    if change.old is None and new["autoCreateSubnetworks"] and "IPv4Range" not in new:
        message = "The sandbox stands in for custom mode networks: set autoCreateSubnetworks to false."
        raise ApiError(501, message)
    new.setdefault("routingConfig", {"routingMode": "REGIONAL"})
    new.setdefault("networkFirewallPolicyEnforcementOrder", "AFTER_CLASSIC_FIREWALL")
    new["selfLinkWithId"] = f"{self_link(change.name).rsplit('/', 1)[0]}/{new['id']}"


def _network_shown(call: Call, body: Json) -> Json:
    project = project_of(full_name(body["selfLink"]))
    subnetworks = [
        record.body["selfLink"]
        for record in call.store.list(f"compute.googleapis.com/projects/{project}/regions/")
        if segment(record.name, "subnetworks") and record.body.get("network") == body["selfLink"]
    ]
    return {**body, **({"subnetworks": subnetworks} if subnetworks else {})}


def _subnetwork(change: Change) -> None:
    new = adopt(change)
    if not new.get("network"):
        raise ApiError(
            400, "Invalid value for field 'resource.network': ''. The network is required.", reason="required"
        )
    given = str(new.get("ipCidrRange") or "")
    try:
        whole = ipaddress.IPv4Network(given)
    except ValueError as error:
        message = f"Invalid value for field 'resource.ipCidrRange': '{given}'. Must be a valid CIDR range."
        raise ApiError(400, message, reason="invalid") from error
    if not _WIDEST <= whole.prefixlen <= _NARROWEST:
        message = (
            f"Invalid value for field 'resource.ipCidrRange': '{given}'. The prefix must be /{_WIDEST} to "
            f"/{_NARROWEST}."
        )
        raise ApiError(400, message, reason="invalid")
    _refuse_overlap(change, whole)
    new.setdefault("privateIpGoogleAccess", False)
    new.setdefault("purpose", "PRIVATE")
    new.setdefault("stackType", "IPV4_ONLY")
    new |= {
        "gatewayAddress": str(whole[1]),
        "privateIpv6GoogleAccess": new.get("privateIpv6GoogleAccess", "DISABLE_GOOGLE_ACCESS"),
        "fingerprint": fingerprint(),
    }


def _refuse_overlap(change: Change, whole: ipaddress.IPv4Network) -> None:
    project = project_of(change.name)
    for record in change.call.store.list(f"compute.googleapis.com/projects/{project}/regions/"):
        other = record.body
        same = segment(record.name, "subnetworks") and other.get("network") == change.new["network"]
        if not same or record.name == change.name:
            continue
        if whole.overlaps(ipaddress.IPv4Network(other["ipCidrRange"])):
            message = (
                f"Invalid IPCidrRange: {whole} conflicts with existing subnetwork '{other['name']}' in region "
                f"'{segment(record.name, 'regions')}'."
            )
            raise ApiError(400, message, reason="invalid")


def _firewall(change: Change) -> None:
    new = adopt(change)
    new.setdefault("network", f"{self_link(change.name).split('/global/')[0]}/global/networks/default")
    if not (new.get("allowed") or new.get("denied")):
        raise ApiError(400, "Exactly one of fields 'allowed' or 'denied' must be specified.", reason="invalid")
    new.setdefault("direction", "INGRESS")
    new.setdefault("priority", 1000)
    new.setdefault("disabled", False)
    new.setdefault("logConfig", {"enable": False})
    sources = ("sourceRanges", "sourceTags", "sourceServiceAccounts")
    if new["direction"] == "INGRESS" and not any(new.get(field) for field in sources):
        new["sourceRanges"] = ["0.0.0.0/0"]
    if new["direction"] == "EGRESS":
        new.setdefault("destinationRanges", ["0.0.0.0/0"])


def _router(change: Change) -> None:
    new = adopt(change)
    for nat in new.get("nats") or ():
        nat.setdefault("type", "PUBLIC")
        nat.setdefault("endpointTypes", ["ENDPOINT_TYPE_VM"])
        nat.setdefault("enableEndpointIndependentMapping", False)
        nat.setdefault("autoNetworkTier", "PREMIUM")


def _address(change: Change) -> None:
    new = adopt(change)
    new.setdefault("addressType", "EXTERNAL")
    if new["addressType"] != "INTERNAL":
        raise ApiError(501, "The sandbox has no external addresses.")
    if not new.get("subnetwork"):
        raise ApiError(400, "Invalid value for field 'resource.subnetwork': ''. It is required.", reason="required")
    if change.old is None:
        given = str(new.get("address") or "")
        if given:
            check_free(change.call.store, new["subnetwork"], given, allowed=change.name)
        new["address"] = given or free_address(change.call.store, new["subnetwork"])
        new.setdefault("purpose", "GCE_ENDPOINT")
        new.setdefault("networkTier", "PREMIUM")
    new.setdefault("labelFingerprint", fingerprint())


def _address_shown(call: Call, body: Json) -> Json:
    users = users_of(call.store, full_name(body["selfLink"]), body["address"])
    return {**body, "status": "IN_USE" if users else "RESERVED", **({"users": users} if users else {})}


def _address_free(call: Call, record: Record) -> None:
    users = [path_of(full_name(link)) for link in users_of(call.store, record.name, record.body["address"])]
    refuse_if_used(call.store, record.name, users)


for _row in (
    Collection(
        key="compute.networks",
        kind="network",
        permission="compute.networks",
        complete=_network,
        deletable=in_use,
        shown=_network_shown,
    ),
    Collection(
        key="compute.subnetworks",
        kind="subnetwork",
        permission="compute.subnetworks",
        complete=_subnetwork,
        deletable=in_use,
        immutable=("network", "ipCidrRange"),
    ),
    Collection(
        key="compute.firewalls",
        kind="firewall",
        permission="compute.firewalls",
        complete=_firewall,
        immutable=("network", "direction"),
    ),
    Collection(key="compute.routers", kind="router", permission="compute.routers", complete=_router),
    Collection(
        key="compute.addresses",
        kind="address",
        permission="compute.addresses",
        complete=_address,
        deletable=_address_free,
        shown=_address_shown,
    ),
):
    collection(_row)


def address_of(call: Call, given: str, subnetwork: str, name: str) -> str:
    """A literal address from a literal, a reserved address's URL, or nothing (then a free one)."""
    if "/addresses/" in given:
        record = call.store.get(full_name(given))
        if record is None:
            raise call.wording.missing(full_name(given))
        given = str(record.body["address"])
        if users_of(call.store, record.name, given):
            message = f"IP address '{given}' ({id_of(record.name)}) is already being used by another resource."
            raise ApiError(400, message, reason="ipInUseByAnotherResource")
        return given
    if not given:
        return free_address(call.store, subnetwork, mine=name)
    reserved = next(
        (
            record.name
            for record in call.store.list(f"compute.googleapis.com/projects/{project_of(name)}/regions/")
            if segment(record.name, "addresses") and record.body.get("address") == given
        ),
        name,
    )
    if users_of(call.store, reserved, given):
        raise ApiError(
            400, f"IP '{given}' is already being used by another resource.", reason="ipInUseByAnotherResource"
        )
    check_free(call.store, subnetwork, given, allowed=reserved)
    return given
