"""Compute Engine: networks, subnets, firewalls, addresses, forwarding rules, routers and NAT."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gcp_openemr.sandbox.provider.types.model import (
    COMPUTE,
    Change,
    Json,
    ResourceType,
    Settings,
    Step,
    changed_labels,
    compute_link,
    expand,
    links,
    network_link,
)

__all__ = ["ROWS"]

_SUBNETWORKS = "projects/{project}/regions/{region}/subnetworks/"


def _link_networks(body: Json, state: Mapping[str, Any], change: Change) -> Json:
    """Names of networks and subnetworks become links, as Compute Engine wants them."""
    if isinstance(body.get("network"), str):
        body["network"] = network_link(body["network"], change.settings)
    if isinstance(body.get("subnetwork"), str):
        body["subnetwork"] = compute_link(body["subnetwork"], expand(_SUBNETWORKS, state))
    return body


def _encode_network(body: Json, state: Mapping[str, Any], change: Change) -> Json:
    if change.prior is None:
        body["autoCreateSubnetworks"] = bool(state.get("auto_create_subnetworks"))
    return body


def _encode_subnetwork(body: Json, state: Mapping[str, Any], change: Change) -> Json:
    # An absent block turns flow logs off, and an absent range goes.
    body["logConfig"] = {**body.get("logConfig", {}), "enable": bool(state.get("log_config"))}
    return _link_networks({"secondaryIpRanges": [], **body}, state, change)


def _drop_disabled_log(body: Json, _state: Mapping[str, Any], _settings: Settings) -> Json:
    """A log configuration that is off is none in Terraform."""
    return {name: value for name, value in body.items() if name != "logConfig" or value.get("enable")}


def _encode_firewall(body: Json, state: Mapping[str, Any], change: Change) -> Json:
    blocks = state.get("log_config") or []
    body["logConfig"] = {"enable": bool(blocks), **({"metadata": blocks[0]["metadata"]} if blocks else {})}
    body["disabled"] = bool(state.get("disabled"))
    return _link_networks(body, state, change)


def _decode_firewall(body: Json, state: Mapping[str, Any], settings: Settings) -> Json:
    for rule in (*body.get("allowed", []), *body.get("denied", [])):
        rule["IPProtocol"] = rule.get("IPProtocol", "").lower()
    return _drop_disabled_log(body, state, settings)


def _settle_rule(state: dict[str, Any], body: Json, _settings: Settings) -> None:
    """An endpoint of Private Service Connect has no load balancing scheme, which Terraform writes as ""."""
    state["load_balancing_scheme"] = body.get("loadBalancingScheme", "")


def _encode_nat(body: Json, state: Mapping[str, Any], _change: Change) -> Json:
    for subnetwork in body.get("subnetworks", []):
        subnetwork["name"] = compute_link(subnetwork["name"], expand(_SUBNETWORKS, state))
    return body


def _decode_nat(body: Json, state: Mapping[str, Any], _settings: Settings) -> Json:
    shown = bool(state.get("log_config")) or body.get("logConfig", {}).get("enable")
    return {name: value for name, value in body.items() if name != "logConfig" or shown}


ROWS = (
    ResourceType(
        "google_compute_network",
        COMPUTE,
        "Network",
        "projects/{project}/global/networks/{name}",
        names={
            "routing_mode": "routingConfig.routingMode",
            "bgp_best_path_selection_mode": "routingConfig.bgpBestPathSelectionMode",
            "bgp_always_compare_med": "routingConfig.bgpAlwaysCompareMed",
            "bgp_inter_region_cost": "routingConfig.bgpInterRegionCost",
            "gateway_ipv4": "gatewayIPv4",
            "network_id": "id",
            "numeric_id": "id",
        },
        local=frozenset({"delete_default_routes_on_create", "delete_bgp_always_compare_med"}),
        encode=_encode_network,
    ),
    ResourceType(
        "google_compute_subnetwork",
        COMPUTE,
        "Subnetwork",
        _SUBNETWORKS + "{name}",
        update="PATCH fingerprint",
        names={"secondary_ip_range": "secondaryIpRanges", "subnetwork_id": "id"},
        sameness=links("network"),
        local=frozenset({"send_secondary_ip_range_if_empty"}),
        encode=_encode_subnetwork,
        decode=_drop_disabled_log,
        steps=(
            Step(
                changes=("ip_cidr_range",),
                suffix="/expandIpCidrRange",
                body=lambda state, _: {"ipCidrRange": state["ip_cidr_range"]},
            ),
            Step(
                changes=("private_ip_google_access",),
                suffix="/setPrivateIpGoogleAccess",
                body=lambda state, _: {"privateIpGoogleAccess": bool(state.get("private_ip_google_access"))},
            ),
        ),
    ),
    ResourceType(
        "google_compute_firewall",
        COMPUTE,
        "Firewall",
        "projects/{project}/global/firewalls/{name}",
        update="PATCH full",
        names={
            "allow": "allowed",
            "deny": "denied",
            "allow.protocol": "IPProtocol",
            "deny.protocol": "IPProtocol",
            "enable_logging": "",
        },
        sameness={**links("network"), "allow.protocol": "case", "deny.protocol": "case"},
        encode=_encode_firewall,
        decode=_decode_firewall,
    ),
    ResourceType(
        "google_compute_address",
        COMPUTE,
        "Address",
        "projects/{project}/regions/{region}/addresses/{name}",
        names={"address_id": "id"},
        sameness=links("network", "subnetwork"),
        encode=_link_networks,
        steps=(changed_labels(),),
    ),
    ResourceType(
        "google_compute_forwarding_rule",
        COMPUTE,
        "ForwardingRule",
        "projects/{project}/regions/{region}/forwardingRules/{name}",
        names={
            "ip_address": "IPAddress",
            "ip_protocol": "IPProtocol",
            "forwarding_rule_id": "id",
            "psc_connection_id": "pscConnectionId",
        },
        sameness={**links("network", "subnetwork", "target"), "ip_address": "address"},
        local=frozenset({"recreate_closed_psc"}),
        encode=_link_networks,
        steps=(
            changed_labels(),
            Step(changes=("target",), suffix="/setTarget", body=lambda state, _: {"target": state["target"]}),
        ),
        settle=_settle_rule,
    ),
    ResourceType(
        "google_compute_router",
        COMPUTE,
        "Router",
        "projects/{project}/regions/{region}/routers/{name}",
        sameness=links("network"),
        encode=_link_networks,
    ),
    ResourceType(
        "google_compute_router_nat",
        COMPUTE,
        "RouterNat",
        "{project}/{region}/{router}/{name}",
        item="/compute/v1/projects/{project}/regions/{region}/routers/{router}",
        imports=("projects/{project}/regions/{region}/routers/{router}/{name}",),
        element_of="nats",
        names={"subnetwork": "subnetworks"},
        forced=frozenset({"name", "project", "region", "router", "type"}),
        unserved=frozenset({"nat64_subnetwork", "source_subnetwork_ip_ranges_to_nat64"}),
        sameness=links("router", "subnetwork.name", "nat_ips", "initial_nat_ips", "drain_nat_ips"),
        encode=_encode_nat,
        decode=_decode_nat,
    ),
)
