"""Networks, subnetworks, firewalls, routers, reserved addresses, and which internal addresses are taken by whom.

Forwarding rules are as Private Service Connect uses them: an address of the network that answers for a database.
"""

from __future__ import annotations

import ipaddress
import secrets
import time
from collections.abc import Iterator

from gcp_openemr.sandbox.api.compute import links
from gcp_openemr.sandbox.api.envelopes import COMPUTE_ROOT
from gcp_openemr.sandbox.api.names import id_of, new_uid, path_of, project_number, project_of, segment
from gcp_openemr.sandbox.api.refusals import beyond_if, existing, missing, refuse, refuse_if
from gcp_openemr.sandbox.api.rules import WORK, ApiError, App, Call, Change, Collection, Json, Operation, fill
from gcp_openemr.sandbox.api.store import Record, Store

__all__ = ["HELD", "NETWORKS_LIMIT", "address_of", "adopt", "hold_addresses", "in_use"]

HELD = "run.googleapis.com/held/"
_HOLD_SECONDS = 5400.0
_WIDEST, _NARROWEST = 4, 29  # prefix lengths of a subnetwork
# What a young project may have (https://cloud.google.com/vpc/docs/quota).
NETWORKS_LIMIT = 15
_ATTACHMENT = "/serviceAttachments/"


def hold_addresses(app: App, name: str, template: Json) -> None:
    """Keep a subnetwork's addresses from now on, inside the caller's transaction.

    Writes `{HELD}{project}/{region}/{subnetwork}/{unique}` with `since` (seconds of the epoch) and Google's `id`.
    """
    if not app.settings.held_addresses:
        return
    for subnetwork in _subnetworks_of(name, template):
        project, region, unique = project_of(subnetwork), segment(subnetwork, "regions"), new_uid()
        body = {
            "id": f"projects/{project}/regions/{region}/addressReservations/serverless-ipv4-{unique[:18]}",
            "kind": "serverless.googleapis.com/addressReservations",
            "since": time.time(),
        }
        app.store.put(f"{HELD}{project}/{region}/{id_of(subnetwork)}/{unique}", body)


def _subnetworks_of(name: str, template: Json) -> Iterator[str]:
    """Full names of the subnetworks in which a service or job of Cloud Run has addresses."""
    for interface in (template.get("vpcAccess") or {}).get("networkInterfaces") or ():
        given = str(interface.get("subnetwork") or interface.get("network"))
        project, region = segment(given, "projects") or project_of(name), segment(name, "locations")
        yield f"compute.googleapis.com/projects/{project}/regions/{region}/subnetworks/{id_of(given)}"


def _subnet_range(store: Store, subnetwork: str) -> ipaddress.IPv4Network:
    """The primary range of a subnetwork by URL. Raises 404 when there is none."""
    record = existing(store, links.full_name(subnetwork))
    return ipaddress.IPv4Network(record.body["ipCidrRange"])


def _free_address(store: Store, subnetwork: str, *, mine: str = "") -> str:
    """The first address of a subnetwork that nobody has. Google keeps the first two and the last two."""
    whole = _subnet_range(store, subnetwork)
    taken = {address for address, owner in _taken(store, project_of(subnetwork)) if owner != mine}
    for number in range(2, whole.num_addresses - 2):
        candidate = str(whole[number])
        if candidate not in taken:
            return candidate
    raise refuse("compute.ip-exhausted", name=path_of(links.full_name(subnetwork)))


def _check_free(store: Store, subnetwork: str, address: str, *, allowed: str, among: str = "") -> None:
    """Refuse an address outside the subnetwork, or one that somebody has other than the resource `allowed`.

    `among` limits who counts: an address that a machine uses can be reserved for it
    (https://cloud.google.com/compute/docs/ip-addresses/reserve-static-internal-ip-address#promote_address).
    """
    whole = _subnet_range(store, subnetwork)
    try:
        inside = ipaddress.IPv4Address(address) in whole
    except ValueError as error:
        raise refuse("compute.ip-invalid", address=address) from error
    refuse_if(not inside, "compute.ip-outside", address=address, range=whole)
    owners = {owner for taken, owner in _taken(store, project_of(subnetwork)) if taken == address and among in owner}
    refuse_if(owners - {allowed}, "compute.ip-in-use", address=address)


