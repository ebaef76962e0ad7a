"""Services: each change of the template makes a revision, which is a copy that never changes again.

Traffic says which revision gets which share of a service's requests. After it accepted a template Cloud Run finds out
about images that are missing and secrets that cannot be read: the resource is there then, but not ready, and its
operation fails.
"""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Iterator, Sequence

from gcp_openemr.sandbox.api.artifactregistry import find_image, parse_image
from gcp_openemr.sandbox.api.compute.network import hold_addresses
from gcp_openemr.sandbox.api.iam import Iam, service_account
from gcp_openemr.sandbox.api.names import (
    duration_seconds,
    etag_of,
    id_of,
    now,
    path_of,
    project_name,
    project_number,
    project_of,
)
from gcp_openemr.sandbox.api.projects import project_by_number
from gcp_openemr.sandbox.api.refusals import refuse, refuse_if
from gcp_openemr.sandbox.api.rules import WORK, ApiError, App, Call, Change, Collection, Operation, fill, shape, without
from gcp_openemr.sandbox.api.run import templates
from gcp_openemr.sandbox.api.secretmanager import find_version
from gcp_openemr.sandbox.api.store import Record, Store
from gcp_openemr.sandbox.interfaces import Json, Refused, TrafficTarget

__all__ = ["outcome", "pending", "problem_of", "secret_problem"]


def pending(kind: str) -> Json:
    """A condition that is under way."""
    return {"type": kind, "state": "CONDITION_RECONCILING", "lastTransitionTime": now()}


def outcome(kind: str, problem: str = "", reason: str = "") -> Json:
    """A condition that holds, or failed; `reason` is one of the condition's common reasons (`CONTAINER_MISSING`, …)."""
    if not problem:
        return {"type": kind, "state": "CONDITION_SUCCEEDED", "lastTransitionTime": now()}
    told = {"message": problem, "severity": "ERROR", "lastTransitionTime": now()}
    return {"type": kind, "state": "CONDITION_FAILED", **told, **({"reason": reason} if reason else {})}


def problem_of(app: App, project: str, template: Json) -> tuple[str, str]:
    """Cloud Run's sentences and the condition's reason; ("", "") when everything is there."""
    for container in template.get("containers") or ():
        missing = _missing_image(app, str(container["image"]))
        if missing:
            return missing, "CONTAINER_MISSING"
    email = str(template["serviceAccount"])
    problems = []
    for place, secret, version in _secrets(template):
        path = secret if "/" in secret else f"projects/{project}/secrets/{secret}"
        problem = secret_problem(app.store, app.iam, path, version, email)
        if problem is not None:
            problems.append(f"{place}: {problem.message}")
    return "\n".join(problems), "SECRETS_ACCESS_CHECK_FAILED" if problems else ""


def _missing_image(app: App, reference: str) -> str:
    image = parse_image(reference)
    # Another registry's images cannot be known here; the runtime says what it cannot start.
    if image is None or app.store.get(project_name(image.project)) is None:
        return ""
    return "" if find_image(app.store, image) is not None else refuse("run.image", image=reference).message


def _secrets(template: Json) -> Iterator[tuple[str, str, str]]:
    """(place, secret, version) of variables and volumes; places as Cloud Run names them."""
    for index, container in enumerate(template.get("containers") or ()):
        for number, variable in enumerate(container.get("env") or ()):
            reference = (variable.get("valueSource") or {}).get("secretKeyRef")
            if reference:
                place = f"spec.template.spec.containers[{index}].env[{number}].value_from.secret_key_ref.name"
                yield place, str(reference.get("secret") or ""), str(reference.get("version") or "latest")
    for number, volume in enumerate(template.get("volumes") or ()):
        secret = volume.get("secret") or {}
        for item in secret.get("items") or ([{}] if secret else []):
            place = f"spec.template.spec.volumes[{number}].secret"
            yield place, str(secret.get("secret") or ""), str(item.get("version") or "latest")


