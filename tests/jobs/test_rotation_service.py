"""What a rotation does to the service: which revision it makes, what gets the traffic, and how it goes back."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pytest

from gcp_openemr.sandbox.interfaces import Refused as NotStarted
from jobs.errors import Refused, Unhealthy
from jobs.rotation import service
from jobs.rotation.locks import Fence
from tests.jobs.rotation_place import SERVICE, Place

BOTH = ("database", "redis")


@pytest.mark.parametrize("ill", ["start", "health"])
def test_a_revision_that_is_not_healthy_is_undone(place: Place, monkeypatch: pytest.MonkeyPatch, ill: str) -> None:
    before = {kind: place.aliases(kind) for kind in BOTH}
    serving = place.serving()
    if ill == "start":
        monkeypatch.setitem(place.runtime.refuse, "start_revision", NotStarted("The container failed to start."))
    else:
        monkeypatch.setattr(place.runtime, "ill_under_tag", True)
    with pytest.raises(Unhealthy, match="The old passwords stay") as caught:
        place.rotate(*BOTH)
    assert set(caught.value.record["undone"]) == set(BOTH)
    assert {kind: place.aliases(kind) for kind in BOTH} == before
    assert place.serving() == serving
    place.at_rest()
    found = service.find(SERVICE)
    assert found is not None
    assert sorted(found.pins.values()) == sorted(serving.values()), "the next deploy finds nothing to change"


def test_requests_in_hand_of_a_revision_that_is_taken_back_keep_their_passwords(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was healthy until it had the traffic."""
    give, opened = service.give_traffic, []

    def then_ill(found: service.Service, shares: Mapping[str, int], *, shown: str = "") -> service.Service:
        place.runtime.ill_under_tag = shares == {shown: 100}
        return give(found, shares, shown=shown)

    with monkeypatch.context() as patch:
        patch.setattr(service, "give_traffic", then_ill)
        patch.setattr(place.runtime, "ill_under_tag", False)
        patch.setattr(Fence, "pause", lambda _self, *, until: opened.append((until, place.passwords("database"))))
        with pytest.raises(Unhealthy) as caught:
            place.rotate("database", drain_seconds=60)
    [(until, passwords)] = opened
    assert (until > time.monotonic() + 30, passwords) == (True, 2)
    assert "requests in hand of the new revision" in [step["step"] for step in caught.value.record["steps"]]
    place.at_rest()


def test_a_service_that_takes_the_latest_version_is_pinned_before_the_old_password_ends(place: Place) -> None:
    """An instance keeps the value that it began with, whatever is the latest one later."""
    place.rotate("database")
    body = place.call("GET", "run", f"v2/{SERVICE}")
    (container,) = body["template"]["containers"]
    (variable,) = [one for one in container["env"] if one["name"] == "MYSQL_PASS"]
    variable["valueSource"]["secretKeyRef"]["version"] = "latest"
    template = {name: part for name, part in body["template"].items() if name != "revision"}
    patched = {"template": template, "traffic": [{"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 100}]}
    place.cloud.wait(place.cloud.call("PATCH", "run", f"v2/{SERVICE}?updateMask=template,traffic", patched))
    assert place.serving()["database"] == 0
    assert "database" in place.rotate("database")["rotated"]
    place.at_rest()


def deploy(place: Place, host: str, shares: Mapping[str, int]) -> str:
    """A revision with another configuration, while requests go to others, or to none that is named; its name."""
    template = place.call("GET", "run", f"v2/{SERVICE}")["template"]
    template["containers"][0]["env"][0]["value"] = host
    by_name = {"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION"}
    traffic = [{**by_name, "revision": revision, "percent": percent} for revision, percent in shares.items()]
    patched = {"template": {**template, "timeout": "11s", "revision": ""}, "traffic": traffic}
    place.cloud.wait(place.cloud.call("PATCH", "run", f"v2/{SERVICE}?updateMask=template,traffic", patched))
    return str(place.call("GET", "run", f"v2/{SERVICE}")["latestCreatedRevision"]).rpartition("/")[2]


def serves(place: Place) -> tuple[str, str, str]:
    """The revision that serves, and two parts of its configuration."""
    found = service.find(SERVICE)
    assert found is not None
    (revision,) = found.serving
    body = place.call("GET", "run", f"v2/{SERVICE}/revisions/{revision}")
    return revision, body["containers"][0]["env"][0]["value"], body["timeout"]


def test_a_rollback_stays_one(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest revision was made by a deploy that was taken back, or that died before it gave it the traffic."""
    before = serves(place)
    deploy(place, "rolled.back", {before[0]: 100})
    monkeypatch.setattr(place.runtime, "ill_under_tag", True)
    with pytest.raises(Unhealthy):
        place.rotate("redis")
    monkeypatch.setattr(place.runtime, "ill_under_tag", False)
    assert serves(place) == before
    deploy(place, "rolled.back", {before[0]: 100})
    assert "redis" in place.rotate("redis")["rotated"]
    assert serves(place)[1:] == before[1:]
    place.at_rest()


@pytest.mark.parametrize("now", [False, True])
def test_requests_that_revisions_share_are_not_given_to_one(place: Place, now: bool) -> None:
    old = serves(place)[0]
    aliases = {kind: place.aliases(kind) for kind in BOTH}
    new = deploy(place, "canary", {old: 100})
    found = service.find(SERVICE)
    assert found is not None
    service.give_traffic(found, {old: 90, new: 10})
    with pytest.raises(Refused, match=f"shared out among revisions that differ: {old} 90 %, {new} 10 %"):
        place.rotate(*BOTH, now=now)
    assert {kind: place.aliases(kind) for kind in BOTH} == aliases
    found = service.find(SERVICE)
    assert found is not None
    assert found.serving == {old: 90, new: 10}
    assert place.rotate(*BOTH, due_or_not=False)["rotated"] == {}
    service.give_traffic(found, {old: 100})
    place.rotate("redis")
    place.at_rest()


def test_a_service_closed_to_callers_from_outside_is_judged_by_cloud_run(place: Place) -> None:
    def ingress(value: str) -> Any:
        place.cloud.wait(place.cloud.call("PATCH", "run", f"v2/{SERVICE}?updateMask=ingress", {"ingress": value}))

    ingress("INGRESS_TRAFFIC_INTERNAL_ONLY")
    assert place.rotate("redis")["health"] == "not asked"
    ingress("INGRESS_TRAFFIC_ALL")
    place.at_rest()
