"""Cloud Storage: the JSON API with uploads, downloads and batches, and GET/HEAD of the XML API."""

from __future__ import annotations

from urllib.parse import unquote

from gcp_openemr.sandbox.api.messages import Request, Response, json_response
from gcp_openemr.sandbox.api.names import bucket_name
from gcp_openemr.sandbox.api.rules import HANDLERS, ApiError, App, Call, demand
from gcp_openemr.sandbox.api.serviceusage import require_enabled
from gcp_openemr.sandbox.api.storage.batch import answer_batch
from gcp_openemr.sandbox.api.storage.downloads import xml_error
from gcp_openemr.sandbox.api.validation import check_query
from gcp_openemr.sandbox.discovery import Discovery, Method, load

__all__ = ["answer_storage"]

_JSON_ROOT = "/storage/v1/"
_UPLOAD_ROOTS = ("/upload/storage/v1/", "/resumable/upload/storage/v1/")


def answer_storage(app: App, request: Request, path: str) -> Response:
    """Answer by the form of the (still encoded) path."""
    if path.startswith("/batch"):
        return answer_batch(app, request)
    if path.startswith(_UPLOAD_ROOTS):
        return _upload(app, request, path)
    media = path.startswith("/download")
    path = path.removeprefix("/download")
    if path.startswith(_JSON_ROOT):
        return _json_api(app, request, path, media=media)
    return _xml_api(app, request, path)


def _json_api(app: App, request: Request, path: str, *, media: bool) -> Response:
    discovery = load("storage", "v1")
    found = demand(discovery.find("GET" if request.method == "HEAD" else request.method, path), "storage.method")
    method, parameters = found
    extra = {"alt": ["media"]} if media else {}
    return _answer(_call(app, request, discovery, method, parameters, extra))


def _upload(app: App, request: Request, path: str) -> Response:
    discovery = load("storage", "v1")
    method = discovery.method("storage.objects.insert")
    bucket = path.split("/b/", 1)[-1].split("/", 1)[0]
    return _answer(_call(app, request, discovery, method, {"bucket": unquote(bucket)}, {}, upload=True))


def _xml_api(app: App, request: Request, path: str) -> Response:
    """GET and HEAD of /bucket/object, as Go's client reads."""
    bucket, _, name = path.lstrip("/").partition("/")
    bucket, name = unquote(bucket), unquote(name)
    try:
        if not bucket or not name or request.method not in {"GET", "HEAD"}:
            raise ApiError(501, "The sandbox stands in for GET and HEAD of objects only.")
        discovery = load("storage", "v1")
        method = discovery.method("storage.objects.get")
        parameters = {"bucket": bucket, "object": name}
        return _answer(_call(app, request, discovery, method, parameters, {"alt": ["media"]}))
    except ApiError as error:
        request.trace.refusal = error.refusal_id
        return xml_error(error, bucket)


def _call(
    app: App,
    request: Request,
    discovery: Discovery,
    method: Method,
    parameters: dict[str, str],
    extra: dict[str, list[str]],
    *,
    upload: bool = False,
) -> Call:
    check_query(discovery, method, request.query)
    return Call(
        app=app,
        caller=app.caller(request),
        api="storage",
        discovery=discovery,
        method=method,
        parameters=parameters,
        query={**request.query, **extra},
        request=request,
        name=bucket_name(parameters.get("bucket", "")),
        upload=upload,
    )


def _answer(call: Call) -> Response:
    handler = HANDLERS.get(call.method.id)
    if handler is None:
        raise ApiError(501, f"The sandbox does not stand in for {call.method.id}.")
    require_enabled(call, call.app.iam.owner_project(call.name) or call.one("project"))
    call.app.arrive(call)
    answer = handler(call)
    return answer if isinstance(answer, Response) else json_response(answer)
