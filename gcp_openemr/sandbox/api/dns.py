"""Cloud DNS v1: managed zones, record sets, changes."""

from __future__ import annotations

import re
import secrets

from gcp_openemr.sandbox.api import crud
from gcp_openemr.sandbox.api.listing import listed
from gcp_openemr.sandbox.api.names import now
from gcp_openemr.sandbox.api.refusals import demand, existing, refuse, refuse_if
from gcp_openemr.sandbox.api.rules import Call, Change, Collection, Json, Record, Store, fill, handles

_DNS_NAME = re.compile(r"(?:\*\.)?(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+", re.IGNORECASE)
_OWN_TYPES = {"NS", "SOA"}
_PRIVATE_SERVER = "ns-gcp-private.googledomains.com."


def _complete(change: Change) -> None:
    new = change.new
    if not _DNS_NAME.fullmatch(str(new.get("dnsName") or "")):
        raise refuse("dns.name", field="entity.managedZone.dnsName", value=new.get("dnsName", ""))
    fill(new, visibility="public", description="", cloudLoggingConfig={"kind": "dns#managedZoneCloudLoggingConfig"})
    private = new["visibility"] == "private"
    for network in (new.get("privateVisibilityConfig") or {}).get("networks") or ():
        _check_network(change.call.store, str(network.get("networkUrl") or ""))
    if change.old is None:
        new["id"] = str(secrets.randbits(62))
        servers = [_PRIVATE_SERVER] if private else [f"ns-cloud-{letter}1.googledomains.com." for letter in "abcd"]
        new["nameServers"] = servers
        _put_own_records(change, servers)


def _check_network(store: Store, url: str) -> None:
    path = url[url.find("projects/") :]
    if store.get(f"compute.googleapis.com/{path}") is None:
        raise refuse("dns.name", field="entity.managedZone.privateVisibilityConfig", value=url)


def _put_own_records(change: Change, servers: list[str]) -> None:
    zone = str(change.new["dnsName"])
    soa = f"{servers[0]} cloud-dns-hostmaster.google.com. 1 21600 3600 259200 300"
    for kind, values in (("NS", servers), ("SOA", [soa])):
        record: Json = {"kind": "dns#resourceRecordSet", "name": zone, "type": kind, "ttl": 21600, "rrdatas": values}
        change.call.store.put(f"{change.name}/rrsets/{zone}/{kind}", record)


def _deletable(call: Call, record: Record) -> None:
    if any(rrset.body["type"] not in _OWN_TYPES for rrset in call.store.list(f"{record.name}/rrsets/")):
        raise refuse("dns.not-empty", name=call.parameters["managedZone"])


ZONES = Collection("dns.managedZones", complete=_complete, deletable=_deletable, immutable=("dnsName", "visibility"))


def _zone(call: Call) -> Record:
    zone = crud.existing(call, ZONES, call.name.split("/rrsets")[0].split("/changes")[0])
    verb = "update" if call.verb == "patch" else call.verb
    call.authorize(f"dns.{call.collection.split('.')[1]}.{verb}", zone.name)
    call.app.authorize_uses(call, zone.name, _changed(call.body) if call.method.id == "dns.changes.create" else {})
    return zone


def _changed(body: Json) -> Json:
    """Records of a change by what happens to them: one that is taken away and comes again is updated."""
    gone, new = ({(r.get("name"), r.get("type")) for r in body.get(what) or ()} for what in ("deletions", "additions"))
    return {"created": new - gone, "updated": new & gone, "deleted": gone - new}


def _checked(zone: Record, rrset: Json, place: str) -> Json:
    name = str(rrset.get("name") or "").lower()
    dns_name = str(zone.body["dnsName"]).lower()
    inside = name == dns_name or name.endswith(f".{dns_name}")
    if not _DNS_NAME.fullmatch(name) or not inside:
        raise refuse("dns.name", field=f"{place}.name", value=rrset.get("name", ""))
    refuse_if(not rrset.get("type") or not rrset.get("rrdatas"), "dns.record-required", place=place)
    return {"kind": "dns#resourceRecordSet", "ttl": 0, **rrset, "name": name}


