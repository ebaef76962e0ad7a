"""Compute Engine: networks, subnets, firewalls, addresses, forwarding rules, routers and NAT."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gcp_openemr.sandbox.provider.rest import ApiError
from gcp_openemr.sandbox.provider.types.model import (
    Change,
    Json,
    ResourceType,
    Settings,
    compute_link,
    expand,
    network_link,
    short,
)

__all__ = ["ROWS"]

_COMPUTE = ("compute", "v1")
_PLACES = {"region": "", "zone": "", "project": ""}


def _link_networks(body: Json, state: Mapping[str, Any], change: Change) -> Json:
    """Names of networks and subnetworks become links, as Compute Engine wants them."""
    if isinstance(body.get("network"), str):
        body["network"] = network_link(body["network"], change.settings)
    if isinstance(body.get("subnetwork"), str):
        collection = f"projects/{state.get('project')}/regions/{state.get('region')}/subnetworks/"
        body["subnetwork"] = compute_link(body["subnetwork"], collection)
    return body


def _encode_network(body: Json, state: Mapping[str, Any], change: Change) -> Json:
    if change.prior is None:
        body["autoCreateSubnetworks"] = bool(state.get("auto_create_subnetworks"))
    return body


def _update_subnetwork(state: Mapping[str, Any], change: Change) -> None:
    """Compute Engine has a method of its own for two of the settings; the rest is one PATCH with a fingerprint."""
    prior = change.prior or {}
    client, row, path = change.settings.client, change.row, expand(change.row.item, state)

    def send(method: str, suffix: str, body: Json) -> None:
        operation = client.call(method, row.host, path + suffix, body)
        client.wait("compute", row.host, row.version, operation, row.timeouts.update)

    if state["ip_cidr_range"] != prior["ip_cidr_range"]:
        send("POST", "/expandIpCidrRange", {"ipCidrRange": state["ip_cidr_range"]})
    access = bool(state.get("private_ip_google_access"))
    if access != bool(prior.get("private_ip_google_access")):
        send("POST", "/setPrivateIpGoogleAccess", {"privateIpGoogleAccess": access})
    patched: Json = {}
    if state.get("log_config") != prior.get("log_config"):
        patched["logConfig"] = _log_config(state)
    if state.get("secondary_ip_range") != prior.get("secondary_ip_range"):
        patched["secondaryIpRanges"] = [
            {"rangeName": one["range_name"], "ipCidrRange": one["ip_cidr_range"]}
            for one in state.get("secondary_ip_range") or []
        ]
    if patched:
        patched["fingerprint"] = client.call("GET", row.host, path).get("fingerprint", "")
        send("PATCH", "", patched)


def _log_config(state: Mapping[str, Any]) -> Json:
    blocks = state.get("log_config") or []
    if not blocks:
        return {"enable": False}
    said = blocks[0]
    return {
        "enable": True,
        "aggregationInterval": said["aggregation_interval"],
        "flowSampling": said["flow_sampling"],
        "metadata": said["metadata"],
        "filterExpr": said["filter_expr"],
    }


def _encode_subnetwork(body: Json, state: Mapping[str, Any], change: Change) -> Json:
    if state.get("log_config"):
        body["logConfig"] = _log_config(state)
    return _link_networks(body, state, change)


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


def _set_labels(state: Mapping[str, Any], change: Change) -> None:
    """Compute Engine's labels have their own method, with a fingerprint against lost updates."""
    client, row, path = change.settings.client, change.row, expand(change.row.item, state)
    fingerprint = client.call("GET", row.host, path).get("labelFingerprint", "")
    body = {"labels": dict(state.get("effective_labels") or {}), "labelFingerprint": fingerprint}
    operation = client.call("POST", row.host, path + "/setLabels", body)
    client.wait("compute", row.host, row.version, operation, row.timeouts.update)


def _update_rule(state: Mapping[str, Any], change: Change) -> None:
    prior = change.prior or {}
    client, row, path = change.settings.client, change.row, expand(change.row.item, state)
    if state.get("effective_labels") != prior.get("effective_labels"):
        _set_labels(state, change)
    if state.get("target") != prior.get("target"):
        operation = client.call("POST", row.host, path + "/setTarget", {"target": state["target"]})
        client.wait("compute", row.host, row.version, operation, row.timeouts.update)
    if bool(state.get("allow_global_access")) != bool(prior.get("allow_global_access")):
        operation = client.call("PATCH", row.host, path, {"allowGlobalAccess": bool(state["allow_global_access"])})
        client.wait("compute", row.host, row.version, operation, row.timeouts.update)


