"""A secret's aliases while others change the secret, and while Secret Manager tells of changes late."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.auth.transport.requests import AuthorizedSession

from gcp_openemr.clients import Cloud
from jobs import rest
from jobs.errors import CloudRefused, Refused
from jobs.rotation import versions
from jobs.rotation.versions import CURRENT, NEXT, PREVIOUS
from tests.unit import cloud as clouds

NAME = f"projects/{clouds.PROJECT}/secrets/oe-prod-main-db-password"
IN_FORCE = {CURRENT: 2, PREVIOUS: 1, NEXT: None}


@dataclasses.dataclass(kw_only=True)
class Meanwhile:
    """Sees the calls; `before` is done before the first change arrives, and `late` looks are answered with `former`."""

    cloud: Cloud
    before: Callable[[], object] = lambda: None
    former: dict[str, Any] = dataclasses.field(default_factory=dict)
    late: int = 0
    changes: int = 0

    def secret(self) -> dict[str, Any]:
        return self.cloud.ask("secretmanager", f"v1/{NAME}")

    def change(self, **fields: Any) -> None:
        mask = ",".join(fields)
        self.cloud.ask("secretmanager", f"v1/{NAME}", method="PATCH", body=fields, updateMask=mask)


@pytest.fixture
def meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Meanwhile]:
    call = rest.call

    def watched(method: str, api: str, path: str, **more: Any) -> dict[str, Any]:
        if method == "PATCH":
            if not found.changes:
                found.before()
            found.changes += 1
        if method == "GET" and path == f"v1/{NAME}" and found.late:
            found.late -= 1
            return found.former
        return call(method, api, path, **more)

    with clouds.cloud(tmp_path) as cloud:
        found = Meanwhile(cloud=cloud)
        session = AuthorizedSession(cloud.credentials)
        monkeypatch.setattr(rest, "_session", lambda: session)
        monkeypatch.setattr(rest, "_root", lambda api: f"{cloud.base}/{api}.googleapis.com")
        monkeypatch.setattr(rest, "call", watched)
        body: dict[str, Any] = {"replication": {"automatic": {}}}
        cloud.ask("secretmanager", f"v1/projects/{clouds.PROJECT}/secrets", body=body, secretId=NAME.rpartition("/")[2])
        for _ in range(3):
            cloud.ask("secretmanager", f"v1/{NAME}:addVersion", body={"payload": {"data": "eA=="}})
        found.change(versionAliases={CURRENT: "1", NEXT: "2"})
        yield found


def test_aliases_move_though_another_changes_the_secret(meanwhile: Meanwhile) -> None:
    meanwhile.before = lambda: meanwhile.change(labels={"team": "it"})
    assert versions.point(NAME, IN_FORCE).aliases == {CURRENT: 2, PREVIOUS: 1}
    assert meanwhile.changes == 2
    assert meanwhile.secret()["labels"] == {"team": "it"}


def test_aliases_move_though_a_look_tells_what_was(meanwhile: Meanwhile) -> None:
    meanwhile.former = meanwhile.secret()
    meanwhile.change(labels={"team": "it"})
    meanwhile.late = 2
    assert versions.point(NAME, IN_FORCE).aliases == {CURRENT: 2, PREVIOUS: 1}
    assert meanwhile.changes == 3


def test_what_this_run_changed_is_known_to_it_though_looks_tell_what_was(meanwhile: Meanwhile) -> None:
    meanwhile.former = meanwhile.secret()
    versions.point(NAME, IN_FORCE)
    meanwhile.late = 99
    assert versions.look(NAME).aliases == {CURRENT: 2, PREVIOUS: 1}
    assert versions.point(NAME, {PREVIOUS: None}).aliases == {CURRENT: 2}
    assert versions.look(NAME).current == 2
    assert meanwhile.changes == 2


def test_what_another_changed_after_this_run_is_believed(meanwhile: Meanwhile) -> None:
    versions.point(NAME, IN_FORCE)
    meanwhile.change(versionAliases={CURRENT: "3"})
    assert versions.look(NAME).aliases == {CURRENT: 3}


def test_a_change_that_was_made_is_not_looked_for(meanwhile: Meanwhile) -> None:
    meanwhile.former = meanwhile.secret()
    meanwhile.late = 99
    assert versions.point(NAME, IN_FORCE).aliases == {CURRENT: 2, PREVIOUS: 1}
    assert meanwhile.changes == 1


def test_aliases_that_another_moved_are_left_to_it(meanwhile: Meanwhile) -> None:
    meanwhile.before = lambda: meanwhile.change(versionAliases={CURRENT: "3"})
    with pytest.raises(Refused, match="meanwhile: current from 1 to 3, next from 2 to None"):
        versions.point(NAME, IN_FORCE)
    assert meanwhile.secret()["versionAliases"] == {CURRENT: "3"}


def test_a_change_that_is_refused_for_another_reason_is_not_tried_again(meanwhile: Meanwhile) -> None:
    with pytest.raises(CloudRefused, match="alias"):
        versions.point(NAME, {CURRENT: 2, "no alias!": 1})
    assert meanwhile.changes == 1
