"""Every refusal of the table, provoked: whether it is told with Google's status, reason and sentence."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import google.auth
import google.auth.transport.requests
import pytest

from gcp_openemr.sandbox.api.app import App
from gcp_openemr.sandbox.api.artifactregistry import parse_image, push
from gcp_openemr.sandbox.api.names import project_number
from gcp_openemr.sandbox.api.refusals import REFUSALS
from gcp_openemr.sandbox.api.rules import load_tables
from gcp_openemr.sandbox.api.server import serve
from gcp_openemr.sandbox.api.serviceusage import enable_apis
from tests.sandbox.api.conformance import (  # noqa: F401
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

    def call(method: str, api: str, path: str, body: object = None, **_: str) -> object:
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        answer = session.request(method, f"https://{api}.googleapis.com/{path}", data=data, timeout=60)
        return Answer(status=answer.status_code, body=answer.json() if answer.content else {}, headers=answer.headers)

    account = f"conf-web@{project}.iam.gserviceaccount.com"
    image = "us-docker.pkg.dev/cloudrun/container/hello"
    return Target(call_raw=call, project=project, number="", account=account, image=image)  # type: ignore[arg-type]


@pytest.mark.parametrize("refusal", sorted(CASES))
def test_refuses_as_google_does(target: Target, refusal: str) -> None:
    check(refusal, CASES[refusal](target), target)


def test_every_refusal_has_its_case() -> None:
    load_tables()
    assert set(REFUSALS) == set(CASES)
