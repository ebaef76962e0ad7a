"""What the operator tells the sandbox and asks of it, beside Google's APIs: `{url}/sandbox/v1/…`, and its settings.

Only the operator's token opens it, and only on the sandbox's own address: on Google's host names the path is Google's.
Settings make the sandbox as slow and as unforgiving as Google Cloud; they are kept in the store. How long Google takes
is in a table in which each figure names its source (`latency.json`): `operations` are seconds from a call to the end of
the operation it starts, `calls` seconds to an answer. What the table does not name takes the default, which is a guess
and says so.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gcp_openemr.sandbox.api.errors import ApiError
from gcp_openemr.sandbox.api.iam import OPERATOR
from gcp_openemr.sandbox.api.messages import Request, Response, json_response
from gcp_openemr.sandbox.api.store import Store
from gcp_openemr.sandbox.interfaces import Json, Refused

if TYPE_CHECKING:
    from gcp_openemr.sandbox.api.app import App

__all__ = ["Settings", "answer_steering", "change_settings", "is_steering", "latencies", "read_settings", "seconds_of"]

_FACT = "settings"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Every number is a factor on Google's own time: 0 is off, 1 as slow as Google, 0.01 a hundredth of it.

    `latency`: how long calls and operations take. `propagation`: how long an IAM change takes to be seen.
    `held_addresses`: how long Cloud Run keeps a subnetwork's addresses after the last revision is gone. `healing`: how
    long a group waits until it makes an unhealthy machine anew. `schedules`: how long Cloud Scheduler's jobs wait for
    their next time. `quotas`: how much of Google's quotas a project has. `idle`: how long Cloud Run keeps an idle
    instance above the minimum; when off, instances stay, one of each revision at least.
    """

    latency: float = 0.0
    propagation: float = 0.0
    held_addresses: float = 0.0
    healing: float = 0.0
    schedules: float = 0.0
    quotas: float = 0.0
    idle: float = 0.0


def read_settings(store: Store) -> Settings:
    """As they were last changed; a field that a former version did not know has its default."""
    kept: dict[str, Any] = json.loads(store.fact(_FACT) or "{}")
    known = {field.name for field in dataclasses.fields(Settings)}
    return Settings(**{name: value for name, value in kept.items() if name in known})


def change_settings(store: Store, changes: Mapping[str, Any]) -> Settings:
    """Change some fields, all or none. Raises ApiError 400 for a field or a value that makes no sense."""
    with store.transaction():
        settings = dataclasses.replace(read_settings(store), **{name: _value(name, changes[name]) for name in changes})
        store.put_fact(_FACT, json.dumps(dataclasses.asdict(settings)))
    return settings


def _value(name: str, value: Any) -> float:
    known = [field.name for field in dataclasses.fields(Settings)]
    if name not in known:
        raise ApiError(400, f"There is no setting {name!r}. Settings: {', '.join(known)}.")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise ApiError(400, f"Setting {name} is a number from 0 up, not {value!r}.")
    return float(value)


@functools.cache
def latencies() -> dict[str, Any]:
    """`{"calls" | "operations": {API method id or "*": {"seconds", "source"}}}`."""
    found: dict[str, Any] = json.loads(Path(__file__).with_name("latency.json").read_text(encoding="utf-8"))
    return found


def seconds_of(kind: str, method: str) -> float:
    """Seconds until a method's call is answered (`calls`), or the operation takes that it starts (`operations`)."""
    rows = latencies()[kind]
    return float(rows.get(method, rows["*"])["seconds"])


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
    if not re.fullmatch(r"[0-9]{1,18}", since):
        raise ApiError(400, "since is the number of a call.")
    return {"calls": [dataclasses.asdict(entry) for entry in app.calls.read(int(since))]}


def _grants(app: App, _request: Request) -> Json:
    """Who was let do what by which binding of which policy, and every policy there is."""
    policies = {name: policy.get("bindings", []) for name, policy in app.store.policies("")}
    return {"relied_on": sorted(app.iam.relied_on), "policies": policies}


def _faults(app: App, _request: Request) -> Json:
    return {"faults": [dataclasses.asdict(fault) for fault in app.faults.all()]}


def _add_fault(app: App, request: Request) -> Json:
    return dataclasses.asdict(app.faults.add(_object(request)))


def _clear_faults(app: App, request: Request) -> Json:
    return {"cleared": app.faults.clear((request.query.get("id") or [""])[-1])}


def _victims(app: App, request: Request) -> Json:
    """For the helper that ends callers outside: what became of the last one, and who is the next."""
    told = _object(request)
    found = told.get("victim")
    if isinstance(found, list) and len(found) == 2:
        near, far = found
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
    ("GET", "grants"): _grants,
    ("GET", "faults"): _faults,
    ("POST", "faults"): _add_fault,
    ("DELETE", "faults"): _clear_faults,
    ("POST", "victims"): _victims,
    ("POST", "servers"): _disturb,
}
