"""The temporary administrator is gone at the end, whatever the Admin API answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import google.auth
import pytest
import requests

from jobs import cloud_sql
from jobs.errors import CloudRefused, Unreachable


class Api:
    """Users by name. `problems` come first: a status, or a lost answer (0), which is lost after the work was done."""

    def __init__(self, problems: Sequence[tuple[str, int]]) -> None:
        self.users: set[str] = set()
        self._problems = list(problems)

    def request(self, method: str, address: str, **arguments: Any) -> requests.Response:
        answer = requests.Response()
        problem = self._problems.pop(0)[1] if self._problems and self._problems[0][0] == method else None
        answer.status_code, content = 200, {"name": "op", "status": "DONE"}
        if problem:
            answer.status_code, content = problem, {"error": {"message": "no"}}  # type: ignore[dict-item]
        elif method == "POST":
            self.users.add(arguments["json"]["name"])
        elif method == "DELETE" and arguments["params"]["name"] not in self.users:
            answer.status_code, content = 404, {"error": {"message": "no such user"}}  # type: ignore[dict-item]
        elif method == "DELETE":
            self.users.remove(arguments["params"]["name"])
        elif address.endswith("/users"):
            content = {"items": [{"name": name} for name in sorted(self.users)]}  # type: ignore[dict-item]
        if problem == 0:
            raise requests.ConnectionError("cut")
        answer._content = json.dumps(content).encode()
        return answer


@pytest.fixture
def admin(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Begins with these problems and returns the API."""
    monkeypatch.setattr(cloud_sql, "_FIRST_DELAY_SECONDS", 0.001)
    monkeypatch.setattr(google.auth, "default", lambda **_: (None, "p"))

    def begin(*problems: tuple[str, int]) -> Api:
        api = Api(problems)
        monkeypatch.setattr(cloud_sql, "AuthorizedSession", lambda _: api)
        return api

    return begin


@pytest.mark.parametrize(
    "problems",
    [
        [("GET", 503), ("GET", 0), ("POST", 409), ("DELETE", 409)],
        [("DELETE", 0)],  # done, and the answer lost: there is nothing left to remove
        [("DELETE", 404)],
    ],
)
def test_what_passes_is_waited_for(admin: Any, problems: list[tuple[str, int]]) -> None:
    api = admin(*problems)
    with cloud_sql.temporary_administrator("p", "i", "main") as (name, _password):
        assert api.users == {name}
        if ("DELETE", 404) in problems:
            api.users.clear()
    assert api.users == set()


@pytest.mark.parametrize(("status", "expected"), [(0, Unreachable), (400, CloudRefused)])
def test_one_that_may_have_been_made_is_removed(admin: Any, status: int, expected: type[Exception]) -> None:
    api = admin(("POST", status))
    with pytest.raises(expected), cloud_sql.temporary_administrator("p", "i", "main"):
        pass
    assert api.users == set()


def test_what_killed_runs_left_is_removed_but_no_living_neighbours(admin: Any) -> None:
    api = admin()
    api.users = {"oe_prov_main_65000000", "oe_prov_north_65000000", "oe_prov_east_ffffffff", "oe_main", "root"}
    with cloud_sql.temporary_administrator("p", "i", "main"):
        pass
    assert api.users == {"oe_prov_east_ffffffff", "oe_main", "root"}
