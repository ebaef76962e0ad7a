"""Whatever arrives is answered as Google answers: never a 500, never a broken store."""

from __future__ import annotations

import base64
import copy
import dataclasses
import functools
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcp_openemr.sandbox.api.app import App
from gcp_openemr.sandbox.api.messages import Request
from gcp_openemr.sandbox.api.names import snake
from gcp_openemr.sandbox.api.routing import API_VERSIONS
from gcp_openemr.sandbox.api.rules import COLLECTIONS, HANDLERS
from gcp_openemr.sandbox.api.serviceusage import enable_apis
from gcp_openemr.sandbox.discovery import Method, load
from tests.oidc import Issuer
from tests.sandbox.api.support import PROJECT, REGION, ZONE, RecordingRuntime

VALUES = {"project": PROJECT, "projectId": PROJECT, "region": REGION, "zone": ZONE, "bucket": "fuzz-bucket"}
SCALARS: st.SearchStrategy[Any] = st.sampled_from(
    [
        None,
        True,
        0,
        -1,
        1.5,
        10**30,
        "",
        "x",
        "ü/..",
        "1s",
        "-",
        "*",
        "projects/p/locations/l",
        [],
        {},
        [{}],
        "10.0.0.0/8",
        "²",
        "99999999999999999999",
        "999999999999s",
        "9999-12-31T23:59:59Z",
        "half a pair: \ud800",
        "[",
        "(" * 2000,
    ]
)
QUERIES = ["", "x", "1", "true", "fuzz", "*", "-1", "²", "9" * 20, "{[z-a]", 'labels eq "["', "labels=a", "/", "\0"]


def _body(data: st.DataObject, api: str, version: str, schema: str, depth: int = 0) -> Any:
    """A body that mostly fits its schema, so that it comes far."""
    properties = load(api, version).schema(schema).get("properties", {})
    chosen = data.draw(st.lists(st.sampled_from(sorted(properties)), max_size=6, unique=True)) if properties else []
    return {name: _value(data, api, version, properties[name], depth) for name in chosen}


def _value(data: st.DataObject, api: str, version: str, field: dict[str, Any], depth: int) -> Any:
    if depth > 3 or data.draw(st.integers(0, 9)) == 0:
        return data.draw(SCALARS)
    if "$ref" in field:
        return _body(data, api, version, field["$ref"], depth + 1)
    if field.get("type") == "array":
        return [_value(data, api, version, field["items"], depth + 1) for _ in range(data.draw(st.integers(0, 2)))]
    if "enum" in field:
        return data.draw(st.sampled_from(field["enum"]))
    by_type: dict[str, st.SearchStrategy[Any]] = {
        "boolean": st.booleans(),
        "integer": st.integers(-2, 4000),
        "object": st.dictionaries(st.sampled_from(["a", "b"]), st.just("c"), max_size=1),
    }
    return data.draw(
        by_type.get(str(field.get("type")), st.sampled_from(["a", "name", "1s", "5", "10.1.0.0/24", "a.b."]))
    )


def _path(data: st.DataObject, method: Method) -> str:
    """The method's path with values that fit its patterns."""

    def fill(found: re.Match[str]) -> str:
        name = found.group(2)
        if found.group(1):
            pattern = method.parameters.get(name, {}).get("pattern", "^projects/[^/]+$")
            return (
                re.sub(r"projects/\[\^/\]\+", f"projects/{PROJECT}", pattern.strip("^$"))
                .replace("[^/]+", "fuzz")
                .replace(".*", "x")
            )
        return VALUES.get(name) or quote(data.draw(st.sampled_from(["fuzz", "1", "ü", "a/b"])), safe="")

    return re.sub(r"\{(\+?)(\w+)\}", fill, method.path)


@functools.cache
def _any_method() -> st.SearchStrategy[tuple[str, str, Method]]:
    return st.sampled_from(list(_methods()))


def _methods() -> Iterator[tuple[str, str, Method]]:
    for api, versions in API_VERSIONS.items():
        for version, _ in versions:
            for method in load(api, version).methods:
                collection, verb = method.id.rsplit(".", 1)
                row = COLLECTIONS.get(collection)
                if method.id in HANDLERS or (row is not None and (verb in row.verbs or "Iam" in verb)):
                    yield api, version, method


def _new_app(folder: Path) -> Iterator[App]:
    made = App(folder)
    enable_apis(made.store, PROJECT)
    made.start(RecordingRuntime())
    body = io.BytesIO(json.dumps({"name": "fuzz-bucket"}).encode())
    made.handle(_request(made, "POST", f"/storage/v1/b?project={PROJECT}", body))
    upload = "/upload/storage/v1/b/fuzz-bucket/o?uploadType=media&name=first"
    made.handle(_request(made, "POST", upload, io.BytesIO(b"x")))
    yield made
    assert_whole(made, folder / "objects")
    made.close()
    assert_whole(again := App(folder), folder / "objects")
    again.close()


