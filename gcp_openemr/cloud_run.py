"""Cloud Run: run a job and wait, own a service's traffic, ask for health."""

from __future__ import annotations

import dataclasses
import datetime
import json
import time
from collections.abc import Mapping
from typing import Any

import requests
from google.api_core.exceptions import NotFound
from google.cloud import run_v2
from google.protobuf.field_mask_pb2 import FieldMask

from gcp_openemr import interruption
from gcp_openemr.clients import Cloud
from gcp_openemr.console import Step
from gcp_openemr.errors import JobFailed, Unhealthy
from gcp_openemr.retrying import once

__all__ = [
    "Container",
    "Health",
    "ServiceState",
    "ask_health",
    "await_running",
    "is_over",
    "job_container",
    "job_variables",
    "last_told",
    "move_traffic",
    "pinned",
    "run_job",
    "runs",
    "service_state",
    "wait_until_healthy",
]

_POLL_SECONDS = 5.0
_REVISION = run_v2.TrafficTargetAllocationType.TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServiceState:
    """A service as Cloud Run tells it. Revisions are short names; `traffic` is revision → percent.

    `openemr` and `image` are the newest revision's: the version it was told to be, and its image.
    """

    uri: str
    ready_revision: str
    created_revision: str
    traffic: Mapping[str, int]
    problem: str = ""
    openemr: str = ""
    image: str = ""

    @property
    def newest_serves(self) -> bool:
        """Whether the newest revision has all the traffic, as it has when a deploy is through."""
        return self.traffic == {self.created_revision: 100}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Health:
    """The answer of /health/ready: its parts by name."""

    healthy: bool
    status: int
    parts: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Container:
    """What a service or job is told to run: its image and its plain variables."""

    image: str
    variables: Mapping[str, str]


def job_container(cloud: Cloud, name: str) -> Container | None:
    """What the next execution of a job is made of; None when there is no such job."""
    try:
        return _container(cloud.jobs.get_job(name=name).template.template.containers[0])
    except NotFound:
        return None


def runs(cloud: Cloud, job: str) -> list[Mapping[str, str]]:
    """The variables of a job's executions."""
    found = cloud.executions.list_executions(parent=job)
    return [_container(execution.template.containers[0]).variables for execution in found]


def await_running(cloud: Cloud, job: str, step: Step) -> None:
    """Wait for the executions of a job that are under way: whoever started them may be gone."""
    for execution in cloud.executions.list_executions(parent=job):
        if not execution.completion_time:
            step.update("an earlier run is under way")
            _wait_for(cloud, execution.name, step)


def run_job(
    cloud: Cloud, name: str, *, environment: Mapping[str, str], result: tuple[str, str], step: Step
) -> dict[str, Any]:
    """Run a job with these variables added and wait for its end, however long it takes.

    `name` is `projects/p/locations/l/jobs/j`. The job writes a JSON record of what it did to the object
    `result` = (bucket, name); that record is returned.

    Raises:
        JobFailed: with the job's own sentence where its record has one, else Cloud Run's.
    """
    bucket, object_name = result
    variables = {**environment, "RESULT_URI": f"gs://{bucket}/{object_name}"}
    container = run_v2.RunJobRequest.Overrides.ContainerOverride(
        env=[run_v2.EnvVar(name=key, value=value) for key, value in variables.items()]
    )
    request = run_v2.RunJobRequest(name=name, overrides=run_v2.RunJobRequest.Overrides(container_overrides=[container]))
    execution = once(
        lambda: str(cloud.jobs.run_job(request=request).metadata.name),
        lambda: _execution_with(cloud, name, variables["RESULT_URI"]),
    )
    state = _wait_for(cloud, execution, step)
    record = _record(cloud, bucket, object_name)
    if state.succeeded_count < state.task_count:
        raise JobFailed(
            f"Job {name.rpartition('/')[2]} failed: {record.get('error') or _condition(state)}",
            do=record.get("do") or f"Its log: {state.log_uri}",
            record=record,
        )
    return record


def last_told(cloud: Cloud, job: str, variable: str, value: str) -> dict[str, str]:
    """What the last execution of a job was told that had this variable; {} where there is none or no such job."""
    try:
        listed = cloud.executions.list_executions(parent=job)
        executions = sorted(listed, key=lambda one: str(one.create_time), reverse=True)
    except NotFound:
        return {}
    told = ({env.name: env.value for env in one.template.containers[0].env} for one in executions)
    return next((one for one in told if one.get(variable) == value), {})


def service_state(cloud: Cloud, name: str) -> ServiceState | None:
    """What Cloud Run says of `projects/p/locations/l/services/s`, or None when there is none."""
    try:
        service = cloud.services.get_service(name=name)
    except NotFound:
        return None
    ready = _short(service.latest_ready_revision)
    traffic = {(t.revision or ready): t.percent for t in service.traffic_statuses if t.percent}
    failed = service.terminal_condition.state.name == "CONDITION_FAILED"
    container = service.template.containers[0]
    return ServiceState(
        uri=service.uri,
        ready_revision=ready,
        created_revision=_short(service.latest_created_revision),
        traffic=traffic,
        problem=service.terminal_condition.message if failed else "",
        openemr=next((one.value for one in container.env if one.name == "OPENEMR_VERSION"), ""),
        image=container.image,
    )