def _users_of(store: Store, name: str, address: str) -> list[str]:
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


def adopt(change: Change) -> Json:
    """References in full, and all of them there. Returns the resource."""
    new: Json = links.normalize(change.call.store, change.new, project_of(change.name))
    links.check_references(change.call.store, new)
    change.new = new
    return new


def in_use(call: Call, record: Record) -> None:
    links.refuse_if_used(call.store, record.name, [])


def _network(change: Change) -> None:
    new = adopt(change)
    new.setdefault("autoCreateSubnetworks", True)
    if change.old is None and new["autoCreateSubnetworks"] and "IPv4Range" not in new:
        message = "The sandbox stands in for custom mode networks: set autoCreateSubnetworks to false."
        raise ApiError(501, message)
    if change.old is None:
        _check_quota(change)
    fill(new, routingConfig={"routingMode": "REGIONAL"}, networkFirewallPolicyEnforcementOrder="AFTER_CLASSIC_FIREWALL")
    new["selfLinkWithId"] = f"{links.self_link(change.name).rsplit('/', 1)[0]}/{new['id']}"


def _check_quota(change: Change) -> None:
    """`settings.quotas` 1 gives a project as many networks as Google gives a young one; 0 counts nothing."""
    limit = NETWORKS_LIMIT * change.call.app.settings.quotas
    used = len(change.call.store.list(change.name.rsplit("/", 1)[0] + "/"))
    refuse_if(limit and used + 1 > limit, "compute.quota", metric="NETWORKS", limit=f"{limit:.1f}")


def _network_shown(call: Call, body: Json) -> Json:
    project = project_of(links.full_name(body["selfLink"]))
    subnetworks = [
        record.body["selfLink"]
        for record in call.store.list(f"compute.googleapis.com/projects/{project}/regions/")
        if segment(record.name, "subnetworks") and record.body.get("network") == body["selfLink"]
    ]
    return {**body, **({"subnetworks": subnetworks} if subnetworks else {})}


def _subnetwork(change: Change) -> None:
    links.check_fingerprint(change, "subnetwork")
    new = adopt(change)
    refuse_if(not new.get("network"), "compute.required", field="network", why="The network is required.")
    whole = _range(str(new.get("ipCidrRange") or ""))
    _refuse_overlap(change.call, change.name, new["network"], whole)
    fill(new, privateIpGoogleAccess=False, purpose="PRIVATE", stackType="IPV4_ONLY")
    new |= {
        "gatewayAddress": str(whole[1]),
        "privateIpv6GoogleAccess": new.get("privateIpv6GoogleAccess", "DISABLE_GOOGLE_ACCESS"),
        "fingerprint": links.fingerprint(),
    }


def _range(given: str) -> ipaddress.IPv4Network:
    try:
        whole = ipaddress.IPv4Network(given)
    except ValueError as error:
        raise refuse("compute.cidr", field="ipCidrRange", value=given) from error
    if not _WIDEST <= whole.prefixlen <= _NARROWEST:
        raise refuse("compute.cidr-size", field="ipCidrRange", value=given, widest=_WIDEST, narrowest=_NARROWEST)
    return whole


def _refuse_overlap(call: Call, name: str, network: str, whole: ipaddress.IPv4Network) -> None:
    for record in call.store.list(f"compute.googleapis.com/projects/{project_of(name)}/regions/"):
        other = record.body
        same = segment(record.name, "subnetworks") and other.get("network") == network
        if same and record.name != name and whole.overlaps(ipaddress.IPv4Network(other["ipCidrRange"])):
            region = segment(record.name, "regions")
            raise refuse("compute.cidr-overlap", range=whole, other=other["name"], region=region)


def _expand(call: Call, body: Json) -> Json:
    """`expandIpCidrRange`: the new range holds the old one."""
    given = str(call.body.get("ipCidrRange") or "")
    whole, old = _range(given), ipaddress.IPv4Network(body["ipCidrRange"])
    if not whole.supernet_of(old) or whole == old:
        raise refuse("compute.cidr-grow", field="ipCidrRange", value=given, range=old)
    _refuse_overlap(call, call.name, body["network"], whole)
    return {"ipCidrRange": str(whole), "gatewayAddress": str(whole[1])}