def secret_problem(store: Store, iam: Iam, secret: str, version: str, email: str) -> ApiError | None:
    """Why an account cannot have a version of `projects/p/secrets/s`, in Cloud Run's words."""
    parts = secret.split("/")
    project = project_by_number(store, parts[1])
    full = f"secretmanager.googleapis.com/projects/{project}/secrets/{parts[-1]}"
    numbered = f"projects/{project_number(project)}/secrets/{parts[-1]}/versions/{version}"
    if not iam.allows(service_account(email), "secretmanager.versions.access", f"{full}/versions/{version}"):
        return refuse("run.secret-denied", secret=numbered, email=email)
    try:
        found = find_version(store, full, version)
    except ApiError:
        return refuse("run.secret-missing", secret=numbered)
    state = found.body["state"]
    return None if state == "ENABLED" else refuse("run.secret-state", secret=found.body["name"], state=state)


LATEST = "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST"
BY_NAME = "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION"
_TAG = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_LONGEST_LABEL = 46  # of a tag and a service's name together: both stand in one label of the host's name
_TYPES = "google.cloud.run.v2."
_LETTERS = "bcdfghjkmnpqrstvwxz246789"
# Fields of the template that are not copied into the revision.
_NOT_OF_REVISION = {"revision", "healthCheckDisabled"}


def _check_traffic(call: Call, service: str, body: Json) -> None:
    """Refuse shares that are no whole, tags that are none or stand twice, revisions that do not exist."""
    total = 0
    tags: set[str] = set()
    for target in body["traffic"]:
        total += int(target.get("percent") or 0)
        named = str(target.get("revision") or "")
        kind = target.get("type") or (BY_NAME if named else LATEST)
        templates.violation_if((kind == BY_NAME) != bool(named), call, "run.traffic-kind", "traffic")
        target["type"] = kind
        tag = str(target.get("tag") or "")
        templates.violation_if(
            tag and (not _TAG.fullmatch(tag) or tag in tags), call, "run.traffic-tag", "traffic", tag=tag
        )
        if tag and len(tag) + len(id_of(service)) > _LONGEST_LABEL:
            raise refuse("run.tag-length", tag=tag, service=id_of(service), most=_LONGEST_LABEL)
        tags.add(tag)
        if named and call.store.get(f"{service}/revisions/{named}") is None:
            raise refuse("run.traffic-revision", revision=named)
    refuse_if(total != 100, "run.traffic-sum", total=total)


def _targets(store: Store, service: str, body: Json) -> list[TrafficTarget]:
    """What the runtime is told. Before anything is ready there is nothing to tell."""
    ready = id_of(str(body.get("latestReadyRevision") or ""))
    found = []
    for target in body["traffic"]:
        revision = str(target.get("revision") or "") or ready
        if revision and store.get(f"{service}/revisions/{revision}") is not None:
            percent = int(target.get("percent") or 0)
            found.append(TrafficTarget(revision=revision, percent=percent, tag=str(target.get("tag") or "")))
    return found


def _statuses(body: Json, routed: Sequence[TrafficTarget]) -> list[Json]:
    """`trafficStatuses`: one for each target that is served."""
    found = []
    wanted = body["traffic"] if routed else []
    for target, route in zip(wanted, routed, strict=False):
        status: Json = {"type": target["type"], "revision": route.revision, "percent": route.percent}
        if route.tag:
            status |= {"tag": route.tag, "uri": _tag_uri(body, route.tag)}
        found.append(status)
    return found


def _tag_uri(body: Json, tag: str) -> str:
    """Cloud Run puts the tag before the host's name. Where the host is an address, the service's name stands there."""
    scheme, _, host = str(body["uri"]).partition("://")
    address, _, port = host.partition(":")
    if address.replace(".", "").isdigit():
        host = f"{id_of(str(body['name']))}.localhost:{port}"
    return f"{scheme}://{tag}---{host}"


