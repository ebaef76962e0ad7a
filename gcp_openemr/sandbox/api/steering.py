"""What the sandbox's operator tells it and asks of it, beside Google's APIs: `{url}/sandbox/v1/…`.

Only the operator's token opens it, and only on the sandbox's own address: on Google's host names the path is Google's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from gcp_openemr.sandbox.api.errors import ApiError
from gcp_openemr.sandbox.api.iam import OPERATOR
from gcp_openemr.sandbox.api.messages import Request, Response, json_response
from gcp_openemr.sandbox.interfaces import Json, Refused

if TYPE_CHECKING:
    from gcp_openemr.sandbox.api.app import App

__all__ = ["answer_steering", "is_steering"]

_ROOT = "/sandbox/v1/"


_HTTP = {5: 404, 12: 501}  # by google.rpc.Code
_KINDS = ("database", "redis", "share")
_CONDITIONS = ("stopped", "slow", "full", "well")


def is_steering(request: Request) -> bool:
    """Whether a request is for the sandbox itself."""
    return request.raw_path.startswith(_ROOT) and not request.host.partition(":")[0].endswith("googleapis.com")


def answer_steering(app: App, request: Request) -> Response:
    """Answer as Google's APIs answer: JSON, and 4xx with an error body."""
    if app.caller(request) != OPERATOR:
        raise ApiError(403, "Only the sandbox's operator may do that.")
    path = request.raw_path.removeprefix(_ROOT)
    method = _METHODS.get((request.method, path))
    if method is None:
        raise ApiError(404, f"The sandbox has no {request.method} {path}.")
    return json_response(method(app, request))


def _get_settings(app: App, _request: Request) -> Json:
    return dataclasses.asdict(app.settings)


def _set_settings(app: App, request: Request) -> Json:
    return dataclasses.asdict(app.change_settings(_object(request)))


def _calls(app: App, request: Request) -> Json:
    since = (request.query.get("since") or ["0"])[-1]
    if not since.isdigit():
        raise ApiError(400, "since is the number of a call.")
    return {"calls": [dataclasses.asdict(entry) for entry in app.calls.read(int(since))]}


def _faults(app: App, _request: Request) -> Json:
    return {"faults": [dataclasses.asdict(fault) for fault in app.faults.all()]}


def _add_fault(app: App, request: Request) -> Json:
    return dataclasses.asdict(app.faults.add(_object(request)))


def _clear_faults(app: App, request: Request) -> Json:
    return {"cleared": app.faults.clear((request.query.get("id") or [""])[-1])}


def _victims(app: App, request: Request) -> Json:
    """For the helper that ends callers outside: what became of the last one, and who is the next."""
    told = _object(request)
    if "victim" in told:
        near, far = told["victim"]
        app.callers.ended((str(near), str(far)), str(told.get("outcome", "")))
    victim = app.callers.next_victim()
    return {"victim": victim, "over": not any(fault.effect == "kill" for fault in app.faults.all())}


def _disturb(app: App, request: Request) -> Json:
    wish = _object(request)
    given = [wish.get(key) for key in ("kind", "name", "condition")]
    kind, name, condition = (str(value or "") for value in given)
    if kind not in _KINDS or condition not in _CONDITIONS or not name:
        raise ApiError(400, f"Say kind ({', '.join(_KINDS)}), name and condition ({', '.join(_CONDITIONS)}).")
    try:
        app.runtime.disturb(kind, name, condition)
    except Refused as refused:
        raise ApiError(_HTTP.get(refused.code, 400), refused.message) from refused
    return {"kind": kind, "name": name, "condition": condition}


def _object(request: Request) -> Json:
    body = request.json()
    if not isinstance(body, dict):
        raise ApiError(400, "The body is a JSON object.")
    return body


_METHODS: Mapping[tuple[str, str], Callable[[App, Request], Json]] = {
    ("GET", "settings"): _get_settings,
    ("POST", "settings"): _set_settings,
    ("GET", "calls"): _calls,
    ("GET", "faults"): _faults,
    ("POST", "faults"): _add_fault,
    ("DELETE", "faults"): _clear_faults,
    ("POST", "victims"): _victims,
    ("POST", "servers"): _disturb,
}
