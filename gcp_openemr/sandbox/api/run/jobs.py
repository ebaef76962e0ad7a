"""Jobs and their executions."""

from __future__ import annotations

import copy
import random
from collections.abc import Mapping

from gcp_openemr.sandbox.api import crud
from gcp_openemr.sandbox.api.compute.network import hold_addresses
from gcp_openemr.sandbox.api.names import duration_seconds, etag_of, id_of, now, path_of, project_of
from gcp_openemr.sandbox.api.operations import INTERRUPTED, Operation
from gcp_openemr.sandbox.api.rules import WORK, App, Call, Change, Collection, Record, fill, handles, refuse_if, shape
from gcp_openemr.sandbox.api.run import templates
from gcp_openemr.sandbox.api.run.services import outcome, pending, problem_of
from gcp_openemr.sandbox.interfaces import Json, Refused

_TYPES = "google.cloud.run.v2."
_LETTERS = "bcdfghjkmnpqrstvwxz246789"
_COUNTS = ("runningCount", "succeededCount", "failedCount", "cancelledCount", "retriedCount")


def _complete(change: Change) -> None:
    new, call = change.new, change.call
    execution = new.setdefault("template", {})
    execution["taskCount"] = execution.get("taskCount") or 1
    template = execution.setdefault("template", {})
    templates.fill_identity(template, project_of(change.name))
    fill(template, timeout="600s", maxRetries=3, executionEnvironment="EXECUTION_ENVIRONMENT_GEN2")
    templates.fill_containers(template, service=False)
    _check(call, execution, template)
    templates.check_labels(call, new.get("labels"), execution.get("labels"))
    templates.check_template(call, template, service=False)
    old: Json = change.old or {}
    generation = str(int(old.get("generation", 0)) + 1)
    new.setdefault("launchStage", "GA")
    new |= {
        "generation": generation,
        "creator": old.get("creator") or call.caller.email,
        "lastModifier": call.caller.email,
        "executionCount": old.get("executionCount", 0),
        "reconciling": True,
        "terminalCondition": pending("Ready"),
        "conditions": [],
    }


def _check(call: Call, execution: Json, template: Json) -> None:
    templates.check_limit(call, "task-count", int(execution["taskCount"]))
    templates.check_limit(call, "task-timeout", duration_seconds(template["timeout"]), "template.template.")
    templates.check_limit(call, "retries", int(template["maxRetries"]), "template.template.")


def _no_execution_runs(call: Call, record: Record) -> None:
    for execution in call.store.list(f"{record.name}/executions/"):
        refuse_if(not execution.body.get("completionTime"), "run.job-running", id=id_of(record.name))
    hold_addresses(call.app, record.name, record.body["template"]["template"])


def _ended(_call: Call, record: Record) -> None:
    refuse_if(not record.body.get("completionTime"), "run.execution-running", id=id_of(record.name))


JOBS = Collection(
    "run.projects.locations.jobs",
    kind="JOB",
    id_parameter="jobId",
    id_pattern=templates.NAME_PATTERN,
    id_refusal="run.name",
    message=f"{_TYPES}Job",
    complete=_complete,
    deletable=_no_execution_runs,
    created="run.checkJob",
    updated="run.checkJob",
)
EXECUTIONS = Collection(
    "run.projects.locations.jobs.executions",
    kind="EXECUTION",
    message=f"{_TYPES}Execution",
    deletable=_ended,
    verbs=("get", "list", "delete"),
)


@WORK.register("run.checkJob")
def check_job(app: App, operation: Operation) -> Json:
    """A job is ready when its image is there and its secrets can be read."""
    record = app.store.get(operation.target)
    if record is None:
        raise Refused(f"Job {id_of(operation.target)} was deleted.", code=10)
    problem, reason = problem_of(app, project_of(record.name), record.body["template"]["template"])
    with app.store.transaction():
        current = app.store.get(operation.target) or record
        body = {
            **current.body,
            "observedGeneration": current.body["generation"],
            "reconciling": False,
            "terminalCondition": outcome("Ready", problem, reason),
        }
        app.store.put(operation.target, body)
    if problem:
        raise Refused(problem)
    return body


@handles("run.projects.locations.jobs.run", needs="run.jobs.run")
def run(call: Call) -> Json:
    """Start an execution; the operation ends when the execution does."""
    overrides = call.body.get("overrides") or {}
    with call.store.transaction():
        job = crud.existing(call, JOBS)
        crud.check_etag(call, job.body, str(call.body.get("etag") or ""))
        template = _overridden(call, job.body["template"], overrides)
        problem, _ = problem_of(call.app, call.project, template["template"])
        refuse_if(problem, "run.job-not-ready", id=id_of(job.name), problem=problem)
        execution, name = _execution(call, job, template)
        call.store.put(name, execution)
        reference = {"name": id_of(name), "createTime": execution["createTime"]}
        count = int(job.body.get("executionCount", 0)) + 1
        call.store.put(job.name, {**job.body, "executionCount": count, "latestCreatedExecution": reference})
        operation = crud.begin(call, EXECUTIONS, name, execution, work="run.execute")
    return crud.finish(call, operation)


