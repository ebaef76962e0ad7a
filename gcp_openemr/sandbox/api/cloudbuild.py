"""Cloud Build v1: a build runs in its operation and pushes what it names to Artifact Registry."""

from __future__ import annotations

from pathlib import Path

from gcp_openemr.sandbox.api import crud
from gcp_openemr.sandbox.api.artifactregistry import ImageReference, parse_image, push
from gcp_openemr.sandbox.api.iam import service_account
from gcp_openemr.sandbox.api.listing import listed, newest_first
from gcp_openemr.sandbox.api.names import bucket_name, duration_seconds, id_of, new_uid, now, project_number, segment
from gcp_openemr.sandbox.api.operations import INTERRUPTED, Operation
from gcp_openemr.sandbox.api.refusals import demand, refuse, refuse_if
from gcp_openemr.sandbox.api.rules import WORK, ApiError, App, Call, Collection, Json, Refused, handles, shape

_TYPES = "google.devtools.cloudbuild.v1."
_LONGEST = 86_400
_USER_LOGGING = {"CLOUD_LOGGING_ONLY", "NONE", "GCS_ONLY", "LEGACY"}

BUILDS = Collection(
    "cloudbuild.projects.locations.builds",
    message=f"{_TYPES}Build",
    metadata=f"{_TYPES}BuildOperationMetadata",
    verbs=("get",),
)


@handles("cloudbuild.projects.builds.create", "cloudbuild.projects.locations.builds.create")
def create(call: Call) -> Json:
    location = segment(call.name, "locations") or "global"
    parent = f"cloudbuild.googleapis.com/projects/{call.project}/locations/{location}"
    call.authorize("cloudbuild.builds.create", parent)
    call.app.authorize_uses(call, parent, {})
    build = dict(call.body)
    _check(call, build)
    name = f"{parent}/builds/{new_uid()}"
    images, timeout = build.get("images") or [], build.get("timeout") or "600s"
    build |= shape("cloudbuild.build", name, location=location, images=images, timeout=timeout)
    with call.store.transaction():
        call.store.put(name, build)
        operation = crud.begin(call, BUILDS, name, build, work="cloudbuild.build", metadata={"build": build})
    return crud.finish(call, operation)


def _check(call: Call, build: Json) -> None:
    refuse_if(not build.get("steps"), "cloudbuild.steps")
    seconds = duration_seconds(build.get("timeout") or "600s")
    refuse_if(not 0 < seconds <= _LONGEST, "cloudbuild.timeout", most=_LONGEST)
    given = str(build.get("serviceAccount") or "")
    if given:
        _check_account(call, build, given)
    for image in build.get("images") or ():
        refuse_if(parse_image(image) is None, "cloudbuild.image", image=image)


def _check_account(call: Call, build: Json, given: str) -> None:
    email = given.rsplit("/", 1)[-1]
    refuse_if(not call.app.service_account_exists(email), "cloudbuild.account", email=email)
    options = build.get("options") or {}
    settled = (
        build.get("logsBucket")
        or options.get("logging") in _USER_LOGGING - {"GCS_ONLY", "LEGACY"}
        or options.get("defaultLogsBucketBehavior") == "REGIONAL_USER_OWNED_BUCKET"
    )
    refuse_if(not settled, "cloudbuild.logs")


@handles("cloudbuild.projects.builds.get", "cloudbuild.projects.locations.builds.get")
def get(call: Call) -> Json:
    name = _name(call)
    call.authorize("cloudbuild.builds.get", name)
    return crud.existing(call, BUILDS, name).body


@handles("cloudbuild.projects.builds.list", "cloudbuild.projects.locations.builds.list")
def list_(call: Call) -> Json:
    """Newest first."""
    call.authorize("cloudbuild.builds.list", call.name.rsplit("/", 1)[0])
    location = segment(call.name, "locations") or "global"
    start = f"cloudbuild.googleapis.com/projects/{call.project}/locations/{location}/builds/"
    found = newest_first(call.store.list(start), lambda record: str(record.body["createTime"]))
    return listed(call, found, "builds")


def _name(call: Call) -> str:
    """`projects/p/builds/ID` is the same as in location `global`."""
    if segment(call.name, "locations"):
        return call.name
    return call.name.replace("/builds/", "/locations/global/builds/", 1)


def _abandon(app: App, operation: Operation) -> None:
    _put(app, operation, {"status": "INTERNAL_ERROR", "statusDetail": INTERRUPTED, "finishTime": now()})


@WORK.register("cloudbuild.build", abandon=_abandon)
def build(app: App, operation: Operation) -> Json:
    """QUEUED → WORKING → SUCCESS or FAILURE, as the build's service account."""
    current = _put(app, operation, {"status": "WORKING", "startTime": now()})
    log = app.state_dir / "logs" / f"build-{current['id']}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    try:
        _check_source(app, current)
        images = [_destination(app, current, image) for image in current.get("images") or ()]
        results = app.runtime.build(current, lambda line: _write(log, line))
        built = {entry["name"]: entry for entry in results.get("images") or ()}
        for image, reference in images:
            entry = built.get(image)
            if entry is None:
                raise Refused(f"An image named {image!r} was not built.")
            push(app.store, reference, str(entry["digest"]))
    except (Refused, ApiError) as error:
        _write(log, f"ERROR: {error.message}")
        detail = {"type": "USER_BUILD_STEP", "detail": error.message}
        fields = {"status": "FAILURE", "statusDetail": error.message, "failureInfo": detail, "finishTime": now()}
        _put(app, operation, fields)
        raise
    return _put(app, operation, {"status": "SUCCESS", "results": results, "finishTime": now()})


def _check_source(app: App, current: Json) -> None:
    source = (current.get("source") or {}).get("storageSource")
    if not source:
        return
    bucket, name = str(source.get("bucket")), str(source.get("object"))
    email = _email(current)
    refuse_if(app.objects.live(bucket, name) is None, "cloudbuild.source", bucket=bucket, name=name)
    if not app.iam.allows(service_account(email), "storage.objects.get", f"{bucket_name(bucket)}/objects/{name}"):
        raise refuse("cloudbuild.source-denied", email=email)


def _destination(app: App, current: Json, image: str) -> tuple[str, ImageReference]:
    reference = demand(parse_image(image), "cloudbuild.image", image=image)
    if app.store.get(reference.repository_name) is None:
        raise refuse("artifactregistry.repository", repository=reference.repository)
    permission = "artifactregistry.repositories.uploadArtifacts"
    if not app.iam.allows(service_account(_email(current)), permission, reference.repository_name):
        path = reference.repository_name.split("/", 1)[1]
        raise refuse("artifactregistry.push", permission=permission, name=path)
    return image, reference


def _email(current: Json) -> str:
    given = id_of(str(current.get("serviceAccount") or ""))
    return given or f"{project_number(current['projectId'])}-compute@developer.gserviceaccount.com"


def _write(log: Path, line: str) -> None:
    with log.open("a", encoding="utf-8") as stream:
        stream.write(line.rstrip("\n") + "\n")


def _put(app: App, operation: Operation, fields: Json) -> Json:
    with app.store.transaction():
        record = app.store.get(operation.target)
        body = {**(record.body if record else {}), **fields}
        app.store.put(operation.target, body)
        app.operations.update(operation.name, {"build": body})
    return body
