"""Forwarding rules as Private Service Connect uses them: an address of the network that answers for a database."""

from __future__ import annotations

import secrets

from gcp_openemr.sandbox.api.compute.actions import fingerprint
from gcp_openemr.sandbox.api.compute.links import full_name
from gcp_openemr.sandbox.api.compute.network import address_of, adopt
from gcp_openemr.sandbox.api.names import path_of, project_number, project_of
from gcp_openemr.sandbox.api.refusals import missing, refuse
from gcp_openemr.sandbox.api.rules import WORK, ApiError, App, Change, Collection, Json, Operation, Record, Store

_ATTACHMENT = "/serviceAttachments/"


def _complete(change: Change) -> None:
    new = adopt(change)
    if change.old is not None:
        return
    target = str(new.get("target") or "")
    if _ATTACHMENT not in target:
        raise ApiError(501, "The sandbox stands in for forwarding rules to service attachments only.")
    instance = _instance(change.call.store, target)
    if instance is None:
        raise missing(full_name(target))
    network = str(new.get("network") or "")
    if not network:
        raise refuse("compute.required", field="network", why="A Private Service Connect endpoint needs a network.")
    new["IPAddress"] = address_of(
        change.call, str(new.get("IPAddress") or ""), _subnetwork(change, network), change.name
    )
    new |= {
        "fingerprint": fingerprint(),
        "labelFingerprint": fingerprint(),
        "networkTier": new.get("networkTier", "PREMIUM"),
        "pscConnectionId": str(secrets.randbits(62)),
        "pscConnectionStatus": "ACCEPTED" if _accepts(instance, project_of(change.name)) else "PENDING",
    }


def _instance(store: Store, target: str) -> Record | None:
    """The database instance behind a service attachment."""
    attachment = path_of(full_name(target))
    instances = store.list("sqladmin.googleapis.com/projects/")
    return next((found for found in instances if found.body.get("pscServiceAttachmentLink") == attachment), None)


def _accepts(instance: Record, project: str) -> bool:
    psc = ((instance.body.get("settings") or {}).get("ipConfiguration") or {}).get("pscConfig") or {}
    allowed = psc.get("allowedConsumerProjects") or ()
    return project in allowed or project_number(project) in allowed


def _subnetwork(change: Change, network: str) -> str:
    """The subnetwork of the endpoint's region whose range holds the reserved address, or the only one."""
    given = str(change.new.get("subnetwork") or "")
    reserved = change.call.store.get(full_name(str(change.new.get("IPAddress") or ""))) if not given else None
    if reserved is not None:
        given = str(reserved.body.get("subnetwork") or "")
    if given:
        return given
    start = change.name.split("/forwardingRules/")[0] + "/subnetworks/"
    for record in change.call.store.list(start):
        if record.body.get("network") == network:
            return str(record.body["selfLink"])
    raise refuse("compute.endpoint-subnetwork", name=path_of(full_name(network)))


Collection("compute.forwardingRules", complete=_complete, created="compute.connect")


@WORK.register("compute.connect")
def connect(app: App, operation: Operation) -> Json:
    """Let the endpoint's address answer, once the instance accepts its project."""
    record = app.store.get(operation.target)
    if record is None or record.body["pscConnectionStatus"] != "ACCEPTED":
        return {}
    instance = _instance(app.store, record.body["target"])
    if instance is not None:
        app.runtime.connect_endpoint(record.body["IPAddress"], instance.name)
    return {}