def _subnetwork_free(call: Call, record: Record) -> None:
    """Cloud NAT serves it; Cloud Run has addresses in it, for a while after the last revision is gone too."""
    users = [*_of_cloud_run(call.store, record.name), *_routers_of(call.store, record.name)]
    links.refuse_if_used(call.store, record.name, users)
    path = path_of(record.name)
    seconds = _HOLD_SECONDS * call.app.settings.held_addresses
    for held in call.store.list(f"{HELD}{project_of(path)}/{segment(path, 'regions')}/{id_of(path)}/"):
        refuse_if(held.body["since"] + seconds > time.time(), "compute.held", name=path, user=held.body["id"])


def _of_cloud_run(store: Store, subnetwork: str) -> Iterator[str]:
    """Paths of the services and jobs that have addresses in a subnetwork, whatever their project."""
    for record in store.list("run.googleapis.com/projects/"):
        kind = record.name.split("/")[-2]
        template = record.body["template"] if kind in {"services", "jobs"} else {}
        if subnetwork in _subnetworks_of(record.name, template["template"] if kind == "jobs" else template):
            yield path_of(record.name)


def _routers_of(store: Store, subnetwork: str) -> Iterator[str]:
    """Paths of the routers whose Cloud NAT names a subnetwork."""
    region = subnetwork.rpartition("/subnetworks/")[0]
    for record in store.list(f"{region}/routers/"):
        served = [
            part.get("name", "") for nat in record.body.get("nats") or () for part in nat.get("subnetworks") or ()
        ]
        if links.self_link(subnetwork) in links.normalize(store, served, project_of(subnetwork)):
            yield path_of(record.name)


def _firewall(change: Change) -> None:
    new = adopt(change)
    new.setdefault("network", f"{links.self_link(change.name).split('/global/')[0]}/global/networks/default")
    refuse_if(bool(new.get("allowed")) == bool(new.get("denied")), "compute.firewall-rules")
    fill(new, direction="INGRESS", priority=1000, disabled=False, logConfig={"enable": False})
    sources = ("sourceRanges", "sourceTags", "sourceServiceAccounts")
    if new["direction"] == "INGRESS" and not any(new.get(field) for field in sources):
        new["sourceRanges"] = ["0.0.0.0/0"]
    if new["direction"] == "EGRESS":
        new.setdefault("destinationRanges", ["0.0.0.0/0"])


def _router(change: Change) -> None:
    new = adopt(change)
    for nat in new.get("nats") or ():
        fill(nat, type="PUBLIC", endpointTypes=["ENDPOINT_TYPE_VM"], enableEndpointIndependentMapping=False)
        fill(nat, autoNetworkTier="PREMIUM")


def _address(change: Change) -> None:
    new = adopt(change)
    new.setdefault("addressType", "EXTERNAL")
    beyond_if(new["addressType"] != "INTERNAL", "The sandbox has no external addresses.")
    refuse_if(not new.get("subnetwork"), "compute.required", field="subnetwork", why="It is required.")
    if change.old is None:
        given = str(new.get("address") or "")
        if given:
            _check_free(change.call.store, new["subnetwork"], given, allowed=change.name, among="/addresses/")
        new["address"] = given or _free_address(change.call.store, new["subnetwork"])
        fill(new, purpose="GCE_ENDPOINT", networkTier="PREMIUM")
    new.setdefault("labelFingerprint", links.fingerprint())


def _address_shown(call: Call, body: Json) -> Json:
    users = _users_of(call.store, links.full_name(body["selfLink"]), body["address"])
    return {**body, "status": "IN_USE" if users else "RESERVED", **({"users": users} if users else {})}


def _address_free(call: Call, record: Record) -> None:
    users = [path_of(links.full_name(link)) for link in _users_of(call.store, record.name, record.body["address"])]
    links.refuse_if_used(call.store, record.name, users)


Collection("compute.networks", complete=_network, deletable=in_use, shown=_network_shown)
Collection(
    "compute.subnetworks", complete=_subnetwork, deletable=_subnetwork_free, immutable=("network", "ipCidrRange")
)
Collection("compute.firewalls", complete=_firewall, immutable=("network", "direction"))
Collection("compute.routers", complete=_router)
Collection("compute.addresses", complete=_address, deletable=_address_free, shown=_address_shown)

