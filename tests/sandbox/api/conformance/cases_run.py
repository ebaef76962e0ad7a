"""Cloud Run: one request for each of its refusals."""

from __future__ import annotations

import copy
from typing import Any

from gcp_openemr.sandbox.api.run.templates import LIMITS
from tests.sandbox.api.conformance.target import Target, case, rest
from tests.sandbox.api.support import Answer

SERVICES, JOBS = "v2/{l}/services", "v2/{l}/jobs"
VOLUME = {"name": "v", "emptyDir": {"medium": "MEMORY"}}


def template(target: Target, container: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {"serviceAccount": target.account, "containers": [{"image": target.image, **container}], **changes}


def create(target: Target, service: str, container: dict[str, Any], changes: dict[str, Any], **fields: Any) -> Answer:
    body = {"template": template(target, container, changes), **fields}
    return target.call("POST", "run", f"{SERVICES}?serviceId={service}", body)


def network(*interfaces: dict[str, str]) -> dict[str, Any]:
    return {"vpcAccess": {"networkInterfaces": list(interfaces)}}


def env(**variable: Any) -> dict[str, Any]:
    return {"env": [variable]}


def limits(**given: str) -> dict[str, Any]:
    return {"resources": {"limits": given}}


def mount(path: str) -> tuple[dict[str, Any], dict[str, Any]]:
    return {"volumeMounts": [{"name": "v", "mountPath": path}]}, {"volumes": [VOLUME]}


def secret(name: str, version: str) -> dict[str, Any]:
    return env(name="S", valueSource={"secretKeyRef": {"secret": name, "version": version}})


# Changes to the container and to the template of a service that cannot be made then.
REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "run.required": ({}, {"containers": []}),
    "run.ports": ({"ports": [{"containerPort": 8080}, {"containerPort": 8081}]}, {}),
    "run.cpu": (limits(cpu="3"), {}),
    "run.cpu-concurrency": (limits(cpu="500m"), {"maxInstanceRequestConcurrency": 2}),
    "run.memory": (limits(cpu="4", memory="1Gi"), {}),
    "run.memory-unthrottled": (limits(memory="256Mi"), {}),
    "run.quantity": (limits(memory="much"), {}),
    "run.env-name": (env(name="A=B"), {}),
    "run.env-value": (env(name="A", value="x" * 32769), {}),
    "run.env-count": ({"env": [{"name": f"A{n}"} for n in range(1001)]}, {}),
    "run.env-twice": ({"env": [{"name": "A"}, {"name": "A"}]}, {}),
    "run.env-reserved": (env(name="PORT", value="1"), {}),
    "run.volume-name": ({}, {"volumes": [VOLUME, VOLUME]}),
    "run.volume-kind": ({}, {"volumes": [{"name": "v"}]}),
    "run.volume-missing": ({"volumeMounts": [{"name": "v", "mountPath": "/x"}]}, {}),
    "run.mount-path": mount("not/absolute"),
    "run.mount-system": mount("/proc/x"),
    "run.probe-kind": ({"startupProbe": {"httpGet": {"path": "/"}, "tcpSocket": {"port": 8080}}}, {}),
    "run.probe-timeout": ({"livenessProbe": {"httpGet": {"path": "/"}, "timeoutSeconds": 20}}, {}),
    "run.startup-window": ({"startupProbe": {"failureThreshold": 30, "periodSeconds": 10}}, {}),
    "run.scaling": ({}, {"scaling": {"minInstanceCount": 5, "maxInstanceCount": 2}}),
    "run.label": ({}, {"labels": {"run.googleapis.com/x": "y"}}),
    "run.account": ({}, {"serviceAccount": "nobody@conf-none.iam.gserviceaccount.com"}),
    "run.interfaces": ({}, network({"network": "conf-net"}, {"network": "conf-net"})),
    "run.interface": ({}, network({})),
    "run.interface-network": ({}, network({"network": "conf-other", "subnetwork": "conf-run"})),
    "run.network": ({}, network({"network": "conf-none"})),
    "run.subnetwork": ({}, network({"subnetwork": "conf-none"})),
    "run.subnetwork-size": ({}, network({"subnetwork": "conf-small"})),
    "run.revision-name": ({}, {"revision": "another-1"}),
    "run.service-timeout": ({}, {"timeout": "3601s"}),
    "run.concurrency": ({}, {"maxInstanceRequestConcurrency": 1001}),
    "run.port": ({"ports": [{"containerPort": 65536}]}, {}),
}
for probe in ("startup", "liveness", "readiness"):
    for word, field in (
        ("delay", "initialDelaySeconds"),
        ("period", "periodSeconds"),
        ("timeout", "timeoutSeconds"),
        ("threshold", "failureThreshold"),
    ):
        over = LIMITS[f"{probe}-{word}"].most + 1
        REFUSED[f"run.{probe}-{word}"] = ({f"{probe}Probe": {field: over}}, {})

