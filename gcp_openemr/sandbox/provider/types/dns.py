"""Cloud DNS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gcp_openemr.sandbox.provider.types.model import Change, Json, ResourceType, Settings, expand, network_link

__all__ = ["ROWS"]

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
    client, host = change.settings.client, change.row.host
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
    done = client.call("POST", change.row.host, path, body)
    client.poll(change.row.host, f"{path}/{done['id']}", until=lambda found: found.get("status") == "done")


def _create_record(state: Mapping[str, Any], change: Change) -> None:
    _change_records(state, change, {"additions": [_record(state)]})


def _update_record(state: Mapping[str, Any], change: Change) -> None:
    _change_records(state, change, {"deletions": [_record(change.prior or {})], "additions": [_record(state)]})


def _delete_record(state: Mapping[str, Any], change: Change) -> None:
    _change_records(state, change, {"deletions": [_record(state)]})


def _read_record(state: Mapping[str, Any], settings: Settings) -> dict[str, Any] | None:
    query = {"name": str(state["name"]), "type": str(state["type"])}
    path = expand(_RECORDS, state)
    answer = settings.client.call("GET", "dns.googleapis.com", f"{path}/rrsets", query=query)
    found = [one for one in answer.get("rrsets", []) if (one["name"], one["type"]) == (state["name"], state["type"])]
    if not found:
        return None
    identity = path.removeprefix("/dns/v1/") + f"/rrsets/{state['name']}/{state['type']}"
    return {**state, "ttl": found[0].get("ttl"), "rrdatas": found[0].get("rrdatas", []), "id": identity}


ROWS = (
    ResourceType(
        type="google_dns_managed_zone",
        title="ManagedZone",
        api=("dns", "v1"),
        schema="ManagedZone",
        collection="/dns/v1/projects/{project}/managedZones",
        item=f"/dns/v1/{_ZONE}",
        id=_ZONE,
        update="PATCH",
        names={"managed_zone_id": "id", "project": ""},
        sameness={
            "dns_name": "dns_name",
            "private_visibility_config.networks.network_url": "link",
            "peering_config.target_network.network_url": "link",
        },
        local=frozenset({"force_destroy"}),
        encode=_encode_zone,
        before_delete=_empty_zone,
    ),
    ResourceType(
        type="google_dns_record_set",
        title="DNS RecordSet",
        api=("dns", "v1"),
        schema="ResourceRecordSet",
        collection=_RECORDS,
        item="",
        id="projects/{project}/managedZones/{managed_zone}/rrsets/{name}/{type}",
        forced=frozenset({"managed_zone", "name", "project"}),
        unserved=frozenset({"routing_policy"}),
        sameness={"managed_zone": "link"},
        create=_create_record,
        updating=_update_record,
        delete=_delete_record,
        reading=_read_record,
    ),
)