def _add(call: Call, zone: Record, rrset: Json, place: str) -> Json:
    checked = _checked(zone, rrset, place)
    name = f"{zone.name}/rrsets/{checked['name']}/{checked['type']}"
    if call.store.get(name) is not None:
        raise refuse("dns.record-exists", place=place, name=checked["name"], type=checked["type"])
    call.store.put(name, checked)
    return checked


def _remove(call: Call, zone: Record, rrset: Json, place: str) -> Json:
    checked = _checked(zone, rrset, place)
    name = f"{zone.name}/rrsets/{checked['name']}/{checked['type']}"
    record = demand(call.store.get(name), "dns.record-missing", place=place, name=checked["name"], type=checked["type"])
    if any(record.body.get(key) != checked.get(key) for key in ("ttl", "rrdatas")):
        raise refuse("dns.record-changed", place=place)
    call.store.delete(name)
    return record.body


@handles("dns.changes.create")
def change(call: Call) -> Json:
    with call.store.transaction():
        zone = _zone(call)
        done = {
            what: [
                change_one(call, zone, rrset, f"entity.change.{what}[{place}]")
                for place, rrset in enumerate(call.body.get(what) or ())
            ]
            for what, change_one in (("deletions", _remove), ("additions", _add))
        }
        for kind in sorted(_OWN_TYPES):
            refuse_if(
                call.store.get(f"{zone.name}/rrsets/{zone.body['dnsName']}/{kind}") is None, "dns.apex", type=kind
            )
        number = str(call.store.next_number(f"change/{zone.name}"))
        changed = {what: rrsets for what, rrsets in done.items() if rrsets}
        result: Json = {"kind": "dns#change", "id": number, "startTime": now(), "status": "done", **changed}
        call.store.put(f"{zone.name}/changes/{number}", result)
    return result


@handles("dns.changes.get")
def get_change(call: Call) -> Json:
    _zone(call)
    return existing(call.store, call.name, "changeId").body


@handles("dns.resourceRecordSets.create")
def create(call: Call) -> Json:
    with call.store.transaction():
        return _add(call, _zone(call), call.body, "entity.rrset")


@handles("dns.resourceRecordSets.get")
def get(call: Call) -> Json:
    _zone(call)
    return _rrset(call).body


@handles("dns.resourceRecordSets.patch")
def patch(call: Call) -> Json:
    with call.store.transaction():
        zone = _zone(call)
        old = _rrset(call)
        new = _checked(zone, {**old.body, **call.body}, "entity.rrset")
        call.store.put(old.name, new)
    return new


@handles("dns.resourceRecordSets.delete")
def delete(call: Call) -> Json:
    with call.store.transaction():
        zone = _zone(call)
        record = _rrset(call)
        if record.body["type"] in _OWN_TYPES and record.body["name"] == zone.body["dnsName"]:
            raise refuse("dns.apex", type=record.body["type"])
        call.store.delete(record.name)
    return {}


@handles("dns.resourceRecordSets.list")
def list_(call: Call) -> Json:
    zone = _zone(call)
    wanted = {"name": call.one("name").lower(), "type": call.one("type")}
    found = [
        (record.name, record.body)
        for record in call.store.list(f"{zone.name}/rrsets/")
        if all(not value or record.body[key] == value for key, value in wanted.items())
    ]
    kind = "dns#resourceRecordSetsListResponse"
    return {"rrsets": []} | listed(call, found, "rrsets", kind=kind, default_size=100)


def _rrset(call: Call) -> Record:
    name = call.name.rsplit("/", 2)
    record = call.store.get(f"{name[0]}/{name[1].lower()}/{name[2]}")
    if record is None:
        raise refuse("dns.record-missing", place="parameters.name", name=name[1], type=name[2])
    return record
