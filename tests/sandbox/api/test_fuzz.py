"""Whatever arrives is answered as Google answers: never a 500, never a broken store."""

from __future__ import annotations

import copy
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcp_openemr.sandbox.api.app import App
from gcp_openemr.sandbox.api.messages import Request
from gcp_openemr.sandbox.api.routing import API_VERSIONS
from gcp_openemr.sandbox.api.rules import COLLECTIONS, HANDLERS
from gcp_openemr.sandbox.discovery import Method, load
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
    ]
)


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
    made.start(RecordingRuntime())
    body = io.BytesIO(json.dumps({"name": "fuzz-bucket"}).encode())
    made.handle(_request(made, "POST", f"/storage/v1/b?project={PROJECT}", body))
    upload = "/upload/storage/v1/b/fuzz-bucket/o?uploadType=media&name=first"
    made.handle(_request(made, "POST", upload, io.BytesIO(b"x")))
    yield made
    assert made.store.query("PRAGMA integrity_check") == [("ok",)]
    made.close()


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    yield from _new_app(tmp_path_factory.mktemp("fuzz"))


def _request(app: App, method: str, target: str, body: io.BytesIO) -> Request:
    headers = {"authorization": f"Bearer {app.operator_token}", "content-type": "application/json"}
    return Request(method=method, target=target, headers=headers, body=body)