links.actions(
    {
        "compute.subnetworks.expandIpCidrRange": links.Action(_expand),
        "compute.subnetworks.setPrivateIpGoogleAccess": links.Action(
            lambda call, _body: {"privateIpGoogleAccess": bool(call.body.get("privateIpGoogleAccess"))}
        ),
    }
)


def address_of(call: Call, given: str, subnetwork: str, name: str) -> str:
    """A literal address from a literal, a reserved address's URL, or nothing (then a free one)."""
    if "/addresses/" in given:
        record = existing(call.store, links.full_name(given))
        given = str(record.body["address"])
        refuse_if(_users_of(call.store, record.name, given), "compute.ip-in-use", address=given)
        return given
    if not given:
        return _free_address(call.store, subnetwork, mine=name)
    reserved = next(
        (
            record.name
            for record in call.store.list(f"compute.googleapis.com/projects/{project_of(name)}/regions/")
            if segment(record.name, "addresses") and record.body.get("address") == given
        ),
        name,
    )
    refuse_if(_users_of(call.store, reserved, given), "compute.ip-in-use", address=given)
    _check_free(call.store, subnetwork, given, allowed=reserved)
    return given


def _forwarding_rule(change: Change) -> None:
    new = adopt(change)
    if change.old is not None:
        return
    target = str(new.get("target") or "")
    beyond_if(_ATTACHMENT not in target, "The sandbox stands in for forwarding rules to service attachments only.")
    instance = _database(change.call.store, target)
    if instance is None:
        raise missing(links.full_name(target))
    network = str(new.get("network") or "")
    if not network:
        raise refuse("compute.required", field="network", why="A Private Service Connect endpoint needs a network.")
    new["IPAddress"] = address_of(
        change.call, str(new.get("IPAddress") or ""), _endpoint_subnetwork(change, network), change.name
    )
    new |= {
        "fingerprint": links.fingerprint(),
        "labelFingerprint": links.fingerprint(),
        "networkTier": new.get("networkTier", "PREMIUM"),
        "pscConnectionId": str(secrets.randbits(62)),
        "pscConnectionStatus": "ACCEPTED" if _accepts(instance, project_of(change.name)) else "PENDING",
    }


def _database(store: Store, target: str) -> Record | None:
    """The database instance behind a service attachment."""
    attachment = path_of(links.full_name(target))
    instances = store.list("sqladmin.googleapis.com/projects/")
    return next((found for found in instances if found.body.get("pscServiceAttachmentLink") == attachment), None)


def _accepts(instance: Record, project: str) -> bool:
    psc = ((instance.body.get("settings") or {}).get("ipConfiguration") or {}).get("pscConfig") or {}
    allowed = psc.get("allowedConsumerProjects") or ()
    return project in allowed or project_number(project) in allowed


def _endpoint_subnetwork(change: Change, network: str) -> str:
    """The subnetwork of the endpoint's region whose range holds the reserved address, or the only one."""
    given = str(change.new.get("subnetwork") or "")
    reserved = change.call.store.get(links.full_name(str(change.new.get("IPAddress") or ""))) if not given else None
    if reserved is not None:
        given = str(reserved.body.get("subnetwork") or "")
    if given:
        return given
    start = change.name.split("/forwardingRules/")[0] + "/subnetworks/"
    for record in change.call.store.list(start):
        if record.body.get("network") == network:
            return str(record.body["selfLink"])
    raise refuse("compute.endpoint-subnetwork", name=path_of(links.full_name(network)))


Collection("compute.forwardingRules", complete=_forwarding_rule, created="compute.connect")


def _forget(app: App, operation: Operation) -> Json:
    app.store.delete(operation.target)
    return {}


@WORK.register("compute.connect", undo=_forget)
def connect(app: App, operation: Operation) -> Json:
    """Let the endpoint's address answer, once the instance accepts its project."""
    record = app.store.get(operation.target)
    if record is None or record.body["pscConnectionStatus"] != "ACCEPTED":
        return {}
    instance = _database(app.store, record.body["target"])
    if instance is not None:
        app.runtime.connect_endpoint(record.body["IPAddress"], instance.name)
    return {}