def move_traffic(cloud: Cloud, name: str, revision: str) -> None:
    """Send all traffic to one revision by its name, so that a later revision gets none until it is told to."""
    target = run_v2.TrafficTarget(type_=_REVISION, revision=revision, percent=100)
    request = run_v2.UpdateServiceRequest(
        service=run_v2.Service(name=name, traffic=[target]), update_mask=FieldMask(paths=["traffic"])
    )
    cloud.services.update_service(request=request).result()


def pinned(cloud: Cloud, name: str) -> dict[str, dict[str, str]]:
    """Which secrets' versions the revisions that serve have, and the service's template: its part → secret → version.

    Secrets by short name. `name` is `projects/p/locations/l/services/s`; nothing where there is none.
    """
    try:
        service = cloud.ask("run", f"v2/{name}")
    except NotFound:
        return {}
    ready = _short(service.get("latestReadyRevision", ""))  # of traffic to the latest no revision is told
    statuses = service.get("trafficStatuses", ())
    serving = {status.get("revision") or ready for status in statuses if status.get("percent")}
    found = {revision: cloud.ask("run", f"v2/{name}/revisions/{revision}") for revision in sorted(serving)}
    return {part: _pins(template) for part, template in {**found, "template": service["template"]}.items()}


def job_variables(cloud: Cloud, name: str) -> dict[str, str]:
    """The variables of a job's template; none where there is no such job."""
    try:
        job = cloud.ask("run", f"v2/{name}")
    except NotFound:
        return {}
    (container,) = job["template"]["template"]["containers"]
    return {variable["name"]: str(variable.get("value", "")) for variable in container.get("env", ())}


def is_over(cloud: Cloud, execution: str) -> bool:
    """Whether an execution, by its full name, has ended, or is gone."""
    try:
        return bool(cloud.executions.get_execution(name=execution).completion_time)
    except NotFound:
        return True


def ask_health(cloud: Cloud, uri: str) -> Health:
    """Ask a clinic once, as this caller. No answer is an unhealthy one with status 0."""
    token = cloud.identity_token(uri)
    headers = {"X-Serverless-Authorization": f"Bearer {token}"} if token else {}
    try:
        answer = requests.get(f"{uri}/health/ready", headers=headers, timeout=20)
    except requests.RequestException:
        return Health(healthy=False, status=0, parts={})
    try:
        body = answer.json()
    except ValueError:
        body = {}
    parts = body if isinstance(body, dict) else {}
    return Health(healthy=answer.status_code == 200, status=answer.status_code, parts=parts)


def wait_until_healthy(cloud: Cloud, uri: str, *, seconds: float, step: Step) -> Health:
    """Ask until the clinic is healthy.

    Raises:
        Unhealthy: it was not within `seconds`; the text names the parts that are not.
    """
    end = time.monotonic() + seconds
    delay = 0.25
    while True:
        health = ask_health(cloud, uri)
        if health.healthy:
            return health
        step.update(_complaint(health))
        if time.monotonic() + delay > end:
            raise Unhealthy(
                f"{uri} is not healthy after {seconds:.0f} s: {_complaint(health)}.",
                do="See what each part says: gcp-openemr status",
            )
        interruption.pause(delay)
        delay = min(delay * 1.5, 5.0)


def result_object(clinic_or_platform: str, job: str) -> str:
    """A fresh name for the record of one run."""
    now = datetime.datetime.now(datetime.UTC)
    return f"{clinic_or_platform}/runs/{job}/{now:%Y%m%dT%H%M%S.%fZ}.json"


def _execution_with(cloud: Cloud, job: str, result: str) -> str | None:
    """The execution that was told to write its record there."""
    for execution in cloud.executions.list_executions(parent=job):
        if any(variable.value == result for variable in execution.template.containers[0].env):
            return str(execution.name)
    return None


def _wait_for(cloud: Cloud, execution: str, step: Step) -> run_v2.Execution:
    delay = 0.2
    while True:
        state = cloud.executions.get_execution(name=execution)
        if state.completion_time:
            return state
        step.update(f"{state.running_count} running" if state.running_count else "starting")
        interruption.pause(delay)
        delay = min(delay * 1.5, _POLL_SECONDS)


def _record(cloud: Cloud, bucket: str, name: str) -> dict[str, Any]:
    try:
        record = json.loads(cloud.storage.bucket(bucket).blob(name).download_as_bytes())
    except (NotFound, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _condition(execution: run_v2.Execution) -> str:
    return next(
        (c.message for c in execution.conditions if c.type_ == "Completed" and c.message), "no reason was given"
    )


def _complaint(health: Health) -> str:
    if health.status == 0:
        return "no answer"
    if health.status in (401, 403) and not health.parts:
        return f"status {health.status}: this caller lacks roles/run.invoker on the service"
    bad = [name for name, part in health.parts.get("checks", {}).items() if part != "ok"]
    return f"status {health.status}" + (f", not ready: {', '.join(bad)}" if bad else "")


def _container(found: run_v2.Container) -> Container:
    return Container(image=found.image, variables={variable.name: variable.value for variable in found.env})


def _pins(template: Mapping[str, Any]) -> dict[str, str]:
    references = (
        (variable.get("valueSource") or {}).get("secretKeyRef")
        for container in template["containers"]
        for variable in container.get("env", ())
    )
    return {_short(found["secret"]): str(found.get("version", "latest")) for found in references if found}


def _short(name: str) -> str:
    return name.rpartition("/")[2]
