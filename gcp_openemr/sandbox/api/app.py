"""The sandbox's APIs as one application: a request goes in, Google's answer comes out.

Order of a call: which method, whose token, is the request well-formed, does the project exist, may the caller, do it.
A project comes into being when the operator first names it, with a number made from its id.
"""

from __future__ import annotations

import io
import json
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gcp_openemr.sandbox.api import crud, policies
from gcp_openemr.sandbox.api.access import CloudAccess, guarded
from gcp_openemr.sandbox.api.call_log import CURRENT, CallLog
from gcp_openemr.sandbox.api.callers import Callers
from gcp_openemr.sandbox.api.calls import unauthenticated
from gcp_openemr.sandbox.api.compute.places import check_zone
from gcp_openemr.sandbox.api.faults import Faults
from gcp_openemr.sandbox.api.federation import PUBLIC
from gcp_openemr.sandbox.api.iam import ANONYMOUS, Caller, Iam, Tokens
from gcp_openemr.sandbox.api.messages import Request, Response, json_response
from gcp_openemr.sandbox.api.names import project_of
from gcp_openemr.sandbox.api.operations import Operations
from gcp_openemr.sandbox.api.projects import (
    ensure_project,
    find_service_account,
    project_by_number,
    service_account_exists,
)
from gcp_openemr.sandbox.api.refusals import beyond_if, demand, refuse
from gcp_openemr.sandbox.api.routing import API_VERSIONS, Target, find_method, resource_path, target_of
from gcp_openemr.sandbox.api.rules import CHORES, COLLECTIONS, HANDLERS, WORK, ApiError, Call, Json, Store, load_tables
from gcp_openemr.sandbox.api.serviceusage import require_enabled
from gcp_openemr.sandbox.api.settings import (
    Settings,
    answer_steering,
    change_settings,
    is_steering,
    read_settings,
    seconds_of,
)
from gcp_openemr.sandbox.api.storage import answer_storage
from gcp_openemr.sandbox.api.storage.objects import Objects
from gcp_openemr.sandbox.api.uses import authorize_uses
from gcp_openemr.sandbox.api.validation import check_query
from gcp_openemr.sandbox.interfaces import Access, Runtime

__all__ = ["App"]

_SECONDS = 1.0
_POLICY_VERBS = {"getIamPolicy", "setIamPolicy", "testIamPermissions"}