@hypothesis.settings(max_examples=300, suppress_health_check=list(hypothesis.HealthCheck))
@given(data=st.data())
def test_no_call_ends_in_a_defect(app: App, data: st.DataObject) -> None:
    api, version, method = data.draw(st.sampled_from(list(_methods())))
    query = {
        name: data.draw(st.sampled_from(["", "x", "1", "true", "fuzz", "*"]))
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
IMAGE = f"{REGION}-docker.pkg.dev/{PROJECT}/fuzz/service:1"
COMPUTE = f"/compute.googleapis.com/compute/v1/projects/{PROJECT}"
RUN = f"/run.googleapis.com/v2/projects/{PROJECT}/locations/{REGION}"
SUBNETWORK = f"regions/{REGION}/subnetworks/fuzz"
CONTAINER = {
    "image": IMAGE,
    "args": ["a"],
    "env": [
        {"name": "A", "value": "b"},
        {"name": "S", "valueSource": {"secretKeyRef": {"secret": "fuzz", "version": "1"}}},
    ],
    "resources": {"limits": {"cpu": "2", "memory": "4Gi"}},
    "volumeMounts": [{"name": "share", "mountPath": "/srv"}],
}
VOLUMES = [{"name": "share", "nfs": {"server": "10.9.0.9", "path": "/share"}}]
PROBE = {"httpGet": {"path": "/health", "port": 8080}, "periodSeconds": 5, "timeoutSeconds": 2, "failureThreshold": 3}
BINDING = {"role": "roles/viewer", "members": ["user:a@example.org"], "condition": {"title": "t", "expression": "true"}}
RIGHT: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", f"{COMPUTE}/global/networks", {"name": "fuzz", "autoCreateSubnetworks": False, "routingConfig": {}}),
    (
        "POST",
        f"{COMPUTE}/regions/{REGION}/subnetworks",
        {
            "name": "fuzz",
            "network": "global/networks/fuzz",
            "ipCidrRange": "10.9.0.0/22",
            "logConfig": {"enable": True},
        },
    ),
    (
        "POST",
        f"/artifactregistry.googleapis.com/v1/projects/{PROJECT}/locations/{REGION}/repositories?repositoryId=fuzz",
        {"format": "DOCKER", "dockerConfig": {"immutableTags": False}, "labels": {"a": "b"}},
    ),
    (
        "POST",
        f"/artifactregistry.googleapis.com/v1/projects/{PROJECT}/locations/{REGION}/repositories/fuzz:setIamPolicy",
        {"policy": {"bindings": [{"role": "roles/artifactregistry.writer", "members": ["allAuthenticatedUsers"]}]}},
    ),
    (
        "POST",
        f"/secretmanager.googleapis.com/v1/projects/{PROJECT}/secrets?secretId=fuzz",
        {"replication": {"automatic": {}}, "labels": {"a": "b"}, "versionAliases": {}, "versionDestroyTtl": "86400s"},
    ),
    (
        "POST",
        f"/secretmanager.googleapis.com/v1/projects/{PROJECT}/secrets/fuzz:addVersion",
        {"payload": {"data": "eA==", "dataCrc32c": "2839306131"}},
    ),
    (
        "POST",
        f"/secretmanager.googleapis.com/v1/projects/{PROJECT}/secrets/fuzz:setIamPolicy",
        {
            "policy": {
                "bindings": [{"role": "roles/secretmanager.secretAccessor", "members": ["allAuthenticatedUsers"]}]
            }
        },
    ),
    (
        "POST",
        f"/cloudbuild.googleapis.com/v1/projects/{PROJECT}/builds",
        {
            "steps": [{"name": "x", "args": ["a"]}],
            "images": [IMAGE],
            "tags": ["t"],
            "timeout": "60s",
            "options": {"env": ["A=b"]},
        },
    ),
    (
        "POST",
        f"/sqladmin.googleapis.com/v1/projects/{PROJECT}/instances",
        {
            "name": "fuzz",
            "region": REGION,
            "databaseVersion": "MYSQL_8_0",
            "settings": {
                "tier": "db-f1-micro",
                "backupConfiguration": {"enabled": True},
                "databaseFlags": [{"name": "local_infile", "value": "off"}],
                "ipConfiguration": {
                    "ipv4Enabled": False,
                    "pscConfig": {"pscEnabled": True, "allowedConsumerProjects": [PROJECT]},
                },
            },
        },
    ),
    (
        "POST",
        f"/sqladmin.googleapis.com/v1/projects/{PROJECT}/instances/fuzz/users",
        {"name": "u", "host": "%", "password": "p", "type": "BUILT_IN"},
    ),
    (
        "PATCH",
        f"/sqladmin.googleapis.com/v1/projects/{PROJECT}/instances/fuzz",
        {"settings": {"tier": "x", "ipConfiguration": {"sslMode": "ENCRYPTED_ONLY"}}},
    ),
    (
        "POST",
        f"{COMPUTE}/regions/{REGION}/addresses",
        {"name": "fuzz", "addressType": "INTERNAL", "subnetwork": SUBNETWORK, "address": "10.9.0.77"},
    ),
    (
        "POST",
        f"{COMPUTE}/global/firewalls",
        {
            "name": "fuzz",
            "network": "global/networks/fuzz",
            "allowed": [{"IPProtocol": "tcp", "ports": ["2049"]}],
            "sourceRanges": ["10.9.0.0/22"],
        },
    ),
    (
        "POST",
        f"{COMPUTE}/regions/{REGION}/routers",
        {
            "name": "fuzz",
            "network": "global/networks/fuzz",
            "nats": [{"name": "n", "natIpAllocateOption": "AUTO_ONLY"}],
        },
    ),
    (
        "POST",
        f"{COMPUTE}/zones/{ZONE}/disks",
        {"name": "fuzz", "sizeGb": "20", "type": f"zones/{ZONE}/diskTypes/pd-ssd"},
    ),
    (
        "POST",
        f"{COMPUTE}/zones/{ZONE}/instances",
        {
            "name": "fuzz-vm",
            "machineType": "e2-small",
            "disks": [{"boot": True, "autoDelete": True, "initializeParams": {"diskSizeGb": "10", "sourceImage": "x"}}],
            "networkInterfaces": [{"subnetwork": SUBNETWORK, "networkIP": "10.9.0.99"}],
            "metadata": {"items": [{"key": "a", "value": "b"}]},
            "tags": {"items": ["t"]},
            "scheduling": {"automaticRestart": True},
            "serviceAccounts": [{"email": "default", "scopes": ["s"]}],
        },
    ),
    ("POST", f"{COMPUTE}/zones/{ZONE}/instances/fuzz-vm/setLabels", {"labels": {"a": "b"}}),
    ("POST", f"{COMPUTE}/zones/{ZONE}/disks/fuzz/resize", {"sizeGb": "40"}),
    (
        "POST",
        f"/dns.googleapis.com/dns/v1/projects/{PROJECT}/managedZones",
        {
            "name": "fuzz",
            "dnsName": "fuzz.example.",
            "visibility": "private",
            "privateVisibilityConfig": {"networks": [{"networkUrl": f"projects/{PROJECT}/global/networks/fuzz"}]},
        },
    ),
    (
        "POST",
        f"/dns.googleapis.com/dns/v1/projects/{PROJECT}/managedZones/fuzz/changes",
        {"additions": [{"name": "a.fuzz.example.", "type": "A", "ttl": 60, "rrdatas": ["10.9.0.2"]}], "deletions": []},
    ),
    (
        "POST",
        f"{RUN}/services?serviceId=fuzz",
        {
            "ingress": "INGRESS_TRAFFIC_ALL",
            "traffic": [{"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 100, "tag": "t"}],
            "template": {
                "timeout": "60s",
                "maxInstanceRequestConcurrency": 8,
                "scaling": {"minInstanceCount": 0, "maxInstanceCount": 2},
                "vpcAccess": {
                    "networkInterfaces": [{"network": "fuzz", "subnetwork": "fuzz"}],
                    "egress": "ALL_TRAFFIC",
                },
                "containers": [
                    {**CONTAINER, "ports": [{"containerPort": 8080}], "startupProbe": PROBE, "livenessProbe": PROBE}
                ],
                "volumes": VOLUMES,
            },
        },
    ),
    ("PATCH", f"{RUN}/services/fuzz?updateMask=traffic,labels", {"traffic": [{"percent": 100}], "labels": {"a": "b"}}),
    (
        "POST",
        f"{RUN}/jobs?jobId=fuzz",
        {
            "template": {
                "taskCount": 1,
                "template": {"maxRetries": 0, "timeout": "60s", "containers": [CONTAINER], "volumes": VOLUMES},
            }
        },
    ),
    (
        "POST",
        f"{RUN}/jobs/fuzz:run",
        {
            "overrides": {
                "containerOverrides": [{"args": ["x"], "env": [{"name": "A", "value": "c"}]}],
                "taskCount": 1,
                "timeout": "9s",
            }
        },
    ),
    ("POST", f"{RUN}/jobs/fuzz:setIamPolicy", {"policy": {"bindings": [BINDING], "version": 3}}),
    (
        "POST",
        f"/cloudresourcemanager.googleapis.com/v1/projects/{PROJECT}:setIamPolicy",
        {"policy": {"bindings": [BINDING]}},
    ),
    (
        "POST",
        f"/iam.googleapis.com/v1/projects/{PROJECT}/serviceAccounts",
        {"accountId": "fuzz-account", "serviceAccount": {"displayName": "F", "description": "d"}},
    ),
    (
        "POST",
        f"/iam.googleapis.com/v1/projects/{PROJECT}/roles",
        {"roleId": "fuzz_role", "role": {"title": "F", "includedPermissions": ["run.jobs.run"], "stage": "GA"}},
    ),
    (
        "POST",
        f"/serviceusage.googleapis.com/v1/projects/{PROJECT}/services:batchEnable",
        {"serviceIds": ["run.googleapis.com"]},
    ),
    (
        "PATCH",
        "/storage/v1/b/fuzz-bucket",
        {
            "versioning": {"enabled": True},
            "lifecycle": {"rule": [{"action": {"type": "Delete"}, "condition": {"age": 3}}]},
            "iamConfiguration": {"uniformBucketLevelAccess": {"enabled": True}},
            "softDeletePolicy": {"retentionDurationSeconds": "0"},
        },
    ),
    ("PUT", "/storage/v1/b/fuzz-bucket/iam", {"bindings": [BINDING]}),
    ("POST", "/storage/v1/b/fuzz-bucket/managedFolders", {"name": "a/b/"}),
    (
        "POST",
        "/upload/storage/v1/b/fuzz-bucket/o?uploadType=resumable",
        {"name": "o", "metadata": {"a": "b"}, "contentType": "x/y"},
    ),
    (
        "POST",
        "/storage/v1/b/fuzz-bucket/o/composed/compose",
        {
            "sourceObjects": [{"name": "first"}],
            "destination": {"contentType": "x"},
        },
    ),
]


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


@hypothesis.settings(max_examples=400, suppress_health_check=list(hypothesis.HealthCheck))
@given(data=st.data())
def test_no_damaged_request_ends_in_a_defect(world: App, data: st.DataObject) -> None:
    method, target, body = data.draw(st.sampled_from(RIGHT))
    content = json.dumps(_damage(data, body)).encode()
    fresh = re.sub(r"(Id=)fuzz$", rf"\g<1>f{data.draw(st.integers(0, 10**6))}", target)
    answer = world.handle(_request(world, method, fresh, io.BytesIO(content)))
    assert answer.status < 500 or answer.status == 501
    assert not world.store.query("SELECT name FROM operations WHERE body LIKE '%Internal error%'")


@given(target=st.text(max_size=60), host=st.text(max_size=20), content=st.binary(max_size=60))
def test_no_path_ends_in_a_defect(app: App, target: str, host: str, content: bytes) -> None:
    headers = {"host": host, "authorization": f"Bearer {app.operator_token}"}
    for method in ("GET", "POST", "DELETE"):
        request = Request(
            method=method, target="/" + quote(target, safe="/?&=%:"), headers=headers, body=io.BytesIO(content)
        )
        assert app.handle(request).status < 500 or app.handle(request).status == 501