def _overridden(call: Call, template: Json, overrides: Mapping[str, object]) -> Json:
    """The execution's template with a run's own arguments, variables, task count and timeout."""
    result: Json = copy.deepcopy(template)
    containers = result["template"]["containers"]
    given = overrides.get("containerOverrides") or []
    for override in given if isinstance(given, list) else []:
        container = _overridden_container(call, containers, str(override.get("name") or ""))
        if override.get("clearArgs"):
            container.pop("args", None)
        if override.get("args"):
            container["args"] = list(override["args"])
        names = {variable.get("name") for variable in override.get("env") or ()}
        kept = [variable for variable in container.get("env") or () if variable["name"] not in names]
        container["env"] = kept + list(override.get("env") or ())
        templates.check_variables(call, container, "overrides.container_overrides", service=False)
    if overrides.get("taskCount"):
        result["taskCount"] = overrides["taskCount"]
    if overrides.get("timeout"):
        result["template"]["timeout"] = overrides["timeout"]
    _check(call, result, result["template"])
    return result


def _overridden_container(call: Call, containers: list[Json], name: str) -> Json:
    if not name and len(containers) == 1:
        return containers[0]
    for container in containers:
        if container.get("name") == name:
            return container
    raise templates.violation(call, "run.override-container", "overrides.container_overrides", name=name)


def _execution(call: Call, job: Record, template: Json) -> tuple[Json, str]:
    unique = "".join(random.choices(_LETTERS, k=5))  # noqa: S311 -- a name, no secret
    name = f"{job.name}/executions/{id_of(job.name)}-{unique}"
    body = shape(
        "run.execution",
        name,
        creator=call.caller.email,
        labels={**(job.body.get("labels") or {}), **(template.get("labels") or {})},
        stage=job.body["launchStage"],
        job=id_of(job.name),
        parallelism=template.get("parallelism") or template["taskCount"],
        tasks=template["taskCount"],
        template=template["template"],
        condition=pending("Completed"),
        etag=etag_of(name, unique),
    )
    return body, name


def _abandon(app: App, operation: Operation) -> None:
    """An execution does not outlive the sandbox that ran it."""
    _put(app, operation.target, _lost(app, operation.target, INTERRUPTED))


@WORK.register("run.execute", abandon=_abandon)
def execute(app: App, operation: Operation) -> Json:
    record = app.store.get(operation.target)
    if record is None:
        raise Refused("The execution was deleted.", code=10)

    def report(update: Json) -> None:
        _put(app, operation.target, update)

    try:
        update = app.runtime.run_execution(record.body, report)
    except Refused as refused:
        update = _lost(app, operation.target, refused.message)
    final = _put(app, operation.target, {**update, "reconciling": False})
    completed: Json = next((found for found in final["conditions"] if found.get("type") == "Completed"), {})
    if completed.get("state") != "CONDITION_SUCCEEDED":
        message = completed.get("message") or f"Execution {id_of(operation.target)} failed."
        raise Refused(str(message), code=1 if final.get("cancelledCount") else 10)
    return final


def _lost(app: App, name: str, message: str) -> Json:
    record = app.store.get(name)
    body = record.body if record else {}
    done = sum(int(body.get(field, 0)) for field in ("succeededCount", "failedCount", "cancelledCount"))
    return {
        "runningCount": 0,
        "failedCount": int(body.get("failedCount", 0)) + int(body.get("taskCount", 1)) - done,
        "completionTime": now(),
        "reconciling": False,
        "conditions": [outcome("Completed", message)],
    }


def _put(app: App, name: str, update: Json) -> Json:
    """Write what is new of an execution, and at its end tell the job."""
    with app.store.transaction():
        record = app.store.get(name)
        if record is None:
            return update
        moment = now()
        body = {**record.body, **update, "updateTime": moment, "etag": etag_of(name, moment)}
        for field in _COUNTS:
            body.setdefault(field, 0)
        app.store.put(name, body)
        job = app.store.get(name.partition("/executions/")[0])
        if job is not None and body.get("completionTime"):
            latest = job.body.get("latestCreatedExecution") or {}
            if latest.get("name") == id_of(name):
                status = "EXECUTION_SUCCEEDED" if _succeeded(body) else "EXECUTION_FAILED"
                ended = {"completionTime": body["completionTime"], "completionStatus": status}
                app.store.put(job.name, {**job.body, "latestCreatedExecution": {**latest, **ended}})
    return body


def _succeeded(execution: Json) -> bool:
    return int(execution.get("succeededCount", 0)) >= int(execution.get("taskCount", 1))


@handles("run.projects.locations.jobs.executions.cancel", needs="run.executions.cancel")
def cancel(call: Call) -> Json:
    record = crud.existing(call, EXECUTIONS)
    crud.check_etag(call, record.body, str(call.body.get("etag") or ""))
    refuse_if(record.body.get("completionTime"), "run.execution-done", id=id_of(record.name))
    call.app.runtime.cancel_execution(path_of(record.name))
    operation = crud.begin(call, EXECUTIONS, record.name, record.body)
    return crud.finish(call, operation)