class _Clock:
    """Does every chore about once a second from its making until `close`."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="clock", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ending.wait(_SECONDS):
            for chore in CHORES:
                try:
                    chore(self._app)
                except Exception:  # one chore's defect must not end the others
                    traceback.print_exc()


class App:
    """All state lies below `state_dir`. `start(runtime)` brings up what should be running; `close()` ends it."""

    def __init__(self, state_dir: Path) -> None:
        load_tables()
        self.state_dir = state_dir
        self.store = Store(state_dir / "state.sqlite3")
        self.settings = read_settings(self.store)
        self.objects = Objects(self.store, state_dir / "objects")
        self.iam = Iam(self.store, lambda: self.settings.propagation)
        self.calls = CallLog(state_dir / "calls")
        self.callers = Callers()
        self.faults = Faults(self.store, self.callers.kill)
        self._tokens = Tokens(self.store, state_dir / "operator-token")
        self._access = CloudAccess(self.store, self.objects, self.iam, self._tokens)
        self.operations = Operations(self, self.store, WORK)
        self._runtime: Runtime | None = None
        self._clock: _Clock | None = None
        self._closing = False

    @property
    def access(self) -> Access:
        return self._access

    @property
    def operator_token(self) -> str:
        """Bearer token of the project's owner; also in the file `operator-token`."""
        return self._tokens.operator

    @property
    def runtime(self) -> Runtime:
        if self._runtime is None:
            raise ApiError(503, "The sandbox is still starting.")
        self.operations.refuse_when_spoiled()
        return self._runtime

    def start(self, runtime: Runtime) -> None:
        """Bring up what the store says should run, then take up unfinished operations."""
        self._runtime = guarded(runtime)
        runtime.resume()
        self.operations.resume()
        self._clock = _Clock(self)

    def close(self) -> None:
        """End the runtime, let operations end, close the store. Calls that still come are answered 503.

        Work that the end of the runtime cuts short is taken up at the next start, as after a kill.
        """
        self._closing = True
        self.operations.interrupt()
        if self._clock is not None:
            self._clock.close()
        self.faults.close()
        if self._runtime is not None:
            self._runtime.stop()
        self.operations.close()
        self.calls.close()
        self.store.close()

    def change_settings(self, changes: Mapping[str, Any]) -> Settings:
        """Change some of them from now on. Raises ApiError 400."""
        self.settings = change_settings(self.store, changes)
        return self.settings

    def mint_token(self, email: str, scopes: Sequence[str] = ()) -> str:
        """A bearer token with which calls arrive as that service account."""
        return self._tokens.mint(email, scopes)

    def mint_for(self, caller: Caller) -> str:
        """A bearer token of any identity."""
        return self._tokens.mint_for(caller)

    def service_account_exists(self, email: str) -> bool:
        return service_account_exists(self.store, email)

    def ask(self, email: str, method: str, target: str, body: Json | None = None) -> Json:
        """The answer to a call of `target` (`/HOST/PATH?QUERY`) as a service account. Raises ApiError.

        So Google's own agents call the APIs, as everybody does.
        """
        data = json.dumps(body).encode() if body is not None else b""
        headers = {"authorization": f"Bearer {self.mint_token(email)}", "content-type": "application/json"}
        try:
            answer = self.handle(Request(method=method, target=target, headers=headers, body=io.BytesIO(data)))
        except ConnectionAbortedError as error:
            raise ApiError(503, "The service is currently unavailable.") from error
        content: Json = json.loads(answer.body) if isinstance(answer.body, bytes) and answer.body else {}
        if answer.status >= 400:
            refusal = content.get("error") or {}
            raise ApiError(answer.status, str(refusal.get("message", "")), status=str(refusal.get("status", "")))
        return content

    def authorize_uses(self, call: Call, name: str, resource: Json) -> None:
        """Raise 403 unless the caller holds what the method asks for beside the permission of its own verb."""
        authorize_uses(call, name, resource)

    def handle(self, request: Request) -> Response:
        """Answer one request; every refusal is Google's error body. Every call of an API is in the call log.

        Raises ConnectionAbortedError when a fault wants no answer.
        """
        if is_steering(request):
            return self._refusing(request, answer_steering)
        with self.calls.timed(request.trace, request.method, request.raw_path):
            response = self._refusing(request, App._answer)
            request.trace.status = response.status
        return response

    def arrive(self, call: Call) -> None:
        """Say which call a request turned out to be, and let it meet what was asked for: latency and faults.

        Raises ApiError, or ConnectionAbortedError when no answer is to be given.
        """
        trace = call.request.trace
        trace.method_id, trace.caller = call.method.id, call.caller.member or "anonymous"
        trace.resource = "/objects/".join(filter(None, (call.name, call.parameters.get("object"))))
        CURRENT.set(trace)
        _check_scopes(call)
        if self.settings.latency:
            self.faults.pause(seconds_of("calls", call.method.id) * self.settings.latency)
        self.faults.arrive(call.request)

    def _refusing(self, request: Request, answer: Callable[[App, Request], Response]) -> Response:
        try:
            if self._closing:
                raise ApiError(503, "The sandbox is stopping.")
            return answer(self, request)
        except ApiError as error:
            request.trace.refusal = error.refusal_id
            return json_response(error.body(), status=error.code, headers=error.headers)

    def _answer(self, request: Request) -> Response:
        target = target_of(request.host, request.raw_path)
        storage = target.api == "storage"
        response = answer_storage(self, request, target.path) if storage else self._one_platform(request, target)
        return self.faults.leave(request, response)

    def caller(self, request: Request) -> Caller:
        """Whose token a request carries. Raises 401 for one that is not valid, and for accounts that are gone."""
        caller = self._tokens.caller(request.headers.get("authorization", ""))
        if caller is None:
            raise _invalid_credentials()
        kind, _, email = caller.member.partition(":")
        if kind == "serviceAccount":
            account = find_service_account(self.store, email)
            gone = account is None and not service_account_exists(self.store, email)
            if gone or (account is not None and account.body.get("disabled")):
                raise _invalid_credentials()
        return caller

    def invoker(self, authorization: str, audience: str) -> Caller:
        """Who calls the service at `audience`, by an identity token for it or as `caller` does. Raises 401."""
        known = self._tokens.identity(authorization, audience)
        return known or self.caller(Request(method="GET", target="/", headers={"authorization": authorization}))

    def _one_platform(self, request: Request, target: Target) -> Response:
        beyond_if(target.api not in API_VERSIONS, f"The sandbox does not speak {target.api}.googleapis.com.")
        found = demand(find_method(target.api, request.method, target.path), "google.method")
        discovery, method, parameters = found
        caller = self.caller(request)
        if caller == ANONYMOUS and method.id not in PUBLIC:
            raise unauthenticated()
        check_query(discovery, method, request.query)
        path = resource_path(method, target.path) if "{" in method.path else method.path.lstrip("/")
        call = Call(
            app=self,
            caller=caller,
            api=target.api,
            discovery=discovery,
            method=method,
            parameters=parameters,
            query=request.query,
            request=request,
            name=f"{target.api}.googleapis.com/{self.by_id(path)}",
        )
        self.arrive(call)
        project = project_of(call.name)
        if project and project != "-":
            ensure_project(self.store, caller, project)
        require_enabled(call, project)
        check_zone(call)
        answer = _dispatch(call)
        return answer if isinstance(answer, Response) else json_response(answer)

    def by_id(self, path: str) -> str:
        """Projects by number are the same projects."""
        parts = path.split("/")
        if len(parts) > 1 and parts[0] == "projects":
            parts[1] = project_by_number(self.store, parts[1])
        return "/".join(parts)


def _dispatch(call: Call) -> Json | Response:
    handler = HANDLERS.get(call.method.id)
    if handler is not None:
        return handler(call)
    rule = COLLECTIONS.get(call.collection)
    if rule is not None and call.verb in _POLICY_VERBS:
        return policies.answer(call, rule.permission, lambda: crud.existing(call, rule))
    if rule is not None and call.verb in rule.verbs:
        return crud.answer(call, rule)
    raise ApiError(501, f"The sandbox does not stand in for {call.method.id}.")


def _check_scopes(call: Call) -> None:
    """Raise 403 for a token that is not meant for the method, whatever its owner may."""
    scopes = call.caller.scopes if call.api != "oauth2" else ()  # whose a token is, it tells whatever it is for
    if scopes and call.method.scopes and not set(scopes) & set(call.method.scopes):
        service = f"{call.api}.googleapis.com"
        metadata = {"service": service, "method": call.method.id}
        info = {"reason": "ACCESS_TOKEN_SCOPE_INSUFFICIENT", "domain": "googleapis.com", "metadata": metadata}
        raise refuse("google.scope", details=[{"@type": "type.googleapis.com/google.rpc.ErrorInfo", **info}])


def _invalid_credentials() -> ApiError:
    error = refuse("google.invalid-credentials")
    error.headers["WWW-Authenticate"] = 'Bearer realm="https://accounts.google.com/", error="invalid_token"'
    return error