def _nat_router(state: Mapping[str, Any], settings: Settings) -> tuple[str, Json]:
    path = "/compute/v1/" + expand("projects/{project}/regions/{region}/routers/", state) + short(state["router"])
    return path, settings.client.call("GET", "compute.googleapis.com", path)


def _nat(state: Mapping[str, Any]) -> Json:
    """A NAT is an element of its router; only what is said is sent."""
    simple = {
        "name": "name",
        "type": "type",
        "nat_ip_allocate_option": "natIpAllocateOption",
        "source_subnetwork_ip_ranges_to_nat": "sourceSubnetworkIpRangesToNat",
        "nat_ips": "natIps",
        "min_ports_per_vm": "minPortsPerVm",
        "max_ports_per_vm": "maxPortsPerVm",
        "enable_dynamic_port_allocation": "enableDynamicPortAllocation",
        "enable_endpoint_independent_mapping": "enableEndpointIndependentMapping",
        "icmp_idle_timeout_sec": "icmpIdleTimeoutSec",
        "tcp_established_idle_timeout_sec": "tcpEstablishedIdleTimeoutSec",
        "tcp_time_wait_timeout_sec": "tcpTimeWaitTimeoutSec",
        "tcp_transitory_idle_timeout_sec": "tcpTransitoryIdleTimeoutSec",
        "udp_idle_timeout_sec": "udpIdleTimeoutSec",
    }
    nat: Json = {theirs: state[ours] for ours, theirs in simple.items() if state.get(ours) not in (None, "", [])}
    nat["subnetworks"] = [
        {
            "name": compute_link(one["name"], expand("projects/{project}/regions/{region}/subnetworks/", state)),
            "sourceIpRangesToNat": one["source_ip_ranges_to_nat"],
            "secondaryIpRangeNames": one.get("secondary_ip_range_names") or [],
        }
        for one in state.get("subnetwork") or []
    ]
    for said in state.get("log_config") or []:
        nat["logConfig"] = {"enable": said["enable"], "filter": said["filter"]}
    return nat


def _replace_nat(state: Mapping[str, Any], change: Change, nat: Json | None) -> None:
    path, router = _nat_router(state, change.settings)
    others = [one for one in router.get("nats", []) if one["name"] != state["name"]]
    if change.prior is None and len(others) != len(router.get("nats", [])):
        raise ApiError(409, {"error": {"message": f"The NAT {state['name']} already exists in its router"}})
    client, row = change.settings.client, change.row
    operation = client.call("PATCH", row.host, path, {"nats": others + ([nat] if nat else [])})
    client.wait("compute", row.host, row.version, operation, row.timeouts.update)


def _write_nat(state: Mapping[str, Any], change: Change) -> None:
    _replace_nat(state, change, _nat(state))


def _delete_nat(state: Mapping[str, Any], change: Change) -> None:
    _replace_nat(state, change, None)


def _read_nat(state: Mapping[str, Any], settings: Settings) -> dict[str, Any] | None:
    _, router = _nat_router(state, settings)
    found = [one for one in router.get("nats", []) if one["name"] == state["name"]]
    if not found:
        return None
    nat = found[0]
    read = {name: value for name, value in state.items() if not isinstance(value, type(None))}
    computed = {
        "auto_network_tier": nat.get("autoNetworkTier", ""),
        "drain_nat_ips": nat.get("drainNatIps", []),
        "enable_dynamic_port_allocation": nat.get("enableDynamicPortAllocation", False),
        "enable_endpoint_independent_mapping": nat.get("enableEndpointIndependentMapping", False),
        "endpoint_types": nat.get("endpointTypes", []),
        "min_ports_per_vm": nat.get("minPortsPerVm", 0),
        "nat_ips": nat.get("natIps", []),
        "nat_ip_allocate_option": nat.get("natIpAllocateOption"),
        "source_subnetwork_ip_ranges_to_nat": nat.get("sourceSubnetworkIpRangesToNat"),
        "log_config": [
            {"enable": one.get("enable", False), "filter": one.get("filter", "ALL")}
            for one in filter(None, [nat.get("logConfig")])
            if one.get("enable") or state.get("log_config")
        ],
        "subnetwork": [
            {
                "name": one["name"],
                "source_ip_ranges_to_nat": one.get("sourceIpRangesToNat", []),
                "secondary_ip_range_names": one.get("secondaryIpRangeNames", []),
            }
            for one in nat.get("subnetworks", [])
        ],
    }
    return {**state, **read, **computed, "id": expand("{project}/{region}/{router}/{name}", state)}