def assert_whole(app: App, objects: Path) -> None:
    """Every row can be read, belongs to something, and every object has its bytes."""
    store = app.store
    assert store.query("PRAGMA integrity_check") == [("ok",)]
    for record in store.list(""):
        assert re.match(r"[a-z0-9]+\.googleapis\.com/.", record.name), record.name
        assert isinstance(record.body, dict)
    for name, policy in store.policies(""):
        assert all(binding["role"] and binding["members"] for binding in policy.get("bindings", ())), name
    for (name,) in store.query("SELECT name FROM payloads"):
        assert store.get(name) is not None, name
    for operation in app.operations.list(""):
        assert operation.done == bool(operation.end_time)
        assert not (operation.response and operation.error)
    files = {row[0] for row in store.query("SELECT file FROM objects")}
    assert {path.name for path in objects.iterdir() if path.is_file()} == files


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    yield from _new_app(tmp_path_factory.mktemp("fuzz"))


def _request(app: App, method: str, target: str, body: io.BytesIO) -> Request:
    headers = {"authorization": f"Bearer {app.operator_token}", "content-type": "application/json"}
    return Request(method=method, target=target, headers=headers, body=body)


@hypothesis.settings(
    max_examples=8 * hypothesis.settings().max_examples, suppress_health_check=list(hypothesis.HealthCheck)
)
@given(data=st.data())
def test_no_call_ends_in_a_defect(app: App, data: st.DataObject) -> None:
    api, version, method = data.draw(_any_method())
    query = {
        data.draw(st.sampled_from([name, snake(name)])): data.draw(st.sampled_from(QUERIES))
        for name, parameter in method.parameters.items()
        if parameter.get("location") == "query" and data.draw(st.booleans())
    }
    written = "&".join(f"{name}={quote(value)}" for name, value in query.items())
    body = _body(data, api, version, method.request) if method.request else None
    content = b"" if body is None else json.dumps(body).encode()
    root = "" if api == "storage" else f"/{api}.googleapis.com"
    answer = app.handle(
        _request(app, method.http_method, f"{root}{_path(data, method)}?{written}", io.BytesIO(content))
    )
    assert answer.status < 500 or answer.status == 501


# Requests that are right; the first of them make a world in which the others can succeed.
RIGHT: list[tuple[str, str, dict[str, Any]]] = json.loads(Path(__file__).with_name("fuzz_requests.json").read_text())


