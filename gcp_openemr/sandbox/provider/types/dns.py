"""Cloud DNS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gcp_openemr.sandbox.provider.types.model import (
    Api,
    Change,
    Json,
    ResourceType,
    Settings,
    expand,
    links,
    network_link,
)

__all__ = ["ROWS"]

_DNS = Api("dns", "v1", "/dns/v1/", "PATCH")
_ZONE = "projects/{project}/managedZones/{name}"
_RECORDS = "/dns/v1/projects/{project}/managedZones/{managed_zone}"


def _encode_zone(body: Json, _state: Mapping[str, Any], change: Change) -> Json:
    for network in body.get("privateVisibilityConfig", {}).get("networks", []):
        network["networkUrl"] = network_link(network["networkUrl"], change.settings)
    return body


def _empty_zone(state: Mapping[str, Any], change: Change) -> None:
    """`force_destroy` takes the records with the zone."""
    if not state.get("force_destroy"):
        return
    client, host = change.settings.client, _DNS.host
    path = f"/dns/v1/{expand(_ZONE, state)}"
    for record in client.call("GET", host, f"{path}/rrsets").get("rrsets", []):
        if record["type"] not in ("NS", "SOA"):
            client.call("POST", host, f"{path}/changes", {"deletions": [record]})


def _record(state: Mapping[str, Any]) -> Json:
    return {
        "kind": "dns#resourceRecordSet",
        "name": state["name"],
        "type": state["type"],
        "ttl": state.get("ttl") or 0,
        "rrdatas": list(state.get("rrdatas") or []),
    }


def _change_records(state: Mapping[str, Any], change: Change, body: Json) -> None:
    client, path = change.settings.client, expand(_RECORDS, state) + "/changes"
    done = client.call("POST", _DNS.host, path, body)
    client.poll(_DNS.host, f"{path}/{done['id']}", until=lambda found: found.get("status") == "done")


def _create_record(state: Mapping[str, Any], change: Change) -> None:
    _change_records(state, change, {"additions": [_record(state)]})


def _update_record(state: Mapping[str, Any], change: Change) -> None:
    _change_records(state, change, {"deletions": [_record(change.prior or {})], "additions": [_record(state)]})


def _delete_record(state: Mapping[str, Any], change: Change) -> None:
    _change_records(state, change, {"deletions": [_record(state)]})


def _read_record(state: Mapping[str, Any], settings: Settings) -> Json | None:
    query = {"name": str(state["name"]), "type": str(state["type"])}
    found = settings.client.call("GET", _DNS.host, expand(_RECORDS, state) + "/rrsets", query=query).get("rrsets", [])
    return next((one for one in found if (one["name"], one["type"]) == (state["name"], state["type"])), None)


ROWS = (
    ResourceType(
        "google_dns_managed_zone",
        _DNS,
        "ManagedZone",
        _ZONE,
        names={"managed_zone_id": "id", "project": ""},
        sameness={
            "dns_name": "dns_name",
            **links("private_visibility_config.networks.network_url", "peering_config.target_network.network_url"),
        },
        local=frozenset({"force_destroy"}),
        encode=_encode_zone,
        before_delete=_empty_zone,
    ),
    ResourceType(
        "google_dns_record_set",
        _DNS,
        "ResourceRecordSet",
        "projects/{project}/managedZones/{managed_zone}/rrsets/{name}/{type}",
        title="DNS RecordSet",
        forced=frozenset({"managed_zone", "name", "project"}),
        unserved=frozenset({"routing_policy"}),
        sameness=links("managed_zone"),
        create=_create_record,
        updating=_update_record,
        delete=_delete_record,
        fetch=_read_record,
    ),
)
