"""Every refusal of the table, provoked: whether it is told with Google's status, reason and sentence."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import google.auth
import google.auth.transport.requests
import pytest
import requests

from gcp_openemr.sandbox.api.app import App
from gcp_openemr.sandbox.api.artifactregistry import parse_image, push
from gcp_openemr.sandbox.api.names import project_number
from gcp_openemr.sandbox.api.refusals import REFUSALS
from gcp_openemr.sandbox.api.rules import load_tables
from gcp_openemr.sandbox.api.server import serve
from gcp_openemr.sandbox.api.serviceusage import enable_apis
from tests.sandbox.api.conformance import (  # noqa: F401
    cases_drive,
    cases_identity,
    cases_platform,
    cases_run,
    cases_secrets,
    cases_sql,
    cases_storage,
    cases_watching,
)
from tests.sandbox.api.conformance.target import CASES, ISSUER, Target, check
from tests.sandbox.api.support import REGION, Answer, Cloud, RecordingRuntime

PROJECT = "conf-project"
IMAGE = f"{REGION}-docker.pkg.dev/{PROJECT}/conf/service:1"
COMPUTE = f"compute/v1/projects/{PROJECT}"
CONTAINER = {"serviceAccount": f"conf-web@{PROJECT}.iam.gserviceaccount.com", "containers": [{"image": IMAGE}]}
POOLS = "v1/{p}/locations/global/workloadIdentityPools"
PROVIDERS = f"{POOLS}/conf-pool/providers?workloadIdentityPoolProviderId=conf-"
IMMUTABLE = {"format": "DOCKER", "dockerConfig": {"immutableTags": True}}
CLOSED = {"uniformBucketLevelAccess": {"enabled": True}, "publicAccessPrevention": "enforced"}
# Refused while something else lasts, which at Google it does.
NEEDS_TIME = {"sqladmin.busy"}
OBJECTS = [f"{{b}}/o?uploadType=media&name={name}" for name in ("kept", "held", "folder/x")] + [
    f"{PROJECT}-locked/o?uploadType=media&name=retained"
]


def _policy(role: str, account: str) -> dict[str, object]:
    member = f"serviceAccount:{account}@{PROJECT}.iam.gserviceaccount.com"
    return {"policy": {"bindings": [{"role": role, "members": [member]}]}}


def _provider(issuer: str, **oidc: str) -> dict[str, object]:
    return {
        "oidc": {"issuerUri": issuer, **oidc},
        "attributeMapping": {"google.subject": "assertion.sub"},
        "attributeCondition": 'assertion.repository == "conf/repository"',
    }


def _network(name: str) -> dict[str, object]:
    return {"name": name, "autoCreateSubnetworks": False}


def _subnetwork(name: str, area: str) -> dict[str, object]:
    return {"name": name, "network": "global/networks/conf-net", "ipCidrRange": area}


# The world in which the cases find what they need, in order: API, path, and bodies to POST there one after the other.
WORLD: list[tuple[str, str, list[Any]]] = [
    ("compute", f"{COMPUTE}/global/networks", [_network("conf-net"), _network("conf-other")]),
    (
        "compute",
        f"{COMPUTE}/regions/{REGION}/subnetworks",
        [_subnetwork("conf-run", "10.20.0.0/26"), _subnetwork("conf-small", "10.20.1.0/28")],
    ),
    ("iam", "v1/{p}/serviceAccounts", [{"accountId": f"conf-{word}"} for word in ("web", "deployer", "builder")]),
    (
        "iam",
        "v1/{p}/roles",
        [{"roleId": f"conf_{word}", "role": {"title": "t"}} for word in ("role", "deleted", "gone")],
    ),
    ("iam", f"{POOLS}?workloadIdentityPoolId=conf-pool", [{}]),
    ("iam", f"{PROVIDERS}ci", [_provider(ISSUER.url, jwksJson=json.dumps(ISSUER.jwks))]),
    ("iam", f"{PROVIDERS}far", [_provider("https://far.example")]),
    ("artifactregistry", "v1/{l}/repositories?repositoryId=conf", [IMMUTABLE]),
    ("artifactregistry", "v1/{l}/repositories?repositoryId=conf-closed", [IMMUTABLE]),
    (
        "artifactregistry",
        "v1/{l}/repositories/conf:setIamPolicy",
        [_policy("roles/artifactregistry.writer", "conf-builder")],
    ),
    ("cloudresourcemanager", "v1/{p}:setIamPolicy", [_policy("roles/run.admin", "conf-deployer")]),
    ("secretmanager", "v1/{p}/secrets?secretId=conf-secret", [{"replication": {"automatic": {}}}]),
    ("secretmanager", "v1/{p}/secrets?secretId=conf-closed", [{"replication": {"automatic": {}}}]),
    ("secretmanager", "v1/{p}/secrets/conf-secret:addVersion", [{"payload": {"data": "eA=="}}] * 2),
    ("secretmanager", "v1/{p}/secrets/conf-closed:addVersion", [{"payload": {"data": "eA=="}}]),
    ("secretmanager", "v1/{p}/secrets/conf-secret/versions/2:disable", [{}]),
    (
        "secretmanager",
        "v1/{p}/secrets/conf-secret:setIamPolicy",
        [_policy("roles/secretmanager.secretAccessor", "conf-web")],
    ),
    (
        "storage",
        f"storage/v1/b?project={PROJECT}",
        [
            {"name": f"{PROJECT}-conf", "iamConfiguration": CLOSED},
            {"name": f"{PROJECT}-locked", "retentionPolicy": {"retentionPeriod": "3600", "isLocked": True}},
        ],
    ),
    *(("storage", f"upload/storage/v1/b/{place}", [b"x"]) for place in OBJECTS),
    ("storage", "storage/v1/b/{b}/managedFolders", [{"name": "folder/"}]),
]


@pytest.fixture(scope="module")
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    google_project = request.config.getoption("--google-project")
    if google_project:
        yield _google(google_project)
        return
    app = App(tmp_path_factory.mktemp("conformance"))
    enable_apis(app.store, PROJECT)
    enable_apis(app.store, "conf-stranger")
    runtime = RecordingRuntime()
    app.start(runtime)
    server = serve(socket.create_server(("127.0.0.1", 0)), app)
    yield _sandbox(Cloud(app=app, runtime=runtime, url=f"http://127.0.0.1:{server.port}"))
    server.close()
    app.close()


def _sandbox(cloud: Cloud) -> Target:
    found = Target(
        call_raw=cloud.call,
        project=PROJECT,
        number=project_number(PROJECT),
        account=f"conf-web@{PROJECT}.iam.gserviceaccount.com",
        image=IMAGE,
        sandbox=cloud,
    )
    for api, path, bodies in WORLD:
        for body in bodies:
            answer = found.call("POST", api, path, body)
            assert answer.status == 200, (path, answer.body)
            if answer.body.get("kind") == "compute#operation":
                cloud.wait(answer)
    for role in ("deleted", "gone"):
        found.call("DELETE", "iam", f"v1/{{p}}/roles/conf_{role}")
    found.call("PATCH", "storage", "storage/v1/b/{b}/o/held", {"temporaryHold": True})
    reference = parse_image(IMAGE)
    assert reference is not None
    push(cloud.app.store, reference, "sha256:" + "a" * 64)
    _deploy(found, cloud)
    return found


def _deploy(found: Target, cloud: Cloud) -> None:
    services = "v2/{l}/services"
    cloud.wait(found.call("POST", "run", f"{services}?serviceId=conf-web", {"template": CONTAINER}))
    cloud.wait(found.call("POST", "run", f"{services}?serviceId=conf-pinned", {"template": CONTAINER}))
    first = found.call("GET", "run", f"{services}/conf-pinned").body["latestReadyRevision"].rpartition("/")[2]
    pinned = {"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION", "revision": first, "percent": 100}
    changed = {"template": {**CONTAINER, "timeout": "60s"}, "traffic": [pinned]}
    cloud.wait(found.call("PATCH", "run", f"{services}/conf-pinned?updateMask=template,traffic", changed))
    cloud.wait(found.call("POST", "run", "v2/{l}/jobs?jobId=conf-job", {"template": {"template": CONTAINER}}))


def _google(project: str) -> Target:
    """Google itself, as the application default credentials; the world above must have been made in the project."""
    credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    session = google.auth.transport.requests.AuthorizedSession(credentials)
    return _from_outside(project, session, "https://{}.googleapis.com", "us-docker.pkg.dev/cloudrun/container/hello")


def _from_outside(project: str, session: requests.Session, base: str, image: str) -> Target:
    """A cloud of which nothing is known but its answers; `base` is the address of an API."""

    def call(method: str, api: str, path: str, body: object = None, *, token: str | None = None, **more: str) -> Answer:
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **{key.replace("_", "-"): more[key] for key in more}}
        asking = session
        if token is not None:
            asking, headers = requests.Session(), headers | ({"Authorization": f"Bearer {token}"} if token else {})
        answer = asking.request(method, f"{base.format(api)}/{path}", data=data, headers=headers, timeout=60)
        told = answer.json() if "json" in answer.headers.get("Content-Type", "") and answer.content else {}
        return Answer(status=answer.status_code, body=told, headers=answer.headers)

    found = call("GET", "cloudresourcemanager", f"v3/projects/{project}").body
    number, account = found["name"].removeprefix("projects/"), f"conf-web@{project}.iam.gserviceaccount.com"
    return Target(call_raw=call, project=project, number=number, account=account, image=image)


@pytest.mark.parametrize("refusal", sorted(CASES))
def test_refuses_as_google_does(target: Target, refusal: str) -> None:
    check(refusal, CASES[refusal](target), target)


def test_the_cases_run_where_nothing_is_known_but_answers(target: Target) -> None:
    """As at Google, so that they can be put to it: here the sandbox answers, asked from outside."""
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {target.here.app.operator_token}"
    outside = _from_outside(PROJECT, session, f"{target.here.url}/{{}}.googleapis.com", IMAGE)
    left, failed = [], {}
    for refusal, provoke in sorted(CASES.items()):
        if refusal in NEEDS_TIME:
            continue
        try:
            check(refusal, provoke(outside), outside)
        except pytest.skip.Exception:
            left.append(refusal)  # only the sandbox can be brought into that state
        except AssertionError as error:
            failed[refusal] = str(error)
    assert failed == {}
    assert len(left) < 50, left


def test_every_refusal_has_its_case() -> None:
    load_tables()
    assert set(REFUSALS) == set(CASES)