TRAFFIC: dict[str, list[dict[str, Any]]] = {
    "run.traffic-sum": [{"percent": 99}],
    "run.traffic-kind": [{"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION", "percent": 100}],
    "run.traffic-tag": [{"percent": 100, "tag": "x"}, {"tag": "x"}],
    "run.tag-length": [{"percent": 100, "tag": "t" * 40}],
    "run.traffic-revision": [
        {"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION", "revision": "conf-new-00009-zzz", "percent": 100}
    ],
}
# What only the operation finds out.
LATE: dict[str, dict[str, Any]] = {
    "run.secret-denied": secret("conf-closed", "1"),
    "run.secret-missing": secret("conf-secret", "99"),
    "run.secret-state": secret("conf-secret", "2"),
}
JOB_CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "run.task-count": ({"taskCount": 10_001}, {}),
    "run.task-timeout": ({}, {"timeout": "604801s"}),
    "run.retries": ({}, {"maxRetries": 11}),
}


def job(target: Target, name: str, execution: dict[str, Any], task: dict[str, Any]) -> Answer:
    body = {"template": {"template": template(target, {}, task), **execution}}
    return target.call("POST", "run", f"{JOBS}?jobId={name}", body)


for refusal, changes in REFUSED.items():
    case(refusal)(lambda target, found=changes: create(target, "conf-new", *copy.deepcopy(found)))  # type: ignore[misc]
for refusal, traffic in TRAFFIC.items():
    case(refusal)(lambda target, found=traffic: create(target, "conf-new", {}, {}, traffic=found))  # type: ignore[misc]
for refusal, container in LATE.items():
    name = refusal.replace(".", "-")
    case(refusal)(
        lambda target, name=name, found=container: target.done(create(target, name, found, {}))  # type: ignore[misc]
    )
for refusal, (execution, task) in JOB_CHANGES.items():
    case(refusal)(
        lambda target, execution=execution, task=task: job(target, "conf-new", execution, task)  # type: ignore[misc]
    )
rest("run.not-found", "GET", "run", f"{SERVICES}/conf-none")


@case("run.name")
def name_of_fifty_letters(target: Target) -> Answer:
    return create(target, "n" * 50, {}, {})


@case("run.ingress-containers")
def two_containers_without_ports(target: Target) -> Answer:
    return create(target, "conf-new", {}, {"containers": [{"image": target.image}, {"image": target.image}]})


@case("run.image")
def image_that_is_not_there(target: Target) -> Answer:
    missing = target.image.rpartition(":")[0] + ":none"
    return target.done(create(target, "conf-no-image", {"image": missing}, {}))


@case("run.exists")
def same_name_again(target: Target) -> Answer:
    return create(target, "conf-web", {}, {})


@case("run.denied")
def caller_without_rights(target: Target) -> Answer:
    return target.call("GET", "run", f"{SERVICES}/conf-web", token=target.token())


@case("run.revision-exists")
def same_revision_with_other_content(target: Target) -> Answer:
    service = target.call("GET", "run", f"{SERVICES}/conf-web").body
    revision = service["latestReadyRevision"].rpartition("/")[2]
    changed = template(target, env(name="NEW", value="1"), {"revision": revision})
    return target.call("PATCH", "run", f"{SERVICES}/conf-web?updateMask=template", {"template": changed})


@case("run.revision-serving")
def revision_that_serves(target: Target) -> Answer:
    revision = target.call("GET", "run", f"{SERVICES}/conf-web").body["latestReadyRevision"]
    return target.call("DELETE", "run", f"v2/{revision}")


@case("run.revision-latest")
def latest_revision_without_traffic(target: Target) -> Answer:
    service = target.call("GET", "run", f"{SERVICES}/conf-pinned").body
    return target.call("DELETE", "run", f"v2/{service['latestCreatedRevision']}")


@case("run.override-container")
def override_of_no_container(target: Target) -> Answer:
    overrides = {"containerOverrides": [{"name": "none", "args": ["x"]}]}
    return target.call("POST", "run", f"{JOBS}/conf-job:run", {"overrides": overrides})


@case("run.job-not-ready")
def job_without_image(target: Target) -> Answer:
    missing = target.image.rpartition(":")[0] + ":none"
    target.done(job(target, "conf-no-image", {}, {"containers": [{"image": missing}]}))
    return target.call("POST", "run", f"{JOBS}/conf-no-image:run", {})


def _execution(target: Target) -> str:
    answer = target.call("POST", "run", f"{JOBS}/conf-job:run", {})
    return str(answer.body["metadata"]["name"])


@case("run.execution-done")
def cancel_of_what_is_over(target: Target) -> Answer:
    return target.call("POST", "run", f"v2/{_execution(target)}:cancel", {})


def _while_it_runs(target: Target, path: str) -> Answer:
    target.here.runtime.hold.clear()
    try:
        execution = _execution(target)
        return target.call("DELETE", "run", path or f"v2/{execution}")
    finally:
        target.here.runtime.hold.set()


case("run.execution-running")(lambda target: _while_it_runs(target, ""))
case("run.job-running")(lambda target: _while_it_runs(target, f"{JOBS}/conf-job"))