ROWS = (
    ResourceType(
        type="google_compute_network",
        title="Network",
        api=_COMPUTE,
        schema="Network",
        collection="/compute/v1/projects/{project}/global/networks",
        item="/compute/v1/projects/{project}/global/networks/{name}",
        id="projects/{project}/global/networks/{name}",
        wait="compute",
        update="PATCH",
        names={
            **_PLACES,
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
        type="google_compute_subnetwork",
        title="Subnetwork",
        api=_COMPUTE,
        schema="Subnetwork",
        collection="/compute/v1/projects/{project}/regions/{region}/subnetworks",
        item="/compute/v1/projects/{project}/regions/{region}/subnetworks/{name}",
        id="projects/{project}/regions/{region}/subnetworks/{name}",
        wait="compute",
        names={**_PLACES, "secondary_ip_range": "secondaryIpRanges", "subnetwork_id": "id"},
        sameness={"network": "link"},
        local=frozenset({"send_secondary_ip_range_if_empty"}),
        encode=_encode_subnetwork,
        decode=_drop_disabled_log,
        updating=_update_subnetwork,
    ),
    ResourceType(
        type="google_compute_firewall",
        title="Firewall",
        api=_COMPUTE,
        schema="Firewall",
        collection="/compute/v1/projects/{project}/global/firewalls",
        item="/compute/v1/projects/{project}/global/firewalls/{name}",
        id="projects/{project}/global/firewalls/{name}",
        wait="compute",
        update="PATCH full",
        names={
            **_PLACES,
            "allow": "allowed",
            "deny": "denied",
            "allow.protocol": "IPProtocol",
            "deny.protocol": "IPProtocol",
            "enable_logging": "",
        },
        sameness={"network": "link", "allow.protocol": "case", "deny.protocol": "case"},
        encode=_encode_firewall,
        decode=_decode_firewall,
    ),
    ResourceType(
        type="google_compute_address",
        title="Address",
        api=_COMPUTE,
        schema="Address",
        collection="/compute/v1/projects/{project}/regions/{region}/addresses",
        item="/compute/v1/projects/{project}/regions/{region}/addresses/{name}",
        id="projects/{project}/regions/{region}/addresses/{name}",
        wait="compute",
        names={**_PLACES, "address_id": "id"},
        sameness={"network": "link", "subnetwork": "link"},
        encode=_link_networks,
        updating=_set_labels,
    ),
    ResourceType(
        type="google_compute_forwarding_rule",
        title="ForwardingRule",
        api=_COMPUTE,
        schema="ForwardingRule",
        collection="/compute/v1/projects/{project}/regions/{region}/forwardingRules",
        item="/compute/v1/projects/{project}/regions/{region}/forwardingRules/{name}",
        id="projects/{project}/regions/{region}/forwardingRules/{name}",
        wait="compute",
        names={
            **_PLACES,
            "ip_address": "IPAddress",
            "ip_protocol": "IPProtocol",
            "forwarding_rule_id": "id",
            "psc_connection_id": "pscConnectionId",
        },
        # An address may be given by name or link and is reported as an address.
        input_only=frozenset({"ip_address"}),
        sameness={"network": "link", "subnetwork": "link", "target": "link", "ip_address": "link"},
        local=frozenset({"recreate_closed_psc"}),
        encode=_link_networks,
        updating=_update_rule,
        settle=_settle_rule,
    ),
    ResourceType(
        type="google_compute_router",
        title="Router",
        api=_COMPUTE,
        schema="Router",
        collection="/compute/v1/projects/{project}/regions/{region}/routers",
        item="/compute/v1/projects/{project}/regions/{region}/routers/{name}",
        id="projects/{project}/regions/{region}/routers/{name}",
        wait="compute",
        update="PATCH",
        names=_PLACES,
        sameness={"network": "link"},
        encode=_link_networks,
    ),
    ResourceType(
        type="google_compute_router_nat",
        title="RouterNat",
        api=_COMPUTE,
        schema="RouterNat",
        collection="/compute/v1/projects/{project}/regions/{region}/routers/{router}",
        item="",
        id="{project}/{region}/{router}/{name}",
        imports=("projects/{project}/regions/{region}/routers/{router}/{name}",),
        forced=frozenset({"name", "project", "region", "router", "type"}),
        unserved=frozenset(
            {
                "auto_network_tier",
                "drain_nat_ips",
                "endpoint_types",
                "initial_nat_ips",
                "nat64_subnetwork",
                "rules",
                "source_subnetwork_ip_ranges_to_nat64",
            }
        ),
        sameness={"router": "link", "subnetwork.name": "link", "nat_ips": "link", "initial_nat_ips": "link"},
        create=_write_nat,
        updating=_write_nat,
        reading=_read_nat,
        delete=_delete_nat,
    ),
)
