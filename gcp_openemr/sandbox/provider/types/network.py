"""Compute Engine: networks, subnets, firewalls, addresses, forwarding rules, routers and NAT."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from gcp_openemr.sandbox.provider.types.model import Change, Hooks, Json, Settings, compute_link, expand, network_link

__all__ = ["HOOKS"]

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


def _plan_subnetwork(
    state: dict[str, Any], prior: Mapping[str, Any] | None, _config: Mapping[str, Any], _settings: Settings
) -> tuple[str, ...]:
    """A range is only widened: any that leaves out a part of the old one is another subnetwork's."""
    new, old = state.get("ip_cidr_range"), (prior or {}).get("ip_cidr_range")
    if not isinstance(new, str) or not old:
        return ()
    return () if ipaddress.IPv4Network(old).subnet_of(ipaddress.IPv4Network(new)) else ("ip_cidr_range",)


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


HOOKS = {
    "google_compute_network": Hooks(encode=_encode_network),
    "google_compute_subnetwork": Hooks(on_plan=_plan_subnetwork, encode=_encode_subnetwork, decode=_drop_disabled_log),
    "google_compute_firewall": Hooks(encode=_encode_firewall, decode=_decode_firewall),
    "google_compute_address": Hooks(encode=_link_networks),
    "google_compute_forwarding_rule": Hooks(encode=_link_networks, settle=_settle_rule),
    "google_compute_router": Hooks(encode=_link_networks),
    "google_compute_router_nat": Hooks(encode=_encode_nat, decode=_decode_nat),
}
