"""Secret Manager, Cloud Build and Artifact Registry: one request for each of their refusals."""

from __future__ import annotations

import base64
from typing import Any

from tests.sandbox.api.conformance.target import Target, case, rest
from tests.sandbox.api.support import Answer

SECRETS, BUILDS = "v1/{p}/secrets", "v1/{l}/builds"
SECRET = f"{SECRETS}/conf-secret"
NEW: dict[str, Any] = {"replication": {"automatic": {}}}


def make(refusal: str, **fields: Any) -> None:
    rest(refusal, "POST", "secretmanager", f"{SECRETS}?secretId=conf-new", {**NEW, **fields})


def add(refusal: str, payload: Any) -> None:
    rest(refusal, "POST", "secretmanager", f"{SECRET}:addVersion", payload)


def data(content: bytes, **more: str) -> dict[str, Any]:
    return {"payload": {"data": base64.b64encode(content).decode(), **more}}


rest("secretmanager.id", "POST", "secretmanager", f"{SECRETS}?secretId=no%20spaces", NEW)
rest("secretmanager.replication", "POST", "secretmanager", f"{SECRETS}?secretId=conf-new", {})
rest("secretmanager.exists", "POST", "secretmanager", f"{SECRETS}?secretId=conf-secret", NEW)
rest("secretmanager.not-found", "GET", "secretmanager", f"{SECRETS}/none")
rest("secretmanager.mask", "PATCH", "secretmanager", SECRET, {**NEW, "labels": {"a": "b"}})
rest("secretmanager.state", "GET", "secretmanager", f"{SECRET}/versions/2:access")
make("secretmanager.aliases", versionAliases={f"a{n}": "1" for n in range(51)})
make("secretmanager.alias", versionAliases={"latest": "1"})
make("secretmanager.topics", topics=[{"name": f"projects/p/topics/t{n}"} for n in range(11)])
make("secretmanager.expiry", expireTime="2020-01-01T00:00:00Z")
make("secretmanager.rotation-time", rotation={"rotationPeriod": "3600s"})
make("secretmanager.rotation-topics", rotation={"nextRotationTime": "2100-01-01T00:00:00Z"})
make("secretmanager.rotation-period", rotation={"nextRotationTime": "2100-01-01T00:00:00Z", "rotationPeriod": "60s"})
make("secretmanager.destroy-ttl", versionDestroyTtl="60s")
add("secretmanager.payload-missing", {})
add("secretmanager.empty", {"payload": {}})
add("secretmanager.payload", data(b"x" * 65537))
add("secretmanager.checksum", data(b"x", dataCrc32c="1"))


@case("secretmanager.denied")
def caller_without_rights(target: Target) -> Answer:
    return target.call("GET", "secretmanager", f"{SECRETS}/conf-closed/versions/1:access", token=target.token())


def build(target: Target, **changes: Any) -> Answer:
    body = {
        "steps": [{"name": "gcr.io/cloud-builders/docker"}],
        "serviceAccount": target.fill("{p}/serviceAccounts/conf-builder@")
        + f"{target.project}.iam.gserviceaccount.com",
        "options": {"logging": "CLOUD_LOGGING_ONLY"},
        **changes,
    }
    return target.call("POST", "cloudbuild", BUILDS, body)


def image(target: Target, repository: str, tag: str = "new") -> str:
    host = target.image.partition("/")[0]
    return f"{host}/{target.project}/{repository}/x:{tag}"


def source(target: Target, name: str) -> dict[str, Any]:
    return {"storageSource": {"bucket": target.fill("{b}"), "object": name}}


case("cloudbuild.steps")(lambda target: build(target, steps=[]))
case("cloudbuild.timeout")(lambda target: build(target, timeout="100000s"))
case("cloudbuild.image")(lambda target: build(target, images=["docker.io/x"]))
case("cloudbuild.logs")(lambda target: build(target, options={}))
case("cloudbuild.account")(lambda target: build(target, serviceAccount="no@conf-project.iam.gserviceaccount.com"))
case("cloudbuild.source")(lambda target: target.done(build(target, source=source(target, "none"))))
case("cloudbuild.source-denied")(lambda target: target.done(build(target, source=source(target, "kept"))))
case("artifactregistry.repository")(lambda target: target.done(build(target, images=[image(target, "none")])))
case("artifactregistry.push")(lambda target: target.done(build(target, images=[image(target, "conf-closed")])))
case("artifactregistry.tag-immutable")(lambda target: target.done(build(target, images=[target.image])))
rest("artifactregistry.tag-delete", "DELETE", "artifactregistry", "v1/{l}/repositories/conf/packages/service/tags/1")
