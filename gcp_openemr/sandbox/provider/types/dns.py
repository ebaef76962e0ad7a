"""Cloud DNS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gcp_openemr.sandbox.provider.types.model import Change, Hooks, Json, Settings, expand, network_link

__all__ = ["HOOKS"]

_HOST = "dns.googleapis.com"
_ZONE = "/dns/v1/projects/{project}/managedZones/{name}"
_RECORDS = "/dns/v1/projects/{project}/managedZones/{managed_zone}"


def _encode_zone(body: Json, _state: Mapping[str, Any], change: Change) -> Json:
    for network in body.get("privateVisibilityConfig", {}).get("networks", []):
        network["networkUrl"] = network_link(network["networkUrl"], change.settings)
    return body


def _empty_zone(state: Mapping[str, Any], change: Change) -> None:
    """`force_destroy` takes the records with the zone."""
    if not state.get("force_destroy"):
        return
    client, host = change.settings.client, _HOST
    path = expand(_ZONE, state)
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
    done = client.call("POST", _HOST, path, body)
    client.poll(_HOST, f"{path}/{done['id']}", until=lambda found: found.get("status") == "done")


def _create_record(state: Mapping[str, Any], change: Change) -> None:
    _change_records(state, change, {"additions": [_record(state)]})


def _update_record(state: Mapping[str, Any], change: Change) -> None:
    _change_records(state, change, {"deletions": [_record(change.prior or {})], "additions": [_record(state)]})


def _delete_record(state: Mapping[str, Any], change: Change) -> None:
    _change_records(state, change, {"deletions": [_record(state)]})


def _read_record(state: Mapping[str, Any], settings: Settings) -> Json | None:
    query = {"name": str(state["name"]), "type": str(state["type"])}
    found = settings.client.call("GET", _HOST, expand(_RECORDS, state) + "/rrsets", query=query).get("rrsets", [])
    return next((one for one in found if (one["name"], one["type"]) == (state["name"], state["type"])), None)


HOOKS = {
    "google_dns_managed_zone": Hooks(encode=_encode_zone, before_delete=_empty_zone),
    "google_dns_record_set": Hooks(
        create=_create_record, updating=_update_record, delete=_delete_record, fetch=_read_record
    ),
}