def _complete(change: Change) -> None:
    """Fill, check, and put the next revision into the store when the template changed."""
    new, call = change.new, change.call
    project = project_of(change.name)
    template = new.setdefault("template", {})
    templates.fill_identity(template, project)
    templates.fill_containers(template, service=True)
    _fill_template(template)
    fill(new, ingress="INGRESS_TRAFFIC_ALL", launchStage="GA")
    new["traffic"] = new.get("traffic") or [{"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 100}]
    _check(change, template)
    old: Json = change.old or {}
    fresh = change.old is None or _differs(old["template"], template) or call.flag("forceNewRevision")
    new |= {
        "generation": str(int(old.get("generation", 0)) + 1),
        "lastModifier": call.caller.email,
        "creator": old.get("creator") or call.caller.email,
        "reconciling": True,
        "terminalCondition": pending("Ready"),
        "conditions": [pending("RoutesReady"), pending("ConfigurationsReady")],
    }
    new["latestCreatedRevision"] = _new_revision(change) if fresh else old["latestCreatedRevision"]
    _check_traffic(call, change.name, new)
    new["trafficStatuses"] = old.get("trafficStatuses", [])


def _fill_template(template: Json) -> None:
    template.setdefault("timeout", "300s")
    scaling = template.setdefault("scaling", {})
    if not scaling.get("maxInstanceCount"):
        scaling["maxInstanceCount"] = 100
    if not template.get("maxInstanceRequestConcurrency"):
        template["maxInstanceRequestConcurrency"] = 80 if _whole_cpu(template) else 1


def _whole_cpu(template: Json) -> bool:
    return all(templates.cpus(container) >= 1 for container in template.get("containers") or ())


def _check(change: Change, template: Json) -> None:
    call, concurrency = change.call, int(template["maxInstanceRequestConcurrency"])
    templates.check_limit(call, "service-timeout", duration_seconds(template["timeout"]))
    templates.check_limit(call, "concurrency", concurrency)
    scaling = template["scaling"]
    if int(scaling.get("minInstanceCount") or 0) > int(scaling["maxInstanceCount"]):
        raise templates.violation(call, "run.scaling", "template.scaling")
    templates.check_labels(call, change.new.get("labels"), template.get("labels"))
    templates.check_template(call, template, service=True)
    if concurrency > 1 and not _whole_cpu(template):
        raise templates.violation(call, "run.cpu-concurrency", "template.max_instance_request_concurrency")


def _differs(old: Json, new: Json) -> bool:
    """Whether a template asks for a new revision. The client's own marks do not count."""
    marks = {"client", "clientVersion"}
    return without(old, *marks) != without(new, *marks)


def _new_revision(change: Change) -> str:
    """Put the revision into the store; returns its name."""
    new, service = change.new, id_of(change.name)
    number = int(change.hidden.get("revisions", 0)) + 1
    change.hidden["revisions"] = number
    wanted = str(new["template"].get("revision") or "")
    unique = "".join(random.choices(_LETTERS, k=3))  # noqa: S311 -- a name, no secret
    revision = wanted or f"{service}-{number:05}-{unique}"
    if not revision.startswith(f"{service}-") or len(revision) > 63:
        raise templates.violation(change.call, "run.revision-name", "template.revision", revision=revision)
    name = f"{change.name}/revisions/{revision}"
    refuse_if(change.call.store.get(name) is not None, "run.revision-exists", revision=revision)
    template = without(new["template"], *_NOT_OF_REVISION)
    own = {"creator": change.call.caller.email, "stage": new["launchStage"], "condition": pending("Ready")}
    body = copy.deepcopy(template) | shape("run.revision", name, service=service, etag=etag_of(name, unique), **own)
    change.call.store.put(name, body, hidden={"health_check": not new["template"].get("healthCheckDisabled")})
    return path_of(name)


SERVICES = Collection(
    "run.projects.locations.services",
    kind="SERVICE",
    id_parameter="serviceId",
    id_pattern=templates.NAME_PATTERN,
    id_refusal="run.name",
    message=f"{_TYPES}Service",
    complete=_complete,
    created="run.deploy",
    updated="run.deploy",
    deleted="run.deleteService",
)


def _idle(call: Call, record: Record) -> None:
    service = call.store.get(record.name.split("/revisions/")[0])
    serving = {status.get("revision") for status in (service.body if service else {}).get("trafficStatuses", ())}
    refuse_if(id_of(record.name) in serving, "run.revision-serving", id=id_of(record.name))
    latest = str(service.body["latestCreatedRevision"]) if service else ""
    refuse_if(latest == path_of(record.name), "run.revision-latest", id=id_of(record.name))


Collection(
    "run.projects.locations.services.revisions",
    kind="REVISION",
    message=f"{_TYPES}Revision",
    deletable=_idle,
    verbs=("get", "list", "delete"),
)


@WORK.register("run.deploy")
def deploy(app: App, operation: Operation) -> Json:
    """Start the latest revision, then move the traffic as the service says."""
    service = app.store.get(operation.target)
    if service is None:
        raise Refused(f"Service {path_of(operation.target)} was deleted.", code=10)
    path = path_of(operation.target)
    latest = str(service.body["latestCreatedRevision"])
    uri = app.runtime.service_uri(path)
    problem, reason = _start_latest(app, path, latest)
    with app.store.transaction():
        body = _current(app, operation.target)
        body |= {"uri": uri, "urls": [uri]}
        if not problem:
            body["latestReadyRevision"] = latest
        app.store.put(operation.target, body)
    routed = _targets(app.store, operation.target, body)
    if routed:
        app.runtime.set_traffic(path, routed)
    with app.store.transaction():
        body = _current(app, operation.target)
        _conclude(body, problem, reason)
        body["trafficStatuses"] = _statuses(body, routed)
        body["etag"] = etag_of(operation.target, now(), operation.name)
        app.store.put(operation.target, body)
    if problem:
        raise Refused(problem)
    return body


def _start_latest(app: App, service: str, latest: str) -> tuple[str, str]:
    """Cloud Run's sentence and reason when the revision does not become ready, else empty texts."""
    name = f"run.googleapis.com/{latest}"
    record = app.store.get(name)
    if record is None:
        return f"Revision '{id_of(latest)}' was deleted.", "REVISION_FAILED"
    problem, reason = problem_of(app, project_of(name), record.body)
    if not problem:
        try:
            app.runtime.start_revision(service, record.body)
        except Refused as refused:
            problem, reason = refused.message, "REVISION_FAILED"
    if problem and not problem.startswith("Revision "):
        problem = f"Revision '{id_of(latest)}' is not ready and cannot serve traffic. {problem}"
    condition = outcome("Ready", problem, reason)
    moment = now()
    fields = {"reconciling": False, "conditions": [condition], "observedGeneration": "1", "updateTime": moment}
    with app.store.transaction():
        app.store.put(name, {**record.body, **fields, "etag": etag_of(name, moment)})
    return problem, reason


def _conclude(body: Json, problem: str, reason: str) -> None:
    body["observedGeneration"] = body["generation"]
    body["reconciling"] = False
    body["terminalCondition"] = outcome("Ready", problem, reason)
    body["conditions"] = [outcome("RoutesReady"), outcome("ConfigurationsReady", problem)]


def _current(app: App, name: str) -> Json:
    record = app.store.get(name)
    if record is None:
        raise Refused(f"Service {path_of(name)} was deleted.", code=10)
    return record.body


@WORK.register("run.deleteService")
def delete_service(app: App, operation: Operation) -> Json:
    app.runtime.delete_service(path_of(operation.target))
    record = app.store.get(operation.target)
    with app.store.transaction():
        if record is not None:
            hold_addresses(app, record.name, record.body["template"])
        app.store.delete_below(operation.target + "/")
        app.store.delete(operation.target)
    moment = now()
    return {**(record.body if record else {}), "deleteTime": moment, "expireTime": moment}
