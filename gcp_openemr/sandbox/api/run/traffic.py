"""Which revision gets which share of a service's requests."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gcp_openemr.sandbox.api.calls import Call
from gcp_openemr.sandbox.api.names import id_of
from gcp_openemr.sandbox.api.refusals import refuse, refuse_if
from gcp_openemr.sandbox.api.run.refused import violation_if
from gcp_openemr.sandbox.api.store import Store
from gcp_openemr.sandbox.interfaces import Json, TrafficTarget

__all__ = ["check_traffic", "statuses", "targets"]

LATEST = "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST"
BY_NAME = "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION"
_TAG = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_LONGEST_LABEL = 46  # of a tag and a service's name together: both stand in one label of the host's name


def check_traffic(call: Call, service: str, body: Json) -> None:
    """Refuse shares that are no whole, tags that are none or stand twice, revisions that do not exist."""
    total = 0
    tags: set[str] = set()
    for target in body["traffic"]:
        total += int(target.get("percent") or 0)
        named = str(target.get("revision") or "")
        kind = target.get("type") or (BY_NAME if named else LATEST)
        violation_if((kind == BY_NAME) != bool(named), call, "run.traffic-kind", "traffic")
        target["type"] = kind
        tag = str(target.get("tag") or "")
        violation_if(tag and (not _TAG.fullmatch(tag) or tag in tags), call, "run.traffic-tag", "traffic", tag=tag)
        if tag and len(tag) + len(id_of(service)) > _LONGEST_LABEL:
            raise refuse("run.tag-length", tag=tag, service=id_of(service), most=_LONGEST_LABEL)
        tags.add(tag)
        if named and call.store.get(f"{service}/revisions/{named}") is None:
            raise refuse("run.traffic-revision", revision=named)
    refuse_if(total != 100, "run.traffic-sum", total=total)


def targets(store: Store, service: str, body: Json) -> list[TrafficTarget]:
    """What the runtime is told. Before anything is ready there is nothing to tell."""
    ready = id_of(str(body.get("latestReadyRevision") or ""))
    found = []
    for target in body["traffic"]:
        revision = str(target.get("revision") or "") or ready
        if revision and store.get(f"{service}/revisions/{revision}") is not None:
            percent = int(target.get("percent") or 0)
            found.append(TrafficTarget(revision=revision, percent=percent, tag=str(target.get("tag") or "")))
    return found


def statuses(body: Json, routed: Sequence[TrafficTarget]) -> list[Json]:
    """`trafficStatuses`: one for each target that is served."""
    found = []
    wanted = body["traffic"] if routed else []
    for target, route in zip(wanted, routed, strict=False):
        status: Json = {"type": target["type"], "revision": route.revision, "percent": route.percent}
        if route.tag:
            status |= {"tag": route.tag, "uri": _tag_uri(body, route.tag)}
        found.append(status)
    return found


def _tag_uri(body: Json, tag: str) -> str:
    """Cloud Run puts the tag before the host's name. Where the host is an address, the service's name stands there."""
    scheme, _, host = str(body["uri"]).partition("://")
    address, _, port = host.partition(":")
    if address.replace(".", "").isdigit():
        host = f"{id_of(str(body['name']))}.localhost:{port}"
    return f"{scheme}://{tag}---{host}"