def _places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place in a body."""
    if path:
        yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield from _places(item, (*path, key))


def _damage(data: st.DataObject, body: dict[str, Any]) -> dict[str, Any]:
    """The same body with something else, or nothing, in up to two places."""
    damaged = copy.deepcopy(body)
    for _ in range(data.draw(st.integers(0, 2))):
        places = list(_places(damaged))
        if not places:
            break
        *parents, last = data.draw(st.sampled_from(places))
        target: Any = damaged
        for part in parents:
            target = target[part]
        if data.draw(st.booleans()):
            target[last] = copy.deepcopy(data.draw(SCALARS))
        elif isinstance(target, dict):
            del target[last]
    return damaged


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    for made in _new_app(tmp_path_factory.mktemp("world")):
        for method, target, body in RIGHT:
            answer = made.handle(_request(made, method, target, io.BytesIO(json.dumps(body).encode())))
            assert answer.status == 200, (target, answer.body)
            for (name,) in made.store.query("SELECT name FROM operations WHERE done = 0"):
                made.operations.wait(name, 20)
        yield made


@hypothesis.settings(
    max_examples=8 * hypothesis.settings().max_examples, suppress_health_check=list(hypothesis.HealthCheck)
)
@given(data=st.data())
def test_no_damaged_request_ends_in_a_defect(world: App, data: st.DataObject) -> None:
    method, target, body = data.draw(st.sampled_from(RIGHT))
    content = json.dumps(_damage(data, body)).encode()
    fresh = re.sub(r"(Id=)fuzz$", rf"\g<1>f{data.draw(st.integers(0, 10**6))}", target)
    answer = world.handle(_request(world, method, fresh, io.BytesIO(content)))
    assert answer.status < 500 or answer.status == 501
    assert not world.store.query("SELECT name FROM operations WHERE body LIKE '%Internal error%'")


MANAGER, SECRETS = f"cloudresourcemanager.googleapis.com/v1/projects/{PROJECT}", "secretmanager.googleapis.com/v1"
BOUND = {"role": "roles/viewer", "members": ["user:a@example.org"]}


@pytest.mark.parametrize(
    ("method", "target", "content", "headers"),
    [
        ("POST", f"{SECRETS}/projects/{PROJECT}/secrets?secretId=half", b'{"labels": {"a": "\\ud800"}}', {}),
        ("POST", f"{SECRETS}/projects/{PROJECT}/secrets?secretId=half", b'{"labels": {"a": "\xed\xa0\x80"}}', {}),
        ("POST", f"{SECRETS}/projects/{PROJECT}/secrets?secretId=deep", b'{"labels": ' + b"[" * 900 + b"]" * 900, {}),
        ("POST", f"{MANAGER}:setIamPolicy", json.dumps({"policy": {"bindings": [
            {**BOUND, "condition": {"title": "t", "expression": "!" * 3000 + "true"}}]}}).encode(), {}),
        ("POST", f"{MANAGER}:setIamPolicy", json.dumps({"policy": {"bindings": [
            {**BOUND, "condition": {"title": "t", "expression": "9" * 5000 + " == 1"}}]}}).encode(), {}),
        ("POST", "sts.googleapis.com/v1/token", b"\xff=\xfe", {}),
        ("GET", "fuzz-bucket/first", b"", {"range": f"bytes={'9' * 5000}-"}),
        ("GET", "fuzz-bucket/first", b"", {"x-goog-if-generation-match": "²"}),
        ("GET", f"{SECRETS}/projects/{PROJECT}/secrets?page_size=x", b"", {}),
        ("GET", "storage/v1/b/fuzz-bucket/o?max_results=-", b"", {}),
        ("GET", "sandbox/v1/calls?since=%C2%B2", b"", {}),
        ("POST", "sandbox/v1/victims", b'{"victim": 5}', {}),
        ("POST", "sandbox/v1/servers", b'{"kind": []}', {}),
    ],
)  # fmt: skip
def test_what_is_made_to_hurt_does_not(
    app: App, method: str, target: str, content: bytes, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.callers, "next_victim", lambda: None)  # else the helper's call waits for one
    request = _request(app, method, f"/{target}", io.BytesIO(content))
    answer = app.handle(dataclasses.replace(request, headers={**request.headers, **headers}))
    assert answer.status < 500 or answer.status == 501
    assert isinstance(answer.body, bytes) or b"".join(answer.body) == b"x"


ODD: st.SearchStrategy[Any] = st.sampled_from([None, 5, "x", [], [[]], {}, "\ud800", 10**30, -1.5])
POOL = f"projects/{PROJECT}/locations/global/workloadIdentityPools/fuzz-pool"
AUDIENCE = f"//iam.googleapis.com/{POOL}/providers/fuzz-provider"


@pytest.fixture(scope="module")
def issuer(world: App) -> Issuer:
    """One whose tokens the provider `fuzz-provider` of `fuzz-pool` takes."""
    made = Issuer("https://issuer.example")
    provider = {
        "oidc": {"issuerUri": made.url, "jwksJson": json.dumps(made.jwks)},
        "attributeMapping": {"google.subject": "assertion.sub", "attribute.ref": "assertion.ref + assertion.sub"},
        "attributeCondition": "assertion.ref != 'x' && assertion.iat < 9",
    }
    pools, name = POOL.removesuffix("/fuzz-pool"), "workloadIdentityPool"
    for target, body in (
        (f"{pools}?{name}Id=fuzz-pool", {}),
        (f"{POOL}/providers?{name}ProviderId=fuzz-provider", provider),
    ):
        content = io.BytesIO(json.dumps(body).encode())
        assert world.handle(_request(world, "POST", f"/iam.googleapis.com/v1/{target}", content)).status == 200
    return made


@given(claims=st.dictionaries(st.sampled_from(["iss", "aud", "exp", "iat", "sub", "ref"]), ODD), head=ODD)
def test_no_token_ends_in_a_defect(world: App, issuer: Issuer, claims: dict[str, Any], head: Any) -> None:
    whole = issuer.token(**{"audience": f"https:{AUDIENCE}", "iat": 1, "ref": "r", "sub": "s", **claims})
    spoilt = base64.urlsafe_b64encode(json.dumps(head).encode()).decode().rstrip("=")
    for token in (whole, f"{spoilt}.{whole.partition('.')[2]}", f"{whole.rpartition('.')[0]}.{spoilt}"):
        form = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "audience": AUDIENCE,
            "subject_token": token,
        }
        content = io.BytesIO(urlencode(form).encode())
        assert world.handle(_request(world, "POST", "/sts.googleapis.com/v1/token", content)).status < 500


@given(target=st.text(max_size=60), host=st.text(max_size=20), content=st.binary(max_size=60))
def test_no_path_ends_in_a_defect(app: App, target: str, host: str, content: bytes) -> None:
    headers = {"host": host, "authorization": f"Bearer {app.operator_token}"}
    for method in ("GET", "POST", "DELETE"):
        request = Request(
            method=method, target="/" + quote(target, safe="/?&=%:"), headers=headers, body=io.BytesIO(content)
        )
        assert app.handle(request).status < 500 or app.handle(request).status == 501
